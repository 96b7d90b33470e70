"""A ledger of ten million events in PostgreSQL: copied there, looked through, and pruned while it is looked after.

Owns the size, and the questions that are explained there. The surprising fact: what is pruned is dead rows first; that
they are swept up as fast as they are made is what keeps a table from growing, and it is measured as well.
"""

import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.ledgers import ACCOUNT, copied, day_before, poll, session
from benchmarks.tables import milliseconds, table
from exporter.config import Config
from exporter.ledger import Ledger, Settings, open_ledger
from exporter.ledger.copying import Copied, copy
from exporter.plan import policy
from exporter.upkeep import PRUNE_SESSIONS_MAX
from tests.postgres import Postgres, running

EVENTS = 11
BATCH = 45
LARGE = ("sessions", "events", "listed", "listed_costs", "trees")
EXPLAINED = ("session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0")
MIB = 1024 * 1024


def measure(*, quick: bool) -> list[str]:
    """What `make bench` shows."""
    sessions, commits, portions = (20_000, 10, 20) if quick else (910_000, 100, 2000)
    with (
        tempfile.TemporaryDirectory(prefix="bench-forgetting-") as folder,
        running(fsync=True, shared_buffers="512MB", max_wal_size="8GB") as server,
    ):
        name = server.create_database()
        path = copied(sessions, Path(folder))
        rows, seconds = _copy(f"sqlite:///{path}", server.url(name))
        server.execute("VACUUM ANALYZE", name)
        size = server.execute(f"SELECT pg_database_size('{name}')")[0][0]
        with closing(open_ledger(server.url(name), policy(Config()), Settings.of(Config()))) as ledger:
            booked = _book(ledger, commits)
            pruned, spent = _prune(ledger, portions)
        dead = _dead(server, name)
        for setting in EXPLAINED:  # after what is timed: to explain takes time
            server.execute(f"ALTER DATABASE {name} SET {setting}")
        with closing(open_ledger(server.url(name), policy(Config()), Settings.of(Config()))) as ledger:
            _book(ledger, 1)
            _prune(ledger, 2)
        scans = _scans(server)
    says = (
        f"{sessions:,} sessions. Copied from SQLite and compared row by row; a commit has {BATCH} polls in which"
        f" nothing changed; pruning in transactions of {PRUNE_SESSIONS_MAX} sessions, {portions:,} of them, at once."
    )
    ranked = statistics.quantiles(spent, n=100, method="inclusive")
    return [
        f"### PostgreSQL with {EVENTS * sessions / 1e6:.1f} million events",
        "",
        says,
        "",
        *table(
            ("figure", "value"),
            [
                ("copied and compared, rows/s", f"{rows / seconds:,.0f}"),
                ("bytes per session, with indexes", f"{size / sessions:,.0f}"),
                ("claim and commit p50, ms", milliseconds(statistics.median(booked))),
                ("sessions pruned per second", f"{pruned / sum(spent):,.0f}"),
                ("a transaction of it, p50, ms", milliseconds(ranked[49])),
                ("p99, ms", milliseconds(ranked[98])),
                ("dead rows of events afterwards, of those pruned", f"{dead / max(1, pruned * EVENTS):.0%}"),
                ("statements that read a large table from end to end", str(len(scans))),
            ],
        ),
        *(f"\n`{scan}`" for scan in scans),
    ]


def _copy(source: str, target: str) -> tuple[int, float]:
    """How many rows, and how long it took."""
    told: list[Copied] = []
    begun = time.monotonic()
    copy(source, target, told.append)
    return sum(each.rows for each in told), time.monotonic() - begun


def _book(ledger: Ledger, commits: int) -> Sequence[float]:
    now, spent = time.time(), []
    day = day_before(now)
    for _ in range(commits):
        begun = time.monotonic()
        claims = ledger.claim(now + 30, {ACCOUNT: BATCH})
        claimed = time.monotonic() - begun
        polls = [poll(claim, session(int(claim.ref.event_id[:8], 16), day), now) for claim in claims]
        begun = time.monotonic()
        ledger.record(polls)
        spent.append(claimed + time.monotonic() - begun)
    return spent


def _prune(ledger: Ledger, portions: int) -> tuple[int, list[float]]:
    """How many sessions, and the seconds of each transaction."""
    count, spent = 0, []
    for _ in range(portions):
        begun = time.monotonic()
        pruned, _ = ledger.prune(time.time(), PRUNE_SESSIONS_MAX)
        if not pruned:
            break
        spent.append(time.monotonic() - begun)
        count += pruned
    return count, spent


def _scans(server: Postgres) -> list[str]:
    """The statements, each once."""
    found = set()
    for entry in re.split(r"(?m)^(?=\d{4}-)", server.log()):
        asked = re.search(r"Query Text: (.*)", entry)
        if asked and set(re.findall(r"Seq Scan on (\w+)", entry)) & set(LARGE):
            found.add(asked[1])
    return sorted(found)


def _dead(server: Postgres, name: str) -> int:
    query = "SELECT coalesce(n_dead_tup, 0) FROM pg_stat_user_tables WHERE relname = 'events'"
    return int(server.execute(query, name)[0][0])
