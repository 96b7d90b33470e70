"""Read lists of sessions from a large ledger: `make bench-pages`, some minutes.

SQL fills a ledger with a million sessions, in the form that booking gives them. The benchmark then reads first and
deep pages of every order and filter through real snapshots.
"""

import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from benchmarks.tables import printed, table
from exporter.config import Config
from exporter.core.model import SessionRef
from exporter.ledger import TotalsSettings, open_ledger, snapshot
from exporter.ledger.database import SqliteConnection
from exporter.ledger.views.index import SessionIndex
from exporter.ledger.views.listing import SessionQuery
from exporter.runtime.plan import policy

TYPES = ("call-session", "message", "call-control", "conference", "fax-api", "verify", "inference", "sip-trunking")
STATES = ("settled",) * 95 + ("active",) * 3 + ("discovered", "missing")
ROUNDS, DEEP = 5, 40


def fill(path: Path, count: int) -> None:
    """Write sessions with summaries; one in 100,000 is denied, and one in 10,000 costs euros."""
    open_ledger(f"sqlite:///{path}", policy(Config()), TotalsSettings.of(Config())).close()
    drawn = random.Random(1)
    connection = sqlite3.connect(path, factory=SqliteConnection)
    index = SessionIndex(connection)

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            kind = TYPES[min(int(drawn.expovariate(1)), len(TYPES) - 1)]
            state = "denied" if number % 100_000 == 0 else drawn.choice(STATES)
            ref = SessionRef(f"account-{number % 3}", kind, f"{drawn.getrandbits(128):032x}")
            costs = [] if state in {"discovered", "missing", "denied"} else [("p", currency(number), price(drawn))]
            summary = json.dumps({"events": drawn.randint(1, 40), "turns": 3, "costs": costs}) if costs else None
            at = 1.7e9 + drawn.random() * 1e7
            index.write(number, ref, state, at, summary)
            yield (number, ref.account, kind, ref.event_id, state, at, at, summary)

    connection.executemany(
        "INSERT INTO sessions (id, account, record_type, event_id, state, discovered_at, changed_at, summary, source,"
        " configured, claim, interval, observed, owned, failing, polls)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'file', 0, 0, 0, 1, 5, '', '[[1763000000.0, \"changed\", \"\"]]')",
        rows(),
    )
    connection.commit()
    connection.close()


def currency(number: int) -> str:
    return "EUR" if number % 10_000 == 0 else "USD"


def price(drawn: random.Random) -> str:
    return str(Decimal(drawn.randint(1, 5_000_000)) / 1_000_000)


def measure(*, quick: bool) -> list[str]:
    """Return a row for each order and filter."""
    count = 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="bench-pages-") as name:
        path = Path(name) / "ledger.sqlite"
        fill(path, count)
        rows = [read(path, query) for query in QUERIES]
    return [
        "### Lists of sessions",
        "",
        f"Read from a ledger of {count:,} sessions, as the pages and the JSON API do; ms, medians of {ROUNDS} rounds.",
        "",
        *table(("list", "first page", "further", "at most"), rows),
    ]


QUERIES = (
    *(SessionQuery(sort=sort, order=order) for sort in ("cost", "changed", "events") for order in ("desc", "asc")),
    *(SessionQuery(sort="cost", state=state) for state in ("settled", "active", "denied")),
    SessionQuery(sort="cost", currency="EUR"),
    SessionQuery(sort="cost", record_type="verify", account="account-1"),
    SessionQuery(sort="events", record_type="message"),
    SessionQuery(text="a0", sort="cost"),
    SessionQuery(text="deadbeef"),
    SessionQuery(text="call"),
)


def read(path: Path, query: SessionQuery) -> Sequence[str]:
    first: list[float] = []
    deep: list[float] = []
    for _ in range(ROUNDS):
        asked = query
        for page in range(DEEP):
            started = time.perf_counter()
            with snapshot(f"sqlite:///{path}") as view:
                listing = view.sessions(asked)
            (deep if page else first).append(1000 * (time.perf_counter() - started))
            if listing.next is None:
                break
            asked = replace(asked, after=listing.next)
    stated = ", ".join(f"{key}={getattr(query, key)}" for key in query.__struct_fields__ if getattr(query, key))
    further = (f"{statistics.median(deep):.1f}", f"{max(deep):.1f}") if deep else ("-", "-")
    return (stated, f"{statistics.median(first):.1f}", *further)


if __name__ == "__main__":
    printed(measure, "How fast lists of sessions are read from a large ledger.")
