"""Measure several writers of one PostgreSQL ledger: polls booked per second, and CPU of writers and server.

The writers are processes that claim and book like the ledger thread of an exporter, without an API, so almost all
their work is the ledger. With few cores the rate of several writers says little, since they share the cores with the
server; CPU per poll shows how many cores a rate needs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from msgspec import Struct

from benchmarks.ledgers import ACCOUNT, RECORD_TYPE, day_before, event_id, poll, session
from benchmarks.servers import cpu_seconds, durable, logged
from benchmarks.tables import table
from exporter.config import Config
from exporter.core.model import SessionRef
from exporter.ledger import TotalsSettings, open_ledger
from exporter.runtime.plan import policy
from tests.support.postgres import Postgres
from tests.support.waiting import until

BATCH = 45
"""Polls per commit, with 11 events each: about as many as a commit of the exporter holds."""
CLAIMED = 50
CLAIMS = 5
"""The measurement of claims alone has this many times the sessions."""
WRITERS = (1, 2, 4)
AGAIN_SECONDS = 2 * 3600.0
"""After this time every session that was polled once is due again."""


class Work(Struct, frozen=True):
    """The work of one writer."""

    polls: int
    cpu: float
    """Seconds of the process, from the first claim to the last commit."""


class Round(Struct, frozen=True):
    """The figures of polling all sessions once."""

    per_second: float
    writer_ms: float
    """CPU per poll, of the writers."""
    server_ms: float
    """CPU per poll, of PostgreSQL."""
    log_bytes: float
    """Bytes of the write-ahead log per poll; these are replicated and archived."""


def report(sessions: int, rounds: int, writers: Sequence[int] = WRITERS) -> list[str]:
    """Return two tables: booking and claiming."""
    says = (
        f"{sessions:,} calls with 11 events, {BATCH} polls per transaction, durable (`fsync`), writers and server on "
        f"the same cores; median of {rounds} round(s). First: all events are new. Again: nothing has changed. A poll's "
        "CPU includes reading the tree, but no request."
    )
    contenders = {"SQLite, 1": 0} | {f"PostgreSQL, {count}": count for count in writers}
    found = {name: [_life(count, sessions) for _ in range(rounds)] for name, count in contenders.items()}
    one = found[f"PostgreSQL, {writers[0]}"]
    base = [statistics.median(each[place].per_second for each in one) for place in (0, 1)]
    return [
        "### Writers of one ledger",
        "",
        says,
        "",
        *table(COLUMNS, [_row(name, lives, base) for name, lives in found.items()]),
        "",
        f"Claims alone, {CLAIMED} in a transaction, from {CLAIMS * sessions:,} sessions that are due.",
        "",
        *table(("writers", "claims/s", "ratio", "server, ms per claim"), _claim_rows(CLAIMS * sessions, writers)),
    ]


COLUMNS = (
    *("ledger, writers", "first: polls/s", "ratio", "writer, ms", "server, ms", "log, kB"),
    *("again: polls/s", "ratio", "writer, ms", "server, ms", "log, kB"),
)


def _row(name: str, lives: Sequence[tuple[Round, Round]], base: Sequence[float]) -> list[str]:
    cells = [name]
    for place in (0, 1):
        rate, writer, server, log = (
            statistics.median(getattr(life[place], field) for life in lives) for field in Round.__struct_fields__
        )
        cells += [f"{rate:,.0f}", f"{rate / base[place]:.2f}", f"{writer:.2f}", f"{server:.2f}", f"{log / 1000:.1f}"]
    return cells


def _life(writers: int, sessions: int) -> tuple[Round, Round]:
    """Poll so many sessions twice and return both rounds; 0 writers means one writer on SQLite."""
    started = time.time()
    if not writers:
        with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
            url = f"sqlite:///{folder}/ledger.sqlite"
            _follow(url, sessions, started)
            return _round(url, 1, started, None), _round(url, 1, started + AGAIN_SECONDS, None)
    with durable() as server:
        url = server.url(server.create_database())
        _follow(url, sessions, started)
        return _round(url, writers, started, server), _round(url, writers, started + AGAIN_SECONDS, server)


def _claim_rows(sessions: int, writers: Sequence[int]) -> Iterator[list[str]]:
    alone = 0.0
    for count in writers:
        with durable() as server:
            url = server.url(server.create_database())
            _follow(url, sessions, time.time())
            found = _round(url, count, time.time(), server, "claim")
        alone = alone or found.per_second
        rate, ratio = f"{found.per_second:,.0f}", f"{found.per_second / alone:.2f}"
        yield [str(count), rate, ratio, f"{found.server_ms:.3f}"]


def _follow(url: str, sessions: int, now: float) -> None:
    with closing(open_ledger(url, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        for start in range(1, sessions + 1, 1000):
            numbers = range(start, min(start + 1000, sessions + 1))
            ledger.follow([SessionRef(ACCOUNT, RECORD_TYPE, event_id(number)) for number in numbers], "file", now)


def _round(url: str, writers: int, moment: float, server: Postgres | None, what: str = "poll") -> Round:
    """Have `writers`, started together, poll or claim all sessions that are due at `moment`."""
    before, logged = _cpu(server), _logged(server)
    with _started(url, writers, moment, what) as processes:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        started = time.monotonic()
        done = [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
        elapsed = time.monotonic() - started
    polls, cpu = sum(each["polls"] for each in done), sum(each["cpu"] for each in done)
    used = _cpu(server) - before
    return Round(polls / elapsed, 1000 * cpu / polls, 1000 * used / polls, (_logged(server) - logged) / polls)


@contextmanager
def _started(url: str, writers: int, moment: float, what: str) -> Iterator[list["subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "benchmarks.writers", "--writer", url, "--moment", str(moment), "--what", what]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(writers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.communicate()


_CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def _cpu(server: Postgres | None) -> float:
    if server is None:
        return 0.0
    until(lambda: server.execute(_CLIENTS) == [(0,)])  # the CPU of an ended backend is counted
    return cpu_seconds(server)


def _logged(server: Postgres | None) -> float:
    return 0.0 if server is None else logged(server)


# A writer


def _write(url: str, moment: float, what: str) -> Work:
    """Claim and book until nothing is due."""
    polls, day = 0, day_before(time.time())
    with closing(open_ledger(url, policy(Config()), TotalsSettings.of(Config()))) as ledger:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        started = time.process_time()
        while claims := ledger.claim(moment, {ACCOUNT: BATCH if what == "poll" else CLAIMED}):
            polls += len(claims)
            if what == "poll":
                found = [(claim, session(int(claim.ref.event_id[:8], 16), day)) for claim in claims]
                ledger.commit([poll(claim, tree, moment) for claim, tree in found])
        return Work(polls, time.process_time() - started)


def main() -> None:
    """Run one writer; `_started` starts it as a process."""
    parser = argparse.ArgumentParser(description="One of several writers of a ledger.")
    parser.add_argument("--writer", metavar="URL", required=True)
    parser.add_argument("--moment", type=float, required=True)
    parser.add_argument("--what", choices=["poll", "claim"], required=True)
    arguments = parser.parse_args()
    done = _write(arguments.writer, arguments.moment, arguments.what)
    print(json.dumps({"polls": done.polls, "cpu": done.cpu}), flush=True)


if __name__ == "__main__":
    main()
