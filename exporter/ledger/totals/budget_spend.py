"""Money by the time it was spent, and how much of it lies in the current window of each budget.

Net amounts are kept by quarter of an hour and label set, so a budget that is configured later finds its window filled.
"""

from collections import defaultdict
from decimal import Decimal

from exporter.config import Budget
from exporter.core.budgets import Window, current_window, matches
from exporter.core.catalog import BUDGET_COST, BUDGET_CREDITS, BUDGET_SPENT
from exporter.core.model import Labels
from exporter.core.money import ZERO, add, amount_text, subtract
from exporter.ledger.database import Connection
from exporter.ledger.schema.migrations import QUARTER_SECONDS
from exporter.ledger.totals.totals import Totals

_UPSERT = (
    "INSERT INTO spend (quarter, labels, currency, writer, amount) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (quarter, labels, currency, writer) DO UPDATE SET amount ="
)


class BudgetSpend:
    """The amounts that a transaction adds to the table, and the windows that were summed up last."""

    def __init__(self, connection: Connection, totals: Totals, budgets: tuple[Budget, ...]) -> None:
        self._connection = connection
        self._totals = totals
        self._budgets = budgets
        self._windows: dict[str, Window] = {}
        self._added: dict[tuple[int, int, str], Decimal] = defaultdict(lambda: ZERO)

    def add(self, labels: Labels, at: float, currency: str, amount: Decimal) -> None:
        """Add a difference of an event's cost; `at` is when the event happened, not when its bill came."""
        key = (int(at // QUARTER_SECONDS), self._totals.intern(labels), currency)
        self._added[key] = add(self._added[key], amount)
        for budget in self._budgets:
            if currency == budget.currency and matches(budget.match, labels):
                family = BUDGET_COST if amount >= 0 else BUDGET_CREDITS
                self._totals.add(family, _labels(budget), abs(amount))
                current = self._windows.get(budget.name)
                if current is not None and _quarters(current)[0] <= key[0] < _quarters(current)[1]:
                    self._totals.add(BUDGET_SPENT, _labels(budget), amount)

    def write(self, now: float) -> None:
        """Write the added amounts; the first time, sum up the windows from the table."""
        for key, amount in sorted(self._added.items()):
            if not amount:
                continue
            row = (*key, self._totals.writer)
            if self._connection.shared:
                self._connection.write(f"{_UPSERT} spend.amount + excluded.amount", (*row, amount_text(amount)))
                continue
            # SQLite has no decimal numbers: amounts are text, and are added up here.
            query = "SELECT amount FROM spend WHERE quarter = ? AND labels = ? AND currency = ? AND writer = ?"
            known = self._connection.execute(query, row).fetchone()
            total = add(amount, Decimal(known[0])) if known else amount
            self._connection.execute(f"{_UPSERT} excluded.amount", (*row, amount_text(total)))
        self._added.clear()
        if len(self._windows) < len(self._budgets):
            self.refresh(now)

    def refresh(self, now: float) -> None:
        """Sum up the windows that have moved on, from the table; several writers take turns.

        The writers' parts add up to the sum, so this writer's part is the sum without the parts of the others.
        """
        self._connection.lock_task("budgets")
        for budget in self._budgets:
            known = self._windows.get(budget.name)
            current = current_window(budget.window, budget.timezone, now)
            self._windows[budget.name] = current
            if known is None or _quarters(known) != _quarters(current):
                self._totals.set(BUDGET_SPENT, _labels(budget), self._own_part(budget, current))
                self._totals.create_series(BUDGET_COST, _labels(budget))

    def end_unconfigured(self) -> None:
        """End the gauges of budgets that are no longer configured; their counters stay."""
        self._totals.end_series(BUDGET_SPENT, {_labels(budget) for budget in self._budgets})

    def _own_part(self, budget: Budget, within: Window) -> Decimal:
        series = self._totals.series_id(BUDGET_SPENT, _labels(budget))
        # One statement, so that amounts and the others' parts are of the same moment.
        found = self._connection.execute(
            "SELECT labels, amount FROM spend WHERE quarter >= ? AND quarter < ? AND currency = ?"
            " UNION ALL SELECT NULL, value FROM totals WHERE series = ? AND writer <> ?",
            (*_quarters(within), budget.currency, series, self._totals.writer),
        )
        part = ZERO
        for labels, amount in found:
            if labels is None:
                part = subtract(part, Decimal(amount))
            elif matches(budget.match, self._totals.labels(labels)):
                part = add(part, Decimal(amount))
        return part


def _quarters(within: Window) -> tuple[float, float]:
    """Return the first quarter of the window and the one after its last; a sliding window starts within a quarter."""
    return within.start // QUARTER_SECONDS, within.end / QUARTER_SECONDS


def _labels(budget: Budget) -> Labels:
    return (("budget", budget.name), ("currency", budget.currency))
