"""The metric state: totals and receipts in, pages out, read back with client_python's own parsers."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config import Buckets, Label, MetricsSettings
from exporter.core.catalog import FAMILIES
from exporter.core.model import Exemplar, Labels, Receipt, Total
from exporter.metrics import Metrics

COST, CREDITS, EVENTS = "telnyx_cost_total", "telnyx_cost_credits_total", "telnyx_events_total"
COST_LABELS = (("account", "main"), ("record_type", "inference"), ("product", "inference"))
USD = (*COST_LABELS, ("currency", "USD"))
ROOT = (("account", "main"), ("root_record_type", "call-session"), ("session_kind", "ai"))
EVENT_BOUNDS = (1.0, 10.0, 100.0)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def settings(*extra: str, **how: Any) -> MetricsSettings:
    labels = tuple(Label(name=name, field=name) for name in extra)
    return MetricsSettings(labels=labels, **({"buckets": Buckets(session_events=EVENT_BOUNDS)} | how))


def loaded(totals: Iterable[Total], *extra: str, **how: Any) -> Metrics:
    metrics = Metrics(settings(*extra, **how))
    metrics.load(totals)
    return metrics


def samples(metrics: Metrics) -> Samples:
    """Return every sample of the next page, which must be the same in both formats."""
    page = metrics.page()
    assert page is not None
    text = _samples(parse_text(page.text.decode()))
    openmetrics = parse_openmetrics(page.openmetrics.decode() + "# EOF\n")  # type: ignore[no-untyped-call]  # client_python types only its other parser
    assert _samples(openmetrics) == text
    return text


def _samples(families: Iterable[Any]) -> Samples:
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def shown(found: Samples, name: str, **labels: str) -> float | None:
    """Return the sum over the series with these labels; None without any."""
    values = [value for (each, pairs), value in found.items() if each == name and labels.items() <= dict(pairs).items()]
    return sum(values) if values else None


def counter(row: int, value: str, labels: Labels = USD, family: str = COST, *, released: bool = True) -> Total:
    return Total(row, family, labels, Decimal(value), released)


def histogram(
    counts: tuple[int, ...],
    value: str = "5",
    *,
    bounds: tuple[float, ...] = EVENT_BOUNDS,
    exemplars: tuple[Exemplar | None, ...] = (),
    released: bool = True,
) -> Total:
    exemplars = exemplars or (None,) * len(counts)
    return Total(9, "telnyx_session_events", ROOT, Decimal(value), released, bounds, counts, exemplars)


# What the ledger keeps


def test_all_families() -> None:
    """Every family of the catalogue has its HELP and TYPE before it has any series."""
    page = Metrics(settings()).page()
    assert page is not None
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n".encode() in page.text


def test_exact_money() -> None:
    """Money is printed as the plain normalised decimal that was booked."""
    page = loaded([counter(1, "12345678.123456789012"), counter(2, "0.2100", family=CREDITS)]).page()
    assert page is not None
    start = b'{account="main",record_type="inference",product="inference",currency="USD"} '
    assert b"telnyx_cost_total" + start + b"12345678.123456789012\n" in page.text
    assert b"telnyx_cost_credits_total" + start + b"0.21\n" in page.openmetrics


def test_receipt() -> None:
    """A receipt's totals replace the earlier ones."""
    metrics = loaded([counter(1, "1")])
    metrics.apply(Receipt((counter(1, "1.5"),)))
    assert shown(samples(metrics), COST) == 1.5


def test_load_ends_series() -> None:
    """After a ledger error the page shows the ledger's totals: series of uncommitted totals end."""
    other = (*COST_LABELS, ("currency", "EUR"))
    metrics = loaded([counter(1, "1"), counter(2, "2", other)])
    metrics.page()
    metrics.load([counter(1, "0.5")])
    assert {key[0]: value for key, value in samples(metrics).items() if key[0] == COST} == {COST: 0.5}


