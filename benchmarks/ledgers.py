"""Build large ledgers within a minute: one call is booked by the real ledger, and its rows are copied.

Every session is the call of Telnyx's guide with its 11 events under ids of its own. The keys of events are the real
ones, so a poll of a copy finds what it booked. Totals are scaled exactly, so `Ledger.check()` holds; a test checks
that at a small size.
"""

import json
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from exporter.config import Config
from exporter.core.attributes import AttributeReader
from exporter.core.model import Claim, Poll, Session, SessionRef
from exporter.core.money import amount_text
from exporter.core.record_types import RecordTypes
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.ledger.queue.event_keys import event_key
from exporter.runtime.plan import policy

ACCOUNT, RECORD_TYPE = "main", "call-session"
EXAMPLE = (Path(__file__).parent.parent / "tests" / "data" / "documented-example.json").read_bytes()
STEM = b"a1b2c3d4"
"""The part of the example's ids that differs in each copy."""
DAY = b"2026-03-17"
LIVE, SETTLED = 1, 2
"""The numbers of the two original sessions; copies have higher numbers."""
LIVE_SHARE = 0.1
"""The share of a busy account's sessions that are still polled often; the others wait for a recheck."""
HOUR_SECONDS, DAY_SECONDS = 3600.0, 86_400.0
CHUNK = 20_000
READER = TreeReader(AttributeReader(()).record_fields, RecordTypes.documented(), TreeLimits())
ATTRIBUTE_READER = AttributeReader(())


def stem(number: int) -> bytes:
    return b"%08x" % number


def example(day: date) -> bytes:
    """Return the answer of the API's guide, dated to this day."""
    return EXAMPLE.replace(DAY, day.isoformat().encode())


def day_before(now: float) -> date:
    """Return the day before `now`: calls of a new ledger get this date, so pruning leaves them alone."""
    return datetime.fromtimestamp(now - DAY_SECONDS, UTC).date()


def event_id(number: int) -> str:
    return f"{stem(number).decode()}-5e6f-7a8b-9c0d-1e2f3a4b5c6d"


def session(number: int, day: date) -> Session:
    """Return the session with this number, as the exporter reads it from the API's answer."""
    body = example(day).replace(STEM, stem(number))
    stitching = READER.session(SessionRef(ACCOUNT, RECORD_TYPE, event_id(number)), body, 5)
    try:
        next(stitching)
    except StopIteration as done:
        found: Session = done.value
        return found
    raise ValueError("the example is incomplete: its tree needs further requests")


def poll(claim: Claim, found: Session, at: float) -> Poll:
    facts = ATTRIBUTE_READER.event_attributes(found)
    return Poll(claim, at, "tree", "", found, facts, ATTRIBUTE_READER.session_attributes(found, facts))


def build(path: Path, sessions: int, now: float, *, live: int | None = None, due_within: float = 3600.0) -> None:
    """Fill a new ledger; `live` sessions (default: a tenth) are due within `due_within` seconds, the others later."""
    live = max(1, round(LIVE_SHARE * sessions)) if live is None else live
    day = day_before(now)
    with closing(open_ledger(f"sqlite:///{path}", policy(Config()), TotalsSettings.of(Config()))) as ledger:
        empty = _totals(path)
        _book(ledger, LIVE, day, now - HOUR_SECONDS, settle=False)
        of_live = _totals(path)
        _book(ledger, SETTLED, day, now - DAY_SECONDS, settle=True)
        of_both = _totals(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")
        connection.execute("BEGIN")
        drawn = random.Random(1)
        weeks = [drawn.uniform(now + DAY_SECONDS, now + 35 * DAY_SECONDS) for _ in range(997)]
        soon = [drawn.uniform(now, now + due_within) for _ in range(997)]
        _copy(connection, LIVE, range(SETTLED + 1, SETTLED + live), soon)
        _copy(connection, SETTLED, range(SETTLED + live, sessions + 1), weeks)
        for place, both in of_both.items():
            one = of_live.get(place, ZERO_TOTAL)
            first, second = _less(one, empty.get(place, ZERO_TOTAL)), _less(both, one)
            _write(connection, place, _plus(_times(first, live), _times(second, sessions - live)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


_BUILT: dict[int, Path] = {}
_FOLDER = tempfile.TemporaryDirectory(prefix="bench-ledgers-")


def copied(sessions: int, to: Path) -> Path:
    """Return the path of a copy of a ledger with so many sessions; each size is built once per process.

    For 0 sessions there is no file yet: the exporter creates its ledger.
    """
    path = to / "ledger.sqlite"
    if sessions:
        if sessions not in _BUILT:
            _BUILT[sessions] = Path(_FOLDER.name) / f"{sessions}.sqlite"
            build(_BUILT[sessions], sessions, time.time(), due_within=1.0)
        shutil.copyfile(_BUILT[sessions], path)
    return path


def _book(ledger: Ledger, number: int, day: date, at: float, *, settle: bool) -> None:
    """Follow a session and book its first poll and, if it settles, its last, as the exporter does."""
    found = session(number, day)
    ledger.follow([found.ref], "file", at)
    times = [at, at + Config().polling.settle_after_seconds + 1] if settle else [at]
    for moment in times:
        (claim,) = [claim for claim in ledger.claim(moment, {ACCOUNT: 2}) if claim.ref == found.ref]
        ledger.commit([poll(claim, found, moment)])


# Rows

NUMBERS: Mapping[str, str] = {
    "sessions": "id",
    "trees": "session",
    "session_index": "session",
    "session_index_costs": "session",
}
"""The tables with rows of a session, and the column with its number; events, with owner and key, are copied apart."""


def _copy(connection: sqlite3.Connection, original: int, numbers: Sequence[int], due: Sequence[float]) -> None:
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        for table, column in NUMBERS.items():
            names, rows = _rows(connection, table, column, original)
            _insert(connection, table, _numbered(names, rows, column, chunk, due))
        names, rows = _rows(connection, "events", "owner", original)
        _insert(connection, "events", sorted(_keyed(names, rows, original, chunk)))


def _rows(connection: sqlite3.Connection, table: str, column: str, number: int) -> tuple[list[str], list[list[Any]]]:
    found = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (number,))
    return [name for name, *_ in found.description], [list(row) for row in found]


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[Any]]) -> None:
    given = iter(rows)
    first = next(given)
    connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(first))})", chain([first], given))


