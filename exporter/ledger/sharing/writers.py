"""The processes that write to one ledger: how many are alive, and where the totals of dead ones go.

Each transaction of a writer first updates its row here (`PostgresEngine`), so that row is locked and nobody can fold it
meanwhile. A writer that was folded finds its row gone at its next transaction, and registers as a new one.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from exporter.ledger.database import Connection
from exporter.ledger.totals.aggregate import sum_parts
from exporter.ledger.totals.series import UPSERT_TOTAL, new_total, read_labels, total_values, with_values

ALIVE_SECONDS = 20.0
"""A writer not seen for so long gets no share of the request budget."""
DEAD_SECONDS = 120.0
"""A writer not seen for so long is folded."""


def count_alive(connection: Connection) -> int:
    """Return how many writers are alive, this one included."""
    query = "SELECT count(*) FROM writers WHERE seen > clock_timestamp() - ? * interval '1 second'"
    return max(1, int(connection.execute(query, (ALIVE_SECONDS,)).fetchone()[0]))


def fold_dead(connection: Connection) -> int:
    """Add the totals of dead writers to writer 0's and delete them; return how many there were.

    The sum over all writers never changes: writer 0 has 5, the dead one 3; afterwards writer 0 has 8.
    """
    connection.lock_task("folding")
    query = (
        "SELECT id FROM writers WHERE seen < clock_timestamp() - ? * interval '1 second' ORDER BY id"
        " FOR UPDATE SKIP LOCKED"
    )
    dead = [number for (number,) in connection.execute(query, (DEAD_SECONDS,)).fetchall()]
    for writer in dead:
        # `changed` is the current transaction again: replicas read rows that changed since their last reading.
        connection.executemany(f"{UPSERT_TOTAL}, changed = DEFAULT", list(_sums_with_writer_0(connection, writer)))
        connection.execute(
            "INSERT INTO spend (quarter, labels, currency, writer, amount)"
            " SELECT quarter, labels, currency, 0, amount FROM spend WHERE writer = ?"
            " ON CONFLICT (quarter, labels, currency, writer) DO UPDATE SET amount = spend.amount + excluded.amount",
            (writer,),
        )
        for table in ("totals", "spend"):
            connection.execute(f"DELETE FROM {table} WHERE writer = ?", (writer,))  # noqa: S608 - literals
        connection.execute("DELETE FROM writers WHERE id = ?", (writer,))
    return len(dead)


def _sums_with_writer_0(connection: Connection, writer: int) -> Iterator[tuple[object, ...]]:
    """Yield new rows of writer 0, for the series that this writer has a part of."""
    rows = connection.execute(
        "SELECT id, family, labels, bounds, exposed, value, counts, exemplars FROM totals"
        " JOIN series ON series.id = series WHERE writer IN (0, ?)"
        " AND series IN (SELECT series FROM totals WHERE writer = ?) ORDER BY id",
        (writer, writer),
    )
    for _, of_series in groupby(rows, key=itemgetter(0)):
        first, *rest = [
            with_values(new_total(number, family, read_labels(labels), bounds, exposed), *values)
            for number, family, labels, bounds, exposed, *values in of_series
        ]
        yield total_values(0, sum_parts(first, rest))
