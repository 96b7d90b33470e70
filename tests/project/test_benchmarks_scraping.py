"""The benchmarks of scrapes run, at the smallest size; no test asserts a speed."""

from pathlib import Path

import pytest

from benchmarks import rendering, scrapes, webhooks
from benchmarks.machine import machine

pytestmark = pytest.mark.slow


def columns(line: str) -> int:
    return line.count(" | ")


def test_machine() -> None:
    """The line about the machine has its cores and the version of Python."""
    assert " cores, Python 3." in machine()


def test_rendering() -> None:
    """Each renderer has a row per format and per share of changed series."""
    lines = rendering.report([100], scrapes=0)
    head, rows = lines[4], lines[6:]
    assert lines[0].startswith("### ")
    assert len(rows) == len(rendering.WAYS) * len(rendering.SHARES)
    assert {columns(row) for row in rows} == {columns(head)}


def test_scrapes(nginx: Path) -> None:
    """Both stacks are scraped in both ways, and the report has a row per loop of the exporter."""
    assert nginx
    size = scrapes.Size(lines=300, sessions=20, rounds=1, seconds=0.3, reloads=1)
    lines = scrapes.report(size)
    assert [line.split(" | ")[2] for line in lines if line.startswith("| 300 ")] == ["obvious", "exporter"] * 2
    assert {line.split(" | ")[0] for line in lines[-3:]} == {"| MainThread", "| web", "| garbage"}


def test_webhooks() -> None:
    """All webhooks are accepted during polling, and scrapes are timed without and with webhooks."""
    lines = webhooks.report(webhooks.Load(seconds=0.5, per_second=20, sessions=20))
    assert [line.split(" | ")[0] for line in lines[-3:]] == ["| scrapes", "| scrapes", "| webhooks"]
    assert "10 x 204" in lines[-1]
