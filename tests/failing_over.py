"""Several exporters as processes that share a PostgreSQL, looked at as Prometheus would: all of them, again and again.

Owns how replicas are started, killed and scraped, and what no scrape may ever show: the ledger's totals on two of them,
or a counter that fell. The surprising fact: a scrape of all is no moment but a while, so a takeover between two answers
would be no fault; the wait before it is much longer than that.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.simulator import Running
from tests.exporting import SCRAPER, Samples, net, read, same, stated
from tests.postgres import free_port
from tests.test_crash import COUNTERS, settled

KEY_VARIABLE = "FLEET_TEST_KEY"
PATIENCE_SECONDS = 120.0
SCRAPE_SECONDS = 0.2
TAKEOVER_SECONDS = 2.0
"""Much longer than between two scrapes."""


class Replica:
    """One exporter; its configuration is the fleet's."""

    def __init__(self, config: Path, log: Path, key: str) -> None:
        self._environ = os.environ | {KEY_VARIABLE: key}
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        self._log = log
        self._command = [sys.executable, "-m", "exporter", "run", f"--config.file={config}", "--log.level=warn"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}"]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, env=self._environ
            )

    async def kill(self, signum: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        return await self.process.wait()

    def log(self) -> str:
        return self._log.read_text()


class Fleet:
    """The replicas, and all that was ever scraped of them."""

    def __init__(self, replicas: Sequence[Replica], http: httpx.AsyncClient) -> None:
        self.replicas = replicas
        self._http = http
        self.shown: Samples = {}
        """What the last replica that showed the ledger's totals had."""
        self.scrapes = 0

    async def scrape(self) -> bool:
        """Scrape all; whether the ledger's totals were on one of them. On two they may never be, nor fall."""
        pages = [samples for replica in self.replicas if (samples := await self._page(replica)) is not None]
        showing = [samples for samples in pages if any(name in COUNTERS for name, _ in samples)]
        assert len(showing) <= 1, f"scrape {self.scrapes}: {len(showing)} replicas show the totals\n{self.log()}"
        self.scrapes += 1
        if showing:
            self._rises(showing[0])
            self.shown = showing[0]
        return bool(showing)

    def _rises(self, samples: Samples) -> None:
        fallen = {
            key: (known, samples.get(key))
            for key, known in self.shown.items()
            if key[0] in COUNTERS and samples.get(key, Decimal(-1)) < known
        }
        assert not fallen, f"scrape {self.scrapes}: {fallen}"

    async def _page(self, replica: Replica) -> Samples | None:
        try:
            page = await self._http.get(f"{replica.origin}/metrics", headers=SCRAPER)
        except httpx.TransportError:
            return None
        return read(page.text) if page.status_code == httpx.codes.OK else None

    async def ready(self, replica: Replica) -> bool:
        try:
            return (await self._http.get(f"{replica.origin}/-/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def counted(self, name: str) -> Decimal:
        """The sum of a counter as it was last shown."""
        return sum((value for (sample, _), value in self.shown.items() if sample == name), Decimal(0))

    def log(self) -> str:
        return "\n".join(replica.log()[-5000:] for replica in self.replicas)


def write_config(path: Path, url: str, simulated: Running) -> None:
    """For every replica the same: all sessions are configured, at the pace of a world in which hours are seconds."""
    account = {"name": "main", "base_url": simulated.url, "api_key_env": KEY_VARIABLE, "requests_per_second": 1000}
    config = {
        "accounts": [account | {"max_in_flight": 20, "balance_interval_seconds": 0}],
        "discovery": {"detail_records": {"record_types": []}},
        "sessions": [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()],
        "polling": {
            "tick_seconds": 0.05,
            "timeout_seconds": 2,
            "attempts_max": 2,
            "min_interval_seconds": 1,
            "max_interval_seconds": 2,
            "settle_after_seconds": 6,
            "recheck_after_seconds": [float(seconds) for seconds in range(5, 105, 5)],
            "configured_recheck_seconds": 5,
        },
        "metrics": {"birth_seconds": 0.5},
        "ledger": {"url": url, "lease_seconds": 5, "takeover_seconds": TAKEOVER_SECONDS},
    }
    path.write_text(yaml.safe_dump(config))


async def until_scraped(fleet: Fleet, condition: Callable[[], bool]) -> None:
    """Scrape until what was scraped is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, fleet.log()
        await fleet.scrape()
        await asyncio.sleep(SCRAPE_SECONDS)


async def until_exact(fleet: Fleet, truth: dict[str, Any]) -> None:
    """The truth stands still now: every session comes to rest, every series is born, and what is shown is exact."""

    def exact() -> bool:
        return settled(fleet.shown) and same(net(fleet.shown), stated(truth))

    await until_scraped(fleet, lambda: settled(fleet.shown))
    await until_scraped(fleet, exact)
    assert fleet.counted("telnyx_events_total") == truth["events"]
    assert fleet.counted("telnyx_inference_turns_total") == truth["inference_turns"]
    assert fleet.counted("telnyx_session_events_count") == fleet.counted("telnyx_sessions_settled_total")
