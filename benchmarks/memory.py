"""Measure the memory of the running exporter: idle, polling with many sessions in its ledger, and per series.

Each row is the memory that the kernel counts for the real process, configured as an operator would. Run it with `make
bench-memory`.
"""

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.exporters import Exporter, exporter, stand_in
from benchmarks.ledgers import copied, day_before
from benchmarks.tables import MIB, mib, printed, table

COLUMNS = ("", "resident, MiB", "of which its own", "at most", "proportional")
SERIES_SHARE = 2
"""Series per added label set: its cost and its credits."""


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    sizes = (10_000, 50_000) if quick else (100_000, 1_000_000)
    idle_seconds, polls, repetitions = (5.0, 500, 1) if quick else (120.0, 5000, 3)
    says = (
        f"Resident memory of `run`: with an empty ledger after {idle_seconds:.0f} s with a scrape each second, and with"
        f" so many sessions in the ledger after {polls} polls of AI calls with 11 events, medians of {repetitions}. Its"
        " own is what no file backs."
    )
    return [
        "### Memory",
        "",
        says,
        "",
        *table(COLUMNS, [idle(idle_seconds), *(polled(size, polls, repetitions) for size in sizes)]),
        "",
        series(1000 if quick else 8000),
    ]


def idle(seconds: float) -> Sequence[str]:
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        day = day_before(time.time())
        with stand_in(day) as api, exporter(copied(0, Path(folder)), api=api) as running:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                running.page()
                time.sleep(1)
            return ("idle", *cells(running))


def polled(sessions: int, polls: int, repetitions: int) -> Sequence[str]:
    found = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
            ledger = copied(sessions, Path(folder))
            with stand_in(day_before(time.time())) as api, exporter(ledger, api=api) as running:
                running.wait_for_polls(polls)
                found.append(cells(running))
    middle = [str(statistics.median_low(map(int, column))) for column in zip(*found, strict=True)]
    return (f"{sessions:,} sessions", *middle)


def cells(running: Exporter) -> Sequence[str]:
    names = ("VmRSS", "RssAnon", "VmHWM")
    return (*(mib(running.resident(name)) for name in names), mib(running.proportional()))


def series(count: int) -> str:
    """Return a sentence with the bytes per series, from the same ledger with and without `count` series."""
    few, many = (_with_series(number) for number in (0, count))
    return f"A series takes {(many - few) / count:.0f} bytes ({count:,} more took {(many - few) / MIB:.1f} MiB)."


def _with_series(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        path = copied(100, Path(folder))
        with closing(sqlite3.connect(path)) as connection:
            _add_series(connection, count)
            connection.commit()
        with stand_in(day_before(time.time())) as api, exporter(path, api=api) as running:
            running.wait_for_polls(100)
            return running.resident()


def _add_series(connection: sqlite3.Connection, count: int) -> None:
    """Add series of invented products to a ledger: costs and credits."""
    (first,) = connection.execute("SELECT max(id) + 1 FROM series").fetchone()
    query = "SELECT family, min(labels) FROM series WHERE family LIKE 'telnyx_cost_%total' GROUP BY family"
    kinds = [(family, json.loads(labels)) for family, labels in connection.execute(query)]
    assert len(kinds) == SERIES_SHARE
    rows = []
    for number in range(count):
        family, labels = kinds[number % SERIES_SHARE]
        product = f"product-{number // SERIES_SHARE}"
        named = [[name, product if name == "product" else value] for name, value in labels]
        rows.append((first + number, family, json.dumps(named, separators=(",", ":"))))
    connection.executemany("INSERT INTO series (id, family, labels, exposed) VALUES (?, ?, ?, 1)", rows)
    values = [(number, f"{number}.25") for number, _, _ in rows]
    connection.executemany("INSERT INTO totals (writer, series, value) VALUES (0, ?, ?)", values)


if __name__ == "__main__":
    printed(measure, "Memory of the running exporter.")
