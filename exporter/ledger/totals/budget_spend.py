"""When money was spent: net amounts by the events' own time, and what of it lies in each budget's window.

Owns the spend table and the budgets' totals. Amounts are kept by quarter of an hour and label set, so a budget that is
configured later finds its window filled. The surprising fact: a window that moves on is summed anew from the table,
never guessed from the one before; several writers share the sum, so one at a time sums up.
"""

from collections import defaultdict
from decimal import Decimal

from exporter.config import Budget
from exporter.core.budgets import Window, covers, current_window
from exporter.core.catalog import BUDGET_COST, BUDGET_CREDITS, BUDGET_SPENT
from exporter.core.model import Labels
from exporter.core.money import ZERO, add, amount_text, subtract
from exporter.ledger.database import Connection
from exporter.ledger.schema.migrations import QUARTER_SECONDS
from exporter.ledger.totals.totals import Totals

_WRITE = (
    "INSERT INTO spend (quarter, labels, currency, writer, amount) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (quarter, labels, currency, writer) DO UPDATE SET amount ="
)


class BudgetSpend:
    """The money of one transaction on its way into the table, and the windows that were last summed up."""

    def __init__(self, connection: Connection, totals: Totals, budgets: tuple[Budget, ...]) -> None:
        self._connection = connection
        self._totals = totals
        self._budgets = budgets
        self._windows: dict[str, Window] = {}
        self._moved: dict[tuple[int, int, str], Decimal] = defaultdict(lambda: ZERO)

    def add(self, labels: Labels, at: float, currency: str, amount: Decimal) -> None:
        """Book a difference of an event's cost that was spent at `at`."""
        place = (int(at // QUARTER_SECONDS), self._totals.intern(labels), currency)
        self._moved[place] = add(self._moved[place], amount)
        for budget in self._budgets:
            if covers(budget, labels, currency):
                family = BUDGET_COST if amount >= 0 else BUDGET_CREDITS
                self._totals.add(family, _labels(budget), abs(amount))
                current = self._windows.get(budget.name)
                if current is not None and _quarters(current)[0] <= place[0] < _quarters(current)[1]:
                    self._totals.add(BUDGET_SPENT, _labels(budget), amount)

    def write(self, now: float) -> None:
        """Write what was moved; the first time, sum up the windows from the table."""
        for place, amount in sorted(self._moved.items()):
            if amount:
                self._write(place, amount)
        self._moved.clear()
        if len(self._windows) < len(self._budgets):
            self.refresh(now)

    def _write(self, place: tuple[int, int, str], amount: Decimal) -> None:
        if self._connection.shared:  # there an amount is a number
            added = f"{_WRITE} spend.amount + excluded.amount"
            self._connection.write(added, (*place, self._totals.writer, amount_text(amount)))
            return
        query = "SELECT amount FROM spend WHERE quarter = ? AND labels = ? AND currency = ? AND writer = ?"
        known = self._connection.execute(query, (*place, self._totals.writer)).fetchone()
        total = add(amount, Decimal(known[0])) if known else amount
        self._connection.execute(f"{_WRITE} excluded.amount", (*place, self._totals.writer, amount_text(total)))

    def refresh(self, now: float) -> None:
        """Set what is spent in each budget's current window, from the table, unless it is the one that is known.

        The writers' parts add up to it: this one's is what is left when the others' are taken away.
        """
        self._connection.lock_task("budgets")
        for budget in self._budgets:
            known, current = self._windows.get(budget.name), current_window(budget, now)
            self._windows[budget.name] = current
            if known is not None and _quarters(known) == _quarters(current):
                continue
            self._totals.set(BUDGET_SPENT, _labels(budget), self._left(budget, current))
            self._totals.create_series(BUDGET_COST, _labels(budget))

    def end_unconfigured(self) -> None:
        """Say no more what is spent of budgets that are no longer configured; their counters stay."""
        self._totals.end_series(BUDGET_SPENT, {_labels(budget) for budget in self._budgets})

    def _left(self, budget: Budget, within: Window) -> Decimal:
        """What was spent within the window less what other writers have of it, as one statement sees both."""
        found = self._connection.execute(
            "SELECT labels, amount FROM spend WHERE quarter >= ? AND quarter < ? AND currency = ?"
            " UNION ALL SELECT NULL, value FROM totals WHERE series = ? AND writer <> ?",
            (
                *_quarters(within),
                budget.currency,
                self._totals.series_id(BUDGET_SPENT, _labels(budget)),
                self._totals.writer,
            ),
        )
        left = ZERO
        for labels, amount in found:
            if labels is None:
                left = subtract(left, Decimal(amount))
            elif covers(budget, self._totals.labels(labels), budget.currency):
                left = add(left, Decimal(amount))
        return left


def _quarters(within: Window) -> tuple[float, float]:
    """The first quarter of the window and the one after its last; a window in seconds begins within a quarter."""
    return within.start // QUARTER_SECONDS, within.end / QUARTER_SECONDS


def _labels(budget: Budget) -> Labels:
    return (("budget", budget.name), ("currency", budget.currency))
