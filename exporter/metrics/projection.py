"""Show the ledger's totals under the labels and buckets that are configured now.

The ledger never rewrites a total, so a total booked under other labels is projected: a label that it lacks is `none`,
and a label that is no longer configured is summed away. So one series may be the sum of several totals, of which
pending ones count as 0.
"""

from bisect import bisect_left
from decimal import Decimal
from itertools import islice

from exporter.core.catalog import Family
from exporter.core.model import NONE, Exemplar, Total
from exporter.core.money import add, total
from exporter.metrics.block import FamilyBlock, HistogramCells
from exporter.metrics.lines import Values


class Projection:
    """The totals of one family, by the series that show them."""

    def __init__(self, block: FamilyBlock, rows: dict[int, Total]) -> None:
        """`rows` has the totals of all families by their row numbers."""
        self._block = block
        self._rows = rows
        self._series: dict[int, Values] = {}
        self._numbers: dict[Values, tuple[int, ...]] = {}
        """The row numbers of each series."""
        self._changed: dict[Values, None] = {}

    def update(self, row: Total) -> None:
        """Set the absolute value of one total; the labels of a row never change."""
        labels = self._series.get(row.row)
        if labels is None:
            labels = self._series[row.row] = _projected(row, self._block.labels)
            self._numbers[labels] = (*self._numbers.get(labels, ()), row.row)
        self._rows[row.row] = row
        self._changed[labels] = None

    def drop(self, number: int) -> None:
        """Remove one total; a series ends with its last one."""
        del self._rows[number]
        labels = self._series.pop(number)
        rest = tuple(other for other in self._numbers[labels] if other != number)
        if rest:
            self._numbers[labels] = rest
            self._changed[labels] = None
        else:
            del self._numbers[labels]
            self._changed.pop(labels, None)
            self._block.drop(labels)

    def refresh(self, series_max: int | None = None) -> int:
        """Set at most so many changed series in the block, by default all; return how many.

        This happens once per page and not per change, since a series may be the sum of many totals.
        """
        some = list(islice(self._changed, series_max))
        for labels in some:
            self._block.set(labels, self._shown(self._numbers[labels]))
            del self._changed[labels]
        return len(some)

    def _shown(self, numbers: tuple[int, ...]) -> Decimal | HistogramCells:
        family = self._block.family
        shown = [row for row in map(self._rows.__getitem__, numbers) if is_shown(row, family)]
        if family.kind != "histogram":
            return shown[0].value if len(shown) == 1 else total([row.value for row in shown])
        sum_of_all = HistogramCells.empty(self._block.bounds)
        for row in shown:
            cells = rebucketed(row, self._block.bounds)
            sum_of_all = HistogramCells(
                tuple(map(sum, zip(sum_of_all.counts, cells.counts, strict=True))),
                add(Decimal(sum_of_all.sum), Decimal(cells.sum)),
                tuple(map(_latest, sum_of_all.exemplars, cells.exemplars)),
            )
        return sum_of_all


def is_shown(row: Total, family: Family) -> bool:
    """Return whether a total's value is on the page; a gauge needs no zero start, as nobody takes its increase."""
    return row.exposed or family.kind == "gauge"


def _projected(row: Total, names: tuple[str, ...]) -> Values:
    known = dict(row.labels)
    return tuple(known.get(name, NONE) for name in names)


def rebucketed(row: Total, bounds: tuple[float, ...]) -> HistogramCells:
    """Return a histogram under other bounds; each count goes to the narrowest bucket that surely holds it."""
    if row.bounds == bounds:
        return HistogramCells(row.counts, row.value, row.exemplars)
    counts = [0] * (len(bounds) + 1)
    exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
    for index, count in enumerate(row.counts):
        bucket = bisect_left(bounds, row.bounds[index]) if index < len(row.bounds) else len(bounds)
        counts[bucket] += count
        exemplars[bucket] = _latest(exemplars[bucket], row.exemplars[index] if row.exemplars else None)
    return HistogramCells(tuple(counts), row.value, tuple(exemplars))


def _latest(left: Exemplar | None, right: Exemplar | None) -> Exemplar | None:
    return max(filter(None, (left, right)), key=lambda found: found.at, default=None)
