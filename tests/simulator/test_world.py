"""The simulated world: its sessions, their events over time, their trees, and the truth over all."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.core.record_types import RecordTypes
from simulator import DOCUMENTED_ID, WORLD_A, AcceleratedClock, SimulatorSettings, World
from simulator.events import SimulatedSession
from simulator.identity import Ids
from simulator.tree import View, tree

DAY = 86_400.0
WHOLE = View(max_depth=99)
TYPES = RecordTypes.documented()
PRICED = replace(WORLD_A, bundled_tts=False)


def build(**chosen: Any) -> tuple[World, AcceleratedClock]:
    """A world whose time moves only when its clock is stepped; each event has a price."""
    usual: dict[str, Any] = {"sessions_per_hour": 600.0, "sessions_max": 150, "api": PRICED}
    settings_ = SimulatorSettings(**usual | chosen)
    clock = AcceleratedClock(settings_.start, 0.0, float)
    return World(settings_, clock), clock


def session_of(world: World, record_type: str, event_id: str) -> SimulatedSession:
    found = world.find((record_type,), uuid.UUID(event_id))
    assert found is not None
    return found.session


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from walk(child)


def trees(world: World) -> Iterator[dict[str, Any]]:
    """Yield the whole tree of every existing session, as the API shows it."""
    for ref in world.refs():
        found = world.find((ref.record_type,), uuid.UUID(ref.event_id))
        if found:
            yield tree(found.session, found.index, found.now, WHOLE)


def summed(world: World) -> dict[tuple[str, str, str], tuple[Decimal, int]]:
    """Return the totals of all trees, counting each event once."""
    events = {
        (node["product"], node["event_name"], node["id"]): node
        for answer in trees(world)
        for node in walk(answer["root"])
    }
    sums: dict[tuple[str, str, str], tuple[Decimal, int]] = {}
    for node in events.values():
        name = TYPES.canonical(node["product"], node["event_name"], node["links"]["self"])
        key = (name, node["product"], node["cost"]["currency"])
        cost, count = sums.get(key, (Decimal(0), 0))
        sums[key] = (cost + Decimal(node["cost"]["event_cost"]), count + 1)
    return sums


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.lists(st.floats(0, 20_000), min_size=1, max_size=4))
def test_the_truth_is_what_following_all_sessions_finds(seed: int, steps: list[float]) -> None:
    """At any time, the truth equals the sums over the distinct events of all sessions' trees."""
    world, clock = build(seed=seed, sessions_max=60, currencies=("USD", "EUR"), documented_example=True)
    for step in steps:
        clock.step(step)
        truth = world.truth()
        found = {(each.record_type, each.product, each.currency): (each.cost, each.events) for each in truth.totals}
        assert found == summed(world)
        assert truth.events == sum(events for _, events in found.values())
        assert truth.inference_turns == sum(found[key][1] for key in found if key[0] == "inference")


def test_costs_add_up_in_every_tree() -> None:
    """A node's cumulative cost is its own and its children's that roll up; the total is the root's."""
    world, clock = build(sessions_max=400)
    clock.step(2 * DAY)
    kept_out = 0
    for answer in trees(world):
        nodes = list(walk(answer["root"]))
        assert answer["cost"]["total"] == answer["root"]["cost"]["cumulative_cost"]
        assert answer["meta"]["event_count"] == len(nodes)
        assert answer["meta"]["products"] == list(dict.fromkeys(node["product"] for node in nodes))
        for node in nodes:
            rolled = Decimal(node["cost"]["event_cost"])
            for child in node["children"]:
                edge = [TYPES.canonical(n["product"], n["event_name"], n["links"]["self"]) for n in (node, child)]
                rolls_up = TYPES.rolls_up(edge[0], edge[1])
                rolled += Decimal(child["cost"]["cumulative_cost"]) if rolls_up else 0
                kept_out += not rolls_up
            assert Decimal(node["cost"]["cumulative_cost"]) == rolled
    assert kept_out > 0  # else the rule for costs that don't roll up is untested


def test_every_documented_record_type_occurs() -> None:
    """Enough sessions hold all 31 types, and one that the metadata doesn't list."""
    world, clock = build(sessions_max=2500, sessions_per_hour=5000.0)
    clock.step(2 * DAY)
    found = {total.record_type for total in world.truth().totals}
    assert found == {each.name for each in TYPES} | {"ai-messaging-assistant"}


