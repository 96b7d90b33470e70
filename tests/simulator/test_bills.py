"""Bills change in several ways: each kind of change by itself, and the truth over all together."""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.core.record_types import RecordTypes
from simulator import DOCUMENTED_ID, WORLD_A, AcceleratedClock, Bills, SimulatorSettings, World
from simulator.bills import INNER_ROOTS, VANISHES_AFTER_SECONDS
from simulator.events import USAGE, SimulatedEvent, SimulatedSession
from simulator.tree import View, tree

DAY = 86_400.0
LAST = 30 * DAY
"""By then all bills are final."""
TYPES = RecordTypes.documented()
ALL = Bills(
    amended_share=0.3,
    late_share=0.2,
    never_priced_share=0.05,
    currency_changed_share=0.05,
    growing_usage_share=0.2,
    vanished_share=0.2,
    overlapping_share=0.5,
)
WITHOUT_BUNDLED = replace(WORLD_A, bundled_tts=False)
"""A bundled event has no bill that could change."""
Node = dict[str, Any]


def build(bills: Bills, sessions: int = 60, seed: int = 1, **chosen: Any) -> tuple[World, AcceleratedClock]:
    world: dict[str, Any] = {"sessions_per_hour": 600.0, "sessions_max": sessions, "api": WITHOUT_BUNDLED}
    settings_ = SimulatorSettings(seed=seed, bills=bills, **world | chosen)
    clock = AcceleratedClock(settings_.start, 0.0, float)
    return World(settings_, clock), clock


def drawn(bills: Bills, sessions: int = 60) -> list[SimulatedSession]:
    """Return the drawn sessions, each once."""
    world, clock = build(bills, sessions)
    clock.step(2 * DAY)
    found = [world.find((ref.record_type,), uuid.UUID(ref.event_id)) for ref in world.refs()]
    return list({each.session.begun: each.session for each in found if each}.values())


def events_of(bills: Bills, sessions: int = 60) -> list[SimulatedEvent]:
    return [event for session in drawn(bills, sessions) for event in session.events]


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node["children"]:
        yield from walk(child)


def answers(world: World) -> Iterator[Node]:
    for ref in world.refs():
        found = world.find((ref.record_type,), uuid.UUID(ref.event_id))
        if found:
            yield tree(found.session, found.index, found.now, View(max_depth=99))


def price(node: Node) -> tuple[str, Decimal] | None:
    """Return currency and amount as a client reads them; None means unpriced."""
    text = (node["cost"] or {}).get("event_cost")
    try:
        return (node["cost"]["currency"], Decimal(text)) if text is not None else None
    except ArithmeticError:
        return None


def look(world: World, seen: dict[tuple[str, str, str], Node]) -> None:
    """Remember the latest state of every event in every tree."""
    for answer in answers(world):
        seen |= {(node["product"], node["event_name"], node["id"]): node for node in walk(answer["root"])}


def whole(record: Node, *names: str) -> int:
    return sum(record.get(name, 0) for name in names)


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_the_truth_is_the_result_of_polling_twice_a_day(seed: int) -> None:
    """At every poll the truth equals the latest states of all events seen so far, vanished ones included."""
    world, clock = build(ALL, sessions=25, seed=seed, currencies=("USD", "GBP"))
    seen: dict[tuple[str, str, str], Node] = {}
    for _ in range(30):
        clock.step(DAY / 2)
        look(world, seen)
        truth = world.truth()
        costs: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        for node in seen.values():
            name = TYPES.canonical(node["product"], node["event_name"], node["links"]["self"])
            if found := price(node):
                costs[name, node["product"], found[0]] += found[1]
        stated = {(each.record_type, each.product, each.currency): each.cost for each in truth.totals}
        assert {key: cost for key, cost in stated.items() if cost} == {key: c for key, c in costs.items() if c}
        turns = [node["record"] for node in seen.values() if node["event_name"] == "inference"]
        billed = [whole(n["record"], "billed_sec") for n in seen.values()]
        assert (truth.events, truth.inference_turns) == (len(seen), len(turns))
        assert truth.awaiting_price == sum(price(node) is None for node in seen.values())
        assert sum(t.input_tokens for t in truth.totals) == sum(whole(r, "user_prompt_tokens") for r in turns)
        assert sum(t.cached_tokens for t in truth.totals) == sum(whole(r, "cached_user_prompt_tokens") for r in turns)
        assert sum(t.output_tokens for t in truth.totals) == sum(whole(r, "completion_tokens") for r in turns)
        characters = sum(whole(node["record"], "number_of_characters") for node in seen.values())
        assert sum(t.characters for t in truth.totals) == characters
        assert sum(t.billed_seconds for t in truth.totals) == sum(billed)
    in_trees = {node["id"] + node["event_name"] for answer in answers(world) for node in walk(answer["root"])}
    assert truth.vanished == len(seen) - len(in_trees)


