"""400 days of an exporter at its default schedule and retention, with all that happens to sessions in a year.

Bills change for days. Sessions are named late, again and again, with right and wrong dates or none, by webhooks, lists
and the configuration, as wholes and as legs, long after they were pruned, too. The API fails at times. The exporter is
stopped, killed, and started with other labels. What it counts is what the world's truth says.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import struct
import sys
import time
import uuid
from collections import defaultdict
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from exporter.cli.main import main
from simulator import Bills, Faults, Ref, Running, SimulatedWebhooks, SimulatorSettings, running
from tests.polling.test_crash import COUNTERS, PATIENCE_SECONDS
from tests.support.exporting import PLENTY, SCRAPER, Samples, net, read, same, stated
from tests.support.lived_exporter import DAY, SharedClock

pytestmark = pytest.mark.slow

FULL = os.environ.get("FULL") == "1"
SEEDS = range(20261201, 20261201 + (20 if FULL else 1))
DAYS, QUIET_DAYS, PER_DAY = 400, 60, 3.0 if FULL else 0.6
ENGINES = ("sqlite", "postgresql") if FULL else ("sqlite",)
"""A life takes ten times as long on a server, mostly in waiting for the leases of killed processes."""
HOURS = (0.5, 12, 24, 120)
"""How far time moves in one step."""
LIFE_DAYS = (1, 40)
"""How long one process lives."""
LABELS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"name": "connection", "field": "connection_id", "values_max": 3}],
    [{"name": "direction", "field": "direction"}, {"name": "connection", "field": "connection_id"}],
)


def world(seed: int, free_port: int) -> SimulatorSettings:
    return SimulatorSettings(
        speed=0.0,
        seed=seed,
        sessions_per_hour=PER_DAY / 24,
        sessions_max=round((DAYS - QUIET_DAYS) * PER_DAY),
        bills=Bills(amended_share=0.3, late_share=0.2, never_priced_share=0.02, overlapping_share=0.3),
        faults=Faults(error_share=0.04, kinds=("404", "403", "500", "reset")),
        webhooks=SimulatedWebhooks(
            url=f"http://127.0.0.1:{free_port}/webhooks/telnyx/main", duplicated_share=0.2, delay_seconds=10 * DAY
        ),
        quotas=PLENTY,
    )


def without_own_labels(samples: Samples) -> Samples:
    """Add samples up over the labels of LABELS, which come and go."""
    own = {label["name"] for labels in LABELS for label in labels}
    sums: Samples = defaultdict(Decimal)
    for (name, labels), value in samples.items():
        sums[name, tuple(label for label in labels if label[0] not in own)] += value
    return sums


class Life:
    """One exporter, process after process, and what was done to it."""

    def __init__(self, simulated: Running, url: str, folder: Path, port: int, *, seed: int) -> None:
        self.simulated = simulated
        self.url = url
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self.chance = random.Random(seed)
        self.config = folder / "config.yaml"
        self.list = folder / "sessions.json"
        self._clock_file = folder / "clock"
        self._clock_file.write_bytes(struct.pack("d", simulated.clock.now()))
        self.clock = SharedClock(self._clock_file)
        self.waiting: list[tuple[float, Ref]] = []
        """Sessions that a list names later."""
        self.named: list[Ref] = []
        self.last: Samples = {}
        self._begun = 0.0
        self._log = folder / "exporter.log"
        self._process: asyncio.subprocess.Process | None = None

    # The process

    def write_config(self) -> None:
        """Write another configuration: other labels, and other sessions that are polled daily."""
        configured = self.chance.sample(self.named, min(3, len(self.named)))
        expand = self.chance.choice(("auto", "none"))
        config = {
            "accounts": [
                {
                    "name": "main",
                    "base_url": self.simulated.url,
                    "api_key_env": "LIFE_TEST_KEY",
                    "webhook_public_key_env": "LIFE_TEST_PUBLIC_KEY",
                    "balance_interval_seconds": 0,
                    "requests_per_second": 1000,
                    "max_in_flight": 20,
                }
            ],
            "discovery": {
                "detail_records": {"record_types": []},
                "files": [str(self.list)],
                "http": {"enabled": True},
            },
            "sessions": [self.entry(ref) for ref in configured],
            "polling": {"scheduler_interval_seconds": 0.05, "timeout_seconds": 5, "max_attempts": 1},
            "tree": {"expand": expand},
            "metrics": {"new_series_zero_seconds": 0, "labels": self.chance.choice(LABELS)},
            # On a server the claims of a killed process end with their leases, by real time.
            "ledger": {"url": self.url, "lease_seconds": 5, "exposition_handover_seconds": 0},
        }
        self.config.write_text(yaml.safe_dump(config))

    def entry(self, ref: Ref) -> dict[str, str]:
        """Name a session with its date, with a wrong one, or with none."""
        date = self.chance.choice((ref.date_time, "2025-01-01", "2026-03-18T00:00:00Z", None))
        return {"record_type": ref.record_type, "event_id": ref.event_id} | ({"date_time": date} if date else {})

    async def start(self, http: httpx.AsyncClient) -> None:
        self.write_config()
        self.list.write_text(json.dumps([self.entry(ref) for ref in self.named]))
        command = (sys.executable, "-m", "tests.support.lived_exporter", str(self.config), str(self.port))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, str(self._clock_file), stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (await self.scrape(http) and (await http.get(f"{self.origin}/-/ready")).is_success):
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals) -> None:
        """End the process; the ledger that it leaves is in order."""
        assert self._process is not None
        self._process.send_signal(how)
        assert await self._process.wait() == (0 if how == signal.SIGTERM else -how), self._log.read_text()[-3000:]
        assert await asyncio.to_thread(main, ["ledger", "check", "--config.file", str(self.config)]) == 0

    def kill(self) -> None:
        """End the process of a test that has failed."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def scrape(self, http: httpx.AsyncClient) -> bool:
        """Return whether the exporter shows its totals; no counter falls."""
        try:
            page = await http.get(f"{self.origin}/metrics", headers=SCRAPER)
        except httpx.TransportError:
            return False
        samples = without_own_labels(read(page.text)) if page.status_code == httpx.codes.OK else {}
        if not any(name == "telnyx_sessions" for name, _ in samples):
            return False
        fallen = {
            key: (known, samples.get(key))
            for key, known in self.last.items()
            if key[0] in COUNTERS and samples.get(key, Decimal(0)) < known  # zero series end with their labels
        }
        assert not fallen
        self.last = samples
        return True

    # What happens

    async def pass_time(self, http: httpx.AsyncClient, seconds: float, *, rest: bool) -> None:
        """Move the time; `rest`: wait until all webhooks have come and no session is due."""
        self.simulated.clock.step(seconds)
        self.clock.set(self.simulated.clock.now())
        self._expect_sessions()
        await self._name_sessions(http)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while rest and not await self._is_idle(http):
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            await asyncio.sleep(0.01)

    def _expect_sessions(self) -> None:
        """Decide when the new sessions are named; a leg after the call that contains it."""
        for ref in self.simulated.world.refs(self._begun):
            self._begun = ref.begun
            days = self.chance.uniform(0, 12) if ref.outermost else self.chance.uniform(20, 150)
            self.waiting.append((ref.begun + days * DAY, ref))

    async def _name_sessions(self, http: httpx.AsyncClient) -> None:
        """Name the sessions whose time has come, and some old ones again."""
        now = self.clock.now()
        due = [ref for at, ref in self.waiting if at <= now]
        self.waiting = [(at, ref) for at, ref in self.waiting if at > now]
        again = self.chance.sample(self.named, min(2, len(self.named)))
        entries = [self.entry(ref) for ref in (*due, *again)]
        if entries:
            answer = await http.post(
                f"{self.origin}/api/v1/sessions", json=[entry | {"account": "main"} for entry in entries]
            )
            assert answer.is_success, answer.text
        self.named += due

    async def _is_idle(self, http: httpx.AsyncClient) -> bool:
        webhooks = (await http.get(f"{self.simulated.origin}/_webhooks")).json()
        return webhooks["due"] == 0 and self._busy() == 0

    def _busy(self) -> int:
        query = f"SELECT count(*) FROM sessions WHERE claim <> 0 OR due_at <= {self.clock.now()}"
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(f"file:{self.url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as file:
                return int(file.execute(query).fetchone()[0])
        with psycopg.connect(self.url) as server:
            row = server.execute(query.encode()).fetchone()
            return int(row[0]) if row is not None else 0

    async def live(self, http: httpx.AsyncClient) -> None:
        """Live for all days, process after process; half of them are killed."""
        ends_at = self.clock.now() + DAYS * DAY
        while self.clock.now() < ends_at:
            await self.start(http)
            stops_at = min(ends_at, self.clock.now() + self.chance.uniform(*LIFE_DAYS) * DAY)
            while self.clock.now() < stops_at:
                await self.pass_time(http, self.chance.choice(HOURS) * 3600, rest=True)
                await self.scrape(http)
            kill = self.chance.random() < 0.5
            if kill:  # amid the polls of the next step
                await self.pass_time(http, DAY, rest=False)
                await asyncio.sleep(self.chance.uniform(0, 0.05))
            await self.stop(signal.SIGKILL if kill else signal.SIGTERM)
        await http.post(f"{self.simulated.origin}/_faults", json={"error_share": 0.0})
        await self.start(http)
        await self.pass_time(http, 3600, rest=True)
        await asyncio.sleep(1)
        await self.scrape(http)

    def total(self, name: str) -> Decimal:
        return sum((value for (found, _), value in self.last.items() if found == name), Decimal(0))


def shown(simulated: Running) -> tuple[int, int, int]:
    """Return how many sessions there are, without inner ones, and how many events and turns their trees show."""
    sessions, events, turns = 0, 0, 0
    for ref in simulated.world.refs():
        found = simulated.world.find((ref.record_type,), uuid.UUID(ref.event_id))
        if ref.outermost and found is not None:
            below = [found.session.events[index].record_type for index in found.session.below(found.index)]
            sessions, events, turns = sessions + 1, events + len(below), turns + below.count("inference")
    return sessions, events, turns


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ledger_url", ENGINES, indirect=True)
def test_400_days_are_counted_exactly(ledger_url: str, tmp_path: Path, free_port: int, seed: int) -> None:
    """Money, events, turns, sessions and histograms are those of the world, however its sessions were named."""

    async def play(simulated: Running) -> None:
        life = Life(simulated, ledger_url, tmp_path, free_port, seed=seed)
        async with httpx.AsyncClient(timeout=30) as http:
            try:
                await life.live(http)
                truth = (await http.get(f"{simulated.origin}/_truth")).json()
                await life.stop(signal.SIGTERM)
            finally:
                life.kill()
        assert same(net(life.last), stated(truth)), f"{net(life.last)} is not {stated(truth)}"
        sessions, events, turns = shown(simulated)
        expected = {
            "events_total": truth["events"],
            "inference_turns_total": truth["inference_turns"],
            "sessions_started_total": sessions,
            "sessions_settled_total": sessions,
            "session_events_count": sessions,
            "session_events_sum": events,
            "session_inference_turns_count": sessions,
            "session_inference_turns_sum": turns,
        }
        assert {name: life.total(f"telnyx_{name}") for name in expected} == expected

    settings = world(seed, free_port)
    os.environ["LIFE_TEST_KEY"] = settings.api_key
    with running(settings, time.monotonic, wall=time.time) as simulated:
        os.environ["LIFE_TEST_PUBLIC_KEY"] = simulated.public_key
        asyncio.run(play(simulated))