@pytest.mark.slow
def test_ai_calls_have_1_to_60_turns_on_up_to_6_levels() -> None:
    """Turns span the configured range, and some lie deeper than one answer can show."""
    world, clock = build(sessions_max=2000, sessions_per_hour=5000.0)
    clock.step(2 * DAY)
    turns, levels = set(), 0
    for answer in trees(world):
        nodes = list(walk(answer["root"]))
        if any(node["product"] == "ai-voice-assistant" for node in nodes):
            turns.add(sum(node["event_name"] == "inference" for node in nodes))
            levels = max(levels, depth(answer["root"]))
    assert (min(turns), max(turns), levels) == (1, 60, 6)


def depth(node: dict[str, Any]) -> int:
    return 1 + max(map(depth, node["children"]), default=0)


def test_children_and_parents_hold_the_fields_that_link_them() -> None:
    """Where the records of both have them: the child's local field is the parent's parent field."""
    world, clock = build(sessions_max=600)
    clock.step(2 * DAY)
    links = 0
    for answer in trees(world):
        for parent in walk(answer["root"]):
            for child in parent["children"]:
                relationship = child["relationship"]
                via = relationship["via"]
                assert relationship["parent_id"] == parent["id"]
                fields = (child["record"].get(via["local_field"]), parent["record"].get(via["parent_field"]))
                if None not in fields:
                    assert fields[0] == fields[1]
                    links += 1
    assert links > 1000


def test_a_session_appears_with_its_first_record_and_grows() -> None:
    """A started session has no tree at first; once it has one, no event leaves it."""
    world, clock = build(sessions_max=40)
    clock.step(3600.0)
    started = {(ref.record_type, ref.event_id) for ref in world.refs()}
    assert len(list(trees(world))) < len(started)
    seen: dict[str, set[str]] = {}
    growth = 0
    for _ in range(30):
        clock.step(600.0)
        for answer in trees(world):
            events = {node["id"] + node["event_name"] for node in walk(answer["root"])}
            before = seen.get(answer["session_id"], events)
            assert events >= before
            growth += events > before
            seen[answer["session_id"]] = events
    assert growth > 10
    clock.step(DAY)
    assert len(list(trees(world))) == len(world.refs())


def test_no_event_exists_before_the_one_it_lies_below() -> None:
    """The tree of an existing root has every event that exists below it."""
    world, clock = build(sessions_max=200)
    clock.step(2 * DAY)
    for ref in world.refs():
        session = session_of(world, ref.record_type, ref.event_id)
        placed = set(session.roots)
        for index, children in enumerate(session.children):
            for child in children:
                if child not in placed:  # its first parent
                    assert session.events[child].exists_from >= session.events[index].exists_from
                    placed.add(child)
        assert placed == set(range(len(session.events)))


def test_the_version_changes_exactly_with_the_tree() -> None:
    """Between two steps of its bills a session's answer is the same, and after a step it is another."""
    world, clock = build(sessions_max=20)
    clock.step(DAY)
    sessions = [(ref, session_of(world, ref.record_type, ref.event_id)) for ref in world.refs()]
    ref, session = max(sessions, key=lambda pair: len(pair[1].events))
    times = sorted(step.time for event in session.events for step in event.bill)
    for earlier, later in pairwise(times):
        index = session.index_of(ref.record_type, ref.event_id)
        assert index is not None
        middle = (earlier + later) / 2
        versions = [session.version(index, time) for time in (earlier, middle, later)]
        answers = [tree(session, index, time, WHOLE) for time in (earlier, middle, later)]
        assert (versions[0] == versions[1], versions[1] == versions[2]) == (
            answers[0] == answers[1],
            answers[1] == answers[2],
        )


def test_participants_are_reached_from_two_roots_and_counted_once() -> None:
    """A conference's participant lies below the conference and below a call, and is one event."""
    world, clock = build(sessions_max=300)
    clock.step(2 * DAY)
    ids = [
        node["id"]
        for answer in trees(world)
        for node in walk(answer["root"])
        if node["event_name"] == "conference-participant"
    ]
    total = next(total for total in world.truth().totals if total.record_type == "conference-participant")
    assert len(ids) == 2 * len(set(ids)) == 2 * total.events


def test_the_same_seed_makes_the_same_world() -> None:
    """Two worlds of one seed are equal; a world of another seed has nothing in common with them."""
    worlds = [build(seed=seed) for seed in (7, 7, 8)]
    for _, clock in worlds:
        clock.step(DAY)
    first, second, other = (list(trees(world)) for world, _ in worlds)
    assert first == second
    assert not {answer["session_id"] for answer in first} & {answer["session_id"] for answer in other}


