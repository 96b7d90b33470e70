"""Panels and alerts run against a day of failures, and compared with a healthy history.

`EMPTY` lists the queries that show nothing in the healthy history of tests/support/history.py. The list is exact: each
listed query shows something on the bad day, and every other query shows something in the healthy history. Every alert
has to fire on the bad day, for as long as its `for` waits.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.monitoring.test_dashboards import QUERIES, Query, duration, every_panel, every_query, legends
from tests.monitoring.test_rules import ALERTS, unit_tests
from tests.monitoring.test_rules_in_history import expand_records
from tests.support.history import FIRST_STEP_SECONDS
from tests.support.programs import Past, Rows
from tests.support.promql import VALUES, substituted
from tests.support.sickness import MINUTE, SCRAPED_SECONDS

pytestmark = pytest.mark.timeout(600)  # the first test that needs the histories makes them

EMPTY = {
    "cost-overview: Settled and unsettled cost C": ("> 0", "nothing new is held back when all series are known"),
    "exporter-health: API answers A": ("== 0", "the API answers"),
    "exporter-health: Configuration valid A": ("== 0", "the configuration was read"),
    "exporter-health: Backlog A": ("> 0", "due sessions are polled before the next scrape"),
    "exporter-health: Backlog over time A": ("> 0", "as above"),
    "exporter-health: Failing checks A": ("> 0", "all bills add up"),
    "exporter-health: Failing checks by name A": ("> 0", "no check fails"),
    "exporter-health: New failing checks per hour A": ("> 0", "as above"),
    "exporter-health: Types of detail records B": ("> 0", "all types are read"),
    "exporter-health: Throttled by pacing A": ("> 0", "the pace is quicker than the requests"),
    "exporter-health: Webhooks per minute A": ("> 0", "the healthy history has no webhooks"),
    "exporter-health: Webhooks per minute B": ("> 0", "as above"),
    "exporter-health: Failed commits A": ("> 0", "the ledger can be written"),
    "exporter-health: Cut trees per hour B": ("> 0", "cut trees are completed"),
    "exporter-health: Pending cost A": ("> 0", "nothing new is held back when all series are known"),
    "exporter-health: Values folded into other A": ("> 0", "all values are within the limits"),
}
"""By query: a filter for values that show a failure, and why the healthy history has none."""

NAMED = {
    "exporter-health: API requests per minute by code A": ("code", {"401", "429", "500", "502", "503", "read"}),
    "exporter-health: Sessions by state A": ("state", {"missing", "denied"}),
    "exporter-health: Failed polls by reason A": ("reason", {"key_refused", "throttled", "server_error"}),
    "exporter-health: New failing checks per hour A": ("check", {"currency"}),
    "exporter-health: Values folded into other A": ("label", {"caller"}),
}
"""Queries with a label that names the failure: the label, and its values on the bad day."""

ELSEWHERE = {
    "TelnyxSpendAboveLastWeek": "it compares with last week, and this history is one day",
    "TelnyxNoSessionsDiscovered": "it compares with last week",
    "TelnyxDetailRecordCoverageDropped": "it compares with the days before",
}
"""Alerts that can't fire on this day, and why; unit tests have series on which they fire."""


def over(past: Past, query: Query, values: str, step: int) -> Rows:
    """Return the values of a query that pass the filter, at any time of the past."""
    chosen = {**VALUES, "__range": "1h", "__rate_interval": f"{4 * step}s", "currency": "USD"}
    expression = f"({substituted(query.expression, chosen)}) {values}"
    return past.query_range(expression, past.start + 2 * step, past.end, step)


every_empty_query = pytest.mark.parametrize(
    "query", [query for query in QUERIES if query.name in EMPTY], ids=lambda query: query.name
)


def test_the_lists_are_of_queries_and_alerts_that_exist() -> None:
    """The lists name only queries and alerts that exist, and query names are unique."""
    names = [query.name for query in QUERIES]
    assert EMPTY.keys() | NAMED.keys() <= set(names)
    assert len(set(names)) == len(names)
    assert ELSEWHERE.keys() <= ALERTS.keys()


@every_empty_query
def test_listed_queries_are_empty_in_the_healthy_history(past: Past, query: Query) -> None:
    """A listed query shows no failure at the end of the healthy history."""
    values, _ = EMPTY[query.name]
    failing = {"> 0": lambda value: value > 0, "== 0": lambda value: value == 0}[values]
    shown = [float(value) for row in query.run(past) for _, value in row.get("values", [row.get("value")])]
    assert shown
    assert not any(map(failing, shown))


@every_empty_query
def test_listed_queries_show_the_failures(sick: Past, query: Query) -> None:
    """A listed query shows a failure at some time of the bad day."""
    values, _ = EMPTY[query.name]
    assert over(sick, query, values, SCRAPED_SECONDS)


@every_query
def test_other_queries_show_values_in_the_healthy_history(past: Past, query: Query) -> None:
    """A query that is not listed shows a value other than 0 in the healthy history, so no panel is always empty."""
    if query.name not in EMPTY:
        assert over(past, query, "!= 0", FIRST_STEP_SECONDS)


@every_panel
def test_legends_are_unique_on_the_bad_day_too(sick: Past, file: str, panel: Mapping[str, Any]) -> None:
    """The legends of a panel are unique, and the series that means "no failure" is gone during one."""
    names = legends(sick, file, panel)
    assert len(set(names)) == len(names), names


@pytest.mark.parametrize("name", NAMED)
def test_a_panel_names_the_failure(sick: Past, name: str) -> None:
    """The values of the label name the failures, and `none` is never there at the same time."""
    (query,) = [query for query in QUERIES if query.name == name]
    label, expected = NAMED[name]
    assert expected <= {row["metric"][label] for row in over(sick, query, "> 0", SCRAPED_SECONDS)}
    times: dict[bool, set[int]] = {True: set(), False: set()}
    for row in over(sick, query, ">= 0", SCRAPED_SECONDS):
        times[row["metric"][label] == "none"].update(at for at, _ in row["values"])
    assert not times[True] & times[False]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_fires_unless_there_is_a_reason(sick: Past, alert: str) -> None:
    """Every alert fires on the bad day for as long as its `for`; an exempt one stays silent and has a unit test."""
    lasted = longest(sick.query_range(expand_records(ALERTS[alert]["expr"], "1m"), sick.start, sick.end, MINUTE))
    if alert in ELSEWHERE:
        assert lasted is None
        assert any(fires for name, fires, _ in unit_tests() if name == alert)
    else:
        assert lasted is not None
        assert lasted >= duration(ALERTS[alert].get("for", "0s"))


def longest(rows: Rows) -> int | None:
    """Return the longest time in seconds that a series was present at every evaluation; None without series."""
    found: list[int] = []
    for row in rows:
        started = before = row["values"][0][0]
        for at, _ in row["values"]:
            started, before = (started if at - before <= MINUTE else at), at
            found.append(int(at - started))
    return max(found, default=None)