def test_sums_hold_in_every_tree_at_any_time() -> None:
    """Costs roll up and events are counted as shown, unpriced and vanished ones included."""
    world, clock = build(ALL, sessions=150)
    for _ in range(12):
        clock.step(DAY)
        for answer in answers(world):
            nodes = list(walk(answer["root"]))
            assert answer["meta"]["event_count"] == len(nodes)
            for node in nodes:
                if node["cost"] is None:
                    continue
                own = price(node)
                rolled = own[1] if own else Decimal(0)
                for child in node["children"]:
                    names = [TYPES.canonical(n["product"], n["event_name"], n["links"]["self"]) for n in (node, child)]
                    if TYPES.rolls_up(names[0], names[1]):
                        rolled += below(child)
                assert Decimal(node["cost"]["cumulative_cost"]) == rolled


def below(node: Node) -> Decimal:
    """Return the cost that a node adds to its parent; a node without a cost adds those of its children."""
    if node["cost"] is not None:
        return Decimal(node["cost"]["cumulative_cost"])
    return sum(
        (
            below(child)
            for child in node["children"]
            if TYPES.rolls_up(
                *(TYPES.canonical(n["product"], n["event_name"], n["links"]["self"]) for n in (node, child))
            )
        ),
        Decimal(0),
    )


def test_amendments_go_up_and_down_once_or_often() -> None:
    """Every priced event is amended to a different price, hours to days after the previous change."""
    events = [event for event in events_of(Bills(amended_share=1.0)) if event.bill[0].cost]
    assert {len(event.bill) for event in events} == {2, 3, 4}
    moves = [(a, b) for event in events for a, b in pairwise(event.bill)]
    assert all(3600.0 <= later.time - earlier.time <= 2 * DAY for earlier, later in moves)
    ups = [later.cost > earlier.cost for earlier, later in moves if later.cost is not None and earlier.cost is not None]
    assert len(ups) == len(moves)
    assert 0.2 < sum(ups) / len(ups) < 0.8
    assert all(later.cost != earlier.cost for earlier, later in moves)
    places = {step.cost.as_tuple().exponent for event in events for step in event.bill if step.cost is not None}
    assert places == {-4, -5, -6, -8}


def test_late_events_are_shown_without_a_price_and_get_one() -> None:
    """Late events are in the tree unpriced first, then get the tariff's price."""
    plain = {event.id + event.record_type: event.bill[0] for event in events_of(Bills())}
    for event in events_of(Bills(late_share=1.0)):
        first, last = event.bill
        usual = plain[event.id + event.record_type]
        assert (first.time, first.cost, last.cost) == (usual.time, None, usual.cost)
        assert 3600.0 <= last.time - first.time <= 2 * DAY


def test_some_events_never_get_a_price() -> None:
    """Unpriced events stay in the tree at no cost, and the truth counts them."""
    world, clock = build(Bills(never_priced_share=1.0, amended_share=1.0, vanished_share=1.0))
    clock.step(LAST)
    truth = world.truth()
    assert truth.awaiting_price == truth.events > 0
    assert not any(total.cost for total in truth.totals)
    shown = [node["cost"] for answer in answers(world) for node in walk(answer["root"])]
    shapes = {None if cost is None else cost.get("event_cost", "missing") for cost in shown}
    assert shapes == {None, "missing", "pending"}  # None twice: no cost at all, and a cost that is null
    assert any(cost is None for cost in shown)
    assert any(cost is not None and "event_cost" in cost and cost["event_cost"] is None for cost in shown)


def test_a_changed_currency_moves_the_whole_cost() -> None:
    """After a change of currency the old one sums to zero and the new one has the whole cost."""
    worlds = [build(Bills(currency_changed_share=share)) for share in (0.0, 1.0)]
    sums = []
    for world, clock in worlds:
        clock.step(LAST)
        found: dict[str, Decimal] = defaultdict(Decimal)
        for total in world.truth().totals:
            found[total.currency] += total.cost
        sums.append(found)
    assert (sums[1]["USD"], sums[1]["EUR"]) == (Decimal(0), sums[0]["USD"])


