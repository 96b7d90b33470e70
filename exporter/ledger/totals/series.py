"""Rows of series, and of the values that each writer has added to them.

A series and a writer's part of it are two rows, so writers never wait for each other. What is added, and when, is
decided by `Totals`.
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


def find_or_insert(connection: Connection, table: str, key: Mapping[str, object], rest: Mapping[str, object]) -> int:
    """Return the id of the row with the columns of `key`; insert it with those of `rest` if it doesn't exist."""
    columns, marks = ", ".join([*key, *rest]), ", ".join("?" * (len(key) + len(rest)))
    query = f"SELECT id FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}"  # noqa: S608 - literals of the callers
    found = connection.execute(query, tuple(key.values())).fetchone()
    if found is None:
        # Another writer may have inserted it since: then nothing is inserted, and its row is found.
        statement = f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - literals of the callers
        connection.execute(statement, (*key.values(), *rest.values()))
        found = connection.execute(query, tuple(key.values())).fetchone()
    return int(found[0])


def count_lines(total: Total) -> int:
    """Return how many sample lines a series takes on the page: a histogram has its buckets, a sum and a count."""
    return len(total.counts) + 2 if total.counts else 1


def labels_text(labels: Labels) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


def read_labels(text: str) -> Labels:
    return tuple((name, value) for name, value in json.loads(text))


def total_values(writer: int, total: Total) -> tuple[object, ...]:
    """Return a writer's row of a series, for `UPSERT_TOTAL`."""
    if not total.counts:
        return (writer, total.row, amount_text(total.value), None, None)
    exemplars = [(e.event_id, e.value, e.at) if e else None for e in total.exemplars]
    return (writer, total.row, amount_text(total.value), json.dumps(total.counts), json.dumps(exemplars))


def read_totals(connection: Connection, writer: int) -> Iterable[Total]:
    """Yield all series with the values of one writer; 0 where it has none."""
    rows = connection.execute(
        "SELECT id, family, labels, bounds, exposed, value, counts, exemplars FROM series"
        " LEFT JOIN totals ON totals.series = series.id AND totals.writer = ?",
        (writer,),
    )
    for row, family, labels, bounds, exposed, value, counts, exemplars in rows:
        if family in BY_NAME:  # else it is a metric of another version
            total = new_total(row, family, read_labels(labels), bounds, exposed)
            yield total if value is None else with_values(total, value, counts, exemplars)


def new_total(row: int, family: str, labels: Labels, bounds: str | None, exposed: int) -> Total:
    """Return the series at 0; `bounds` are those of a histogram, as JSON."""
    uppers = tuple(json.loads(bounds)) if bounds else ()
    cells = len(uppers) + 1 if uppers else 0
    return Total(row, family, labels, ZERO, bool(exposed), uppers, (0,) * cells, (None,) * cells)


def with_values(total: Total, value: Decimal | str, counts: str | None, exemplars: str | None) -> Total:
    """Return the series with the values of a row of `totals`."""
    return replace(
        total,
        value=Decimal(value),
        counts=tuple(json.loads(counts)) if counts else (),
        exemplars=tuple(Exemplar(*e) if e else None for e in json.loads(exemplars)) if exemplars else (),
    )
