"""Detail records in the ledger: each counts once, and its session is polled only for a new record or a higher cost."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from exporter.core.model import DetailRecord, SessionNotice
from exporter.ledger import Ledger
from tests.ledger.test_ledger import CALL, book, opened, ref, values

COST = "telnyx_detail_record_cost_total"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def listed(ledger: Ledger, cost: str | None, at: float, event_id: str = "r") -> None:
    amount = None if cost is None else Decimal(cost)
    record = DetailRecord(event_id, "call-control", 0.0, amount, "USD", SessionNotice(ref("s"), "listed"))
    ledger.ingest_records("main", [record], at)


def due(ledger: Ledger, at: float) -> bool:
    return ledger.count_due(at, ["main"]) == 1


def test_a_record_is_counted_once(ledger: Ledger) -> None:
    """A record that is listed twice is counted once, and its session is polled for the first listing only."""
    listed(ledger, "1.5", 0.0)
    assert due(ledger, 0.0)
    book(ledger, CALL, 0.0)
    listed(ledger, "1.5", 1.0)
    assert values(ledger, COST, "record_type") == {("call-control",): Decimal("1.5")}
    assert not due(ledger, 1.0)


def test_a_record_that_costs_more_counts_by_the_difference(ledger: Ledger) -> None:
    """A higher cost has the session polled; a lower one changes nothing, since the counter only rises."""
    listed(ledger, "1.5", 0.0)
    book(ledger, CALL, 0.0)
    listed(ledger, "1", 1.0)
    assert not due(ledger, 1.0)
    listed(ledger, "2", 2.0)
    assert due(ledger, 2.0)
    assert values(ledger, COST, "record_type") == {("call-control",): Decimal(2)}


def test_a_record_without_a_cost_counts_when_it_has_one(ledger: Ledger) -> None:
    """A record that is rated later counts when it is rated."""
    listed(ledger, None, 0.0)
    assert values(ledger, COST, "record_type") == {}
    listed(ledger, "0.25", 1.0)
    assert values(ledger, COST, "record_type") == {("call-control",): Decimal("0.25")}


def test_a_record_that_says_nothing_new_makes_nothing_due(ledger: Ledger) -> None:
    """If the session's last tree has the event at this cost, no poll is due; at any other cost one is."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    listed(ledger, "0.0052", 1.0, "c")
    assert not due(ledger, 1.0)
    listed(ledger, "0.0060", 2.0, "c")
    assert due(ledger, 2.0)