def test_load_keeps_gauges() -> None:
    """Gauges of the process survive a load."""
    metrics = loaded([])
    metrics.set("telnyx_due_sessions", (), 7)
    metrics.load([])
    assert shown(samples(metrics), "telnyx_due_sessions") == 7


def test_no_news() -> None:
    """Without a change there is no page; with one the version grows."""
    metrics = loaded([counter(1, "1")])
    first = metrics.page()
    assert first is not None
    assert metrics.page() is None
    metrics.apply(Receipt((counter(1, "1"),)))
    assert metrics.page() is None
    metrics.apply(Receipt((counter(1, "2"),)))
    second = metrics.page()
    assert second is not None
    assert second.version > first.version


def test_rendered_ahead() -> None:
    """Lines may be rendered in portions before the page; the page still shows the moment when it is made."""
    labels = [(("account", f"a{n}"), *COST_LABELS[1:], ("currency", "USD")) for n in range(10)]
    ahead, at_once = (loaded([counter(n, "1", labels[n]) for n in range(10)]) for _ in range(2))
    assert [ahead.render(5), ahead.render(5)] == [False, False]
    for metrics in (ahead, at_once):
        metrics.apply(Receipt((counter(0, "7", labels[0]), counter(9, "8", labels[9]))))
    assert not ahead.render(1)
    pages = [metrics.page() for metrics in (ahead, at_once)]
    assert pages[0] == pages[1]
    assert ahead.render(1)
    assert ahead.page() is None


def test_number_of_what_was_never_committed() -> None:
    """After a ledger error a row number may belong to another total: the old series ends."""
    other = (*COST_LABELS, ("currency", "EUR"))
    metrics = loaded([counter(1, "1"), counter(2, "2", released=False)])
    metrics.page()
    metrics.load([counter(1, "5", other), counter(2, "3", other, CREDITS, released=False)])
    found = samples(metrics)
    assert (shown(found, COST), shown(found, COST, currency="EUR"), shown(found, CREDITS)) == (5, 5, 0)
    assert shown(found, "telnyx_pending_cost", currency="USD") == 0
    assert shown(found, "telnyx_pending_cost", currency="EUR") == -3


# Projection


def test_new_label() -> None:
    """A total booked before a label was configured is shown with `none` for it."""
    found = samples(loaded([counter(1, "1")], "assistant"))
    assert shown(found, COST, assistant="none") == 1


def test_removed_label() -> None:
    """Totals that differ in a label that is no longer configured are one series, their sum."""
    rows = [counter(row, "0.1", (*USD, ("assistant", str(row)))) for row in (1, 2, 3)]
    metrics = loaded(rows)
    assert [value for (name, _), value in samples(metrics).items() if name == COST] == [0.3]
    metrics.apply(Receipt((counter(2, "1.1", (*USD, ("assistant", "2"))),)))
    assert shown(samples(metrics), COST) == 1.3


def test_label_order() -> None:
    """Labels are found by name, in any order of booking."""
    metrics = loaded([counter(1, "1", (*USD, ("b", "2"), ("a", "1")))], "a", "b")
    assert shown(samples(metrics), COST, a="1", b="2") == 1


MONEY = st.decimals(0, 1000, places=4)
EXTRA = st.sampled_from(["none", "other", "x", "y"])
ROWS = st.lists(st.tuples(MONEY, EXTRA, EXTRA, st.booleans()), max_size=12)
CONFIGURED = st.sampled_from([(), ("a",), ("b",), ("a", "b"), ("a", "c")])


def rows_of(drawn: list[tuple[Decimal, str, str, bool]]) -> list[Total]:
    labels = [(*USD, ("a", a), ("b", b)) for _, a, b, _ in drawn]
    return [
        counter(row, str(value), labels[row], released=released) for row, (value, _, _, released) in enumerate(drawn)
    ]


