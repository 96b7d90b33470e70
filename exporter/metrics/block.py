"""One family: its values, and the lines that they are rendered to.

Owns the family's values; knows neither where they come from nor when they may be shown. The surprising fact: a line is
rendered when a page wants it, not when its value changes, so a series that changes a hundred times between two pages
costs one rendering.
"""

from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice

from msgspec import Struct

from exporter.core.catalog import Family
from exporter.core.model import Exemplar
from exporter.metrics.exposition import (
    HistogramPrefix,
    exemplar,
    head,
    histogram,
    histogram_prefix,
    number,
    prefix,
    sample,
)
from exporter.metrics.lines import Lines, Parts, Values


class HistogramCells(Struct, frozen=True, gc=False):
    """The value of a histogram."""

    counts: tuple[int, ...]
    """Observations per bucket, not cumulative, +Inf last."""
    sum: Decimal | float
    exemplars: tuple[Exemplar | None, ...]

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "HistogramCells":
        cells = len(bounds) + 1
        return cls((0,) * cells, 0, (None,) * cells)


Value = Decimal | float | HistogramCells


class FamilyBlock:
    """One family: its values, and the lines made of them."""

    def __init__(self, family: Family, labels: tuple[str, ...], bounds: tuple[float, ...] = ()) -> None:
        self.family = family
        self.labels = labels
        self.bounds = bounds
        self._lines_each = len(bounds) + 3 if family.kind == "histogram" else 1
        self._values: dict[Values, Value] = {}
        self._lines = Lines(self._lines_each)
        self._histogram_prefixes: dict[Values, HistogramPrefix] = {}
        self._stale: dict[Values, None] = {}
        self._heads = (head(family, openmetrics=False),), (head(family, openmetrics=True),)
        self._parts: tuple[Parts, Parts] | None = None

    @property
    def changed(self) -> bool:
        """Whether the last parts are no longer true."""
        return self._parts is None

    @property
    def sample_lines(self) -> int:
        return self._lines_each * len(self._values)

    def values(self) -> Mapping[Values, Value]:
        return self._values

    def put(self, labels: Values, value: Value) -> None:
        """Set one series; the first time it comes into being."""
        known = self._values.get(labels)
        if known is None and len(labels) != len(self.labels):
            raise ValueError(f"{self.family.name} has the labels {self.labels}, not {labels}")
        if known is None or known != value:
            self._values[labels] = value
            self._stale[labels] = None
            self._parts = None

    def drop(self, labels: Values) -> None:
        """Have one series end."""
        if self._values.pop(labels, None) is not None:
            self._lines.drop(labels)
            self._histogram_prefixes.pop(labels, None)
            self._stale.pop(labels, None)
            self._parts = None

    def add(self, labels: Values, amount: float) -> None:
        """Count further; for counters that nobody else keeps."""
        known = self._values.get(labels, 0)
        assert isinstance(known, (int, float)), f"{self.family.name} is kept by the ledger"
        self.put(labels, known + amount)

    def observe(self, labels: Values, value: float) -> None:
        """Count one observation; for histograms that nobody else keeps."""
        known = self._values.get(labels) or HistogramCells.empty(self.bounds)
        assert isinstance(known, HistogramCells)
        assert not isinstance(known.sum, Decimal), f"{self.family.name} is kept by the ledger"
        counts = list(known.counts)
        counts[bisect_left(self.bounds, value)] += 1
        self.put(labels, HistogramCells(tuple(counts), known.sum + value, known.exemplars))

    def render(self, series_max: int) -> int:
        """Render changed series, so many at most; how many it were."""
        some = list(islice(self._stale, series_max))
        for labels in some:
            value = self._values[labels]
            if isinstance(value, HistogramCells):
                self._render_histogram(labels, value)
            else:
                self._render(labels, value)
            del self._stale[labels]
        return len(some)

    def parts(self) -> tuple[Parts, Parts]:
        """The family in text 0.0.4 and in OpenMetrics, heads included."""
        if self._parts is None:
            self.render(len(self._stale))
            text, openmetrics = self._lines.parts()
            self._parts = self._heads[0] + text, self._heads[1] + openmetrics
        return self._parts

    def finished(self) -> tuple[bytes, bytes]:
        """The same, each in one piece."""
        text, openmetrics = self.parts()
        return b"".join(text), b"".join(openmetrics)

    def _render(self, labels: Values, value: Decimal | float) -> None:
        if not self._lines.revalue(labels, number(value)):
            start = prefix(self.family.name, zip(self.labels, labels, strict=True))
            self._lines.put(labels, sample(start, value))

    def _render_histogram(self, labels: Values, cells: HistogramCells) -> None:
        start = self._histogram_prefixes.get(labels)
        if start is None:
            pairs = zip(self.labels, labels, strict=True)
            start = self._histogram_prefixes[labels] = histogram_prefix(self.family.name, pairs, self.bounds)
        marks = {
            place: exemplar((("event_id", found.event_id),), found.value, found.at)
            for place, found in enumerate(cells.exemplars)
            if found is not None
        }
        marked = histogram(start, cells.counts, cells.sum, marks) if marks else None
        self._lines.put(labels, histogram(start, cells.counts, cells.sum), marked)
