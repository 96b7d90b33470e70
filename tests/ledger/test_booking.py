"""Booking: what incomplete trees, shared events and settled sessions do to totals, checks and thresholds."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Budget, Config, Threshold
from exporter.core.model import Claim, Poll, SessionRef
from exporter.ledger import Ledger, TotalsSettings
from tests.ledger.test_ledger import ALL, CALL, LEG, book, counted, net, opened, poll, ref, state, values
from tests.ledger.test_retention import DAY, NOON, dated, spent
from tests.support.trees import node

FAILING, FAILED = "telnyx_unreconciled_sessions", "telnyx_reconciliation_failures_total"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def in_part(whole: Poll, events: int) -> Poll:
    """Return the poll with only the first events, as if the subtree below them could not be fetched."""
    assert whole.session is not None
    part = replace(whole.session, events=whole.session.events[:events], mismatches=(), complete=False)
    return replace(whole, session=part, attributes=whole.attributes[:events])


def unsettled(ledger: Ledger) -> Decimal:
    return sum(values(ledger, "telnyx_unsettled_cost", "currency").values(), Decimal(0))


# Incomplete trees


def test_an_incomplete_tree_misses_nothing(ledger: Ledger) -> None:
    """An absent event may be below the cut, so no event counts as vanished."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    (claim,) = ledger.claim(100.0, ALL)
    receipt = ledger.commit([in_part(poll(claim, CALL, 100.0), 1)])
    assert receipt.failed_checks == ()
    assert sum(net(ledger).values()) == Decimal("0.1852")


def test_an_incomplete_tree_keeps_the_verdict_of_the_last_whole_one(ledger: Ledger) -> None:
    """A failed check keeps its verdict until the next complete tree."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0, event_count=7)
    (claim,) = ledger.claim(100.0, ALL)
    ledger.commit([in_part(poll(claim, CALL, 100.0), 1)])
    assert values(ledger, FAILING, "check") == {("event_count",): Decimal(1)}
    book(ledger, CALL, 1000.0)
    assert values(ledger, FAILING, "check") == {("event_count",): Decimal(0)}
    assert values(ledger, FAILED, "check") == {("event_count",): Decimal(1)}


def test_an_incomplete_tree_heals_no_event(ledger: Ledger) -> None:
    """An event that has lost its price may be in the part that is missing, so its check goes on to fail."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    unpriced = node("call-session:s", "0", node("call-control:c", None, node("ai-voice-assistant:a", "0.18")))
    book(ledger, unpriced, 100.0)
    (claim,) = ledger.claim(800.0, ALL)
    ledger.commit([in_part(poll(claim, unpriced, 800.0), 1)])
    assert values(ledger, FAILING, "check")["price_withdrawn",] == 1
    book(ledger, CALL, 1600.0)
    assert values(ledger, FAILING, "check")["price_withdrawn",] == 0
    assert values(ledger, FAILED, "check")["price_withdrawn",] == 1


def test_a_node_without_an_id_is_reported_and_not_booked(ledger: Ledger) -> None:
    """It can't be recognised in the next answer, so every poll would book it again."""
    ledger.follow([ref("s")], "file", 0.0)
    tree = node("call-session:s", "1", node("call-control:", "5"))
    receipt = book(ledger, tree, 0.0)
    assert [check.what for check in receipt.failed_checks] == ["no_id"]
    assert sum(net(ledger).values()) == 1
    assert values(ledger, "telnyx_ledger_events") == {(): Decimal(1)}


# Shared events


def test_a_live_session_takes_an_event_over_from_a_settled_one(ledger: Ledger) -> None:
    """The event's cost is unsettled again, and the settled session doesn't report it as vanished."""
    shared = node("call-control:x", "2")
    first, second = node("call-session:s", "1", shared), node("call-session:t", "4", shared)
    ledger.follow([ref("s")], "file", 0.0)
    for at in (0.0, 3601.0):
        book(ledger, first, at)
    assert unsettled(ledger) == 0
    ledger.follow([ref("t")], "file", 4000.0)
    book(ledger, second, 4000.0)
    assert unsettled(ledger) == 6
    assert ledger.check() == []
    for claim in ledger.claim(95_000.0, ALL):
        receipt = ledger.commit([poll(claim, first if claim.ref == ref("s") else second, 95_000.0)])
        assert receipt.failed_checks == ()
    assert state(ledger) == {"settled": 2}
    assert unsettled(ledger) == 0


def test_the_same_answer_is_read_again_if_another_session_changed_its_events(ledger: Ledger) -> None:
    """The answer is the last one byte for byte, but another session's older answer was booked in between."""
    first = node("call-session:s", "0", node("call-control:x", "0.5"))
    second = node("call-session:t", "0", node("call-control:x", "0.7"))
    known = b"f" * 16

    def read(claim: Claim, at: float) -> Poll:
        return replace(poll(claim, first, at), fingerprint=known)

    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    ledger.commit([read(claim, 0.0)])
    ledger.follow([ref("t")], "file", 10.0)
    (older,) = ledger.claim(10.0, ALL)
    (newer,) = ledger.claim(50.0, ALL)
    assert (older.ref, newer.ref, newer.fingerprint) == (ref("t"), ref("s"), known)
    ledger.commit([poll(older, second, 51.0)])
    ledger.commit([Poll(newer, 52.0, "same", fingerprint=known, reread=lambda: read(newer, 52.0))])
    assert net(ledger)["call-control", "USD"] == Decimal("0.5")


