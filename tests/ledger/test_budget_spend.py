"""Budgets in the ledger: money counts in the window in which its event happened, also while the window runs."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from exporter.config import Budget, Config
from exporter.ledger import Ledger, TotalsSettings
from tests.ledger.test_ledger import opened, ref
from tests.ledger.test_retention import DAY, NOON, book_at, spent
from tests.support.trees import node

BUDGETS = (
    Budget(name="day", amount=Decimal(10), window="day"),
    Budget(name="hour", amount=Decimal(10), window=3600),
    Budget(name="euros", amount=Decimal(10), window="day", currency="EUR"),
)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Open a ledger whose budgets' windows are known, as in a running exporter."""
    ledger = opened(ledger_url, TotalsSettings.of(Config(budgets=BUDGETS)))
    ledger.refresh_budgets(NOON)
    ledger.follow([ref("s")], "file", NOON)
    yield ledger
    ledger.close()


def test_money_of_the_running_window_counts_at_once(ledger: Ledger) -> None:
    """A bill counts as spent when it is booked, without summing up the table again."""
    book_at(ledger, node("call-session:s", "2"), NOON, NOON - 60)
    assert spent(ledger) == {"day": Decimal(2), "hour": Decimal(2), "euros": Decimal(0)}


def test_late_money_does_not_count_in_the_running_window(ledger: Ledger) -> None:
    """An event of yesterday counts for yesterday, and an event that is dated tomorrow for tomorrow."""
    tree = node("call-session:s", "2", node("call-control:c", "0.5"), node("recording:r", "0.25"))
    book_at(ledger, tree, NOON, NOON - DAY, NOON + DAY, NOON - 7200)
    assert spent(ledger) == {"day": Decimal("0.25"), "hour": Decimal("0.5"), "euros": Decimal(0)}
    ledger.refresh_budgets(NOON + DAY)
    assert spent(ledger)["day"] == Decimal("0.5")


def test_a_running_window_is_what_the_table_says(ledger: Ledger) -> None:
    """Amendments, late bills and refreshes add up to the sum that the table has at the end."""
    tree = node("call-session:s", "2", node("call-control:c", "0.5"))
    book_at(ledger, tree, NOON, NOON, NOON - DAY)
    ledger.refresh_budgets(NOON + 1800)
    book_at(ledger, node("call-session:s", "1.5", node("call-control:c", "0.75")), NOON + 1800, NOON, NOON - DAY)
    running = spent(ledger)
    ledger.refresh_budgets(NOON + DAY)
    ledger.refresh_budgets(NOON + 1800)
    assert spent(ledger) == running == {"day": Decimal("1.5"), "hour": Decimal("1.5"), "euros": Decimal(0)}


def test_a_sliding_window_lets_go_of_what_is_older(ledger: Ledger) -> None:
    """Costs leave a sliding window in steps of a quarter of an hour."""
    book_at(ledger, node("call-session:s", "2"), NOON, NOON)
    ledger.refresh_budgets(NOON + 3600)
    assert spent(ledger)["hour"] == 2
    ledger.refresh_budgets(NOON + 3600 + 900)
    assert spent(ledger)["hour"] == 0
