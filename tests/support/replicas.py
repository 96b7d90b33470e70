"""Run replicas: exporter processes that share one ledger, which a test kills, suspends and starts again.

Every round of scrapes checks two rules: at most one replica exposes the ledger, and no counter of the ledger is below
a value that any replica has shown before.
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
"""A family on every page that exposes the ledger."""


class Replica:
    """One exporter on one port, across restarts of its process."""

    def __init__(self, config: Path, port: int) -> None:
        self._command = [sys.executable, "-m", "exporter", "run", f"--config.file={config}", "--log.level=info"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]
        self.origin = f"http://127.0.0.1:{port}"
        self._log = config.with_name(f"exporter-{port}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.suspended = False
        """True between SIGSTOP and SIGCONT: the process answers no request."""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait for the end of the process."""
        self.send_signal(number)
        self.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """Wait for the end of the process; resume it first if it is suspended."""
        assert self._process is not None
        if self.suspended:
            self.resume()
        self._process.wait()

    def suspend(self) -> None:
        """Stop the process without ending it, like a suspended machine; return once it has stopped."""
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
    """All replicas, with the scraper that checks them."""

    def __init__(self, config: Path, ports: list[int]) -> None:
        self.members = [Replica(config, port) for port in ports]
        self._http = httpx.Client(timeout=5)
        self.last: Samples = {}
        """The last value of every series of the ledger, from any replica."""
        self.exposed = 0
        """Number of rounds in which a replica exposed the ledger."""
        self.rounds = 0

    def scrape(self) -> None:
        """Scrape all replicas but suspended ones in turn, and check the rules."""
        scraped = [replica for replica in self.members if not replica.suspended]
        pages = [page for replica in scraped if (page := self._page(replica)) is not None]
        exposing = [page for page in pages if any(name == MARK for name, _ in page)]
        assert len(exposing) <= 1, "two replicas exposed the ledger"
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
        """End all replicas at once; fail if one had ended before."""
        self._http.close()
        ended = [replica for replica in self.members if not replica.alive]
        for replica in self.members:
            if replica.alive:
                replica.send_signal(signal.SIGTERM)
        for replica in self.members:
            replica.wait()
        assert not ended, ended[0].log()


def write_config(simulated: Running, folder: Path, url: str, **changes: Any) -> Path:
    """Write the configuration of replicas that poll the simulator in real time; return its path."""
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
        # Simulated sessions are months old, and none of them may be pruned.
        "ledger": {"url": url, "exposition_handover_seconds": 3, "lease_seconds": 10, "retention_days": 3650},
    } | changes
    os.environ["FLEET_TEST_KEY"] = simulated.api_key
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
