"""The ledger's totals under the labels and buckets that are configured now.

Owns which totals make up which series, and what a series shows. The ledger never rewrites a total, so one booked under
other labels is projected: a label that it lacks is `none`, one that is no longer configured is summed away. The
surprising fact: a series may be the sum of totals of which some may be shown and some not yet; the latter count as 0.
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
    """One family of the ledger: its totals by the series that they are shown in."""

    def __init__(self, block: FamilyBlock, rows: dict[int, Total]) -> None:
        """`rows` has the totals of all families by their numbers."""
        self._block = block
        self._rows = rows
        self._series: dict[int, Values] = {}
        self._parts: dict[Values, tuple[int, ...]] = {}
        """The rows of each series."""
        self._stale: dict[Values, None] = {}

    def put(self, row: Total) -> None:
        """Swap in the absolute value of one total; the labels of a row never change."""
        labels = self._series.get(row.row)
        if labels is None:
            labels = self._series[row.row] = _projected(row, self._block.labels)
            self._parts[labels] = (*self._parts.get(labels, ()), row.row)
        self._rows[row.row] = row
        self._stale[labels] = None

    def forget(self, number: int) -> None:
        """Have one total end; a series ends with its last one."""
        del self._rows[number]
        labels = self._series.pop(number)
        rest = tuple(part for part in self._parts[labels] if part != number)
        if rest:
            self._parts[labels] = rest
            self._stale[labels] = None
        else:
            del self._parts[labels]
            self._stale.pop(labels, None)
            self._block.drop(labels)

    def refresh(self, series_max: int | None = None) -> int:
        """Bring so many series of the block up to date, by default all; how many it were.

        Once per page, since a series may be the sum of many totals.
        """
        some = list(islice(self._stale, series_max))
        for labels in some:
            self._block.put(labels, self._shown(self._parts[labels]))
            del self._stale[labels]
        return len(some)

    def _shown(self, numbers: tuple[int, ...]) -> Decimal | HistogramCells:
        family = self._block.family
        shown = [row for row in map(self._rows.__getitem__, numbers) if may_show(row, family)]
        if family.kind != "histogram":
            return shown[0].value if len(shown) == 1 else total([row.value for row in shown])
        cells = HistogramCells.empty(self._block.bounds)
        for row in shown:
            cells = _merged(cells, rebucketed(row, self._block.bounds))
        return cells


def may_show(row: Total, family: Family) -> bool:
    """Whether the value is shown yet; a gauge has nothing to be born with."""
    return row.exposed or family.kind == "gauge"


def rebucketed(row: Total, bounds: tuple[float, ...]) -> HistogramCells:
    """A histogram under other bounds: what lay in a bucket goes to the narrowest that surely holds it."""
    if row.bounds == bounds:
        return HistogramCells(row.counts, row.value, row.exemplars)
    counts = [0] * (len(bounds) + 1)
    exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
    for index, count in enumerate(row.counts):
        place = bisect_left(bounds, row.bounds[index]) if index < len(row.bounds) else len(bounds)
        counts[place] += count
        exemplars[place] = _latest(exemplars[place], row.exemplars[index] if row.exemplars else None)
    return HistogramCells(tuple(counts), row.value, tuple(exemplars))


def _projected(row: Total, names: tuple[str, ...]) -> Values:
    known = dict(row.labels)
    return tuple(known.get(name, NONE) for name in names)


def _merged(left: HistogramCells, right: HistogramCells) -> HistogramCells:
    return HistogramCells(
        tuple(map(sum, zip(left.counts, right.counts, strict=True))),
        add(Decimal(left.sum), Decimal(right.sum)),
        tuple(map(_latest, left.exemplars, right.exemplars)),
    )


def _latest(left: Exemplar | None, right: Exemplar | None) -> Exemplar | None:
    return max(filter(None, (left, right)), key=lambda found: found.at, default=None)