@given(ROWS, CONFIGURED)
def test_projection_keeps_sums(drawn: list[tuple[Decimal, str, str, bool]], configured: tuple[str, ...]) -> None:
    """For any configured labels the shown costs and the pending ones add up to what was booked."""
    rows = rows_of(drawn)
    found = samples(loaded(rows, *configured))
    together = (shown(found, COST) or 0) + (shown(found, "telnyx_pending_cost") or 0)
    assert together == pytest.approx(float(sum(row.value for row in rows)))


@pytest.mark.slow
@given(ROWS, CONFIGURED, st.data())
def test_load_is_apply(
    drawn: list[tuple[Decimal, str, str, bool]], configured: tuple[str, ...], data: st.DataObject
) -> None:
    """Loading all totals gives the same page as loading some and applying the rest as receipts, in any order."""
    rows = rows_of(drawn)
    cut = data.draw(st.integers(0, len(rows)))
    metrics = loaded(rows[:cut], *configured)
    for row in data.draw(st.permutations(rows[cut:])):
        metrics.apply(Receipt((row,)))
    assert samples(metrics) == samples(loaded(rows, *configured))


@pytest.mark.slow
@given(ROWS, CONFIGURED)
def test_release_only_adds(drawn: list[tuple[Decimal, str, str, bool]], configured: tuple[str, ...]) -> None:
    """Exposing totals one by one never lowers a counter, and in the end no money is pending."""
    rows = rows_of(drawn)
    metrics = loaded(rows, *configured)
    found = samples(metrics)
    for row in rows:
        metrics.apply(Receipt((replace(row, exposed=True),)))
        before, found = found, samples(metrics) if not row.exposed and row.value else found
        assert all(found[key] >= value for key, value in before.items() if key[0] == COST)
    assert (shown(found, "telnyx_pending_cost") or 0) == 0


# Histograms


def test_histogram() -> None:
    """A histogram is exposed with cumulative buckets, sum and count, and exemplars in OpenMetrics only."""
    marks = (None, Exemplar("root-1", 7.0, 1_790_000_000.5), None, None)
    page = loaded([histogram((1, 2, 0, 1), "140.5", exemplars=marks)]).page()
    assert page is not None
    labels = b'account="main",root_record_type="call-session",session_kind="ai"'
    line = b"telnyx_session_events_bucket{" + labels + b',le="10.0"} 3'
    assert line + b"\n" in page.text
    assert line + b' # {event_id="root-1"} 7.0 1790000000.5\n' in page.openmetrics
    assert b"telnyx_session_events_sum{" + labels + b"} 140.5\n" in page.text
    assert b"telnyx_session_events_count{" + labels + b"} 4\n" in page.text


def test_unreleased_histogram() -> None:
    """A pending histogram has all its buckets, at 0 and without exemplars."""
    marks = (Exemplar("root-1", 1.0, 0.0), None, None, None)
    metrics = loaded([histogram((1, 2, 0, 1), released=False, exemplars=marks)])
    page = metrics.page()
    assert page is not None
    assert b"root-1" not in page.openmetrics
    found = _samples(parse_text(page.text.decode()))
    values = [value for (name, _), value in found.items() if name.startswith("telnyx_session_events")]
    assert values == [0] * 6


@given(
    st.sets(st.sampled_from([0.5, 1.0, 2.0, 10.0, 50.0, 100.0, 1000.0]), min_size=1),
    st.data(),
)
def test_rebucketing(booked: set[float], data: st.DataObject) -> None:
    """Under other bounds no observation is lost, and none is counted below a bound that it may exceed."""
    bounds = tuple(sorted(booked))
    counts = tuple(data.draw(st.lists(st.integers(0, 5), min_size=len(bounds) + 1, max_size=len(bounds) + 1)))
    found = samples(loaded([histogram(counts, bounds=bounds)]))
    assert shown(found, "telnyx_session_events_count") == sum(counts)
    for bound in EVENT_BOUNDS:
        sure = sum(count for own, count in zip(bounds, counts, strict=False) if own <= bound)
        assert shown(found, "telnyx_session_events_bucket", le=str(bound)) == sure


# Zero start


