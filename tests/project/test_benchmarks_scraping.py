"""The benchmarks of scrapes run, on next to nothing; how fast anything is, no test says."""

from pathlib import Path

import pytest

from benchmarks import rendering, scrapes, webhooks
from benchmarks.machine import machine

pytestmark = pytest.mark.slow


def columns(line: str) -> int:
    return line.count(" | ")


def test_machine() -> None:
    """The line that names the machine tells cores, Python and kernel."""
    assert " cores, Python 3." in machine()


def test_rendering() -> None:
    """Each format is rendered with nothing, a little and all changed, by everybody who is installed."""
    lines = rendering.report([100], scrapes=0)
    head, rows = lines[4], lines[6:]
    assert lines[0].startswith("### ")
    assert len(rows) == len(rendering.WAYS) * len(rendering.SHARES)
    assert {columns(row) for row in rows} == {columns(head)}


def test_scrapes(nginx: Path) -> None:
    """Both stacks poll and are scraped in both ways; each of the exporter's loops was watched."""
    assert nginx
    size = scrapes.Size(lines=300, sessions=20, rounds=1, seconds=0.3, reloads=1)
    lines = scrapes.report(size)
    assert [line.split(" | ")[2] for line in lines if line.startswith("| 300 ")] == ["obvious", "exporter"] * 2
    assert {line.split(" | ")[0] for line in lines[-3:]} == {"| MainThread", "| web", "| garbage"}


def test_webhooks() -> None:
    """All webhooks are taken while sessions are polled, and scrapes are timed without and with them."""
    lines = webhooks.report(webhooks.Load(seconds=0.5, per_second=20, sessions=20))
    assert [line.split(" | ")[0] for line in lines[-3:]] == ["| scrapes", "| scrapes", "| webhooks"]
    assert "10 x 204" in lines[-1]