def test_a_session_that_was_forgotten_is_drawn_again_the_same() -> None:
    """Sessions evicted from memory give the same answers as before."""
    world, clock = build(sessions_max=1500, sessions_per_hour=5000.0, rating_delay_scale=0.0)
    clock.step(60.0)
    early = world.refs()[0]
    before = session_of(world, early.record_type, early.event_id).events
    clock.step(2 * DAY)
    assert world.truth().sessions > 1500  # conferences have several roots
    assert session_of(world, early.record_type, early.event_id).events == before


def test_sessions_begin_in_order_and_can_be_asked_for_since() -> None:
    """References are ordered by start; `since` leaves out older ones."""
    world, clock = build(documented_example=True, history_seconds=3 * 3600.0)
    past = world.refs()
    clock.step(1800.0)
    refs = world.refs()
    assert [ref.begun for ref in refs] == sorted(ref.begun for ref in refs)
    assert refs[: len(past)] == past
    assert world.refs(since=past[-1].begun) == refs[len(past) :]
    assert len(past) > 100


def test_no_more_sessions_begin_than_asked_for() -> None:
    """`sessions_max` limits the number of sessions; without it sessions keep starting at their rate."""
    for sessions_max, hours, expected in ((10, 48, 10), (None, 2, 120)):
        world, clock = build(sessions_max=sessions_max, sessions_per_hour=60.0)
        clock.step(hours * 3600.0)
        numbers = {ref.begun for ref in world.refs()}
        assert len(numbers) == expected


def test_with_no_delay_events_exist_when_they_end() -> None:
    """A delay scale of 0 rates everything at once."""
    world, clock = build(rating_delay_scale=0.0, sessions_max=50)
    clock.step(DAY)
    ref = world.refs()[0]
    session = session_of(world, ref.record_type, ref.event_id)
    assert all(event.exists_from <= ref.begun + 3 * 3600.0 for event in session.events)


@pytest.mark.parametrize(
    "chosen",
    [
        {"sessions_per_hour": 0.0},
        {"history_seconds": -1.0},
        {"rating_delay_scale": -0.5},
        {"currencies": ()},
        {"quotas": {"session": 0}},
        {"quotas": {"calls": 5}},
        {"detail_records_late_seconds": -1.0},
        {"balance": "much"},
    ],
)
def test_settings_that_make_no_world_are_refused(chosen: dict[str, Any]) -> None:
    """A setting out of its range is an error with its name and range."""
    with pytest.raises(ValueError, match=f"{next(iter(chosen))}: expected"):
        SimulatorSettings(**chosen)


@given(st.integers(-(2**63), 2**63), st.integers(0, 2**40), st.integers(0, 10_000))
def test_an_id_leads_back_to_its_session(seed: int, number: int, index: int) -> None:
    """An id is a version 4 UUID that hides the number of its session, and only the same seed reads it."""
    ids = Ids(seed)
    made = uuid.UUID(ids.make(number, index))
    assert (made.version, made.variant) == (4, uuid.RFC_4122)
    assert ids.session_of(made) == number
    assert 0 <= ids.chance(number) < 1


def test_an_invented_id_is_not_found() -> None:
    """Neither a foreign UUID nor a known id under another record type is an event; the documented one is."""
    world, clock = build(documented_example=True)
    clock.step(DAY)
    assert world.find(("call-session",), uuid.UUID(int=0x1234)) is None
    assert world.find(("message",), uuid.UUID(DOCUMENTED_ID)) is None
    assert world.find(("call-session",), uuid.UUID(DOCUMENTED_ID)) is not None


def test_sessions_are_counted_by_kind() -> None:
    """A call is of the kind `ai` once its tree has an assistant; an inference by itself is none."""
    world, clock = build(sessions_max=300)
    clock.step(2 * DAY)
    counted: dict[str, int] = {}
    for answer in trees(world):
        nodes = list(walk(answer["root"]))
        ai = any(node["event_name"].startswith(("ai-", "inference")) for node in nodes[1:])
        root = TYPES.canonical(nodes[0]["product"], nodes[0]["event_name"], nodes[0]["links"]["self"])
        named = {"message": "messaging", "inference": "inference", "conference": "conference"}.get(root, "other")
        voice = root in {"call-session", "speech-to-text"}
        kind = "ai" if ai else "voice" if voice else "video" if root.startswith("room-") else named
        counted[kind] = counted.get(kind, 0) + 1
    assert world.truth().sessions_by_kind == counted
    assert counted.keys() == {"ai", "conference", "inference", "messaging", "other", "video", "voice"}
