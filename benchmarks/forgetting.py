"""Measure a PostgreSQL ledger of ten million events: copying, committing, querying and pruning.

Pruned rows stay as dead rows until VACUUM. A table grows unless VACUUM keeps up, so its duration is measured too.
"""

import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.grown import multiply
from benchmarks.ledgers import ACCOUNT, copied, day_before, poll, session
from benchmarks.servers import cpu_seconds, logged
from benchmarks.tables import milliseconds, table
from exporter.config import Config
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.ledger.copy import CopyReport, copy
from exporter.runtime.maintenance import PRUNE_SESSIONS_MAX
from exporter.runtime.plan import policy
from tests.support.postgres import Postgres, running

EVENTS = 11
BATCH = 45
LARGE = ("sessions", "events", "session_index", "session_index_costs", "trees")
EXPLAINED = ("session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0")


class Size(Struct, frozen=True, kw_only=True):
    """The size of the measurement."""

    copied: int = 50_000
    """Sessions, a tenth of them live."""
    times: int = 21
    """The settled sessions are multiplied by this."""
    commits: int = 100
    portions: int = 2000
    """Transactions of pruning, at most."""


class Pruned(Struct, frozen=True):
    """The cost of pruning sessions."""

    count: int
    spent: Sequence[float]
    """Seconds of each transaction."""
    server: float
    """CPU seconds of PostgreSQL until the last transaction ended, autovacuum included."""
    log_bytes: float


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    return report(Size(copied=5000, times=4, commits=10, portions=20) if quick else Size())


def report(size: Size) -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-forgetting-") as folder,
        running(fsync=True, shared_buffers="512MB", max_wal_size="8GB", maintenance_work_mem="256MB") as server,
    ):
        name = server.create_database()
        url = server.url(name)
        rows, seconds = _copy(f"sqlite:///{copied(size.copied, Path(folder))}", url)
        multiply(url, size.times)
        server.execute("VACUUM ANALYZE", name)
        server.execute("CHECKPOINT")
        sessions = server.execute("SELECT count(*) FROM sessions", name)[0][0]
        bytes_each = server.execute(f"SELECT pg_database_size('{name}')")[0][0] / sessions
        with _opened(url) as ledger:
            booked = _book(ledger, size.commits)
            pruned = _prune(ledger, size.portions, server)
        dead = _dead_rows(server, name)
        vacuum_seconds = _vacuum_seconds(server, name)
        for setting in EXPLAINED:  # after the timed part, because auto_explain costs time
            server.execute(f"ALTER DATABASE {name} SET {setting}")
        with _opened(url) as ledger:
            _book(ledger, 1)
            _prune(ledger, 2, server)
        scans = _scans(server)
    ranked = statistics.quantiles(pruned.spent, n=100, method="inclusive")
    return [
        f"### PostgreSQL with {EVENTS * sessions / 1e6:.1f} million events",
        "",
        (
            f"{size.copied:,} sessions are copied from SQLite and compared row by row, and have become {sessions:,} by"
            f" copies of the settled ones. A commit has {BATCH} polls in which nothing changed; pruning goes in"
            f" transactions of {PRUNE_SESSIONS_MAX} sessions, {len(pruned.spent):,} of them without a pause."
        ),
        "",
        *table(
            ("figure", "value"),
            [
                ("copied and compared, rows/s", f"{rows / seconds:,.0f}"),
                ("bytes per session, with indexes", f"{bytes_each:,.0f}"),
                ("claim and commit p50, ms", milliseconds(statistics.median(booked))),
                ("sessions pruned per second", f"{pruned.count / sum(pruned.spent):,.0f}"),
                ("a transaction of it, p50, ms", milliseconds(ranked[49])),
                ("p99, ms", milliseconds(ranked[98])),
                ("CPU of PostgreSQL per pruned session, ms", milliseconds(pruned.server / pruned.count)),
                ("log per pruned session, kB", f"{pruned.log_bytes / pruned.count / 1000:.1f}"),
                ("dead rows of events afterwards, of those pruned", f"{dead / (EVENTS * pruned.count):.0%}"),
                ("VACUUM of events then, s", f"{vacuum_seconds:.1f}"),
                ("statements that read a large table from end to end", str(len(scans))),
            ],
        ),
        *(f"\n`{scan}`" for scan in scans),
    ]


@contextmanager
def _opened(url: str) -> Iterator[Ledger]:
    with closing(open_ledger(url, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        yield ledger


def _copy(source: str, target: str) -> tuple[int, float]:
    """Return the number of copied rows and the seconds it took."""
    reports: list[CopyReport] = []
    started = time.monotonic()
    copy(source, target, reports.append)
    return sum(each.rows for each in reports), time.monotonic() - started


def _book(ledger: Ledger, commits: int) -> Sequence[float]:
    now, spent = time.time(), []
    day = day_before(now)
    for _ in range(commits):
        started = time.monotonic()
        claims = ledger.claim(now + 30, {ACCOUNT: BATCH})
        claimed = time.monotonic() - started
        polls = [poll(claim, session(int(claim.ref.event_id[:8], 16), day), now) for claim in claims]
        started = time.monotonic()
        ledger.commit(polls)
        spent.append(claimed + time.monotonic() - started)
    return spent


def _prune(ledger: Ledger, portions: int, server: Postgres) -> Pruned:
    """Prune in up to `portions` transactions, or until nothing is left to prune."""
    count, spent = 0, []
    used, log_bytes = cpu_seconds(server), logged(server)
    for _ in range(portions):
        started = time.monotonic()
        pruned, _ = ledger.prune(time.time(), PRUNE_SESSIONS_MAX)
        if not pruned:
            break
        spent.append(time.monotonic() - started)
        count += pruned
    return Pruned(count, spent, cpu_seconds(server) - used, logged(server) - log_bytes)


def _scans(server: Postgres) -> list[str]:
    """Return the statements that scanned a large table sequentially, each once."""
    found = set()
    for entry in re.split(r"(?m)^(?=\d{4}-)", server.log()):
        asked = re.search(r"Query Text: (.*)", entry)
        if asked and set(re.findall(r"Seq Scan on (\w+)", entry)) & set(LARGE):
            found.add(asked[1])
    return sorted(found)


def _dead_rows(server: Postgres, name: str) -> int:
    query = "SELECT coalesce(n_dead_tup, 0) FROM pg_stat_user_tables WHERE relname = 'events'"
    return int(server.execute(query, name)[0][0])


def _vacuum_seconds(server: Postgres, name: str) -> float:
    """Return the seconds of a VACUUM of the pruned rows; it reads all indexes of the table in full."""
    started = time.monotonic()
    server.execute("VACUUM events", name)
    return time.monotonic() - started
