"""Money that is booked but pending: its series waits for a scrape at 0 and doesn't show it yet.

Keeps the net sum per account and currency for `telnyx_pending_cost`. The sums are kept up to date instead of being
added up for each page: after an initial backfill thousands of totals are pending for minutes.
"""

from collections.abc import Mapping
from decimal import Decimal

from exporter.core.costs import COST, CREDITS
from exporter.core.model import Total
from exporter.core.money import ZERO, add, subtract
from exporter.metrics.lines import Values


class PendingCost:
    """The pending costs and credits."""

    def __init__(self) -> None:
        self._pending: dict[int, tuple[Values, Decimal]] = {}
        """Row -> (account, currency) and signed amount."""
        self._sums: dict[Values, Decimal] = {}

    def sums(self) -> Mapping[Values, Decimal]:
        """Return the net pending money by (account, currency); 0 for each pair with costs that are all exposed."""
        return self._sums

    def update(self, row: Total, *, exposed: bool) -> None:
        """Record the value of a total; the same total may come any number of times."""
        self._drop(row.row)
        if row.family not in {COST, CREDITS}:
            return
        labels = dict(row.labels)
        pair = labels["account"], labels["currency"]
        self._sums.setdefault(pair, ZERO)
        if not exposed:
            amount = row.value if row.family == COST else subtract(ZERO, row.value)
            self._pending[row.row] = pair, amount
            self._sums[pair] = add(self._sums[pair], amount)

    def retain(self, rows: set[int]) -> None:
        """Drop all rows but these."""
        for number in self._pending.keys() - rows:
            self._drop(number)

    def _drop(self, number: int) -> None:
        if number in self._pending:
            pair, amount = self._pending.pop(number)
            self._sums[pair] = subtract(self._sums[pair], amount)
