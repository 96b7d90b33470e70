"""The finished lines of one family.

Owns the family's values and their bytes; knows neither where values come from nor when they may be shown. The
surprising fact: a line is rendered when a page wants it, not when its value changes, so a series that changes a hundred
times between two pages costs one rendering.
"""

from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from exporter.catalog import Family
from exporter.exposition import HistogramPrefix, exemplar, head, histogram, histogram_prefix, prefix, sample
from exporter.model import Exemplar

Values = tuple[str, ...]
"""Label values of a series, in the order of the family's labels."""


class Cells(Struct, frozen=True):
    """The value of a histogram."""

    counts: tuple[int, ...]
    """Observations per bucket, not cumulative, +Inf last."""
    sum: Decimal | float
    exemplars: tuple[Exemplar | None, ...]

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Cells":
        cells = len(bounds) + 1
        return cls((0,) * cells, 0, (None,) * cells)


Value = Decimal | float | Cells


class Block:
    """One family: its values, and the lines made of them."""

    def __init__(self, family: Family, labels: tuple[str, ...], bounds: tuple[float, ...] = ()) -> None:
        self.family = family
        self.labels = labels
        self.bounds = bounds
        self._heads = head(family, openmetrics=False), head(family, openmetrics=True)
        self._values: dict[Values, Value] = {}
        self._lines: dict[Values, bytes] = {}
        self._marked: dict[Values, bytes] = {}
        """Lines with exemplars, where they differ from those without."""
        self._prefixes: dict[Values, bytes] = {}
        self._histogram_prefixes: dict[Values, HistogramPrefix] = {}
        self._stale: dict[Values, None] = {}
        self._finished: tuple[bytes, bytes] | None = None

    @property
    def changed(self) -> bool:
        """Whether the last finished block is no longer true."""
        return self._finished is None

    @property
    def sample_lines(self) -> int:
        lines_each = len(self.bounds) + 3 if self.family.kind == "histogram" else 1
        return lines_each * len(self._values)

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
            self._finished = None

    def drop(self, labels: Values) -> None:
        """Have one series end."""
        if self._values.pop(labels, None) is not None:
            for kept in (self._lines, self._marked, self._prefixes, self._histogram_prefixes):
                kept.pop(labels, None)
            self._stale.pop(labels, None)
            self._finished = None

    def add(self, labels: Values, amount: float) -> None:
        """Count further; for counters that nobody else keeps."""
        known = self._values.get(labels, 0)
        assert isinstance(known, (int, float)), f"{self.family.name} is kept by the ledger"
        self.put(labels, known + amount)

    def observe(self, labels: Values, value: float) -> None:
        """Count one observation; for histograms that nobody else keeps."""
        known = self._values.get(labels) or Cells.empty(self.bounds)
        assert isinstance(known, Cells)
        assert not isinstance(known.sum, Decimal), f"{self.family.name} is kept by the ledger"
        counts = list(known.counts)
        counts[bisect_left(self.bounds, value)] += 1
        self.put(labels, Cells(tuple(counts), known.sum + value, known.exemplars))

    def finished(self) -> tuple[bytes, bytes]:
        """The family in text 0.0.4 and in OpenMetrics, heads included."""
        if self._finished is None:
            for labels in self._stale:
                self._render(labels, self._values[labels])
            self._stale.clear()
            plain = b"".join(self._lines.values())
            marked = b"".join((self._lines | self._marked).values()) if self._marked else plain
            self._finished = self._heads[0] + plain, self._heads[1] + marked
        return self._finished

    def _render(self, labels: Values, value: Value) -> None:
        if isinstance(value, Cells):
            self._render_histogram(labels, value)
            return
        start = self._prefixes.get(labels)
        if start is None:
            start = self._prefixes[labels] = prefix(self.family.name, zip(self.labels, labels, strict=True))
        self._lines[labels] = sample(start, value)

    def _render_histogram(self, labels: Values, cells: Cells) -> None:
        start = self._histogram_prefixes.get(labels)
        if start is None:
            pairs = zip(self.labels, labels, strict=True)
            start = self._histogram_prefixes[labels] = histogram_prefix(self.family.name, pairs, self.bounds)
        self._lines[labels] = histogram(start, cells.counts, cells.sum)
        marks = {
            place: exemplar((("event_id", found.event_id),), found.value, found.at)
            for place, found in enumerate(cells.exemplars)
            if found is not None
        }
        if marks:
            self._marked[labels] = histogram(start, cells.counts, cells.sum, marks)
        else:
            self._marked.pop(labels, None)