def test_an_event_that_is_listed_twice_costs_its_session_once(ledger: Ledger) -> None:
    """A participant below two legs is one event: in the totals and in the session's own cost."""
    shared = node("conference-participant:p", "0.2")
    tree = node("call-session:s", "0", node("call-control:a", "0.1", shared), node("call-control:b", "0.1", shared))
    ledger.follow([ref("s")], "file", 0.0)
    for at in (0.0, 3601.0):
        book(ledger, tree, at, total="0.4")
    assert sum(net(ledger).values()) == Decimal("0.4")
    cost = next(total for total in ledger.totals() if total.family == "telnyx_session_cost")
    assert cost.value == Decimal("0.4")


def test_the_order_of_an_answer_decides_no_cost(ledger: Ledger) -> None:
    """An event that is listed with two costs has one for as long as both are listed, in whatever order."""
    legs = [node(f"call-control:{cost}", "0", node("recording:r", cost)) for cost in (None, "0.1", "0.3")]
    ledger.follow([ref("s")], "file", 0.0)
    for at, order in ((0.0, legs), (100.0, legs[::-1]), (400.0, legs[1:] + legs[:1])):
        book(ledger, node("call-session:s", "0", *order), at)
        assert net(ledger)["recording", "USD"] == Decimal("0.3")
    assert values(ledger, CREDITS, "record_type")["recording",] == 0


