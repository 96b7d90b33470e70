"""Run real server programs for tests, above all a Prometheus with a recorded past, and query it.

It contains nothing about the exporter.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from tests.metrics.test_zero_start_in_prometheus import free_ports
from tests.support.waiting import until

Rows = list[dict[str, Any]]
"""Rows of a Prometheus answer: `metric` with `value`, or with `values`."""


@contextmanager
def serving(command: Sequence[str | Path], log: Path, port: int) -> Iterator[str]:
    """Run a program on a loopback port until the block ends; yield its origin once it is ready."""
    origin = f"http://127.0.0.1:{port}"
    with log.open("wb") as written, subprocess.Popen(command, stdout=written, stderr=written) as process:
        try:
            until(lambda: _ready(origin, process, log), log.read_text)
            yield origin
        finally:
            process.terminate()


def _ready(origin: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"{origin}/-/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def prometheus_of(program: Path, folder: Path, *, lookback: str) -> Iterator[str]:
    """Run a Prometheus that serves the blocks in `folder` and scrapes nothing; a sample is valid for `lookback`."""
    port, _ = free_ports()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    command: list[str | Path] = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--storage.tsdb.retention.time=100y",
        f"--query.lookback-delta={lookback}",
        "--web.cors.origin=.*",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with serving(command, folder / "prometheus.log", port) as origin:
        yield origin


def make_blocks(promtool: Path, scrapes: Path, folder: Path) -> None:
    """Turn scrapes, a file in the OpenMetrics format, into a block for a Prometheus in `folder`; deletes the file."""
    create: list[str | Path] = [promtool, "tsdb", "create-blocks-from", "openmetrics"]
    create += ["--max-block-duration=20000h"]  # promtool reads the whole file once for each block
    subprocess.run([*create, scrapes, folder / "tsdb"], check=True, capture_output=True)
    scrapes.unlink()  # 300 MB for the 35 days, and pytest keeps the folders of three runs


def linked(made: Path, folder: Path) -> Path:
    """Link the blocks of `made` into `folder`; return it. Each Prometheus needs a folder of its own, which it locks.

    Prometheus never changes the files of a block, so hard links are safe, and cost neither time nor disk space.
    """
    shutil.copytree(made / "tsdb", folder / "tsdb", copy_function=os.link)
    return folder


class Past(Struct):
    """A Prometheus with a recorded past, with the start and end of that past in Unix seconds."""

    origin: str
    start: int
    end: int
    seconds: dict[str, float] = {}
    """Seconds of real time that each step of the recording took."""
    lines: int = 0

    def query(self, expression: str, at: float | None = None) -> Rows:
        """Return the rows of an instant query, by default at the end of the past."""
        return self._ask("query", {"query": expression, "time": str(self.end if at is None else at)})

    def query_range(self, expression: str, start: float, end: float, step: float) -> Rows:
        """Return the rows of a range query."""
        return self._ask("query_range", {"query": expression, "start": str(start), "end": str(end), "step": str(step)})

    def _ask(self, endpoint: str, params: dict[str, str]) -> Rows:
        answer = httpx.post(f"{self.origin}/api/v1/{endpoint}", data=params, timeout=60).json()
        assert answer["status"] == "success", (params["query"], answer)
        rows: Rows = answer["data"]["result"]
        return rows
