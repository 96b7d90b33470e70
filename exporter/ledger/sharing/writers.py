"""Those who write into one ledger: how many there are, and what becomes of the totals of one that is gone.

Owns the table of writers, within the caller's transaction. Each transaction of a writer marks it as alive and locks its
row, so nobody takes it for dead meanwhile; one that is found dead is erased, and finds out by that. The surprising
fact: sums never change here, since what a dead writer had is added to writer 0's in the transaction that erases it.
"""

from collections import defaultdict
from collections.abc import Iterator

from exporter.core.model import Total
from exporter.ledger.database import Connection
from exporter.ledger.totals.aggregate import sum_parts
from exporter.ledger.totals.series import UPSERT_TOTAL, new_total, read_labels, total_values, with_values

ALIVE_SECONDS = 20.0
"""Who was not seen for so long has no part of the request budget."""
DEAD_SECONDS = 120.0
"""Who was not seen for so long is erased; if it was only away, it goes on as a new writer."""


def count_alive(connection: Connection) -> int:
    """How many writers there are, the one that asks included."""
    query = "SELECT count(*) FROM writers WHERE seen > clock_timestamp() - ? * interval '1 second'"
    return max(1, int(connection.execute(query, (ALIVE_SECONDS,)).fetchone()[0]))


def fold_dead(connection: Connection) -> int:
    """Add the totals of those that are gone to writer 0's, and erase them; returns how many they were."""
    connection.lock_task("folding")
    query = (
        "SELECT id FROM writers WHERE seen < clock_timestamp() - ? * interval '1 second' ORDER BY id"
        " FOR UPDATE SKIP LOCKED"
    )
    gone = [number for (number,) in connection.execute(query, (DEAD_SECONDS,)).fetchall()]
    for writer in gone:
        rows = [total_values(0, total) for total in _both(connection, writer)]
        connection.executemany(f"{UPSERT_TOTAL}, changed = DEFAULT", rows)
        connection.execute(
            "INSERT INTO spend (quarter, labels, currency, writer, amount)"
            " SELECT quarter, labels, currency, 0, amount FROM spend WHERE writer = ?"
            " ON CONFLICT (quarter, labels, currency, writer) DO UPDATE SET amount = spend.amount + excluded.amount",
            (writer,),
        )
        for table in ("totals", "spend"):
            connection.execute(f"DELETE FROM {table} WHERE writer = ?", (writer,))  # noqa: S608 - literals
        connection.execute("DELETE FROM writers WHERE id = ?", (writer,))
    return len(gone)


def _both(connection: Connection, writer: int) -> Iterator[Total]:
    """What the writer and writer 0 have together, of the series that the writer has a part of."""
    rows = connection.execute(
        "SELECT id, family, labels, bounds, exposed, value, counts, exemplars FROM totals"
        " JOIN series ON series.id = series WHERE writer IN (0, ?)"
        " AND series IN (SELECT series FROM totals WHERE writer = ?)",
        (writer, writer),
    )
    parts: dict[int, list[Total]] = defaultdict(list)
    for number, family, labels, bounds, released, *values in rows:
        parts[number].append(with_values(new_total(number, family, read_labels(labels), bounds, released), *values))
    for number in sorted(parts):
        first, *others = parts[number]
        yield sum_parts(first, others)
