"""Killed at any moment, any number of times, the exporter loses nothing and counts nothing twice."""

import asyncio
import os
import random
import signal
import sys
import time
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import yaml

from exporter.core.catalog import FAMILIES
from simulator import Faults, Running, SimulatorSettings, running
from tests.support.exporting import PLENTY, SCRAPER, Samples, net, read, same, stated

pytestmark = pytest.mark.slow

KILLS = 1000 if os.environ.get("FULL") == "1" else 15
SEED = 20261123
SPEED = 1200.0
PATIENCE_SECONDS = 180.0
COUNTERS = tuple(
    suffix
    for family in FAMILIES
    if family.home == "ledger" and family.kind != "gauge"
    for suffix in ([family.name] if family.kind == "counter" else [f"{family.name}_bucket", f"{family.name}_count"])
)


class Process:
    """An exporter process, and every scrape of it, over all its restarts."""

    def __init__(self, config: Path, port: int) -> None:
        self._command = [sys.executable, "-m", "exporter", "run", f"--config.file={config}", "--log.level=error"]
        self._command += [f"--web.listen-address=127.0.0.1:{port}"]
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._log = config.with_name("exporter.log")
        self.last: Samples = {}
        self.scrapes = 0

    async def start(self) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)

    async def scrape(self, http: httpx.AsyncClient) -> None:
        """Scrape if the exporter answers; no ledger counter may be below an earlier scrape."""
        try:
            page = await http.get(self._url, headers=SCRAPER)
        except httpx.TransportError:
            return
        if page.status_code != httpx.codes.OK:
            return
        samples = read(page.text)
        fallen = {
            key: (known, samples.get(key))
            for key, known in self.last.items()
            if key[0] in COUNTERS and samples.get(key, Decimal(-1)) < known
        }
        assert not fallen, f"seed {SEED}, scrape {self.scrapes}: {fallen}"
        self.last = samples
        self.scrapes += 1

    async def show(self, http: httpx.AsyncClient) -> None:
        """Wait until this process has been scraped once."""
        scraped, deadline = self.scrapes, time.monotonic() + PATIENCE_SECONDS
        while self.scrapes == scraped:
            assert time.monotonic() < deadline, self.log()
            await self.scrape(http)
            await asyncio.sleep(0.02)

    def log(self) -> str:
        return self._log.read_text()


def write_config(simulated: Running, folder: Path) -> Path:
    """Configure every session of the world, at a pace for a world in which hours pass in seconds."""
    rechecks = [float(seconds) for seconds in range(5, 105, 5)]
    config = {
        "accounts": [{"name": "main", "base_url": simulated.url, "api_key_env": "CRASH_TEST_KEY"}],
        "sessions": [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()],
        "polling": {
            "scheduler_interval_seconds": 0.05,
            "timeout_seconds": 1,
            "max_attempts": 2,
            "min_interval_seconds": 1,
            "max_interval_seconds": 2,
            "settle_after_seconds": 6,
            "recheck_after_seconds": rechecks,
            "configured_recheck_seconds": 5,
        },
        "metrics": {"new_series_zero_seconds": 0.5},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.sqlite'}"},
    }
    config["accounts"][0] |= {"requests_per_second": 1000, "max_in_flight": 20}  # type: ignore[index]  # a list of dicts
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.timeout(300 + 6 * KILLS)
@pytest.mark.parametrize("error_share", [0.0, 0.3], ids=["sound answers", "faults on 30 % of answers"])
def test_kills_cost_nothing(tmp_path: Path, free_port: int, error_share: float) -> None:
    """SIGKILL at random moments under full polling: every counter only rises, and in the end all is exact."""
    chance = random.Random(SEED)
    faults = Faults(error_share=error_share, slow_body_seconds=0.1, retry_after_seconds=1)
    world = SimulatorSettings(
        faults=faults,
        speed=SPEED,
        history_seconds=100_000.0,
        sessions_per_hour=6,
        sessions_max=150,
        seed=SEED,
        quotas=PLENTY,
    )

    async def play(simulated: Running) -> None:
        exporter = Process(write_config(simulated, tmp_path), free_port)
        async with httpx.AsyncClient(timeout=5) as http:
            for life in range(KILLS):
                process = await exporter.start()
                if life % 2:  # half of the lives show something, however slow the machine is
                    await exporter.show(http)
                ends = time.monotonic() + chance.uniform(*((0.0, 1.4) if life % 2 else (0.6, 2.0)))
                while time.monotonic() < ends:
                    await exporter.scrape(http)
                    await asyncio.sleep(0.02)
                process.send_signal(signal.SIGKILL)
                await process.wait()
            simulated.clock.pause()
            process = await exporter.start()
            await settle(exporter, http, simulated)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0, exporter.log()

    os.environ["CRASH_TEST_KEY"] = world.api_key
    with running(world, time.monotonic) as simulated:
        asyncio.run(play(simulated))


async def settle(exporter: Process, http: httpx.AsyncClient, simulated: Running) -> None:
    """The truth doesn't change any more: every session settles, every series is exposed, and the page is exact."""
    truth = (await http.get(f"{simulated.origin}/_truth")).json()
    deadline, scraped = time.monotonic() + PATIENCE_SECONDS, exporter.scrapes

    def exact() -> bool:
        """Use only scrapes of this process: an earlier one may have been exact before the last kill."""
        return exporter.scrapes > scraped and settled(exporter.last) and same(net(exporter.last), stated(truth))

    while time.monotonic() < deadline and not exact():
        await exporter.scrape(http)
        await asyncio.sleep(0.2)
    assert settled(exporter.last), f"seed {SEED}\n{exporter.log()}"
    assert same(net(exporter.last), stated(truth)), f"seed {SEED}: {net(exporter.last)} is not {stated(truth)}"
    assert exporter.scrapes >= KILLS / 2
    turns = sum(v for (name, _), v in exporter.last.items() if name == "telnyx_inference_turns_total")
    events = sum(v for (name, _), v in exporter.last.items() if name == "telnyx_events_total")
    sessions = sum(v for (name, _), v in exporter.last.items() if name == "telnyx_session_events_count")
    assert (turns, events) == (truth["inference_turns"], truth["events"])
    assert sessions == sum(v for (name, _), v in exporter.last.items() if name == "telnyx_sessions_settled_total")


def settled(samples: Samples) -> bool:
    states = {dict(labels)["state"]: v for (name, labels), v in samples.items() if name == "telnyx_sessions"}
    held = sum(v for (name, _), v in samples.items() if name == "telnyx_pending_cost")
    live = sum(states.get(state, Decimal(1)) for state in ("discovered", "active"))
    return bool(states) and live == 0 and held == 0
