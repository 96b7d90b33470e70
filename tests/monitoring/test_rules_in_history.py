"""Rules asked of 35 days of an exporter: what is recorded is there; what must be silent when all is well, is."""

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.monitoring.test_rules import ALERTS, RECORDS
from tests.support.history import DAY, MINUTE
from tests.support.programs import Past

LEAST_MINUTES = 45
"""The history was scraped every ten minutes, so a window holds at least so many."""
STEP_SECONDS = 20 * MINUTE
ASKED_SECONDS = 1.5 * DAY
"""Before the end; all of it is densely scraped."""

FIRES = {
    "TelnyxEventsSettledUnpriced": "one event in a thousand never gets a price",
    "TelnyxSessionOverThreshold": "some sessions go over the thresholds of the history",
    "TelnyxDiscoveryStalled": "the history looks at detail records every hour and a half",
}
MAY_FIRE = {
    "TelnyxSpendAboveLastWeek": "of an account with twenty calls a day, one hour may well be dear",
    "TelnyxNoSessionsDiscovered": "at two sessions an hour, looked for every two hours, a few hours may well have none",
}
"""Each making of the history says the same; but one more request of the exporter's is enough for other chances."""
BRIEFLY = {"TelnyxApiDown": "one request in 250 fails, and for a moment that is a replica's last one"}
"""What is over by the next look, 20 minutes later; each waits for that with its `for`."""
BUDGETS = [alert for alert in ALERTS if alert.startswith("TelnyxBudget")]
LEAST_SHARE = 0.75
"""Were the budgets smaller by a quarter, their alerts would still be silent, so no such chance decides about them."""

_UNITS = {"m": 1, "h": 60, "d": 24 * 60}
_RECORD = re.compile(rf"({'|'.join(map(re.escape, sorted(RECORDS, key=len, reverse=True)))})(\[\w+\])?( offset \w+)?")


def expand_records(expression: str, evaluated: str = "20m") -> str:
    """The expression without records: each stands there as what it records, for the history holds none.

    They are as if `evaluated` so often.
    """

    def meant(found: re.Match[str]) -> str:
        recorded = f"({expand_records(RECORDS[found[1]], evaluated)})"
        if found[2]:
            return f"{recorded}{found[2][:-1]}:{evaluated}]{found[3] or ''}"
        return f"last_over_time({recorded}[{evaluated}:{evaluated}]{found[3]})" if found[3] else recorded

    return _RECORD.sub(meant, expression)


def widen_windows(expression: str) -> str:
    """With windows that hold a few of the history's scrapes."""

    def wide(found: re.Match[str]) -> str:
        minutes = int(found[1]) * _UNITS[found[2]]
        return found[0] if minutes >= LEAST_MINUTES else f"[{LEAST_MINUTES}m]"

    return re.sub(r"\[(\d+)([mhd])\]", wide, expression)


def asked(past: Past, expression: str) -> list[dict[str, Any]]:
    """What the rule gives over the last days."""
    return past.query_range(widen_windows(expand_records(expression)), past.end - ASKED_SECONDS, past.end, STEP_SECONDS)


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_has_data(past: Past, record: str) -> None:
    """With exactly the labels that its level names, and the job."""
    rows = asked(past, RECORDS[record])
    assert rows
    labels = {*record.split(":", maxsplit=1)[0].split("_"), "job"}
    assert {frozenset(row["metric"]) for row in rows if isinstance(row["metric"], dict)} == {frozenset(labels)}


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_are_silent_while_all_is_well(past: Past, alert: str) -> None:
    """At no time is the condition true, whatever `for` says; except where the history has what the alert is about."""
    rows = asked(past, ALERTS[alert]["expr"])
    if alert in BRIEFLY:
        times = [[at for at, _ in row["values"]] for row in rows]
        assert not any(later - at <= STEP_SECONDS for row in times for at, later in pairwise(row)), rows
    elif alert not in MAY_FIRE:
        assert bool(rows) == (alert in FIRES), rows


@pytest.mark.parametrize("alert", BUDGETS)
def test_alerts_about_budgets_are_silent_by_a_margin(past: Past, alert: str) -> None:
    """The history's budgets are not just large enough."""
    assert asked(past, ALERTS[alert]["expr"]) == []
    scaled = expand_records(ALERTS[alert]["expr"]).replace(
        "telnyx_budget_limit", f"{LEAST_SHARE} * telnyx_budget_limit"
    )
    assert asked(past, scaled) == []
