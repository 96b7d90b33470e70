"""A ledger copied to another place, from SQLite to PostgreSQL, back, or to another of its kind.

Owns the order of the copy, how it goes on after it was interrupted, and the proof that both ends hold the same. Rows
are copied in the order of their keys, a batch in one transaction, so what is there already is a beginning; a mark in
the copy, which no exporter opens then, says of what. The surprising fact: a ledger that several have written becomes
one that nobody has written yet: the writers' parts of a row become one row, and the sums are the same.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from itertools import zip_longest
from typing import Any

from msgspec import Struct

from exporter.core.catalog import BY_NAME
from exporter.core.errors import LedgerError
from exporter.core.money import amount_text, total
from exporter.ledger.copy_targets import (
    CopyTarget,
    check_unused,
    columns,
    continue_numbers,
    last_claim,
    open_original,
    open_target,
)
from exporter.ledger.database import Connection
from exporter.ledger.schema.version import COPYING

BATCH = 10_000

KEYS: Mapping[str, tuple[str, ...]] = {
    "label_sets": ("id",),
    "series": ("id",),
    "session_groups": ("id",),
    "totals": ("series",),
    "spend": ("quarter", "labels", "currency"),
    "sessions": ("id",),
    "events": ("key",),
    "substitutes": ("session", "record_type", "event_id"),
    "records": ("key",),
    "trees": ("session",),
    "amendments": ("id",),
    "session_index": ("session",),
    "session_index_costs": ("session", "currency"),
    "root_ids": ("event_id", "session"),
    "failures": ("id",),
}
"""Every table but `meta`, and what names its rows; where each writer has a part of a row, all parts together."""
WRITER = "writer"
"""The column of those tables; in the copy it is 0."""
JOINED = ("totals", "spend")
OWN = ("schema_version", "ledger_id", "claims", COPYING)
"""What of `meta` is each ledger's own, or copied apart."""

Row = tuple[Any, ...]


class CopyReport(Struct, frozen=True):
    """One table, when it is done."""

    table: str
    rows: int
    found: int
    """Of the rows: those that were there from an attempt before."""


def copy(original_url: str, copy_url: str, told: Callable[[CopyReport], None], batch: int = BATCH) -> None:
    """Copy the ledger at one URL to another; raises LedgerError unless both hold the same in the end."""
    with open_original(original_url) as original:
        if _kept(original, COPYING) is not None:
            raise LedgerError("the original is itself a copy that was not finished")
        with closing(open_target(copy_url)) as target:
            _begin(original, target)
            for table in KEYS:
                told(_copy(original, target, table, batch))
            _copy_meta(original, target)
            for table in KEYS:
                _compare(original, target.connection, table, batch)
            target.transact(lambda: target.connection.execute("DELETE FROM meta WHERE key = ?", (COPYING,)))


# Its beginning


def _begin(original: Connection, target: CopyTarget) -> None:
    """The copy is marked before its first row: as one of this ledger, in the state that it is in."""
    state = _state(original)

    def work() -> None:
        check_unused(target)
        found = _kept(target.connection, COPYING)
        if found is None and any(_any(target.connection, table) for table in KEYS):
            raise LedgerError(f"{target.location} holds a ledger already; copy into an empty place")
        if found not in {None, state}:
            raise LedgerError(
                f"{target.location} holds the beginning of another copy, or the original was used since; empty it first"
            )
        if found is None:
            target.connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (COPYING, state))

    target.transact(work)


