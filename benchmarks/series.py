"""Draw the series for the rendering benchmark: the same families, labels and values for every contender.

They resemble a large account: costs, credits and events under a label with many values, and one histogram per 200
series. Each contender builds its own objects from them, as its users would.
"""

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram

from exporter.config import Label, MetricsSettings
from exporter.core.catalog import BY_NAME, labels_of
from exporter.core.model import Labels, Receipt, Total
from exporter.core.money import add
from exporter.metrics import Metrics

EXTRA = "assistant"
COUNTERS = ("telnyx_cost_total", "telnyx_cost_credits_total", "telnyx_events_total")
HISTOGRAM = "telnyx_session_cost"
HISTOGRAM_EVERY = 200
"""One histogram, of some 15 lines, follows each so many series."""
SETTINGS = MetricsSettings(labels=(Label(name=EXTRA, field="assistant_id"),), new_series_zero_seconds=0)
BOUNDS = tuple(map(float, SETTINGS.buckets.session_cost))
PRODUCTS = ("call-control", "inference", "sip-trunking", "recording", "speech-to-text")


class Series(Struct, frozen=True):
    """One series with its value, or with its observations if it is a histogram."""

    family: str
    labels: tuple[str, ...]
    value: Decimal = Decimal(0)
    observed: tuple[float, ...] = ()


def series(lines: int) -> list[Series]:
    """Return series with at least `lines` sample lines; the last one may exceed it."""
    drawn = random.Random(1)
    return list(_until(lines, _drawn(drawn)))


def lines_of(each: Series) -> int:
    return len(BOUNDS) + 3 if each.family == HISTOGRAM else 1


def _until(lines: int, drawn: Iterator[Series]) -> Iterator[Series]:
    while lines > 0:
        each = next(drawn)
        lines -= lines_of(each)
        yield each


def _drawn(drawn: random.Random) -> Iterator[Series]:
    number = 0
    while True:
        assistant = f"assistant-{drawn.getrandbits(64):016x}"
        for product in PRODUCTS:
            for family in COUNTERS:
                number += 1
                currency = ("USD",) if family != "telnyx_events_total" else ()
                labels = ("main", product, product, *currency, assistant)
                yield Series(family, labels, Decimal(drawn.randrange(1, 10_000_000)).scaleb(-4))
                if number % HISTOGRAM_EVERY == 0:
                    observed = tuple(round(drawn.expovariate(3), 4) for _ in range(30))
                    yield Series(HISTOGRAM, (f"account-{number}", "call-session", "ai", "USD"), observed=observed)


class Ours:
    """The exporter's metric state."""

    def __init__(self, all_series: Sequence[Series]) -> None:
        self.metrics = Metrics(SETTINGS)
        self._rows = [_total(row, each) for row, each in enumerate(all_series)]
        self.metrics.load(self._rows)

    def change(self, places: Sequence[int]) -> None:
        """Increase these series a little."""
        for place in places:
            self._rows[place] = _more(self._rows[place])
        self.metrics.apply(Receipt(tuple(self._rows[place] for place in places)))


def _total(row: int, each: Series) -> Total:
    names = labels_of(BY_NAME[each.family], (EXTRA,))
    labels: Labels = tuple(zip(names, each.labels, strict=True))
    if each.family != HISTOGRAM:
        return Total(row, each.family, labels, each.value, exposed=True)
    edges = (*BOUNDS, float("inf"))
    counts = [0] * len(edges)
    for value in each.observed:
        counts[next(place for place, edge in enumerate(edges) if value <= edge)] += 1
    total = sum((Decimal(str(value)) for value in each.observed), Decimal(0))
    return Total(row, each.family, labels, total, exposed=True, bounds=BOUNDS, counts=tuple(counts))


def _more(row: Total) -> Total:
    counts = (row.counts[0] + 1, *row.counts[1:]) if row.counts else ()
    labels, value = row.labels, add(row.value, Decimal("0.0001"))
    exemplars = (None,) * len(counts)
    return Total(
        row.row, row.family, labels, value, exposed=True, bounds=row.bounds, counts=counts, exemplars=exemplars
    )


class Theirs:
    """The same series as objects of client_python, in a registry of their own."""

    def __init__(self, all_series: Sequence[Series]) -> None:
        self.registry = CollectorRegistry()
        families: dict[str, Counter | Histogram] = {}
        self._children: list[Counter | Histogram] = []
        for each in all_series:
            family = families.get(each.family)
            if family is None:
                family = families[each.family] = self._family(each.family)
            child = family.labels(*each.labels)
            self._children.append(child)
            if isinstance(child, Counter):
                child.inc(float(each.value))
            for value in each.observed:
                assert isinstance(child, Histogram)
                child.observe(value)

    def _family(self, name: str) -> Counter | Histogram:
        family = BY_NAME[name]
        names = labels_of(family, (EXTRA,))
        if name == HISTOGRAM:
            return Histogram(name, family.help, names, buckets=BOUNDS, registry=self.registry)
        return Counter(name, family.help, names, registry=self.registry)

    def change(self, places: Sequence[int]) -> None:
        for place in places:
            child = self._children[place]
            if isinstance(child, Counter):
                child.inc(0.0001)
            else:
                child.observe(0.0001)


def described(all_series: Sequence[Series]) -> dict[str, object]:
    """Return the series as JSON values, for a program in another language."""
    families = {each.family: BY_NAME[each.family] for each in all_series}
    return {
        "families": [
            {"name": name, "help": family.help, "labels": labels_of(family, (EXTRA,)), "buckets": _buckets(name)}
            for name, family in families.items()
        ],
        "series": [
            {"family": each.family, "labels": each.labels, "value": float(each.value), "observed": each.observed}
            for each in all_series
        ],
    }


def _buckets(name: str) -> tuple[float, ...]:
    return BOUNDS if name == HISTOGRAM else ()
