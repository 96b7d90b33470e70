"""Start a durable PostgreSQL, and measure its CPU and its write-ahead log.

The kernel adds the CPU of an ended process to its parent, so the parent is read last: no CPU time is missed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.postgres import Postgres, running


@contextmanager
def durable() -> Iterator[Postgres]:
    """Run a server with `fsync`, and a write-ahead log large enough for a benchmark."""
    with running(fsync=True, shared_buffers="256MB", max_wal_size="4GB") as started:
        yield started


def cpu_seconds(server: Postgres) -> float:
    """Return the CPU seconds of all its processes, including those that have ended."""
    ticks = 0
    for pid in sorted(server.pids, key=lambda pid: pid == server.pid):
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15] if pid == server.pid else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def logged(server: Postgres) -> float:
    """Return the bytes written to the write-ahead log so far; these are replicated and archived."""
    return float(server.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])
