"""After the primary of three nodes fails, every commit is kept and the exporter continues by itself."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import psycopg
import pytest

from simulator import SimulatorSettings, running
from tests.polling.test_crash import settled
from tests.support.cluster import PATIENCE_SECONDS, Cluster
from tests.support.exporting import net, same, stated
from tests.support.postgres import free_port
from tests.support.replicas import ReplicaSet, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.slow


class Writer(Thread):
    """Commit increasing numbers through any node that accepts them, until stopped."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._stopped = Event()
        self.committed: list[int] = []
        """Numbers whose commit was confirmed; one more may be committed without confirmation."""

    def run(self) -> None:
        number = 0
        while not self._stopped.is_set():
            with suppress(psycopg.Error), closing(psycopg.connect(self._url, autocommit=True)) as connection:
                while not self._stopped.is_set():
                    number += 1
                    connection.execute("INSERT INTO numbers VALUES (%s)", (number,))
                    self.committed.append(number)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_a_committed_row_survives_the_death_of_the_primary(cluster: Cluster) -> None:
    """After the primary is killed under load, its successor has every row of a confirmed commit."""
    cluster.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
    writer = Writer(cluster.url())
    writer.start()
    try:
        until(lambda: len(writer.committed) > 100)
        before = cluster.primary()
        before.kill_server()
        after = cluster.primary()
        said = len(writer.committed)
        until(lambda: len(writer.committed) > said + 100)
    finally:
        writer.stop()
    assert after is not before
    kept = {row[0] for row in cluster.execute("SELECT number FROM numbers")}
    assert set(writer.committed) <= kept
    cluster.until_whole()


SESSIONS = 2000 if os.environ.get("FULL") == "1" else 150
DEATHS = ("server", "machine", "server") if os.environ.get("FULL") == "1" else ("server",)
SEED = 20261126
WORLD = SimulatorSettings(
    speed=1200.0, history_seconds=100_000.0, sessions_per_hour=SESSIONS / 25, sessions_max=SESSIONS, seed=SEED
)


POLLING = {
    "scheduler_interval_seconds": 0.05,
    "timeout_seconds": 2,
    "max_attempts": 2,
    "min_interval_seconds": 1,
    "max_interval_seconds": 2,
    "settle_after_seconds": 6,
    "recheck_after_seconds": [float(seconds) for seconds in range(5, 105, 5)],
    "configured_recheck_seconds": 5,
}
"""Intervals for a world in which hours take seconds."""


@pytest.mark.timeout(300 + 60 * len(DEATHS) + SESSIONS)
def test_exporters_outlive_the_death_of_the_primary(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exporters under load survive a failover by themselves, and in the end all totals are exact."""
    cluster.execute("CREATE DATABASE ledger")
    with running(WORLD, time.monotonic) as simulated:
        refs = [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in simulated.world.refs()]
        config = write_config(simulated, tmp_path, cluster.url("ledger"), sessions=refs, polling=POLLING)
        replicas = ReplicaSet(config, [free_port(), free_port()])
        for replica in replicas.members:
            replica.start()
        try:
            scraped(replicas, lambda: counted(replicas, "telnyx_events_total") > SESSIONS)
            lines = [die(cluster, replicas, how) for how in DEATHS]
            simulated.clock.pause()
            exact(replicas, httpx.get(f"{simulated.origin}/_truth").json())
        finally:
            replicas.end()
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{line}" for line in lines))


def scraped(replicas: ReplicaSet, condition: Callable[[], bool]) -> None:
    """Scrape until the condition holds."""

    def holds() -> bool:
        replicas.scrape()
        return condition()

    until(holds, replicas.log, PATIENCE_SECONDS)


def counted(replicas: ReplicaSet, name: str) -> Decimal:
    """Return the sum of a counter on the last page."""
    return sum((value for (sample, _), value in replicas.last.items() if sample == name), Decimal(0))


def exact(replicas: ReplicaSet, truth: dict[str, Any]) -> None:
    """Once bills are final, every session settles, every series is exposed, and the totals equal the truth."""
    scraped(replicas, lambda: settled(replicas.last) and same(net(replicas.last), stated(truth)))
    assert counted(replicas, "telnyx_events_total") == truth["events"]
    assert counted(replicas, "telnyx_inference_turns_total") == truth["inference_turns"]
    assert counted(replicas, "telnyx_session_events_count") == counted(replicas, "telnyx_sessions_settled_total")


def die(cluster: Cluster, replicas: ReplicaSet, how: str) -> str:
    """Kill the primary; return the seconds until another accepts writes, and until the exporters poll again."""
    polls = "SELECT last_value FROM claims"
    before, started = cluster.primary(), time.monotonic()
    before.kill_server() if how == "server" else before.kill()
    after = cluster.primary()
    writable = time.monotonic() - started
    assert after is not before
    last = cluster.execute(polls, "ledger")[0][0]

    def polled() -> bool:
        with suppress(psycopg.OperationalError):
            return bool(cluster.execute(polls, "ledger")[0][0] > last)
        return False

    scraped(replicas, polled)
    polling = time.monotonic() - started
    if how == "machine":
        before.start()
    cluster.until_whole()
    return f"{how} killed: a primary after {writable:.1f} s, the first poll after {polling:.1f} s"