def _state(connection: Connection) -> str:
    """Another one whenever an exporter has used the ledger in a way that could make half a copy wrong."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM sessions").fetchone()
    (released,) = connection.execute("SELECT coalesce(sum(exposed), 0) FROM series").fetchone()
    return json.dumps([_kept(connection, "ledger_id"), last_claim(connection), newest, int(released)])


def _kept(connection: Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _any(connection: Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - of this module


# Its rows


def _copy(original: Connection, target: CopyTarget, table: str, size: int) -> CopyReport:
    names = columns(original, table)
    found, last = _found(target.connection, table)
    count = found
    for rows in _batches(original, table, size, last):
        target.transact(partial(_load, target, table, names, rows))
        count += len(rows)
    return CopyReport(table, count, found)


def _found(connection: Connection, table: str) -> tuple[int, Row | None]:
    """How many rows there are, and the key of the last."""
    keys = KEYS[table]
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - of this module
    backwards = ", ".join(f"{key} DESC" for key in keys)
    query = f"SELECT {', '.join(keys)} FROM {table} ORDER BY {backwards} LIMIT 1"  # noqa: S608 - of this module
    return count, connection.execute(query).fetchone()


def _load(target: CopyTarget, table: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    target.connection.load(table, names, rows)


def _batches(connection: Connection, table: str, size: int, after: Row | None = None) -> Iterator[list[Row]]:
    """The rows behind that key in the order of their keys, as every target takes them."""
    keys, names = KEYS[table], columns(connection, table)
    parted = connection.shared and WRITER in names
    chosen = [f"array_agg({name})" if parted and name not in keys else name for name in names]
    families = dict(connection.execute("SELECT id, family FROM series").fetchall()) if table == "totals" else {}
    places = [names.index(key) for key in keys]
    first, order, more = f"SELECT {', '.join(chosen)} FROM {table}", f"ORDER BY {', '.join(keys)} LIMIT ?", True  # noqa: S608 - of this module
    grouped = f"GROUP BY {', '.join(keys)} " if parted else ""
    while more:
        behind = f"WHERE ({', '.join(keys)}) > ({', '.join('?' * len(keys))})" if after else ""
        rows = connection.execute(f"{first} {behind} {grouped}{order}", (*(after or ()), size)).fetchall()
        if rows:
            after = tuple(rows[-1][place] for place in places)
            yield [_plain(table, names, row, families) for row in rows]
        more = len(rows) == size


def _plain(table: str, names: Sequence[str], row: Row, families: Mapping[int, str]) -> Row:
    """A row whose parts are one, and which nobody has claimed."""
    if table in JOINED and isinstance(row[names.index(WRITER)], list):
        named = dict(zip(names, row, strict=True))
        family = BY_NAME.get(families.get(named.get("series", 0), ""))
        most = {"value": max} if family is not None and family.across == "max" else {}
        joins: Mapping[str, Join] = {**JOINS, **most}
        row = tuple(joins[name](value) if isinstance(value, list) else value for name, value in named.items())
    if table == "sessions":
        place = names.index("claim")
        row = (*row[:place], 0, *row[place + 1 :])
    return tuple(map(_portable, row))


def _portable(value: Any) -> Any:
    """Amounts as text, and no character that PostgreSQL can't hold."""
    kind = type(value)
    if kind is str:
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return amount_text(value) if kind is Decimal else value


def _counts(parts: Iterable[str | None]) -> str | None:
    """Each bucket's sum; a writer that has seen none of a histogram has no list."""
    lists = [json.loads(part) for part in parts if part]
    return json.dumps([sum(cells) for cells in zip(*lists, strict=True)]) if lists else None


def _exemplars(parts: Iterable[str | None]) -> str | None:
    """Each bucket's latest."""
    cells = zip(*[json.loads(part) for part in parts if part], strict=True)
    latest = [max((each for each in cell if each), key=lambda each: each[2], default=None) for cell in cells]
    return json.dumps(latest) if latest else None


Join = Callable[[list[Any]], object]
JOINS: Mapping[str, Join] = {
    WRITER: lambda _: 0,
    "value": total,
    "amount": total,
    "counts": _counts,
    "exemplars": _exemplars,
}
"""How the parts of a row become one, by column."""


def _copy_meta(original: Connection, target: CopyTarget) -> None:
    rows = [row for row in original.execute("SELECT key, value FROM meta").fetchall() if row[0] not in OWN]
    rows.append(("ledger_id", _kept(original, "ledger_id")))
    numbered = [table for table, keys in KEYS.items() if keys == ("id",)]
    claim = last_claim(original)

    def work() -> None:
        target.connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key, _ in rows])
        target.connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", rows)
        continue_numbers(target.connection, claim, numbered)

    target.transact(work)


# Its proof


def _compare(original: Connection, copied: Connection, table: str, size: int) -> None:
    """Row by row, to the last digit."""
    names = columns(original, table)
    order = [columns(copied, table).index(name) for name in names]
    for before, after in zip_longest(
        _batches(original, table, size), _batches(copied, table, size), fillvalue=list[Row]()
    ):
        same = [tuple(row[place] for place in order) for row in after]
        if before != same:
            row = next(ours or theirs for ours, theirs in zip_longest(before, same) if ours != theirs)
            named = dict(zip(names, row, strict=True))
            key = ", ".join(str(named[name]) for name in KEYS[table])
            raise LedgerError(f"the copy is not the same: {table} differs at {key}; empty it and begin again")
