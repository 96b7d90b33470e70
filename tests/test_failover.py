"""A cluster of three whose primary dies: what was committed is there, and it goes on by itself."""

from contextlib import closing, suppress
from threading import Event, Thread

import psycopg

from tests.cluster import Cluster
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
