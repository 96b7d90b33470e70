"""Run the real exporter as a process, and read its memory and CPU time from /proc and its polls from /metrics.

The exporter is started as an operator would start it, so all its background work is measured too.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path

from msgspec import Struct

from benchmarks.processes import Process, free_port, value

TOP = Path(__file__).parent.parent
KEY = "BENCH_API_KEY"
PATIENCE_SECONDS = 300.0
CHECK_SECONDS = 0.01
SCRAPER = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}
CONFIG = """\
accounts:
  - name: main
    base_url: http://127.0.0.1:{api}/v2
    api_key_env: {key}
    balance_interval_seconds: 0
    requests_per_second: {rate}
    max_in_flight: 20
discovery: {{detail_records: {{record_types: []}}}}
polling: {{min_interval_seconds: 1, max_interval_seconds: 1, settle_after_seconds: 2592000}}
ledger: {{url: "sqlite:///{ledger}"}}
"""


class Exporter(Struct, frozen=True):
    """A running exporter that is ready."""

    process: Process
    port: int
    ready_seconds: float
    """Seconds from exec until /-/ready answers 200."""

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all threads, user and system."""
        return self.process.cpu_seconds

    def resident(self, name: str = "VmRSS") -> int:
        """Return bytes of memory: VmRSS is resident now, VmHWM the peak, RssAnon the part that no file backs."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return 1024 * int(found[1])

    def proportional(self) -> int:
        """Return the proportional set size in bytes: a page shared by N processes counts 1/N."""
        found = re.search(r"(?m)^Pss:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/smaps_rollup").read_text())
        assert found is not None
        return 1024 * int(found[1])

    def page(self) -> str:
        return fetch(f"http://127.0.0.1:{self.port}/metrics")

    def sample(self, name: str) -> float:
        """Return the sum of the samples whose lines begin with `name`."""
        return value(self.page(), name)

    def wait_for_polls(self, more: int) -> None:
        """Wait until the exporter has finished `more` further polls."""
        until = self.sample("telnyx_polls_total{") + more
        wait(lambda: self.sample("telnyx_polls_total{") >= until, 0.25)


_COMPILED = tempfile.TemporaryDirectory(prefix="bench-compiled-")


@cache
def environment() -> Mapping[str, str]:
    """Return the exporter's environment; as in the image, all modules are compiled before it starts."""
    ours = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _COMPILED.name, "PYTHONPATH": str(TOP), KEY: "KEY"}
    environ = {**os.environ, **ours}
    subprocess.run([sys.executable, "-c", "import exporter.cli.run"], env=environ, check=True)
    return environ


@contextmanager
def exporter(ledger: Path, *, api: int, rate: int = 1000) -> Iterator[Exporter]:
    """Run the exporter on this ledger and yield it once it is ready; it polls live sessions every second."""
    config = ledger.with_suffix(".yaml")
    config.write_text(CONFIG.format(api=api, key=KEY, rate=rate, ledger=ledger))
    port = free_port()
    command = ["-m", "exporter", "run", "--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}"]
    environ = environment()
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *command, "--log.level", "error"], env=environ)
    try:
        wait(lambda: process.poll() is not None or answers(port), CHECK_SECONDS)
        yield Exporter(Process(process), port, time.monotonic() - began)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@contextmanager
def stand_in(day: date) -> Iterator[int]:
    """Run an API that knows every session, and yield its port."""
    command = [sys.executable, "-m", "benchmarks.stand_in", day.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=TOP) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        return bool(fetch(f"http://127.0.0.1:{port}/-/ready"))
    except OSError:
        return False


def fetch(url: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=SCRAPER), timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def wait(condition: Callable[[], bool], check_seconds: float) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was still false after {PATIENCE_SECONDS:.0f} s")
        time.sleep(check_seconds)
