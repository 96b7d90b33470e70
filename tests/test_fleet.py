"""Four exporters, one PostgreSQL, and everything that happens to them: nothing is lost, nothing is done twice."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.config import Config
from exporter.ledger import Settings as LedgerSettings
from exporter.ledger import open_ledger
from exporter.model import SessionRef
from exporter.plan import policy
from exporter.simulator import Bills, Running, Settings, running
from tests.postgres import Postgres, free_port
from tests.postgres import running as serving
from tests.replicas import Fleet, write_config
from tests.waiting import until

FULL = os.environ.get("FULL") == "1"
SEED = 20261126
SESSIONS, KILLS, INTERVAL = (20_000, 60, 150) if FULL else (3_000, 14, 30)
LEASE, SLACK = 10, 15
"""Seconds; the latter until an exporter asks again, whose server was away, on a machine that others use as well."""
WORLD = Settings(
    speed=600.0,
    history_seconds=400_000.0,
    sessions_per_hour=SESSIONS // 100,
    sessions_max=SESSIONS,
    requests_per_second=100_000,
    bills=Bills(amended_share=0.3, late_share=0.3, overlapping_share=0.3),
    seed=SEED,
)
POLLING = {
    "tick_seconds": 0.2,
    "timeout_seconds": 5,
    "attempts_max": 2,
    "min_interval_seconds": INTERVAL,
    "max_interval_seconds": INTERVAL,
    "settle_after_seconds": 1.5 * INTERVAL,
    "recheck_after_seconds": [float(INTERVAL * place) for place in range(1, 20)],
}

COUNTED = """
CREATE TABLE booked (polls bigint);
CREATE FUNCTION count_booked() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO booked VALUES (1); RETURN NULL; END $$;
CREATE TRIGGER counting AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (old.claim <> 0 AND new.claim = 0) EXECUTE FUNCTION count_booked();
"""
"""The server itself counts the polls that end in a booking."""


class Watch:
    """What PostgreSQL says of the queue, while it runs."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self._postgres = postgres
        self._name = name
        self.left = 0.0
        """The longest that a session whose lease was over waited for another exporter, in seconds."""

    def ask(self, statement: str) -> Any:
        return self._postgres.execute(statement, self._name)[0][0]

    def look(self) -> None:
        """A lost claim costs its session a lease, and then it is the first to be taken, on however slow a machine."""
        over = "claim <> 0 AND leased_until < clock_timestamp()"
        left = self.ask(f"SELECT max(extract(epoch FROM clock_timestamp() - leased_until)) FROM sessions WHERE {over}")
        self.left = max(self.left, float(left or 0.0))


@contextmanager
def begun(simulated: Running, folder: Path, postgres: Postgres) -> Iterator[tuple[Fleet, Watch, str]]:
    """Four exporters at work on all sessions of the world."""
    name = postgres.create_database()
    url = postgres.url(name)
    with closing(open_ledger(url, policy(Config()), LedgerSettings.of(Config()))) as ledger:
        refs = [SessionRef("main", ref.record_type, ref.event_id) for ref in simulated.world.refs()]
        now = time.time()
        for place in range(0, len(refs), 100):  # due one after the other, as sessions are that began at all times
            ledger.follow(refs[place : place + 100], "file", now + INTERVAL * place / len(refs))
    postgres.execute(COUNTED, name)
    fleet = Fleet(write_config(simulated, folder, url, polling=POLLING), [free_port() for _ in range(4)])
    for replica in fleet.replicas:
        replica.start()
    try:
        yield fleet, Watch(postgres, name), url
    finally:
        fleet.end()


def disturb(fleet: Fleet, watch: Watch, postgres: Postgres) -> None:
    """Kill one after the other at random moments, and the server twice in between."""
    chance = random.Random(SEED)
    for life in range(KILLS):
        ends = time.monotonic() + chance.uniform(1.0, 6.0)
        while time.monotonic() < ends:
            fleet.scrape()
            watch.look()
            time.sleep(0.2)
        if life in {KILLS // 3, 2 * KILLS // 3}:
            postgres.restart("fast" if life == KILLS // 3 else "immediate")
        replica = chance.choice(fleet.replicas)
        replica.end(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        replica.start()


def comes_to_rest(fleet: Fleet, watch: Watch) -> None:
    """Every session is settled and was looked at since now, and one exposes that, with no money held back."""
    before = f"SELECT count(*) FROM sessions WHERE (polls::json->-1->>0)::float < {time.time()}"

    def rests() -> bool:
        fleet.scrape()
        watch.look()
        if watch.ask(before):
            return False
        live = sum(
            value
            for (name, labels), value in fleet.last.items()
            if name == "telnyx_sessions" and dict(labels)["state"] in {"discovered", "active"}
        )
        held = sum(value for (name, _), value in fleet.last.items() if name == "telnyx_unreleased_cost")
        settled = sum(value for (name, _), value in fleet.last.items() if name == "telnyx_session_events_count")
        return settled > 0 and live == held == 0

    until(rests, lambda: f"seed {SEED}\n{fleet.log()}", seconds=12 * INTERVAL + 60)


def net(url: str) -> dict[tuple[str, str], Decimal]:
    """Net cost by record type and currency, exactly, of a ledger that agrees with itself."""
    found: dict[tuple[str, str], Decimal] = {}
    with closing(open_ledger(url, policy(Config()), LedgerSettings.of(Config()))) as ledger:
        assert ledger.check() == []
        for total in ledger.totals():
            sign = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}.get(total.family)
            if sign is not None:
                labels = dict(total.labels)
                key = (labels["record_type"], labels["currency"])
                found[key] = found.get(key, Decimal(0)) + sign * total.value
    return {key: value for key, value in found.items() if value}


@pytest.mark.timeout(60 * INTERVAL)
def test_four_exporters_are_as_exact_as_one(tmp_path: Path) -> None:
    """Killed and restarted at random, their server restarted twice: totals are the truth's to the last digit.

    At most one in twenty polls is done in vain, what a dead exporter had claimed is taken once its lease is over, and
    no scrape sum is ever doubled.
    """
    with serving(fsync=True) as postgres, running(WORLD, time.monotonic) as simulated:
        with begun(simulated, tmp_path, postgres) as (fleet, watch, url):
            disturb(fleet, watch, postgres)
            simulated.clock.pause()
            comes_to_rest(fleet, watch)
            claims, booked = watch.ask("SELECT last_value FROM claims"), watch.ask("SELECT count(*) FROM booked")
        told = f"seed {SEED}: {claims} claims, {booked} booked, {watch.left:.1f} s left, {fleet.exposed} shown"
        assert net(url) == stated(httpx.get(f"{simulated.origin}/_truth").json()), told
        assert claims <= booked * 1.05, told
        assert watch.left <= SLACK, told


def stated(truth: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """The simulator's truth by record type and currency."""
    found: dict[tuple[str, str], Decimal] = {}
    for total in truth["totals"]:
        key = (total["record_type"], total["currency"])
        found[key] = found.get(key, Decimal(0)) + Decimal(total["cost"])
    return {key: value for key, value in found.items() if value}
