"""Rules run against 35 days of a healthy exporter: records have data, and alerts are silent."""

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.monitoring.test_rules import ALERTS, RECORDS
from tests.support.history import DAY, MINUTE
from tests.support.programs import Past

LEAST_MINUTES = 45
"""The shortest window of a query here, since the history has a scrape every ten minutes."""
STEP_SECONDS = 20 * MINUTE
QUERIED_SECONDS = 1.5 * DAY
"""Length of the queried range at the end of the history, where scrapes are dense."""

FIRES = {
    "TelnyxEventsSettledUnpriced": "one event in a thousand never gets a price",
    "TelnyxSessionOverThreshold": "some sessions go over the thresholds of the history",
    "TelnyxDiscoveryStalled": "the history polls detail records every hour and a half",
}
MAY_FIRE = {
    "TelnyxSpendAboveLastWeek": "an account with twenty calls a day may well have an expensive hour",
    "TelnyxDetailRecordTypeFailing": "the history polls detail records every hour and a half, and a poll may fail",
    "TelnyxDetailRecordCoverageDropped": "after a failed poll the records of an idle account come that much later",
    "TelnyxNoSessionsDiscovered": "at two sessions an hour, a few hours may well have none",
}
"""Alerts that may fire by chance: one more request of the exporter changes all random events of the history."""
BRIEFLY = {"TelnyxApiDown": "one request in 250 fails, and for a moment that is a replica's last one"}
"""Alerts whose condition ends with the next request, which an idle account of the history sends within 90 minutes.

A real exporter sends one every few minutes, which the `for` of these alerts covers.
"""
NEXT_REQUEST_SECONDS = 5400
BUDGETS = [alert for alert in ALERTS if alert.startswith("TelnyxBudget")]
LEAST_SHARE = 0.75
"""With budgets smaller by a quarter the alerts are still silent, so chance doesn't decide about them."""

_UNITS = {"m": 1, "h": 60, "d": 24 * 60}
_RECORD = re.compile(rf"({'|'.join(map(re.escape, sorted(RECORDS, key=len, reverse=True)))})(\[\w+\])?( offset \w+)?")


def expand_records(expression: str, evaluated: str = "20m") -> str:
    """Replace each record by its expression, evaluated every `evaluated`, since the history has no records."""

    def meant(found: re.Match[str]) -> str:
        recorded = f"({expand_records(RECORDS[found[1]], evaluated)})"
        if found[2]:
            return f"{recorded}{found[2][:-1]}:{evaluated}]{found[3] or ''}"
        return f"last_over_time({recorded}[{evaluated}:{evaluated}]{found[3]})" if found[3] else recorded

    return _RECORD.sub(meant, expression)


def widen_windows(expression: str) -> str:
    """Return the expression with windows long enough for a few scrapes of the history."""

    def wide(found: re.Match[str]) -> str:
        minutes = int(found[1]) * _UNITS[found[2]]
        return found[0] if minutes >= LEAST_MINUTES else f"[{LEAST_MINUTES}m]"

    return re.sub(r"\[(\d+)([mhd])\]", wide, expression)


def run_rule(past: Past, expression: str) -> list[dict[str, Any]]:
    """Return the rows of a rule's expression over the end of the history."""
    return past.query_range(
        widen_windows(expand_records(expression)), past.end - QUERIED_SECONDS, past.end, STEP_SECONDS
    )


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_has_data(past: Past, record: str) -> None:
    """Every record has data, with exactly the labels of its level and the job."""
    rows = run_rule(past, RECORDS[record])
    assert rows
    labels = {*record.split(":", maxsplit=1)[0].split("_"), "job"}
    assert {frozenset(row["metric"]) for row in rows if isinstance(row["metric"], dict)} == {frozenset(labels)}


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_are_silent_in_a_healthy_history(past: Past, alert: str) -> None:
    """No alert's condition is ever true, except for alerts about events that the history contains."""
    rows = run_rule(past, ALERTS[alert]["expr"])
    if alert in BRIEFLY:
        for row in rows:
            run = STEP_SECONDS
            for (at, _), (later, _) in pairwise(row["values"]):
                run = run + STEP_SECONDS if later - at <= STEP_SECONDS else STEP_SECONDS
                assert run < NEXT_REQUEST_SECONDS, rows
    elif alert not in MAY_FIRE:
        assert bool(rows) == (alert in FIRES), rows


@pytest.mark.parametrize("alert", BUDGETS)
def test_alerts_about_budgets_are_silent_by_a_margin(past: Past, alert: str) -> None:
    """Alerts about budgets stay silent even if the budgets are smaller by a quarter."""
    assert run_rule(past, ALERTS[alert]["expr"]) == []
    scaled = expand_records(ALERTS[alert]["expr"]).replace(
        "telnyx_budget_limit", f"{LEAST_SHARE} * telnyx_budget_limit"
    )
    assert run_rule(past, scaled) == []
