"""Retention with money: which sessions are pruned, and the gauges after it."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from exporter.core.model import Poll
from exporter.ledger import Ledger
from tests.ledger.test_ledger import ALL, CALL, net, opened, poll, ref, state, values
from tests.ledger.test_retention import DAY, NOON, book_at, dated, settled
from tests.support.trees import node


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def unsettled(ledger: Ledger) -> Decimal:
    return sum(values(ledger, "telnyx_unsettled_cost", "currency").values(), Decimal(0))


def test_a_pruned_denied_session_leaves_no_unsettled_money(ledger: Ledger) -> None:
    """Its bill can't change any more, so telnyx_unsettled_cost loses it; the cost counter keeps it."""
    ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, CALL, NOON, NOON, NOON, NOON)
    (claim,) = ledger.claim(NOON + 100, ALL)
    ledger.commit([Poll(claim, NOON + 100, "denied", "forbidden")])
    assert state(ledger) == {"denied": 1}
    assert unsettled(ledger) == Decimal("0.1852")
    before = net(ledger)
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert unsettled(ledger) == 0
    assert net(ledger) == before
    assert ledger.check() == []


def test_a_pruned_settled_session_takes_nothing_from_unsettled_money(ledger_url: str) -> None:
    """Its cost was settled before; the cost of a live session stays unsettled."""
    ledger = settled(ledger_url)
    ledger.follow([ref("live")], "file", NOON + 3700)
    book_at(ledger, node("call-session:live", "2"), NOON + 3700, NOON + 3700)
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert unsettled(ledger) == 2
    assert ledger.check() == []
    ledger.close()


def test_a_claimed_session_is_not_pruned(ledger_url: str) -> None:
    """A running poll may still book its events, so it is pruned after the poll."""
    ledger = settled(ledger_url)
    (claim,) = ledger.claim(NOON + 3 * DAY, ALL)
    assert ledger.prune(NOON + 1, 100)[0] == 0
    ledger.commit([dated(poll(claim, CALL, NOON + 3 * DAY), NOON, NOON, NOON)])
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert state(ledger) == {}
    ledger.close()


def test_a_failing_check_ends_with_its_session(ledger: Ledger) -> None:
    """telnyx_unreconciled_sessions loses the session; the counter of failures keeps it."""
    ledger.follow([ref("s")], "file", NOON)
    for at in (NOON, NOON + 3601):
        (claim,) = ledger.claim(at, ALL)
        ledger.commit([dated(poll(claim, node("call-session:s", "1"), at, event_count=7), NOON)])
    assert values(ledger, "telnyx_unreconciled_sessions", "check") == {("event_count",): Decimal(1)}
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert values(ledger, "telnyx_unreconciled_sessions", "check") == {("event_count",): Decimal(0)}
    assert values(ledger, "telnyx_reconciliation_failures_total", "check") == {("event_count",): Decimal(1)}


def test_pruning_takes_the_oldest_first_and_no_more_than_asked(ledger: Ledger) -> None:
    """One call prunes at most `limit` sessions, oldest first."""
    names = ["b", "a", "c"]
    ledger.follow(map(ref, names), "file", NOON)
    for at in (NOON, NOON + 3601):
        for claim in ledger.claim(at, ALL):
            name = claim.ref.event_id
            ledger.commit([dated(poll(claim, node(f"call-session:{name}", "1"), at), NOON + "abc".index(name))])
    assert ledger.prune(NOON + DAY, 2)[0] == 2
    ledger.configure([ref("c")], NOON + DAY)  # follows nothing that is there
    assert values(ledger, "telnyx_discovered_sessions_total", "source") == {("file",): Decimal(3)}


def test_an_amendment_of_a_known_event_is_booked_however_old(ledger_url: str) -> None:
    """The watermark refuses unknown events only; a known event still gets its price corrected."""
    ledger = settled(ledger_url)
    ledger.follow([ref("live")], "file", NOON + 3700)
    book_at(ledger, node("call-session:live", "3"), NOON + 3700, NOON + 10)
    assert ledger.prune(NOON + 100, 100)[0] == 1
    book_at(ledger, node("call-session:live", "4"), NOON + 3800, NOON + 10)
    assert net(ledger)["call-session", "USD"] == 4
    ledger.close()


def test_pruning_takes_no_more_than_asked_of_either_kind(ledger_url: str) -> None:
    """Sessions with events and sessions without a tree share the limit."""
    ledger = settled(ledger_url)
    ledger.follow([ref("unknown")], "file", NOON)
    for at in (NOON + 10, NOON + 8000):
        for claim in ledger.claim(at, ALL):
            ledger.commit([poll(claim, None, at)])
    assert state(ledger) == {"settled": 1, "missing": 1}
    assert [ledger.prune(NOON + 1, 1)[0] for _ in range(3)] == [1, 1, 0]
    ledger.close()
