"""Copies a ledger: from SQLite to PostgreSQL, back, or to another one of its kind.

Rows are copied in the order of their keys, a batch per transaction, so an interrupted copy can be resumed: the rows
that the target has are a beginning. A mark in the target keeps exporters from opening it until all rows were compared.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from itertools import zip_longest
from typing import Any

from msgspec import Struct

from exporter.core.errors import LedgerError
from exporter.core.money import amount_text
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
from exporter.ledger.totals.aggregate import sum_parts
from exporter.ledger.totals.series import new_total, total_values, with_values

BATCH = 10_000

KEYS: Mapping[str, tuple[str, ...]] = {
    "label_sets": ("id",),
    "series": ("id",),
    "session_groups": ("id",),
    "totals": ("series",),
    "spend": ("quarter", "labels", "currency"),
    "sessions": ("id",),
    "events": ("key",),
    "pruned_events": ("first",),
    "substitutes": ("session", "record_type", "event_id"),
    "records": ("key",),
    "awaited_records": ("account", "record_type", "event_id"),
    "event_names": ("record_type", "product", "event_name"),
    "trees": ("session",),
    "amendments": ("id",),
    "session_index": ("session",),
    "session_index_costs": ("session", "currency"),
    "root_ids": ("event_id", "session"),
    "failures": ("id",),
}
"""Every table but `meta`, with its primary key; without the writer, since the copy has the sums, as writer 0's."""
WRITER = "writer"
OWN = ("schema_version", "ledger_id", "claims", COPYING)
"""Keys of `meta` that aren't copied, or are copied apart."""

Row = tuple[Any, ...]


class CopyReport(Struct, frozen=True):
    """A table that was copied."""

    table: str
    rows: int
    found: int
    """How many of the rows an earlier attempt had copied."""


def copy(original_url: str, copy_url: str, report: Callable[[CopyReport], None], batch: int = BATCH) -> None:
    """Copy the ledger at one URL to another; raise LedgerError unless both hold the same in the end."""
    with open_original(original_url) as original:
        if _meta(original, COPYING) is not None:
            raise LedgerError("the original is itself a copy that was not finished")
        with closing(open_target(copy_url)) as target:
            _mark(original, target)
            for table in KEYS:
                report(_copy(original, target, table, batch))
            _copy_meta(original, target)
            for table in KEYS:
                _compare(original, target.connection, table, batch)
            target.transact(lambda: target.connection.execute("DELETE FROM meta WHERE key = ?", (COPYING,)))


def _mark(original: Connection, target: CopyTarget) -> None:
    """Mark the target as a copy of this ledger in its present state, or check that it has that mark."""
    # Changes whenever an exporter uses the ledger in a way that could make half a copy wrong.
    (newest,) = original.execute("SELECT coalesce(max(id), 0) FROM sessions").fetchone()
    (exposed,) = original.execute("SELECT coalesce(sum(exposed), 0) FROM series").fetchone()
    state = json.dumps([_meta(original, "ledger_id"), last_claim(original), newest, int(exposed)])

    def work() -> None:
        check_unused(target)
        found = _meta(target.connection, COPYING)
        if found is None and any(_has_rows(target.connection, table) for table in KEYS):
            raise LedgerError(f"{target.location} holds a ledger already; copy into an empty place")
        if found not in {None, state}:
            raise LedgerError(
                f"{target.location} holds the beginning of another copy, or the original was used since; empty it first"
            )
        if found is None:
            target.connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (COPYING, state))

    target.transact(work)


def _meta(connection: Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _has_rows(connection: Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - of this module


def _copy(original: Connection, target: CopyTarget, table: str, size: int) -> CopyReport:
    keys, names = KEYS[table], columns(original, table)
    (found,) = target.connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - of this module
    backwards = ", ".join(f"{key} DESC" for key in keys)
    query = f"SELECT {', '.join(keys)} FROM {table} ORDER BY {backwards} LIMIT 1"  # noqa: S608 - of this module
    count, last = found, target.connection.execute(query).fetchone()
    for rows in _batches(original, table, size, last):
        target.transact(partial(target.connection.bulk_insert, table, names, rows))
        count += len(rows)
    return CopyReport(table, count, found)


def _batches(connection: Connection, table: str, size: int, after: Row | None = None) -> Iterator[list[Row]]:
    """Yield the rows behind a key in the order of their keys, in the form in which both engines can store them."""
    keys, names = ", ".join(KEYS[table]), columns(connection, table)
    # Nobody has claimed the sessions of a copy.
    chosen = ", ".join("0" if (table, name) == ("sessions", "claim") else name for name in names)
    source, group = table, ""
    if connection.shared and table == "spend":
        chosen, group = f"{keys}, 0, sum(amount)", f"GROUP BY {keys}"
    elif connection.shared and table == "totals":
        chosen = "series, family, bounds, array_agg(value), array_agg(counts), array_agg(exemplars)"
        source, group = "totals JOIN series ON series.id = series", "GROUP BY series, family, bounds"
    positions, more = [names.index(key) for key in KEYS[table]], True
    while more:
        behind = f"WHERE ({keys}) > ({', '.join('?' * len(positions))})" if after else ""
        query = f"SELECT {chosen} FROM {source} {behind} {group} ORDER BY {keys} LIMIT ?"  # noqa: S608 - of this module
        found = connection.execute(query, (*(after or ()), size)).fetchall()
        if source != table:
            found = [_sum_writers(*row) for row in found]
        if found:
            after = tuple(found[-1][position] for position in positions)
            yield [tuple(map(_portable, row)) for row in found]
        more = len(found) == size


def _sum_writers(number: int, family: str, bounds: str | None, *columns: Sequence[Any]) -> tuple[object, ...]:
    """Return the row of writer 0 that has all writers' parts of a series."""
    series = new_total(number, family, (), bounds, 1)
    return total_values(0, sum_parts(series, [with_values(series, *part) for part in zip(*columns, strict=True)]))


def _portable(value: Any) -> Any:
    # Amounts as text, and without the one character that PostgreSQL can't hold.
    kind = type(value)
    if kind is str:
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return amount_text(value) if kind is Decimal else value


def _copy_meta(original: Connection, target: CopyTarget) -> None:
    rows = [row for row in original.execute("SELECT key, value FROM meta").fetchall() if row[0] not in OWN]
    rows.append(("ledger_id", _meta(original, "ledger_id")))
    numbered = [table for table, keys in KEYS.items() if keys == ("id",)]
    claim = last_claim(original)

    def work() -> None:
        target.connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key, _ in rows])
        target.connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", rows)
        continue_numbers(target.connection, claim, numbered)

    target.transact(work)


def _compare(original: Connection, copied: Connection, table: str, size: int) -> None:
    """Compare all rows, to the last digit; raise LedgerError at the first difference."""
    names = columns(original, table)
    order = [columns(copied, table).index(name) for name in names]
    batches: Iterable[tuple[list[Row], list[Row]]] = zip_longest(
        _batches(original, table, size), _batches(copied, table, size), fillvalue=list[Row]()
    )
    for before, after in batches:
        same = [tuple(row[position] for position in order) for row in after]
        if before != same:
            row = next(ours or theirs for ours, theirs in zip_longest(before, same) if ours != theirs)
            values = dict(zip(names, row, strict=True))
            key = ", ".join(str(values[name]) for name in KEYS[table])
            raise LedgerError(f"the copy is not the same: {table} differs at {key}; empty it and begin again")
