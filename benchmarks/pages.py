"""How fast the lists of sessions are read from a large ledger: `python benchmarks/pages.py [SESSIONS]`, some minutes.

Fills a ledger with a million sessions by SQL, in the shape that booking gives them, then reads pages of every order
and filter through real snapshots, the first and a deep one. Prints milliseconds.
"""

import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from exporter.config import Config
from exporter.ledger import Settings, open_ledger
from exporter.ledger.connection import SqliteConnection
from exporter.ledger.facets import Facets
from exporter.ledger.listing import Query
from exporter.ledger.snapshots import file_snapshot as snapshot
from exporter.model import SessionRef
from exporter.plan import policy

TYPES = ("call-session", "message", "call-control", "conference", "fax-api", "verify", "inference", "sip-trunking")
STATES = ("settled",) * 95 + ("active",) * 3 + ("discovered", "missing")
ROUNDS, DEEP = 5, 40


def fill(path: Path, count: int) -> None:
    """Sessions with summaries; one in a hundred thousand is denied, and one in ten thousand in euros."""
    open_ledger(f"sqlite:///{path}", policy(Config()), Settings.of(Config())).close()
    drawn = random.Random(1)
    connection = sqlite3.connect(path, factory=SqliteConnection)
    facets = Facets(connection)

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(1, count + 1):
            kind = TYPES[min(int(drawn.expovariate(1)), len(TYPES) - 1)]
            state = "denied" if number % 100_000 == 0 else drawn.choice(STATES)
            ref = SessionRef(f"account-{number % 3}", kind, f"{drawn.getrandbits(128):032x}")
            costs = [] if state in {"discovered", "missing", "denied"} else [("p", currency(number), price(drawn))]
            summary = json.dumps({"events": drawn.randint(1, 40), "turns": 3, "costs": costs}) if costs else None
            at = 1.7e9 + drawn.random() * 1e7
            facets.put(number, ref, state, at, summary)
            yield (number, ref.account, kind, ref.event_id, state, at, at, summary)

    connection.executemany(
        "INSERT INTO sessions (id, account, record_type, event_id, state, followed_at, changed_at, summary, source,"
        " configured, claim, interval, rechecks, observed, owned, failing, polls)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'file', 0, 0, 0, 0, 1, 5, '', '[[1763000000.0, \"changed\", \"\"]]')",
        rows(),
    )
    connection.commit()
    connection.close()


def currency(number: int) -> str:
    return "EUR" if number % 10_000 == 0 else "USD"


def price(drawn: random.Random) -> str:
    return str(Decimal(drawn.randint(1, 5_000_000)) / 1_000_000)


def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="pages-") as name:
        path = Path(name) / "ledger.sqlite"
        started = time.monotonic()
        fill(path, count)
        print(f"{count} sessions in {time.monotonic() - started:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
        for query in (
            *(Query(sort=sort, order=order) for sort in ("cost", "changed", "events") for order in ("desc", "asc")),
            *(Query(sort="cost", state=state) for state in ("settled", "active", "denied")),
            Query(sort="cost", currency="EUR"),
            Query(sort="cost", record_type="verify", account="account-1"),
            Query(sort="events", record_type="message"),
            Query(text="a0", sort="cost"),
            Query(text="deadbeef"),
            Query(text="call"),
        ):
            measure(path, query)
    return 0


def measure(path: Path, query: Query) -> None:
    first: list[float] = []
    deep: list[float] = []
    for _ in range(ROUNDS):
        asked = query
        for page in range(DEEP):
            started = time.perf_counter()
            with snapshot(path) as view:
                listing = view.sessions(asked)
            (deep if page else first).append(1000 * (time.perf_counter() - started))
            if listing.next is None:
                break
            asked = replace(asked, after=listing.next)
    stated = ", ".join(f"{key}={getattr(query, key)}" for key in query.__struct_fields__ if getattr(query, key))
    further = f", further ones {statistics.median(deep):.1f}, at most {max(deep):.1f}" if deep else ""
    print(f"first page {statistics.median(first):.1f}{further} ms: {stated}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
