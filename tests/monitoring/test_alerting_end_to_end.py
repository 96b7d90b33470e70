"""Simulator, exporter, Prometheus, Alertmanager and receiver together: overspending leads to notifications."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from exporter.config import Budget, Threshold
from simulator import SimulatorSettings, running
from tests.metrics.test_zero_start_in_prometheus import free_ports
from tests.monitoring.test_rules import ALERTS, RULES
from tests.support.alerting import Receiver, alertmanager
from tests.support.exporting import config, exporting
from tests.support.programs import serving

EXPECTED = {
    "TelnyxBudgetExceeded": {"budget": "voice", "currency": "USD", "severity": "critical"},
    "TelnyxBudgetBurnFast": {"budget": "voice", "currency": "USD", "severity": "critical"},
    "TelnyxSessionOverThreshold": {"account": "main", "threshold": "runaway", "session_kind": "ai"},
}

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: {rules}
alerting:
  alertmanagers:
  - static_configs: [{{targets: ["{alertmanager}"]}}]
scrape_configs:
- job_name: telnyx
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def test_overspending_is_notified(tmp_path: Path, prometheus: Path, alertmanager_program: Path) -> None:
    """Two hours of calls that cost more than the day's budget lead to three alerts with labels, texts and runbook."""
    exporter_port, port = free_ports()
    world = SimulatorSettings(speed=0.0, sessions_per_hour=60, seed=4)
    with (
        running(world, time.monotonic) as simulated,
        Receiver().listening() as receiver,
        alertmanager(alertmanager_program, tmp_path, receiver.url) as manager,
    ):
        (tmp_path / "prometheus.yml").write_text(
            CONFIG.format(
                rules=[str(path) for path in RULES], alertmanager=manager.removeprefix("http://"), port=exporter_port
            )
        )
        plain = config(simulated, tmp_path)
        settings = replace(
            plain,
            metrics=replace(
                plain.metrics,
                new_series_zero_seconds=3.0,
                thresholds=(Threshold(name="runaway", cost=Decimal("0.05")),),
            ),
            budgets=(Budget(name="voice", amount=Decimal("0.5"), window="day"),),
        )
        command = [
            str(prometheus),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--rules.alert.resend-delay=5s",
        ]

        async def overspend() -> None:
            async with exporting(settings, simulated, port=exporter_port) as exporter:
                with serving(command, tmp_path / "prometheus.log", port):
                    simulated.clock.step(2 * 3600.0)
                    await exporter.follow_started()

                    async def arrived() -> bool:
                        return all(receiver.alerts(name) for name in EXPECTED)

                    await exporter.until(arrived)

        asyncio.run(overspend())
    for name, labels in EXPECTED.items():
        path, alert = receiver.alerts(name)[0]
        assert (path, alert["status"]) == ("/on-call", "firing")
        assert alert["labels"].items() >= labels.items()
        assert not alert["labels"].keys() & {"instance", "pod"}
        assert alert["annotations"]["runbook_url"] == ALERTS[name]["annotations"]["runbook_url"]
        assert "{{" not in alert["annotations"]["summary"] + alert["annotations"]["description"]
