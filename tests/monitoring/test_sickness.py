"""What must be empty when all is well, and isn't when it is not: panels and alerts asked of a day of ailments.

`EMPTY` lists the queries of panels that have nothing to show on a sound day, with what they show on a bad one. The list
is exact: who stands there is empty in the sound past of tests/support/history.py and shows something here; who doesn't
stand there has shown something in that past. Alerts are held to it as well, with the time that each waits.
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

pytestmark = pytest.mark.timeout(600)  # the first test that asks makes the histories

EMPTY = {
    "cost-overview: Settled and unsettled money C": ("> 0", "nothing new is held back when all series are known"),
    "exporter-health: API answers A": ("== 0", "the API answers"),
    "exporter-health: Configuration read A": ("== 0", "it was read"),
    "exporter-health: Backlog A": ("> 0", "what is due is looked at before the next scrape"),
    "exporter-health: Backlog over time A": ("> 0", "as above"),
    "exporter-health: Bills that don't add up A": ("> 0", "they do"),
    "exporter-health: Checks that fail now A": ("> 0", "none fails"),
    "exporter-health: Checks that began to fail A": ("> 0", "as above"),
    "exporter-health: Held back by pacing A": ("> 0", "the pace is quicker than the requests"),
    "exporter-health: Webhooks per minute A": ("> 0", "the sound past has no webhooks"),
    "exporter-health: Webhooks per minute B": ("> 0", "as above"),
    "exporter-health: Failed commits A": ("> 0", "the ledger can be written"),
    "exporter-health: Cut trees per hour B": ("> 0", "cut trees are completed"),
    "exporter-health: Money held back A": ("> 0", "nothing new is held back when all series are known"),
    "exporter-health: Values folded into other A": ("> 0", "there is room for all values"),
}
"""By the query's name: the values that are news, and why a sound day has none."""

NAMED = {
    "exporter-health: API requests per minute by code A": ("code", {"401", "429", "500", "502", "503", "read"}),
    "exporter-health: Sessions by state A": ("state", {"missing", "denied"}),
    "exporter-health: Failed polls by reason A": ("reason", {"key_refused", "throttled", "server_error"}),
    "exporter-health: Checks that began to fail A": ("check", {"currency"}),
    "exporter-health: Values folded into other A": ("label", {"caller"}),
}
"""Where a value's name says what is wrong: the label, and names that a bad day has."""

ELSEWHERE = {
    "TelnyxSpendAboveLastWeek": "it compares with last week, which this day doesn't have",
    "TelnyxNoSessionsDiscovered": "it compares with last week",
    "TelnyxDetailRecordCoverageDropped": "it compares with the days before",
}
"""Alerts that can't fire on this day, and why not; unit tests have series on which they do."""


def over(past: Past, query: Query, values: str, step: int) -> Rows:
    """What the panel showed of these values at any time of the past, however it asks."""
    chosen = {**VALUES, "__range": "1h", "__rate_interval": f"{4 * step}s", "currency": "USD"}
    expression = f"({substituted(query.expression, chosen)}) {values}"
    return past.query_range(expression, past.start + 2 * step, past.end, step)


every_empty_query = pytest.mark.parametrize(
    "query", [query for query in QUERIES if query.name in EMPTY], ids=lambda query: query.name
)


def test_the_lists_are_of_queries_and_alerts_that_exist() -> None:
    """What was renamed would be exempt for nothing."""
    names = [query.name for query in QUERIES]
    assert EMPTY.keys() | NAMED.keys() <= set(names)
    assert len(set(names)) == len(names)
    assert ELSEWHERE.keys() <= ALERTS.keys()


@every_empty_query
def test_what_is_listed_is_empty_while_all_is_well(past: Past, query: Query) -> None:
    """As the panel is asked at the end of the sound past."""
    values, _ = EMPTY[query.name]
    news = {"> 0": lambda value: value > 0, "== 0": lambda value: value == 0}[values]
    shown = [float(value) for row in query.asked(past) for _, value in row.get("values", [row.get("value")])]
    assert shown
    assert not any(map(news, shown))


@every_empty_query
def test_what_is_listed_shows_what_is_wrong(sick: Past, query: Query) -> None:
    """At some time of the bad day."""
    values, _ = EMPTY[query.name]
    assert over(sick, query, values, SCRAPED_SECONDS)


@every_query
def test_what_is_not_listed_was_seen_in_the_sound_past(past: Past, query: Query) -> None:
    """A panel that only ever shows zeros would otherwise pass as one that works."""
    if query.name not in EMPTY:
        assert over(past, query, "!= 0", FIRST_STEP_SECONDS)


@every_panel
def test_names_are_told_apart_on_a_bad_day_too(sick: Past, file: str, panel: Mapping[str, Any]) -> None:
    """Of those who have names: what stands in for no failure is gone when there is one."""
    names = legends(sick, file, panel)
    assert len(set(names)) == len(names), names


@pytest.mark.parametrize("name", NAMED)
def test_a_panel_names_what_is_wrong(sick: Past, name: str) -> None:
    """By the values of its label; what stands there before the first one is gone with it."""
    (query,) = [query for query in QUERIES if query.name == name]
    label, expected = NAMED[name]
    assert expected <= {row["metric"][label] for row in over(sick, query, "> 0", SCRAPED_SECONDS)}
    times: dict[bool, set[int]] = {True: set(), False: set()}
    for row in over(sick, query, ">= 0", SCRAPED_SECONDS):
        times[row["metric"][label] == "none"].update(at for at, _ in row["values"])
    assert not times[True] & times[False]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_fires_unless_there_is_a_reason(sick: Past, alert: str) -> None:
    """Its expression holds for as long as it waits; an exempt one stays silent, and fires in a unit test."""
    lasted = longest(sick.query_range(expand_records(ALERTS[alert]["expr"], "1m"), sick.start, sick.end, MINUTE))
    if alert in ELSEWHERE:
        assert lasted is None
        assert any(fires for name, fires, _ in unit_tests() if name == alert)
    else:
        assert lasted is not None
        assert lasted >= duration(ALERTS[alert].get("for", "0s"))


def longest(rows: Rows) -> int | None:
    """For how many seconds one of the series was there at every evaluation; None if there is none."""
    found: list[int] = []
    for row in rows:
        begun = before = row["values"][0][0]
        for at, _ in row["values"]:
            begun, before = (begun if at - before <= MINUTE else at), at
            found.append(int(at - begun))
    return max(found, default=None)