def test_zero_start() -> None:
    """A new series shows 0 until it was on a page for new_series_zero_seconds and was scraped."""
    metrics = loaded([counter(1, "1", released=False)], new_series_zero_seconds=150)
    assert metrics.exposable(0) == []
    found = samples(metrics)
    assert shown(found, COST) == 0
    assert shown(found, "telnyx_pending_cost", account="main", currency="USD") == 1
    metrics.scraped(5)
    assert metrics.exposable(10) == []
    assert metrics.exposable(400) == [], "the scrape was before the wait"
    metrics.scraped(60)
    assert metrics.exposable(159) == []
    assert metrics.exposable(160) == [1]
    metrics.apply(Receipt((counter(1, "1"),)))
    found = samples(metrics)
    assert shown(found, COST) == 1
    assert shown(found, "telnyx_pending_cost") == 0
    assert metrics.exposable(1000) == []


def test_no_wait_before_the_page() -> None:
    """A scrape of a page without the series starts no wait."""
    metrics = loaded([], new_series_zero_seconds=10)
    metrics.page()
    metrics.apply(Receipt((counter(1, "1", released=False),)))
    metrics.exposable(0)
    metrics.scraped(100)
    assert metrics.exposable(200) == []


def test_waits_survive_a_load() -> None:
    """Reading the ledger again restarts no wait; totals that are gone are no longer exposable."""
    metrics = loaded([counter(1, "1", released=False), counter(2, "1", family=CREDITS, released=False)])
    metrics.page()
    metrics.exposable(0)
    metrics.load([counter(1, "1", released=False)])
    metrics.scraped(1)
    assert metrics.exposable(150) == [1]


@pytest.mark.parametrize("changed", [False, True])
def test_waits_start_over_after_another_process(*, changed: bool) -> None:
    """A process that exposes the ledger again shows pending totals at 0 first, also those that it knew."""
    metrics = loaded([counter(1, "1", released=False)])
    metrics.page()
    metrics.exposable(0)
    metrics.scraped(1)
    metrics.restart_zero_start()
    metrics.load([counter(1, "2" if changed else "1", released=False)])
    assert metrics.exposable(150) == [], "it was on no page of this process since"
    metrics.page()
    metrics.exposable(200)
    metrics.scraped(201)
    assert metrics.exposable(350) == [1]


@pytest.mark.parametrize("how", ["load", "apply"])
def test_zero_start_of_a_reused_row_number(how: str) -> None:
    """A total with the row number of one that ended, or was never committed, has a zero start of its own."""
    metrics = loaded([counter(1, "1", released=False)])
    metrics.page()
    metrics.exposable(0)
    other = counter(1, "1", (*COST_LABELS, ("currency", "EUR")), released=False)
    if how == "load":
        metrics.load([other])
    else:
        metrics.apply(Receipt((other,)))
    metrics.scraped(1)
    assert metrics.exposable(150) == [], "it was on no page"
    found = samples(metrics)
    assert (shown(found, COST, currency="EUR"), shown(found, COST, currency="USD")) == (0, None)
    metrics.exposable(200)
    metrics.scraped(201)
    assert metrics.exposable(350) == [1]


def test_zero_start_in_a_known_series() -> None:
    """A new total in an exposed series waits as well, from the next page on."""
    old = counter(1, "1", (*USD, ("gone", "a")))
    metrics = loaded([old])
    metrics.page()
    metrics.apply(Receipt((counter(2, "1", (*USD, ("gone", "b")), released=False),)))
    metrics.page()
    metrics.exposable(0)
    metrics.scraped(1)
    assert metrics.exposable(150) == [2]


def test_without_zero_start() -> None:
    """With new_series_zero_seconds 0 a total is exposable at once, scraped or not."""
    metrics = loaded([counter(1, "1", released=False)], new_series_zero_seconds=0)
    assert metrics.exposable(0) == [1]


