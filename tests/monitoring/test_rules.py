"""Rules and alerts: what promtool says of them, what each alert owes its reader, and that each was seen to fire."""

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
    *("EventsSettledUnpriced", "ReconciliationFailures", "NoSessionsDiscovered", "DetailRecordCoverageDropped"),
    *("ExporterDown", "ExporterReplicaDown", "LedgerFailing", "ReloadFailed", "SeriesLimitHit", "LabelValuesFolded"),
    *("KeyRefused", "ApiDown", "ApiFailing", "Throttled", "DiscoveryStalled"),
    *("CatchingUp", "PollsLagging", "Backlog"),
}

Rule = dict[str, Any]


@cache
def loaded(path: Path) -> Any:
    """Return what the YAML file holds; reading one takes as long as a hundred of the tests that ask for it."""
    return yaml.safe_load(path.read_text())


def rules(path: Path) -> list[Rule]:
    """All rules of a file, in their order."""
    return [rule for group in loaded(path)["groups"] for rule in group["rules"]]


EVERY_RULE = [rule for path in RULES for rule in rules(path)]
ALERTS: dict[str, Rule] = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
RECORDS: dict[str, str] = {rule["record"]: rule["expr"] for rule in EVERY_RULE if "record" in rule}
LABELS: dict[str, tuple[str, ...]] = {
    "up": ("instance", "job"),
    **{name: tuple(name.split(":")[0].split("_")) for name in RECORDS},
}
"""Labels of what is no family of the catalogue; a record's level says its own."""

every_alert = pytest.mark.parametrize("alert", ALERTS)
every_rule = pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.get("alert") or rule["record"])


def unit_tests() -> Iterator[tuple[str, bool, Rule]]:
    """Each question of the unit tests about an alert: its name, whether it is to fire, and what is expected."""
    for path in UNIT_TESTS:
        for test in loaded(path)["tests"]:
            for asked in test.get("alert_rule_test", ()):
                yield asked["alertname"], bool(asked["exp_alerts"]), asked


# What promtool says


def test_promtool_has_nothing_to_say(promtool: Path) -> None:
    """Every lint is on, and fatal."""
    check: list[str | Path] = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULES]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_each_alert_does_as_it_says(promtool: Path, path: Path) -> None:
    """It fires with these labels and words, and is silent at restarts, in gaps, and when history appears."""
    run = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@every_alert
def test_each_alert_was_seen_to_fire_and_to_be_silent(alert: str) -> None:
    """The unit tests have both kinds of case, and a firing one asserts the labels and all that is read."""
    asked = [(fires, test) for name, fires, test in unit_tests() if name == alert]
    assert {fires for fires, _ in asked} == {True, False}
    for fires, test in asked:
        for expected in test["exp_alerts"] if fires else ():
            assert expected["exp_labels"]["severity"] == ALERTS[alert]["labels"]["severity"]
            assert expected["exp_annotations"].keys() == ALERTS[alert]["annotations"].keys()


@every_alert
def test_a_silent_case_has_what_the_alert_asks_for(alert: str) -> None:
    """Silence for want of series would say nothing: at one of its silent moments all of its families are there."""
    asked = sample_names(ALERTS[alert]["expr"])
    assert any(
        asked <= {series["series"].partition("{")[0] for series in test["input_series"]}
        for path in UNIT_TESTS
        for test in loaded(path)["tests"]
        if any(each["alertname"] == alert and not each["exp_alerts"] for each in test.get("alert_rule_test", ()))
    )


def sample_names(expression: str) -> set[str]:
    """What an expression selects, and what the records in it select."""
    names = {each.name for each in selected(expression)}
    return {found for name in names for found in (sample_names(RECORDS[name]) if name in RECORDS else {name})}


def test_unit_tests_are_about_alerts_that_exist() -> None:
    """An alert that was renamed would be silent for ever."""
    assert {name for name, _, _ in unit_tests()} == ALERTS.keys()


# What they are made of


@every_rule
def test_expressions_keep_the_laws(rule: Rule) -> None:
    """Families and labels of the catalogue, counters under a rate, no currencies added up, nothing too new."""
    assert faults(rule["expr"], records=LABELS) == []
    assert mixed_currencies(rule["expr"]) == []


@every_rule
def test_windows_hold_four_scrapes(rule: Rule) -> None:
    """Of a minute each: a rate needs two, and some fail."""
    units = {"m": 60, "h": 3600, "d": 86_400}
    windows = re.findall(r"\[(\d+)([mhd])\]", rule["expr"])
    assert [window for window in windows if int(window[0]) * units[window[1]] < LEAST_WINDOW_SECONDS] == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_are_written_in_words_that_prometheus_has(path: Path) -> None:
    """No key that came after 2.42, whichever promtool is at hand: groups had no labels and no offset then."""
    for group in loaded(path)["groups"]:
        assert group.keys() == {"name", "rules"}
        for rule in group["rules"]:
            assert rule.keys() <= {"record", "alert", "expr", "for", "labels", "annotations"}


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_named_by_level_metric_and_operations(record: str) -> None:
    """Three parts, and the level is made of labels."""
    assert re.fullmatch(r"[a-z_]+:telnyx_[a-z_]+:[a-z0-9_]+", record)


def test_records_stand_before_what_uses_them() -> None:
    """In one group, so that all is of one moment; a file can be had alone."""
    for path in RULES:
        assert len(loaded(path)["groups"]) == 1
        known: set[str] = set()
        for rule in rules(path):
            assert {name for name in RECORDS if name in rule["expr"]} <= known
            known.add(rule.get("record", ""))


# What they owe the reader


@every_alert
def test_each_alert_says_what_is_wrong(alert: str) -> None:
    """A severity, a summary, a description, and no more; one prefix, in camel case."""
    rule = ALERTS[alert]
    assert re.fullmatch(r"Telnyx([A-Z][a-z]+)+", alert)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")


@every_alert
def test_its_words_name_labels_that_it_has(alert: str) -> None:
    """Each label of a template is one of every alert that a unit test saw; another would leave a hole in the text."""
    rule = ALERTS[alert]
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    fired = [expected for name, _, test in unit_tests() if name == alert for expected in test["exp_alerts"]]
    assert all(named <= expected["exp_labels"].keys() for expected in fired)


def test_names_stay() -> None:
    """People's silences and routes go by them; one that is taken away must be missed."""
    assert {alert.removeprefix("Telnyx") for alert in ALERTS} == NAMES


def test_runbooks_have_one_base() -> None:
    """So that one `sed` puts another in its place, the one in the README."""
    base = "https://telnyx-session-exporter.example/"
    urls = {alert: rule["annotations"]["runbook_url"] for alert, rule in ALERTS.items()}
    assert {url.removesuffix(f"{alert}.md") for alert, url in urls.items()} == {f"{base}docs/runbooks/"}
    assert f"sed -i 's#{base}#" in (TOP / "README.md").read_text()


@every_alert
def test_each_alert_has_a_runbook(alert: str) -> None:
    """It is headed by its name, and has the four headings, in order, none of them empty."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"(?m)^## (.+)$", text) == HEADINGS
    assert all(part.strip() for part in re.split(r"(?m)^## .+$", text)[1:])


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_each_runbook_is_of_use(path: Path) -> None:
    """It belongs to an alert; its queries keep the laws, and its links lead somewhere."""
    assert path.stem in ALERTS
    text = path.read_text()
    for query in re.findall(r"(?ms)^```promql\n(.*?)^```$", text):
        assert faults(query, exact=True, records=LABELS) == []
        assert mixed_currencies(query) == []
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
