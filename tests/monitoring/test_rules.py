"""Rules and alerts: promtool's checks and unit tests, the texts of alerts, and their runbooks."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import faults, mixed_currencies, selected
from tools.generate_docs import TOP

RULES = sorted((TOP / "prometheus" / "rules").glob("*.yml"))
UNIT_TESTS = sorted((TOP / "prometheus" / "tests").glob("*.yaml"))
RUNBOOKS = TOP / "docs" / "runbooks"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Action"]
SEVERITIES = {"critical", "warning", "info"}
LEAST_WINDOW_SECONDS = 4 * 60
"""Four scrapes of a minute."""

NAMES = {
    *("BudgetBurnFast", "BudgetBurnSlow", "BudgetWillBeExceeded", "BudgetExceeded"),
    *("SpendAboveLastWeek", "SessionOverThreshold", "InferenceCostPerTurnJumped"),
    *("BalanceRunningOut", "BalanceLow", "BalanceExhausted"),
    *(
        "EventsSettledUnpriced",
        "ReconciliationFailures",
        "NoSessionsDiscovered",
        "DetailRecordCoverageDropped",
        "DetailRecordTypeFailing",
    ),
    *("ExporterDown", "ExporterReplicaDown", "LedgerFailing", "ReloadFailed", "SeriesLimitHit", "LabelValuesFolded"),
    *("KeyRefused", "ApiDown", "ApiFailing", "Throttled", "DiscoveryStalled"),
    *("CatchingUp", "PollsLagging", "Backlog"),
}

Rule = dict[str, Any]


@cache
def loaded(path: Path) -> Any:
    """Return the content of a YAML file, cached: parsing takes as long as a hundred of the tests that need it."""
    return yaml.safe_load(path.read_text())


def rules(path: Path) -> list[Rule]:
    """Return all rules of a file in order."""
    return [rule for group in loaded(path)["groups"] for rule in group["rules"]]


EVERY_RULE = [rule for path in RULES for rule in rules(path)]
ALERTS: dict[str, Rule] = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
RECORDS: dict[str, str] = {rule["record"]: rule["expr"] for rule in EVERY_RULE if "record" in rule}
LABELS: dict[str, tuple[str, ...]] = {
    "up": ("instance", "job"),
    **{name: tuple(name.split(":")[0].split("_")) for name in RECORDS},
}
"""Labels of `up` and of the records, whose level consists of their labels."""

every_alert = pytest.mark.parametrize("alert", ALERTS)
every_rule = pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.get("alert") or rule["record"])


def unit_tests() -> Iterator[tuple[str, bool, Rule]]:
    """Yield each case of the unit tests for an alert: its name, whether it must fire, and the expectation."""
    for path in UNIT_TESTS:
        for test in loaded(path)["tests"]:
            for case in test.get("alert_rule_test", ()):
                yield case["alertname"], bool(case["exp_alerts"]), case


# Checks and unit tests of promtool


def test_promtool_finds_no_fault(promtool: Path) -> None:
    """The rules pass promtool with every lint on and fatal."""
    check: list[str | Path] = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULES]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_pass_their_unit_tests(promtool: Path, path: Path) -> None:
    """Alerts fire with the expected labels and texts; restarts, gaps and backfilled history keep them silent."""
    run = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@every_alert
def test_each_alert_has_firing_and_silent_cases(alert: str) -> None:
    """The unit tests have both kinds of case, and a firing one asserts all labels and annotations."""
    cases = [(fires, test) for name, fires, test in unit_tests() if name == alert]
    assert {fires for fires, _ in cases} == {True, False}
    for fires, test in cases:
        for expected in test["exp_alerts"] if fires else ():
            assert expected["exp_labels"]["severity"] == ALERTS[alert]["labels"]["severity"]
            assert expected["exp_annotations"].keys() == ALERTS[alert]["annotations"].keys()


@every_alert
def test_a_silent_case_has_the_series_of_the_alert(alert: str) -> None:
    """A silent case of each alert has all of its families, so the alert isn't silent for lack of series."""
    needed = sample_names(ALERTS[alert]["expr"])
    assert any(
        needed <= {series["series"].partition("{")[0] for series in test["input_series"]}
        for path in UNIT_TESTS
        for test in loaded(path)["tests"]
        if any(each["alertname"] == alert and not each["exp_alerts"] for each in test.get("alert_rule_test", ()))
    )