def test_twins_are_booked_as_two_events(ledger: Ledger) -> None:
    """Two turns under one id, which the sum above them needs both: each has its cost."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, node("call-session:s", "0", node("recording:t", "0.1"), node("recording:t", "0.1")), 0.0)
    assert net(ledger)["recording", "USD"] == Decimal("0.2")
    assert values(ledger, "telnyx_events_total", "record_type")["recording",] == 2


# What another answer changes

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
TOKENS, CACHED = "telnyx_inference_tokens_total", "telnyx_inference_cached_input_tokens_total"
CHARACTERS, SECONDS = "telnyx_characters_total", "telnyx_billed_seconds_total"
USED = {
    "input_tokens": 10,
    "cached_input_tokens": 8,
    "output_tokens": 20,
    "characters": 50,
    "billed_seconds": Decimal(30),
}


def sums(ledger: Ledger) -> dict[str, Decimal]:
    """Return what a turn adds to, each family as one sum."""
    families = (COST, CREDITS, TOKENS, CACHED, CHARACTERS, SECONDS, FAILED)
    return {family: sum(values(ledger, family, "account").values(), Decimal(0)) for family in families}


def turn(claim: Claim, at: float, cost: str, currency: str, used: dict[str, Any]) -> Poll:
    """Return a poll of one LLM turn."""
    stated = {"event_cost": cost, "cumulative_cost": cost, "currency": currency}
    found = poll(claim, node("inference:s", "0") | {"cost": stated}, at)
    return replace(found, attributes=tuple(replace(each, **used) for each in found.attributes))


@pytest.mark.parametrize(
    ("cost", "currency", "used", "moved"),
    [
        ("0.5", "USD", {}, {}),
        ("0.5", "unknown", {}, {}),
        ("0.5", "USD", dict.fromkeys(USED), {}),
        ("0.6", "USD", {}, {COST: "0.1"}),
        ("0.4", "USD", {}, {CREDITS: "0.1"}),
        ("0.5", "EUR", {}, {COST: "0.5", CREDITS: "0.5", FAILED: "1"}),
        ("0.5", "USD", {"input_tokens": 11}, {TOKENS: "1"}),
        ("0.5", "USD", {"cached_input_tokens": 9}, {CACHED: "1"}),
        ("0.5", "USD", {"output_tokens": 22}, {TOKENS: "2"}),
        ("0.5", "USD", {"characters": 54}, {CHARACTERS: "4"}),
        ("0.5", "USD", {"billed_seconds": Decimal(33)}, {SECONDS: "3"}),
        ("0.5", "USD", {"input_tokens": 9}, {FAILED: "1"}),
        ("0.5", "USD", {"cached_input_tokens": 7}, {FAILED: "1"}),
        ("0.5", "USD", {"output_tokens": 9}, {FAILED: "1"}),
        ("0.5", "USD", {"characters": 49}, {FAILED: "1"}),
        ("0.5", "USD", {"billed_seconds": Decimal(9)}, {FAILED: "1"}),
    ],
)
def test_whatever_changes_is_booked(
    ledger: Ledger, cost: str, currency: str, used: dict[str, Any], moved: dict[str, str]
) -> None:
    """One LLM turn is polled twice, with one field changed or left out. A field that is left out changes nothing."""
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    ledger.commit([turn(claim, 0.0, "0.5", "USD", USED)])
    before = sums(ledger)
    (claim,) = ledger.claim(100.0, ALL)
    ledger.commit([turn(claim, 100.0, cost, currency, USED | used)])
    assert {
        family: str(value - before[family]) for family, value in sums(ledger).items() if value != before[family]
    } == moved


# Events without a time or a price


def test_an_undated_event_is_spent_with_its_session(ledger_url: str) -> None:
    """A call of yesterday is billed today: its undated event counts for yesterday, too."""
    ledger = opened(ledger_url, TotalsSettings.of(Config(budgets=(Budget(name="b", amount=Decimal(9), window="day"),))))
    ledger.follow([ref("s")], "file", NOON)
    (claim,) = ledger.claim(NOON, ALL)
    tree = node("call-session:s", "1", node("call-control:c", "2"))
    ledger.commit([dated(poll(claim, tree, NOON), NOON - DAY, None)])
    assert spent(ledger) == {"b": Decimal(0)}
    ledger.refresh_budgets(NOON - DAY)
    assert spent(ledger) == {"b": Decimal(3)}
    ledger.close()


def test_an_event_settles_unpriced_once(ledger: Ledger) -> None:
    """A leg that is counted a day after it settled has its unpriced event counted once, when it settles."""
    leg = SessionRef("main", "call-control", "c")
    tree = node("call-control:c", "0.0052", node("recording:r", None))
    ledger.follow([leg, ref("elsewhere")], "file", 0.0)
    for now in (0.0, 4000.0, 100_000.0):
        for claim in ledger.claim(now, ALL):
            ledger.commit([poll(claim, tree if claim.ref == leg else None, now)])
    assert counted(ledger) == [{("call-control",): Decimal(1)}] * 3
    assert values(ledger, "telnyx_events_settled_unpriced_total", "record_type") == {("recording",): Decimal(1)}


# Sessions and thresholds


def test_a_session_starts_once(ledger: Ledger) -> None:
    """With its first tree, however many follow."""
    ledger.follow([ref("s")], "file", 0.0)
    for at, cost in ((0.0, "1"), (100.0, "2"), (200.0, "3")):
        book(ledger, node("call-session:s", cost), at)
    assert values(ledger, "telnyx_sessions_started_total", "session_kind") == {("voice",): Decimal(1)}


def watching(url: str, *thresholds: Threshold) -> Ledger:
    plain = Config()
    return opened(url, TotalsSettings.of(replace(plain, metrics=replace(plain.metrics, thresholds=thresholds))))


def crossed(ledger: Ledger) -> dict[tuple[str, ...], Decimal]:
    return values(ledger, "telnyx_sessions_over_threshold_total", "threshold", "root_record_type")


def test_a_threshold_counts_no_settled_session(ledger_url: str) -> None:
    """A correction after a day is no runaway agent: the session has ended."""
    ledger = watching(ledger_url, Threshold(name="expensive", cost=Decimal("0.1")))
    ledger.follow([ref("s")], "file", 0.0)
    for at, cost in ((0.0, "0.05"), (3601.0, "0.05"), (100_000.0, "5")):
        book(ledger, node("call-session:s", cost), at)
    assert state(ledger) == {"active": 1}
    assert crossed(ledger) == {}
    ledger.close()


@pytest.mark.parametrize(
    ("cost", "turns", "over"),
    [
        ("0.1", 2, set()),
        ("0.100001", 2, {"expensive"}),
        ("0.1", 3, {"long"}),
        ("7", 9, {"expensive", "long"}),
    ],
)
def test_a_threshold_is_exceeded_only_above_it(ledger_url: str, cost: str, turns: int, over: set[str]) -> None:
    """Not at the limit itself, and money of another currency doesn't count."""
    ledger = watching(ledger_url, Threshold(name="expensive", cost=Decimal("0.1")), Threshold(name="long", turns=2))
    euros: dict[str, Any] = {"cost": {"event_cost": "9", "cumulative_cost": "9", "currency": "EUR"}}
    spoken = [node(f"inference:{number}", "0") for number in range(turns)]
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, node("call-session:s", cost, *spoken, node("recording:r", "9") | euros), 0.0)
    assert {name for name, _ in crossed(ledger)} == over
    ledger.close()


@pytest.mark.parametrize("together", [True, False])
def test_a_threshold_counts_the_call_and_not_its_leg(ledger_url: str, together: bool) -> None:
    """A leg that is polled beside its call is no session of its own, in one batch or in two."""
    ledger = watching(ledger_url, Threshold(name="expensive", cost=Decimal("0.1")))
    ledger.follow([ref("s"), SessionRef("main", "call-control", "c")], "file", 0.0)
    polls = [poll(claim, CALL if claim.ref == ref("s") else LEG, 0.0) for claim in ledger.claim(0.0, ALL)]
    polls.sort(key=lambda found: found.claim.ref.record_type, reverse=True)
    if together:
        ledger.commit(polls)
    else:
        for found in polls:
            ledger.commit([found])
    assert crossed(ledger) == {("expensive", "call-session"): Decimal(1)}
    ledger.close()
