"""client_python reads the same from the exporter's pages and its own, for any families, labels and values."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Literal

import prometheus_client.openmetrics.exposition
import prometheus_client.openmetrics.parser
import prometheus_client.utils
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from prometheus_client import CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest as client_text
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from exporter.core.catalog import Family
from exporter.metrics.exposition import bound_text, exemplar, head, histogram, histogram_prefix, number, prefix, sample

# The library leaves these without types.
client_openmetrics: Callable[[CollectorRegistry], bytes] = prometheus_client.openmetrics.exposition.generate_latest
read_openmetrics: Callable[[str], Iterable[Metric]] = (
    prometheus_client.openmetrics.parser.text_string_to_metric_families
)
bound_name: Callable[[float], str] = prometheus_client.utils.floatToGoString

disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped too

Value = Decimal | float
Pairs = tuple[tuple[str, str], ...]


class Observed(Struct, frozen=True):
    """Draw a histogram: observations per bucket, +Inf last, their sum, and an exemplar's labels or none."""

    counts: tuple[int, ...]
    total: Decimal
    mark: Pairs | None


class Filled(Struct, frozen=True):
    """Draw a family with its series."""

    family: Family
    series: tuple[tuple[tuple[str, ...], Value | Observed], ...]


# What is compared

MARK_VALUE, MARK_TIME = Decimal("0.2128"), 1773705600.123


def our_page(families: Iterable[Filled], *, openmetrics: bool) -> str:
    lines = []
    for filled in families:
        lines.append(head(filled.family, openmetrics=openmetrics))
        for values, value in filled.series:
            pairs = tuple(zip(filled.family.labels, values, strict=True))
            lines.append(our_series(filled.family, pairs, value, openmetrics=openmetrics))
    return b"".join(lines).decode() + ("# EOF\n" if openmetrics else "")


def our_series(family: Family, pairs: Pairs, value: Value | Observed, *, openmetrics: bool) -> bytes:
    if not isinstance(value, Observed):
        return sample(prefix(family.name, pairs), value)
    marked = openmetrics and value.mark is not None
    marks = {len(family.buckets): exemplar(value.mark or (), MARK_VALUE, MARK_TIME)} if marked else {}
    return histogram(histogram_prefix(family.name, pairs, family.buckets), value.counts, value.total, marks)


