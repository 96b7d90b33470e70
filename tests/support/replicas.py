"""Exporters as processes that share one ledger, killed and started again, and everything that was ever scraped of them.

Owns the processes and the rules that hold for each scrape of all of them together: at most one exposes the ledger, and
no counter of the ledger is ever below what any of them has shown before.
"""

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.core.catalog import FAMILIES
from simulator import Running
from tests.support.exporting import SCRAPER, Samples, read

COUNTERS = tuple(
    suffix
    for family in FAMILIES
    if family.home == "ledger" and family.kind != "gauge"
    for suffix in ([family.name] if family.kind == "counter" else [f"{family.name}_bucket", f"{family.name}_count"])
)
MARK = "telnyx_sessions"
"""A family that every page with the ledger has."""


class Replica:
    """One exporter, over all its lives."""

    def __init__(self, config: Path, port: int) -> None:
        self._command = [sys.executable, "-m", "exporter", "run", f"--config.file={config}", "--log.level=info"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]
        self.origin = f"http://127.0.0.1:{port}"
        self._log = config.with_name(f"exporter-{port}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.suspended = False
        """Stopped, and not yet continued: it answers nobody."""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> None:
        """Returns when it is gone."""
        self.send_signal(number)
        self.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """Until it is gone."""
        assert self._process is not None
        if self.suspended:
            self.resume()
        self._process.wait()

    def suspend(self) -> None:
        """As a process does whose machine is suspended; returns when it does nothing any more."""
        assert self._process is not None
        self.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
        self.suspended = True

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)
        self.suspended = False

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self.alive, self.log()
        self._process.send_signal(number)

    def log(self) -> str:
        return self._log.read_text()[-5000:]


class ReplicaSet:
    """All replicas, and who scrapes them."""

    def __init__(self, config: Path, ports: list[int]) -> None:
        self.members = [Replica(config, port) for port in ports]
        self._http = httpx.Client(timeout=5)
        self.last: Samples = {}
        """The last value of every series of the ledger, whoever showed it."""
        self.exposed = 0
        """Rounds in which one exposed the ledger."""
        self.rounds = 0

    def scrape(self) -> None:
        """All of them in turn, as Prometheus does within one interval; who stands still gives no answer."""
        asked = [replica for replica in self.members if not replica.suspended]
        pages = [page for replica in asked if (page := self._page(replica)) is not None]
        exposing = [page for page in pages if any(name == MARK for name, _ in page)]
        assert len(exposing) <= 1, "two exposed the ledger"
        self.rounds += 1
        for page in exposing:
            self.exposed += 1
            known = {key: value for key, value in self.last.items() if key[0] in COUNTERS}
            fallen = {key: (value, page.get(key)) for key, value in known.items() if page.get(key, Decimal(-1)) < value}
            assert not fallen, fallen
            self.last = {key: value for key, value in page.items() if key[0] != "telnyx_exporter_build_info"}

    def _page(self, replica: Replica) -> Samples | None:
        try:
            page = self._http.get(f"{replica.origin}/metrics", headers=SCRAPER)
        except httpx.TransportError:
            return None
        return read(page.text) if page.status_code == httpx.codes.OK else None

    def log(self) -> str:
        return "\n".join(replica.log() for replica in self.members)

    def end(self) -> None:
        """All at once; one that is gone already should not be."""
        self._http.close()
        ended = [replica for replica in self.members if not replica.alive]
        for replica in self.members:
            if replica.alive:
                replica.send_signal(signal.SIGTERM)
        for replica in self.members:
            replica.wait()
        assert not ended, ended[0].log()


def write_config(simulated: Running, folder: Path, url: str, **changes: Any) -> Path:
    """Exporters of the simulator at a pace for real time."""
    config = {
        "accounts": [
            {
                "name": "main",
                "base_url": simulated.url,
                "api_key_env": "FLEET_TEST_KEY",
                "requests_per_second": 1000,
                "max_in_flight": 20,
                "balance_interval_seconds": 0,
            }
        ],
        "discovery": {"detail_records": {"record_types": []}},
        "metrics": {"new_series_zero_seconds": 0.5},
        # Simulated sessions are months old; none is to be forgotten.
        "ledger": {"url": url, "exposition_handover_seconds": 3, "lease_seconds": 10, "retention_days": 3650},
    } | changes
    os.environ["FLEET_TEST_KEY"] = simulated.api_key
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
