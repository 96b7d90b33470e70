"""The replica that exposes the ledger stalls in the middle of a transaction, and continues later."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from exporter.runtime.replicas import LEASE_SECONDS
from simulator import Bills, Running, SimulatorSettings, running
from tests.runtime.test_replica_exposition import answer, shows_ledger
from tests.support.exporting import SCRAPER, read
from tests.support.postgres import Postgres, free_port
from tests.support.replicas import MARK, Replica, ReplicaSet, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.slow

WORLD = SimulatorSettings(
    speed=600.0,
    history_seconds=100_000.0,
    sessions_per_hour=1,
    sessions_max=20,
    bills=Bills(amended_share=0.3, late_share=0.3),
    seed=20261126,
)
POLLING = {
    "scheduler_interval_seconds": 0.2,
    "min_interval_seconds": 2,
    "max_interval_seconds": 2,
    "settle_after_seconds": 600,
}
TAKEOVER_SECONDS, SLACK_SECONDS = 3, 10
"""The takeover time that tests/support/replicas.py configures, and the delay that a loaded machine may add."""
GATE = """
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN new; END $$;
CREATE TRIGGER gate BEFORE UPDATE ON leases FOR EACH ROW WHEN (old.name = 'exposition') EXECUTE FUNCTION pass();
"""
"""A renewal of the exposition's lease waits here, with its row locked, while another has the advisory lock."""


@contextmanager
def pair(simulated: Running, folder: Path, url: str) -> Iterator[ReplicaSet]:
    """Run two exporters whose connections have different names in PostgreSQL; the first exposes the ledger."""
    sessions = [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()]
    configs = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        place = f"{url}?application_name={name}"
        configs.append(write_config(simulated, folder / name, place, polling=POLLING, sessions=sessions))
    replicas = ReplicaSet(configs[0], [free_port()])
    replicas.members[0].start()
    try:
        scraped(replicas, lambda: replicas.exposed > 0)
        replicas.members.append(Replica(configs[1], free_port()))
        replicas.members[1].start()
        until(lambda: answer(replicas.members[1], "/-/ready").startswith("200"), replicas.log)
        yield replicas
    finally:
        replicas.end()


def scraped(replicas: ReplicaSet, condition: Callable[[], bool]) -> None:
    """Scrape until the condition holds."""

    def holds() -> bool:
        replicas.scrape()
        return condition()

    until(holds, replicas.log)


def state(postgres: Postgres, name: str) -> set[tuple[Any, ...]]:
    """Return the states of an exporter's connections, and the events they wait for."""
    query = "SELECT state, wait_event_type FROM pg_stat_activity WHERE application_name = "
    return set(postgres.execute(f"{query}'{name}'"))


def stop_within_a_transaction(replica: Replica, postgres: Postgres, url: str) -> None:
    """Suspend the first exporter while it has locked the row of its lease."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(1)")
        connection.execute(GATE)
        until(lambda: ("active", "Lock") in state(postgres, "first"), replica.log)
        replica.suspend()
    until(lambda: ("idle in transaction", "Client") in state(postgres, "first"), replica.log)


def first_scrape(replica: Replica) -> str:
    """Return the page of a replica that continues, from a request that has waited for it."""
    with closing(HTTPConnection(replica.origin.removeprefix("http://"), timeout=30)) as waiting:
        waiting.request("GET", "/metrics", headers=SCRAPER)
        replica.resume()
        return waiting.getresponse().read().decode()


def test_another_takes_over_from_one_that_stands_still(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """A suspended exporter loses its lease, whatever it has locked; when it continues, its first page has no ledger.

    No round of scrapes has two pages with the ledger, and no counter falls.
    """
    with running(WORLD, time.monotonic) as simulated, pair(simulated, tmp_path, database) as replicas:
        first, second = replicas.members
        stop_within_a_transaction(first, postgres, database)
        stopped, exposed = time.monotonic(), replicas.exposed
        scraped(replicas, lambda: replicas.exposed > exposed)
        waited = time.monotonic() - stopped
        page = read(first_scrape(first))
        assert not shows_ledger(page)
        assert any(name == "telnyx_polls_total" for name, _ in page)
        rounds, polls = replicas.rounds, polled(first)
        scraped(replicas, lambda: replicas.rounds > rounds + 10 and polled(first) > polls)
        assert MARK in answer(second, "/metrics")
        assert waited <= LEASE_SECONDS + TAKEOVER_SECONDS + SLACK_SECONDS, f"{waited:.1f} s"


def polled(replica: Replica) -> float:
    """Return the number of polls that an exporter has finished."""
    page = read(httpx.get(f"{replica.origin}/metrics", headers=SCRAPER, timeout=30).text)
    return float(sum(value for (name, _), value in page.items() if name == "telnyx_polls_total"))