class Theirs(Collector):
    """Return the same families as client_python's own objects."""

    def __init__(self, families: Sequence[Filled]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for filled in self._families:
            yield self._metric(filled)

    def _metric(self, filled: Filled) -> Metric:
        family = filled.family
        if family.kind == "histogram":
            metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for values, value in filled.series:
                assert isinstance(value, Observed)
                metric.add_metric(values, buckets=self._buckets(family, value), sum_value=float(value.total))
            return metric
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        plain = kind(family.name, family.help, labels=family.labels)
        for values, value in filled.series:
            assert not isinstance(value, Observed)
            plain.add_metric(values, float(value))
        return plain

    def _buckets(self, family: Family, value: Observed) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        names = [bound_name(bound) for bound in (*family.buckets, math.inf)]
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = list(
            zip(names, accumulate(value.counts), strict=True)
        )
        if value.mark is not None:
            buckets[-1] = (*buckets[-1][:2], Exemplar(dict(value.mark), float(MARK_VALUE), MARK_TIME))
        return buckets


def meaning(metrics: Iterable[Metric]) -> list[tuple[str, str, str, dict[object, object]]]:
    """Return a parsed page with every number as a float and NaN equal to itself."""
    return [
        (
            metric.name,
            metric.type,
            metric.documentation,
            {
                (s.name, tuple(sorted(s.labels.items()))): (repr(float(s.value)), marked(s.exemplar))
                for s in metric.samples
            },
        )
        for metric in metrics
    ]


def marked(mark: Exemplar | None) -> tuple[object, ...] | None:
    return None if mark is None else (mark.labels, float(mark.value), str(mark.timestamp))


# What is tried

texts = st.text(max_size=12) | st.text(alphabet='\\"\n{}=,# aé💸', max_size=8)
amounts = st.decimals(min_value=0, max_value=10**12, places=12, allow_nan=False)
numbers = amounts | st.integers(min_value=0, max_value=2**53) | st.floats(min_value=0, allow_infinity=False)
anything = numbers | amounts.map(lambda amount: -amount) | st.floats()
bounds = st.lists(st.floats(min_value=1e-9, max_value=1e20), min_size=0, max_size=5, unique_by=bound_name).map(
    lambda values: tuple(sorted(values))
)
helps = st.from_regex(r"[A-Z][a-z]{1,8}([ \\\"\n][a-z.,]{1,8}){0,4}", fullmatch=True)


def observed(buckets: int) -> st.SearchStrategy[Observed]:
    counts = st.lists(st.integers(min_value=0, max_value=10**9), min_size=buckets, max_size=buckets).map(tuple)
    marks = st.none() | st.text(alphabet="abcdef-0123456789", min_size=1, max_size=36).map(lambda t: (("event_id", t),))
    return st.builds(Observed, counts, amounts, marks)


@st.composite
def filled_family(draw: st.DrawFn, index: int) -> Filled:
    kind: Literal["counter", "gauge", "histogram"] = draw(st.sampled_from(["counter", "gauge", "histogram"]))
    labels = tuple(draw(st.lists(st.sampled_from(["account", "model", "product", "b1"]), unique=True, max_size=3)))
    buckets = draw(bounds) if kind == "histogram" else ()
    name = f"telnyx_f{index}_total" if kind == "counter" else f"telnyx_f{index}"
    value = {"counter": numbers, "gauge": anything, "histogram": observed(len(buckets) + 1)}[kind]
    series = draw(st.dictionaries(st.tuples(*[texts] * len(labels)), value, max_size=3))
    return Filled(Family(name, kind, "ledger", labels, draw(helps), buckets=buckets), tuple(series.items()))


pages = st.integers(min_value=1, max_value=4).flatmap(lambda count: st.tuples(*map(filled_family, range(count))))


# Laws


@pytest.mark.slow
@given(pages)
def test_pages_mean_what_client_pythons_mean(page: tuple[Filled, ...]) -> None:
    """In both formats the exporter's page and client_python's page are parsed to the same families."""
    registry = CollectorRegistry()
    registry.register(Theirs(page))
    ours, theirs = our_page(page, openmetrics=False), client_text(registry).decode()
    assert meaning(read_text(ours)) == meaning(read_text(theirs))
    ours, theirs = our_page(page, openmetrics=True), client_openmetrics(registry).decode()
    assert meaning(read_openmetrics(ours)) == meaning(read_openmetrics(theirs))


@given(texts)
def test_label_values_come_back(value: str) -> None:
    """A parser of either format gets back exactly the label value."""
    family = Family("telnyx_x", "gauge", "process", ("model",), "Help.")
    line = sample(prefix(family.name, [("model", value)]), 1)
    text = head(family, openmetrics=False) + line
    openmetrics = head(family, openmetrics=True) + line + b"# EOF\n"
    for metrics in (read_text(text.decode()), read_openmetrics(openmetrics.decode())):
        (metric,) = metrics
        assert metric.samples[0].labels == {"model": value}


@given(amounts)
def test_amounts_are_printed_exactly(amount: Decimal) -> None:
    """A printed amount is exact, plain, and as short as possible."""
    text = number(amount).decode()
    assert Decimal(text) == amount
    assert "E" not in text.upper()
    assert "." not in text or not text.endswith("0")


@given(st.floats(min_value=1e-9, max_value=1e30))
def test_bounds_are_named_as_client_python_names_them(bound: float) -> None:
    """A bucket has the same `le` as with client_python, so no series changes its name."""
    assert bound_text(bound) == bound_name(bound)
