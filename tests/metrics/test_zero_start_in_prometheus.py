"""`increase()` and the exact query over series that start at zero, recover or are projected, in a real Prometheus."""

import asyncio
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from exporter.config import Label
from simulator import SimulatorSettings, running
from tests.metrics.test_prometheus import NET, query, ready, scraping
from tests.support.exporting import Exporting, config, exporting, same, stated

EXACT = "sum by (currency) (X) - (sum by (currency) (X offset 1h) or 0 * sum by (currency) (X))"
"""Spend of the last hour, of design and README."""

GROWN = "sum(max_over_time(telnyx_cost_total[10m]) - min_over_time(telnyx_cost_total[10m]))"
"""What increase() is before it extrapolates: up to a scrape at either end, which is much of a life of a few scrapes."""

CASES = {
    "zero start, then 5: the first cent counts": ("0 0 0 5x20", 5, 5),
    "no zero start: increase() never counts the 5": ("_ _ _ 5x20", 0, 5),
    "a restart is a gap: the 5 of before are not counted again": ("0 0 5 _ _ _ 5x20", 5, 5),
    "projected with 500 of history: none of it counts": ("_ _ _ _ _ _ 500x17", 0, 500),
}
"""The samples, one a minute; the results of increase() over 20 minutes and of the exact query, at minute 20."""


@pytest.mark.parametrize("case", CASES)
def test_increase_and_the_exact_query_by_promtool(tmp_path: Path, promtool: Path, case: str) -> None:
    """`promtool test rules` evaluates both over the samples of each case."""
    values, grown, exact = CASES[case]
    (tmp_path / "rules.yml").write_text("groups: []\n")
    expected = [{"labels": '{currency="USD"}', "value": exact}]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": 'X{currency="USD"}', "values": values}],
                "promql_expr_test": [
                    {
                        "expr": "sum by (currency) (round(increase(X[20m])))",
                        "eval_time": "20m",
                        "exp_samples": [{"labels": '{currency="USD"}', "value": grown}],
                    },
                    {"expr": EXACT, "eval_time": "20m", "exp_samples": expected},
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    run = subprocess.run(
        [promtool, "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_live_prometheus_sees_the_first_cent_and_no_history_twice(tmp_path: Path, prometheus: Path) -> None:
    """Book, restart with a new label under which all is projected, book again: increase() shows each cent once."""

    async def play() -> None:
        exporter_port, port = free_ports()
        with running(SimulatorSettings(speed=0.0, sessions_per_hour=30, seed=4), time.monotonic) as simulated:
            plain = config(simulated, tmp_path)
            before = replace(plain, metrics=replace(plain.metrics, new_series_zero_seconds=3.0))
            label = Label(name="connection", field="connection_name")
            after = replace(before, metrics=replace(before.metrics, labels=(label,)))
            async with scraping(prometheus, tmp_path, exporter_port, port) as origin:
                for settings in (before, after):
                    async with exporting(settings, simulated, port=exporter_port) as exporter:
                        await spend(exporter, origin)
                        booked = sum(stated(await exporter.truth()).values())
                        grown = await query(exporter.http, origin, GROWN)
                        assert round(sum(grown.values()), 6) == round(booked, 6)
                        increased = await query(exporter.http, origin, "sum(increase(telnyx_cost_total[10m]))")
                        assert sum(increased.values()) > booked  # by how little: test_increase_over_a_life.py
                        exact = await query(exporter.http, origin, EXACT.replace("X", "telnyx_cost_total"))
                        assert round(sum(exact.values()), 6) == round(booked, 6)

    asyncio.run(play())


async def spend(exporter: Exporting, origin: str) -> None:
    """Run two hours of sessions, until Prometheus has all booked money."""
    await exporter.until(lambda: ready(exporter.http, origin))
    exporter.simulated.clock.step(2 * 3600.0)
    await exporter.follow_started()
    truth = stated(await exporter.truth())

    async def scraped() -> bool:
        return same(await query(exporter.http, origin, NET), truth)

    await exporter.until(scraped)


def free_ports() -> tuple[int, int]:
    """Two loopback ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
