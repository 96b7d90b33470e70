"""An initial backfill under the API's quotas, killed on the way: complete, exact, and never an increase."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import yaml
from msgspec import Struct
from msgspec.structs import replace

from exporter.core.model import SessionNotice, SessionRef
from exporter.ledger.sharing.leases import BACKFILL
from exporter.sources.discovery import PENDING
from simulator import Faults, Running, SimulatorSettings, running
from tests.ledger.test_ledger import opened
from tests.sources.test_detail_records import discovering, totals
from tests.support.clocks import ScaledClock
from tests.support.exporting import PLENTY, SCRAPER, Samples, exporting, net, read, same, visible

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


def pending(folder: Path, *notices: SessionNotice) -> None:
    """Make a ledger whose backfill is not finished, with these sessions."""
    with closing(opened(folder / "ledger.sqlite")) as ledger:
        ledger.put_meta(BACKFILL, PENDING)
        ledger.report(notices, "webhooks", WORLD.start)


HELD_BY_NOBODY = {
    "a call in progress, which is due in a quarter of an hour": SessionRef("main", "call-session", "live"),
    "a session of an account that is no longer configured": SessionRef("removed", "message", "m"),
}


@pytest.mark.parametrize("session", HELD_BY_NOBODY)
def test_what_is_no_history_of_an_account_holds_no_backfill(tmp_path: Path, session: str) -> None:
    """The totals are shown although this session was never polled, and time stands still."""
    pending(tmp_path, SessionNotice(HELD_BY_NOBODY[session], "started"))

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0, quotas=PLENTY), time.monotonic) as simulated:
            async with exporting(discovering(simulated, tmp_path), simulated) as exporter:
                assert totals(await exporter.samples())

    asyncio.run(play())


@pytest.mark.slow
def test_a_poll_that_fails_is_no_answer(tmp_path: Path) -> None:
    """While the API answers every second request with an error, the backfill waits for each session's first answer."""
    world = replace(
        WORLD,
        speed=3600.0,
        sessions_per_hour=5,
        sessions_max=40,
        quotas=PLENTY,
        faults=Faults(error_share=0.5, kinds=("500",)),
    )

    async def play() -> None:
        with running(world, time.monotonic) as simulated:
            settings = discovering(simulated, tmp_path, first_lookback_seconds=24 * HOUR)
            async with exporting(settings, simulated) as exporter:
                first = await exporter.samples()
                _, sums = visible(simulated, lambda ref: ref.detail_records)
                assert same(net(first), sums)
                assert sum(value for (name, _), value in first.items() if name == "telnyx_poll_failures_total") > 5

    asyncio.run(play())
