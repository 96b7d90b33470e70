"""Rows of series, and of what each writer has added to them.

Owns how they are read and written; what is added, and when, is `totals`'s. Runs within the caller's transaction. The
surprising fact: a series and a writer's part of it are two rows, so that writers never wait for each other.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from exporter.core.catalog import BY_NAME
from exporter.core.model import Exemplar, Labels, Total
from exporter.core.money import ZERO, amount_text
from exporter.ledger.database import Connection

UPSERT_TOTAL = (
    "INSERT INTO totals (writer, series, value, counts, exemplars) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (writer, series) DO UPDATE SET value = excluded.value, counts = excluded.counts,"
    " exemplars = excluded.exemplars"
)


def find_or_insert(
    connection: Connection, table: str, named: Mapping[str, object], stated: Mapping[str, object]
) -> int:
    """The number of what is named so; a name that is new gets one, and what is stated of it, for ever."""
    columns, marks = ", ".join([*named, *stated]), ", ".join("?" * (len(named) + len(stated)))
    same = " AND ".join(f"{name} = ?" for name in named)
    query = f"SELECT id FROM {table} WHERE {same}"  # noqa: S608 - literals of those who call
    found = connection.execute(query, tuple(named.values())).fetchone()
    if found is None:
        connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 - literals of those who call
            (*named.values(), *stated.values()),
        )
        found = connection.execute(query, tuple(named.values())).fetchone()
    return int(found[0])


def count_lines(total: Total) -> int:
    """Sample lines that a row is exposed with: a histogram has its buckets, a sum and a count."""
    return len(total.counts) + 2 if total.counts else 1


def labels_text(labels: Labels) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


def read_labels(text: str) -> Labels:
    return tuple((name, value) for name, value in json.loads(text))


def total_values(writer: int, total: Total) -> tuple[object, ...]:
    """The values of a writer's row."""
    if not total.counts:
        return (writer, total.row, amount_text(total.value), None, None)
    exemplars = [(e.event_id, e.value, e.at) if e else None for e in total.exemplars]
    return (writer, total.row, amount_text(total.value), json.dumps(total.counts), json.dumps(exemplars))


def read_totals(connection: Connection, writer: int) -> Iterable[Total]:
    rows = connection.execute(
        "SELECT id, family, labels, bounds, exposed, value, counts, exemplars FROM series"
        " LEFT JOIN totals ON totals.series = series.id AND totals.writer = ?",
        (writer,),
    )
    for row, family, labels, bounds, released, value, counts, exemplars in rows:
        if family in BY_NAME:
            total = new_total(row, family, read_labels(labels), bounds, released)
            yield total if value is None else with_values(total, value, counts, exemplars)


def new_total(row: int, family: str, labels: Labels, bounds: str | None, released: int) -> Total:
    """A series to which nobody has added anything yet."""
    uppers = tuple(json.loads(bounds)) if bounds else ()
    cells = len(uppers) + 1 if uppers else 0
    return Total(row, family, labels, ZERO, bool(released), uppers, (0,) * cells, (None,) * cells)


def with_values(total: Total, value: Decimal | str, counts: str | None, exemplars: str | None) -> Total:
    """The series as a writer's row has it."""
    return replace(
        total,
        value=Decimal(value),
        counts=tuple(json.loads(counts)) if counts else (),
        exemplars=tuple(Exemplar(*e) if e else None for e in json.loads(exemplars)) if exemplars else (),
    )
