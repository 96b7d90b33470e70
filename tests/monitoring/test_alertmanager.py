"""The example configuration of Alertmanager: its syntax, routes and inhibitions."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from tests.monitoring.test_rules import ALERTS
from tests.support.alerting import EXAMPLE, alertmanager
from tools.generate_docs import TOP

RECEIVERS = {"critical": "on-call", "warning": "team", "info": "nobody"}
PAGE = (TOP / "docs" / "alertmanager.md").read_text()

LATE = {"TelnyxCatchingUp", "TelnyxPollsLagging", "TelnyxBacklog"}
BY_RATE_OF_SPEND = {
    *("TelnyxBudgetBurnFast", "TelnyxBudgetBurnSlow", "TelnyxBudgetWillBeExceeded"),
    *("TelnyxSpendAboveLastWeek", "TelnyxInferenceCostPerTurnJumped"),
}


def test_amtool_accepts_it(amtool: Path) -> None:
    """The example configuration passes amtool's check."""
    check = subprocess.run([amtool, "check-config", EXAMPLE], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_goes_to_the_receiver_of_its_severity(amtool: Path, alert: str) -> None:
    """An alert goes to the receiver of its severity and to no other."""
    severity = ALERTS[alert]["labels"]["severity"]
    command: list[str | Path] = [amtool, "config", "routes", "test", f"--config.file={EXAMPLE}"]
    routed = [f"--verify.receivers={RECEIVERS[severity]}", f"alertname={alert}", f"severity={severity}"]
    run = subprocess.run([*command, *routed], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_names_alerts_that_exist() -> None:
    """The example and its page name only alerts that exist, since an inhibition of a renamed alert has no effect."""
    named = set(re.findall(r"Telnyx[A-Z]\w+", EXAMPLE.read_text() + PAGE))
    assert named <= ALERTS.keys()
    assert {*LATE, *BY_RATE_OF_SPEND} <= named


def test_the_page_lists_the_receivers() -> None:
    """The page names each receiver of the example."""
    receivers = {receiver["name"] for receiver in yaml.safe_load(EXAMPLE.read_text())["receivers"]}
    assert {name for name in receivers if f"`{name}`" in PAGE} == receivers == set(RECEIVERS.values())


@pytest.mark.parametrize(
    ("cause", "held_back", "labels"),
    [
        ("TelnyxCatchingUp", "TelnyxBudgetBurnFast", {}),
        ("TelnyxPollsLagging", "TelnyxSpendAboveLastWeek", {}),
        ("TelnyxBacklog", "TelnyxInferenceCostPerTurnJumped", {}),
        ("TelnyxKeyRefused", "TelnyxApiDown", {"account": "main"}),
        ("TelnyxBudgetExceeded", "TelnyxBudgetWillBeExceeded", {"budget": "everything", "currency": "USD"}),
    ],
)
def test_a_cause_inhibits_its_consequence(
    tmp_path: Path, alertmanager_program: Path, cause: str, held_back: str, labels: dict[str, str]
) -> None:
    """An alert inhibits its consequence in the same job only, and no other alert."""
    consequence = {"alertname": held_back, "account": "main", **labels}
    alerts = [
        {"alertname": cause, "job": "telnyx", **labels},
        {**consequence, "job": "telnyx"},
        {**consequence, "job": "telnyx-elsewhere"},
        {"alertname": "TelnyxSessionOverThreshold", "job": "telnyx"},
    ]
    with alertmanager(alertmanager_program, tmp_path, "http://127.0.0.1:9") as origin:
        posted = httpx.post(f"{origin}/api/v2/alerts", json=[{"labels": alert} for alert in alerts])
        assert posted.is_success, posted.text
        shown = httpx.get(f"{origin}/api/v2/alerts").json()
    held = [(alert["labels"]["alertname"], alert["labels"]["job"]) for alert in shown if alert["status"]["inhibitedBy"]]
    assert (len(shown), held) == (len(alerts), [(held_back, "telnyx")])
