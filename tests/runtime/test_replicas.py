"""Four exporters, one PostgreSQL, and everything that happens to them: nothing is lost, nothing is done twice."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from exporter.config import Config
from exporter.core.model import SessionRef
from exporter.ledger import TotalsSettings, open_ledger
from exporter.runtime.plan import policy
from simulator import Bills, Running, SimulatorSettings, running
from tests.support.exporting import net, same, stated
from tests.support.postgres import Postgres, free_port
from tests.support.postgres import running as serving
from tests.support.replicas import ReplicaSet, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.slow

FULL = os.environ.get("FULL") == "1"
SEED = 20261126
SESSIONS, KILLS, INTERVAL = (20_000, 60, 240) if FULL else (3_000, 14, 40)
"""Some 80 polls a second, which two cores have time for that exporters start on meanwhile and other tests run."""
ROUND = SESSIONS // INTERVAL // 4
"""So many requests are made from one round of scrapes to the next."""
WORK = (SESSIONS // INTERVAL, 6 * SESSIONS // INTERVAL)
"""The fewest and the most requests from one death to the next."""
ALONE = 300
"""So many sessions are given to one exporter, for comparison."""
LEASE, LEFT = 10, 15
"""Seconds; the latter until an exporter asks again, whose server was away, on a machine that others use as well."""
WORLD = SimulatorSettings(
    speed=600.0,
    history_seconds=400_000.0,
    sessions_per_hour=SESSIONS // 150,
    sessions_max=SESSIONS * 2 // 3,  # the others are events of these, listed besides
    quotas={"session": 6_000_000},
    bills=Bills(amended_share=0.3, late_share=0.3, overlapping_share=0.3),
    seed=SEED,
)
POLLING = {
    "scheduler_interval_seconds": 0.2,
    "timeout_seconds": 5,
    "max_attempts": 2,
    "min_interval_seconds": INTERVAL,
    "max_interval_seconds": INTERVAL,
    "settle_after_seconds": 1.5 * INTERVAL,
    "recheck_after_seconds": [float(INTERVAL * place) for place in range(1, 20)],
}

COUNTED = """
CREATE TABLE booked (session bigint, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE taken (session bigint, seconds float);
CREATE FUNCTION count_booked() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO booked VALUES (new.id); RETURN NULL; END $$;
CREATE FUNCTION count_taken() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO taken VALUES (new.id, extract(epoch FROM clock_timestamp() - old.leased_until));
       RETURN NULL; END $$;
CREATE TRIGGER booking AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (old.polls <> new.polls) EXECUTE FUNCTION count_booked();
CREATE TRIGGER taking AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (old.claim <> 0 AND new.claim > old.claim) EXECUTE FUNCTION count_taken();
INSERT INTO booked (session) SELECT id FROM sessions;
"""
"""The server itself keeps when which session's poll was booked, beginning with when it became known, and how long after
the end of its lease a lost claim was taken by another."""

GAPS = """
WITH looked AS (
    SELECT session, at FROM booked
    UNION ALL SELECT id, clock_timestamp() FROM sessions WHERE due_at IS NOT NULL
), gaps AS (
    SELECT session, extract(epoch FROM at - lag(at) OVER (PARTITION BY session ORDER BY at))::float AS gap FROM looked
)
SELECT gap, record_type, event_id FROM gaps JOIN sessions ON id = session
WHERE gap IS NOT NULL ORDER BY gap DESC LIMIT 3
"""
"""The longest times for which a session was not polled, up to now."""


Sums = dict[tuple[str, str], Decimal]
"""Money by record type and currency."""


class Watch:
    """What PostgreSQL says of the queue."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self._postgres = postgres
        self._name = name

    def ask(self, statement: str) -> Any:
        return self._postgres.execute(statement, self._name)[0][0]

    def gaps(self) -> list[tuple[float, str, str]]:
        """Seconds, record type and id of those that waited longest."""
        return self._postgres.execute(GAPS, self._name)

    @property
    def booked(self) -> int:
        """Polls."""
        return int(self.ask("SELECT (SELECT count(*) FROM booked) - (SELECT count(*) FROM sessions)"))


class Play(NamedTuple):
    """Exporters, what their server says of the queue, and the URL of their ledger."""

    replicas: ReplicaSet
    watch: Watch
    url: str


@contextmanager
def exporters_at_work(
    simulated: Running, folder: Path, postgres: Postgres, count: int, every: int = 1
) -> Iterator[Play]:
    """Exporters at work on the sessions of the world, or on one of so many."""
    name = postgres.create_database()
    url = postgres.url(name)
    with closing(open_ledger(url, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        refs = [SessionRef("main", ref.record_type, ref.event_id) for ref in simulated.world.refs()][::every]
        now = time.time()
        for place in range(0, len(refs), 100):  # due one after the other, as sessions are that began at all times
            ledger.follow(refs[place : place + 100], "file", now + INTERVAL * place / SESSIONS)
    postgres.execute(COUNTED, name)
    replicas = ReplicaSet(write_config(simulated, folder, url, polling=POLLING), [free_port() for _ in range(count)])
    for replica in replicas.members:
        replica.start()
    try:
        yield Play(replicas, Watch(postgres, name), url)
    finally:
        replicas.end()


def work(replicas: ReplicaSet, simulated: Running, requests: int) -> None:
    """Scrape again and again while the API is asked so often."""
    end = simulated.requests + requests
    while (left := end - simulated.requests) > 0:
        replicas.scrape()
        answered(replicas, simulated, min(left, ROUND))


def answered(replicas: ReplicaSet, simulated: Running, requests: int) -> None:
    """Wait for so many requests more."""
    end = simulated.requests + requests
    until(lambda: simulated.requests >= end, lambda: f"seed {SEED}\n{replicas.log()}")


def disturb(replicas: ReplicaSet, simulated: Running, postgres: Postgres) -> None:
    """Kill one after the other, each at a random place of the work, and the server twice in between."""
    chance = random.Random(SEED)
    for life in range(KILLS):
        work(replicas, simulated, chance.randint(*WORK))
        if life in {KILLS // 3, 2 * KILLS // 3}:
            postgres.stop("fast" if life == KILLS // 3 else "immediate")
            replicas.scrape()
            postgres.start()
        replica = chance.choice(replicas.members)
        replica.end(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        replica.start()


def come_to_rest(replicas: ReplicaSet, simulated: Running, watch: Watch, truth: Sums) -> None:
    """Every session was looked at since now, and one exposes all of it, with no money held back."""
    before = f"SELECT count(*) FROM sessions WHERE (polls::json->-1->>0)::float < {time.time()}"

    def rests() -> bool:
        work(replicas, simulated, ROUND)
        held = sum(value for (name, _), value in replicas.last.items() if name == "telnyx_pending_cost")
        return watch.ask(before) == 0 and not held and same(net(replicas.last), truth)

    until(rests, lambda: f"seed {SEED}\n{replicas.log()}", seconds=4 * INTERVAL + 60)


def booked_net(url: str) -> Sums:
    """Net cost by record type and currency, exactly, of a ledger that agrees with itself."""
    found: Sums = {}
    with closing(open_ledger(url, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        assert ledger.check() == []
        for total in ledger.totals():
            sign = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}.get(total.family)
            if sign is not None:
                labels = dict(total.labels)
                key = (labels["record_type"], labels["currency"])
                found[key] = found.get(key, Decimal(0)) + sign * total.value
    return without_zeros(found)


def without_zeros(sums: Sums) -> Sums:
    return {key: value for key, value in sums.items() if value}


def asked_by_one(simulated: Running, folder: Path, postgres: Postgres) -> tuple[int, int]:
    """The requests of an exporter alone, undisturbed, and the polls that it has booked with them.

    They are a few more: some trees are cut and asked for in parts, and there is the metadata.
    """
    folder.mkdir()
    before = simulated.requests
    with exporters_at_work(simulated, folder, postgres, count=1, every=SESSIONS // ALONE) as (replicas, watch, _):
        until(lambda: simulated.requests - before > ALONE and watch.booked >= ALONE, replicas.log)
    return simulated.requests - before, watch.booked


@pytest.mark.timeout(10 * INTERVAL + 600)
def test_four_exporters_are_as_exact_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed and restarted at random, their server restarted twice: totals are the truth's to the last digit.

    No session goes without a poll for longer than two of its intervals and a lease; what a dead exporter had claimed is
    taken once its lease is over; the API is asked at most a twentieth more often than one exporter asks it; and no
    scrape sum is ever doubled.
    """
    with serving(fsync=True) as postgres, running(WORLD, time.monotonic) as simulated:
        with exporters_at_work(simulated, tmp_path, postgres, count=4) as (replicas, watch, url):
            disturb(replicas, simulated, postgres)
            simulated.clock.pause()
            truth = stated(httpx.get(f"{simulated.origin}/_truth").json())
            come_to_rest(replicas, simulated, watch, truth)
            gaps, left = watch.gaps(), float(watch.ask("SELECT coalesce(max(seconds), 0) FROM taken"))
        requests, booked = simulated.requests, watch.booked
        alone = asked_by_one(simulated, tmp_path / "alone", postgres)
        told = f"seed {SEED}: {requests} requests for {booked} polls, {alone[0]} for {alone[1]} by one alone; "
        told += (
            f"a lost claim taken after {left:.1f} s; {replicas.exposed} of {replicas.rounds} rounds showed the ledger; "
        )
        told += f"longest without a poll: {', '.join(f'{gap:.1f} s {name} {key}' for gap, name, key in gaps)}"
        with capsys.disabled():
            sys.stdout.write(f"\n{told}\n")
        assert watch.ask("SELECT count(*) FROM sessions") >= SESSIONS, told
        assert booked_net(url) == without_zeros(truth), told
        assert gaps[0][0] <= 2 * INTERVAL + LEASE, told
        assert left <= LEFT, told
        assert requests <= 1.05 * booked * alone[0] / alone[1], told
