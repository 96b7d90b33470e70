"""A cluster of three whose primary dies: what was committed is there, and it goes on by itself."""

import asyncio
import os
import signal
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import httpx
import psycopg
import pytest

from exporter.simulator import Running, Settings, running
from tests.cluster import Cluster
from tests.failing_over import Fleet, Replica, until_exact, until_scraped, write_config
from tests.waiting import until


class Writer(Thread):
    """Commits one number after the other, over whichever node takes it, until it is told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._stopped = Event()
        self.committed: list[int] = []
        """Those that the server said are committed; another may be, unsaid."""

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
    """Killed under load, the primary is replaced by another node, which has every row that was said to be committed."""
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
WORLD = Settings(
    speed=1200.0, history_seconds=100_000.0, sessions_per_hour=SESSIONS / 25, sessions_max=SESSIONS, seed=SEED
)


@pytest.mark.timeout(300 + 60 * len(DEATHS) + SESSIONS)
def test_exporters_outlive_the_death_of_the_primary(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under load, with bills that move: they go on by themselves, and in the end all is exact."""
    cluster.execute("CREATE DATABASE ledger")

    async def play(simulated: Running) -> list[str]:
        config = tmp_path / "config.yaml"
        write_config(config, cluster.url("ledger"), simulated)
        async with httpx.AsyncClient(timeout=10) as http:
            fleet = Fleet([Replica(config, tmp_path / f"{name}.log", WORLD.api_key) for name in ("one", "two")], http)
            for replica in fleet.replicas:
                await replica.start()
            try:
                await until_scraped(fleet, lambda: fleet.counted("telnyx_events_total") > SESSIONS)
                told = [await die(cluster, fleet, how) for how in DEATHS]
                simulated.clock.pause()
                await until_exact(fleet, (await http.get(f"{simulated.origin}/_truth")).json())
            finally:
                codes = [await replica.kill(signal.SIGTERM) for replica in fleet.replicas]
            assert codes == [0, 0], fleet.log()
            return told

    with running(WORLD, time.monotonic) as simulated:
        told = asyncio.run(play(simulated))
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{line}" for line in told))


async def die(cluster: Cluster, fleet: Fleet, how: str) -> str:
    """The primary dies; how long it took until another could be written, and until the exporters wrote."""
    polls = "SELECT last_value FROM claims"
    before = await asyncio.to_thread(cluster.primary)
    begun = time.monotonic()
    await asyncio.to_thread(before.kill_server if how == "server" else before.kill)
    after = await asyncio.to_thread(cluster.primary)
    writable = time.monotonic() - begun
    assert after is not before
    (last,) = (await asyncio.to_thread(cluster.execute, polls, "ledger"))[0]

    def polled() -> bool:
        with suppress(psycopg.OperationalError):
            return bool(cluster.execute(polls, "ledger")[0][0] > last)
        return False

    while not await asyncio.to_thread(polled):
        await fleet.scrape()
    booking = time.monotonic() - begun
    if how == "machine":
        before.start()
    while not all([await fleet.ready(replica) for replica in fleet.replicas]):
        await fleet.scrape()
    await asyncio.to_thread(cluster.until_whole)
    return f"{how} killed: a primary after {writable:.1f} s, the first poll after {booking:.1f} s"