def test_unreleased_is_net() -> None:
    """Pending money is costs minus credits, and 0 if all is exposed."""
    eur = (*COST_LABELS, ("currency", "EUR"))
    rows = [
        counter(1, "1.5", released=False),
        counter(2, "0.25", family=CREDITS, released=False),
        counter(3, "9", eur),
        counter(4, "9", COST_LABELS, EVENTS, released=False),
    ]
    found = samples(loaded(rows))
    assert shown(found, "telnyx_pending_cost", currency="USD") == 1.25
    assert shown(found, "telnyx_pending_cost", currency="EUR") == 0


def test_gauges_need_no_zero_start() -> None:
    """A gauge shows its value at once."""
    state = (("account", "main"), ("state", "active"))
    metrics = loaded([counter(1, "3", state, "telnyx_sessions", released=False)], new_series_zero_seconds=0)
    assert shown(samples(metrics), "telnyx_sessions") == 3
    assert metrics.exposable(0) == []


# What the process counts


def test_counting() -> None:
    """Counters add up, gauges take the last value, and an amount of 0 creates a series."""
    metrics = loaded([])
    metrics.inc("telnyx_polls_total", ("main",), 0)
    metrics.inc("telnyx_poll_failures_total", ("main", "timeout"))
    metrics.inc("telnyx_poll_failures_total", ("main", "timeout"), 2)
    metrics.set("telnyx_api_up", ("main",), 0)
    metrics.set("telnyx_api_up", ("main",), 1)
    metrics.set("telnyx_api_throttled_seconds_total", ("main", "session"), 1.5)
    found = samples(metrics)
    assert shown(found, "telnyx_polls_total", account="main") == 0
    assert shown(found, "telnyx_poll_failures_total", reason="timeout") == 3
    assert shown(found, "telnyx_api_up") == 1
    assert shown(found, "telnyx_api_throttled_seconds_total") == 1.5


def test_observing() -> None:
    """An observation on a bound belongs to that bound's bucket."""
    metrics = loaded([])
    for value in (0.5, 0.6, 1e6):
        metrics.observe("telnyx_poll_lag_seconds", (), value)
    found = samples(metrics)
    assert shown(found, "telnyx_poll_lag_seconds_bucket", le="0.5") == 1
    assert shown(found, "telnyx_poll_lag_seconds_bucket", le="1.0") == 2
    assert shown(found, "telnyx_poll_lag_seconds_count") == 3


def test_zero_from_the_start() -> None:
    """Counters and histograms without labels exist from the start."""
    found = samples(loaded([]))
    assert shown(found, "telnyx_ledger_commit_failures_total") == 0
    assert shown(found, "telnyx_poll_lag_seconds_count") == 0


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda m: m.inc("telnyx_pools_total", ("main",)), KeyError),
        (lambda m: m.inc("telnyx_polls_total", ()), ValueError),
        (lambda m: m.inc("telnyx_polls_total", ("main",), -1), ValueError),
        (lambda m: m.inc("telnyx_api_up", ("main",)), ValueError),
        (lambda m: m.set("telnyx_poll_lag_seconds", (), 1), ValueError),
        (lambda m: m.observe("telnyx_api_up", ("main",), 1), ValueError),
        (lambda m: m.observe("telnyx_api_request_duration_seconds", ("main",), 1), ValueError),
    ],
)
def test_defects(wrong: Any, error: type[Exception]) -> None:
    """A name, a kind or labels that the catalogue doesn't have are an error of the caller."""
    with pytest.raises(error):
        wrong(loaded([]))


def test_series_count() -> None:
    """telnyx_series counts the sample lines of the ledger's families, all lines of a histogram included."""
    metrics = loaded([counter(1, "1"), histogram((0, 0, 0, 0))])
    found = samples(metrics)
    ledger = tuple(family.name for family in FAMILIES if family.home == "ledger")
    lines = [key for key in found if key[0].startswith(ledger)]
    assert shown(found, "telnyx_series") == len(lines) == 1 + 6 + 1, "a cost, a histogram, an unreleased cost"
