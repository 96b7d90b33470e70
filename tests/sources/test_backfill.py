"""An initial backfill under the API's quotas, killed on the way: complete, exact, and never an increase."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from msgspec import Struct

from simulator import Running, SimulatorSettings, running
from tests.sources.test_detail_records import totals
from tests.support.clocks import ScaledClock
from tests.support.exporting import SCRAPER, Samples, net, read, same, visible

HOUR = 3600.0
FULL = os.environ.get("FULL") == "1"
SESSIONS = 5000 if FULL else 200
FACTOR = 100.0
LISTS, TREES = 40, 60
"""Requests per minute."""
PATIENCE_SECONDS = 1800.0 if FULL else 120.0
SETTLED = 8 * HOUR
"""All is rated so long before the exporter starts, so nothing changes while it works."""
WORLD = SimulatorSettings(
    speed=FACTOR,
    history_seconds=23 * HOUR,
    sessions_per_hour=SESSIONS / 12,
    sessions_max=SESSIONS,
    quotas={"detail_records": LISTS, "session": TREES},
)


class Backfill(Struct):
    """The pages of an exporter over all its lives."""

    url: str
    command: list[str]
    log: Path
    read_shares: list[float] = []
    polled: list[float] = []
    first: Samples = {}
    """The first page with totals."""
    last: Samples = {}

    async def live(self, http: httpx.AsyncClient, enough: Callable[[], bool]) -> asyncio.subprocess.Process:
        """Start the exporter, and scrape it until `enough`."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(*self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not enough():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            assert process.returncode is None, self.log.read_text()[-3000:]
            await self.scrape(http)
            await asyncio.sleep(0.02)
        return process

    async def scrape(self, http: httpx.AsyncClient) -> None:
        try:
            page = await http.get(f"{self.url}/metrics", headers=SCRAPER)
            ready = await http.get(f"{self.url}/-/ready")
        except httpx.TransportError:
            return
        if page.status_code != httpx.codes.OK:
            return
        samples = read(page.text)
        share = samples.get(("telnyx_backfill_records_ratio", (("account", "main"),)))
        polled = samples.get(("telnyx_backfill_sessions", (("state", "polled"),)))
        if totals(samples):
            self.first = self.first or samples
            self.last = samples
        elif share is not None and polled is not None and ready.status_code == httpx.codes.OK:
            self.read_shares.append(float(share))
            self.polled.append(float(polled))


def configured(simulated: Running, folder: Path) -> Path:
    path = folder / "config.yaml"
    account = {"name": "main", "base_url": simulated.url, "api_key_env": "BACKFILL_TEST_KEY"}
    settings = {
        "accounts": [account | {"requests_per_second": TREES / 60, "balance_interval_seconds": 0}],
        "polling": {"scheduler_interval_seconds": 0.05},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.sqlite'}"},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
@pytest.mark.timeout(60 + PATIENCE_SECONDS)
def test_a_killed_backfill_resumes_and_is_history(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it reads records and while it polls sessions; quotas hold, and progress is seen all along."""
    monkeypatch.setenv("BACKFILL_TEST_KEY", WORLD.api_key)
    since = time.monotonic()
    clock = ScaledClock(FACTOR, WORLD.start, since)
    with running(WORLD, time.monotonic, wall=clock.now) as simulated:
        program = [sys.executable, "-m", "tests.support.scaled_exporter", str(configured(simulated, tmp_path))]
        times = [str(free_port), str(FACTOR), str(WORLD.start), str(since)]
        backfill = Backfill(f"http://127.0.0.1:{free_port}", [*program, *times], tmp_path / "exporter.log")

        async def play() -> None:
            moments: tuple[Callable[[], bool], ...] = (
                lambda: any(0 < share < 1 for share in backfill.read_shares),
                lambda: any(polled > SESSIONS / 3 for polled in backfill.polled),
                lambda: bool(backfill.first),
            )
            async with httpx.AsyncClient(timeout=30) as http:
                for killed, enough in enumerate(moments, 1):
                    process = await backfill.live(http, enough)
                    if killed == len(moments):
                        for _ in range(5):
                            await backfill.scrape(http)
                    process.send_signal(signal.SIGKILL)
                    await process.wait()

        asyncio.run(play())
        roots, sums = visible(simulated, lambda ref: ref.detail_records)
    assert len(roots) > SESSIONS / 2
    assert same(net(backfill.first), sums)
    counters = {key: value for key, value in backfill.first.items() if key[0] == "telnyx_cost_total"}
    assert {key: backfill.last[key] for key in counters} == counters
    assert len(set(backfill.read_shares)) > 3
    assert len(set(backfill.polled)) > 5
    lists, trees = simulated.quotas["detail_records"], simulated.quotas["session"]
    assert (lists.refused, lists.busiest_minute <= LISTS) == (0, True)
    assert trees.refused <= len(roots) / 100  # polls leave at the very rate of the quota
