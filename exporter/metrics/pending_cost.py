"""Money that is booked but held back by a birth, so that a page says how much it does not show yet.

Owns the costs and credits that are not released, and their net sum per account and currency. The surprising fact: sums
are kept, not made for each page: after a long look back there are thousands of such totals for minutes.
"""

from collections.abc import Mapping
from decimal import Decimal

from exporter.core.costs import COST, CREDITS
from exporter.core.model import Total
from exporter.core.money import ZERO, add, subtract
from exporter.metrics.lines import Values

_SIGNS = {COST: 1, CREDITS: -1}


class PendingCost:
    """What is held back."""

    def __init__(self) -> None:
        self._held: dict[int, Total] = {}
        self._sums: dict[Values, Decimal] = {}

    def sums(self) -> Mapping[Values, Decimal]:
        """Net money by account and currency: every pair in which there are costs, with 0 where nothing is held back."""
        return self._sums

    def put(self, row: Total, *, released: bool) -> None:
        """Take note of a total, as often as one likes."""
        self._forget(row.row)
        if row.family not in _SIGNS:
            return
        if not released:
            self._held[row.row] = row
            self._add(row, 1)
        else:
            self._sums.setdefault(_place(row), ZERO)

    def keep(self, rows: set[int]) -> None:
        """Forget every row but these: the ledger was read again."""
        for number in self._held.keys() - rows:
            self._forget(number)

    def _forget(self, number: int) -> None:
        known = self._held.pop(number, None)
        if known is not None:
            self._add(known, -1)

    def _add(self, row: Total, times: int) -> None:
        place = _place(row)
        move = add if times * _SIGNS[row.family] > 0 else subtract
        self._sums[place] = move(self._sums.get(place, ZERO), row.value)


def _place(row: Total) -> Values:
    known = dict(row.labels)
    return known["account"], known["currency"]