def _numbered(
    names: Sequence[str], rows: Sequence[list[Any]], column: str, numbers: Sequence[int], due: Sequence[float]
) -> Iterator[list[Any]]:
    for number in numbers:
        changed = {column: number, "event_id": event_id(number), "due_at": due[number % len(due)]}
        places = [(names.index(name), value) for name, value in changed.items() if name in names]
        for row in rows:
            copied = row.copy()
            for place, value in places:
                copied[place] = value
            yield copied


def _keyed(
    names: Sequence[str], rows: Sequence[list[Any]], original: int, numbers: Sequence[int]
) -> Iterator[list[Any]]:
    key, owner = names.index("key"), names.index("owner")
    by_key = {row[key]: row for row in rows}
    pairs = [(event, by_key[event_key(ACCOUNT, event)]) for event in session(original, date.min).events]
    old = stem(original).decode()
    for number in numbers:
        new = stem(number).decode()
        for event, row in pairs:
            copied = row.copy()
            copied[key] = event_key(ACCOUNT, replace(event, id=event.id.replace(old, new, 1)))
            copied[owner] = number
            yield copied


# Totals

Place = tuple[str, ...]
"""The key of a total: a family and its labels, or `spend` and the key of its row."""
_TOTALS = "SELECT family, labels, value, counts FROM totals JOIN series ON series = id"
Amounts = tuple[Decimal, tuple[int, ...]]
"""The value of a total, and the counts if it is a histogram."""
ZERO_TOTAL: Amounts = (Decimal(0), ())


def _totals(path: Path) -> dict[Place, Amounts]:
    with closing(sqlite3.connect(path)) as connection:
        found = {
            (family, labels): (Decimal(value), tuple(json.loads(counts or "[]")))
            for family, labels, value, counts in connection.execute(_TOTALS)
        }
        spent = connection.execute("SELECT quarter, labels, currency, amount FROM spend")
        return found | {("spend", *map(str, key)): (Decimal(amount), ()) for *key, amount in spent}


def _less(one: Amounts, other: Amounts) -> Amounts:
    return _plus(one, _times(other, -1))


def _plus(one: Amounts, other: Amounts) -> Amounts:
    pairs = zip_longest(one[1], other[1], fillvalue=0)
    return one[0] + other[0], tuple(left + right for left, right in pairs)


def _times(one: Amounts, factor: int) -> Amounts:
    return one[0] * factor, tuple(count * factor for count in one[1])


def _write(connection: sqlite3.Connection, place: Place, amounts: Amounts) -> None:
    value, counts = amount_text(amounts[0]), json.dumps(amounts[1])
    if place[0] == "spend":
        where = "quarter = ? AND labels = ? AND currency = ?"
        connection.execute(f"UPDATE spend SET amount = ? WHERE {where}", (value, *place[1:]))
        return
    changed = "UPDATE totals SET value = ?, counts = CASE WHEN counts IS NULL THEN NULL ELSE ? END"
    named = "SELECT id FROM series WHERE family = ? AND labels = ?"
    connection.execute(f"{changed} WHERE series = ({named})", (value, counts, *place))