def sample_names(expression: str) -> set[str]:
    """Return the sample names in an expression, with records replaced by the names in theirs."""
    names = {each.name for each in selected(expression)}
    return {found for name in names for found in (sample_names(RECORDS[name]) if name in RECORDS else {name})}


def test_unit_tests_are_about_alerts_that_exist() -> None:
    """The unit tests name every alert that exists and no others."""
    assert {name for name, _, _ in unit_tests()} == ALERTS.keys()


# Expressions and structure


@every_rule
def test_expressions_have_no_faults(rule: Rule) -> None:
    """Every expression uses the catalogue, rates its counters, sums within a currency, and suits Prometheus 2.42."""
    assert faults(rule["expr"], records=LABELS) == []
    assert mixed_currencies(rule["expr"]) == []


@every_rule
def test_windows_hold_four_scrapes(rule: Rule) -> None:
    """Every window covers four scrapes of a minute each: a rate needs two, and some scrapes fail."""
    units = {"m": 60, "h": 3600, "d": 86_400}
    windows = re.findall(r"\[(\d+)([mhd])\]", rule["expr"])
    assert [window for window in windows if int(window[0]) * units[window[1]] < LEAST_WINDOW_SECONDS] == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rule_files_suit_prometheus_2_42(path: Path) -> None:
    """Rule files have no key that is newer than Prometheus 2.42, whose groups lack labels and offset."""
    for group in loaded(path)["groups"]:
        assert group.keys() == {"name", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= {"record", "alert", "expr", "for", "labels", "annotations"}


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_named_by_level_metric_and_operations(record: str) -> None:
    """The name of a record has three parts: the labels of its level, the metric, the operations."""
    assert re.fullmatch(r"[a-z_]+:telnyx_[a-z_]+:[a-z0-9_]+", record)


def test_records_precede_their_users() -> None:
    """Each file has one group, evaluated at one time, and uses only records that it defined before."""
    for path in RULES:
        assert len(loaded(path)["groups"]) == 1
        known: set[str] = set()
        for rule in rules(path):
            assert {name for name in RECORDS if name in rule["expr"]} <= known
            known.add(rule.get("record", ""))


# Texts and runbooks


@every_alert
def test_each_alert_has_severity_and_texts(alert: str) -> None:
    """An alert is named Telnyx... in camel case and has a severity, a summary, a description and a runbook."""
    rule = ALERTS[alert]
    assert re.fullmatch(r"Telnyx([A-Z][a-z]+)+", alert)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")


@every_alert
def test_texts_use_only_labels_of_the_alert(alert: str) -> None:
    """Each label in a text is on every alert that fires in a unit test, so no text has a gap."""
    rule = ALERTS[alert]
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    fired = [expected for name, _, test in unit_tests() if name == alert for expected in test["exp_alerts"]]
    assert all(named <= expected["exp_labels"].keys() for expected in fired)


def test_names_stay() -> None:
    """The names of alerts never change, since users' silences and routes contain them."""
    assert {alert.removeprefix("Telnyx") for alert in ALERTS} == NAMES


def test_runbooks_have_one_base() -> None:
    """All runbook links start with one base URL, which the `sed` command in the README replaces."""
    base = "https://telnyx-session-exporter.example/"
    urls = {alert: rule["annotations"]["runbook_url"] for alert, rule in ALERTS.items()}
    assert {url.removesuffix(f"{alert}.md") for alert, url in urls.items()} == {f"{base}docs/runbooks/"}
    assert f"sed -i 's#{base}#" in (TOP / "README.md").read_text()


@every_alert
def test_each_alert_has_a_runbook(alert: str) -> None:
    """The runbook of an alert has its name as title and the four sections in order, none of them empty."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"(?m)^## (.+)$", text) == HEADINGS
    assert all(part.strip() for part in re.split(r"(?m)^## .+$", text)[1:])


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_each_runbook_is_valid(path: Path) -> None:
    """A runbook belongs to an alert; its queries have no faults, and its links lead to files."""
    assert path.stem in ALERTS
    text = path.read_text()
    for query in re.findall(r"(?ms)^```promql\n(.*?)^```$", text):
        assert faults(query, exact=True, records=LABELS) == []
        assert mixed_currencies(query) == []
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