def test_usage_grows_to_what_the_record_says_in_the_end() -> None:
    """Tokens, characters and billed seconds never fall, and no other field of a record changes."""
    events = events_of(Bills(growing_usage_share=1.0))
    grown = 0
    for event in events:
        records = [event.record_at(step) for step in event.bill]
        assert records[-1].items() >= event.record.items()
        for earlier, later in pairwise(records):
            moved = {name for name in event.record if earlier[name] != later[name]}
            assert all(name in USAGE for name in moved)
            assert all(earlier[name] < later[name] for name in moved)  # type: ignore[operator]  # whole numbers
            grown += len(moved)
    assert grown > 100


def test_only_leaves_vanish_and_only_long_after_their_last_change() -> None:
    """Only an event without children vanishes, days after its last change; the truth keeps its cost."""
    world, clock = build(Bills(vanished_share=1.0, amended_share=0.5, late_share=0.5))
    clock.step(LAST)
    vanished = 0
    for session in drawn(Bills(vanished_share=1.0, amended_share=0.5, late_share=0.5)):
        for index, event in enumerate(session.events):
            gone = event.step_at(LAST + world.truth().now) is None
            assert gone == (not session.children[index] and index not in session.roots)
            assert not gone or event.vanishes_at - event.bill[-1].time >= VANISHES_AFTER_SECONDS[0]
            vanished += gone
    truth = world.truth()
    assert truth.vanished == vanished > 100
    plain, plain_clock = build(Bills())
    plain_clock.step(LAST)
    assert truth.events == plain.truth().events


def test_inner_events_are_listed_as_sessions_of_their_own() -> None:
    """A call's leg, assistant or participant, requested by itself, is a subtree of its session's tree."""
    world, clock = build(Bills(overlapping_share=1.0))
    plain, plain_clock = build(Bills())
    clock.step(LAST)
    plain_clock.step(LAST)
    inner = {ref.event_id: ref.record_type for ref in world.refs()}
    outer = {ref.event_id for ref in plain.refs()}
    assert {record_type for event_id, record_type in inner.items() if event_id not in outer} == INNER_ROOTS
    assert world.truth().totals == plain.truth().totals
    assert [ref.begun for ref in world.refs()] == sorted(ref.begun for ref in world.refs())


def test_one_share_does_not_touch_what_happens() -> None:
    """Bills are drawn independently of sessions: any shares give the same calls at the same times."""
    plain, revised = drawn(Bills()), drawn(ALL)
    assert [[event.record for event in session.events] for session in plain] == [
        [event.record for event in session.events] for session in revised
    ]
    assert drawn(ALL)[0].events == revised[0].events


def test_the_documented_call_stays_as_documented() -> None:
    """The guide's example is the same under all shares."""
    world, clock = build(ALL, sessions=0, documented_example=True)
    clock.step(LAST)
    found = world.find(("call-session",), uuid.UUID(DOCUMENTED_ID))
    assert found is not None
    assert tree(found.session, found.index, found.now, View())["cost"]["total"] == "0.2128"


@pytest.mark.parametrize("name", Bills().__struct_fields__)
def test_a_share_is_a_share(name: str) -> None:
    """A share below 0 or above 1 is refused with its name."""
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"{name}: expected a share from 0 to 1"):
            Bills(**{name: wrong})


def test_a_bundled_event_never_has_a_price() -> None:
    """In a voice conversation each turn is spoken; the truth counts it as bundled, not as awaiting a price."""
    world, clock = build(replace(ALL, overlapping_share=0.0), api=WORLD_A)
    clock.step(LAST)
    truth = world.truth()
    (spoken,) = (total for total in truth.totals if total.bundled)
    assert (spoken.record_type, spoken.awaiting_price) == ("text-to-speech", 0)
    assert 0 < spoken.bundled == truth.bundled < spoken.events
    assert spoken.characters > 100 * spoken.events
    costs = [
        node["cost"]
        for answer in answers(world)
        for node in walk(answer["root"])
        if node["record"].get("record_type") == "tts"
    ]
    assert len(costs) == truth.bundled
    assert all(cost is None or cost["event_cost"] is None for cost in costs)
    assert None in costs
