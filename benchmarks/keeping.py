"""Measure the ledger alone: bytes per event and session, duration of a commit, speed of pruning.

The ledger is opened here, without an exporter around it. Run it with `make bench-keeping`.
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.ledgers import ACCOUNT, copied, day_before, poll, session
from benchmarks.tables import milliseconds, printed, table
from exporter.config import Config
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.runtime.maintenance import PRUNE_SESSIONS_MAX
from exporter.runtime.plan import policy

POLLS = 45
"""Polls per commit, with 11 events each: about as many as a commit of the exporter holds."""
EVENTS = 11


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    few, many = (5000, 20_000) if quick else (50_000, 1_000_000)
    commits, portions = (10, 5) if quick else (100, 100)
    says = (
        f"A commit of {POLLS} polls in which nothing changed, `synchronous=FULL`, of {commits}; pruning in transactions"
        f" of {PRUNE_SESSIONS_MAX} sessions, {portions} of them."
    )
    return [
        "### Ledger",
        "",
        f"Size of a ledger of AI calls with {EVENTS} events each, with all indexes.",
        "",
        *table(("a row of", "bytes"), sizes(few)),
        "",
        says,
        "",
        *table(COLUMNS, [kept(size, commits, portions) for size in (few, many)]),
    ]


COLUMNS = (
    *("sessions", "commit p50, ms", "p99", "CPU per poll, ms"),
    *("pruned per second", "longest transaction, ms"),
)


def sizes(sessions: int) -> list[Sequence[str]]:
    """Return rows with bytes per event and per session, from the page counts of the tables and indexes."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-keeping-") as folder,
        closing(sqlite3.connect(copied(sessions, Path(folder)))) as connection,
    ):
        found = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    events = sum(size for name, size in found if name in {"events", "ix_events_owner"})
    everything = sum(size for _, size in found)
    return [
        ("an event", f"{events / sessions / EVENTS:.0f}"),
        ("a session, without its events", f"{(everything - events) / sessions:.0f}"),
        ("a session with all", f"{everything / sessions:.0f}"),
    ]


def kept(sessions: int, commits: int, portions: int) -> Sequence[str]:
    with tempfile.TemporaryDirectory(prefix="bench-keeping-") as folder:
        path = copied(sessions, Path(folder))
        with closing(open_ledger(f"sqlite:///{path}", policy(Config()), TotalsSettings.of(Config()))) as ledger:
            times, cpu = committed(ledger, commits)
            pruned, spent = forgotten(ledger, portions)
    ranked = statistics.quantiles(times, n=100, method="inclusive")
    return (
        f"{sessions:,}",
        milliseconds(ranked[49]),
        milliseconds(ranked[98]),
        milliseconds(cpu / commits / POLLS),
        f"{pruned / sum(spent):.0f}",
        milliseconds(max(spent)),
    )


def committed(ledger: Ledger, commits: int) -> tuple[list[float], float]:
    """Return the seconds of each commit, and the CPU seconds of all commits."""
    now = time.time()
    times, cpu = [], 0.0
    for _ in range(commits):
        claims = ledger.claim(now + 30, {ACCOUNT: POLLS})
        day = day_before(now)
        polls = [poll(claim, session(int(claim.ref.event_id[:8], 16), day), now) for claim in claims]
        began, used = time.monotonic(), time.process_time()
        ledger.commit(polls)
        times.append(time.monotonic() - began)
        cpu += time.process_time() - used
    return times, cpu


def forgotten(ledger: Ledger, portions: int) -> tuple[int, list[float]]:
    """Return the number of pruned sessions, and the seconds of each transaction."""
    count, spent = 0, []
    for _ in range(portions):
        began = time.monotonic()
        pruned, _ = ledger.prune(time.time(), PRUNE_SESSIONS_MAX)
        if pruned:
            spent.append(time.monotonic() - began)
        count += pruned
    return count, spent


if __name__ == "__main__":
    printed(measure, "The ledger's own figures.")
