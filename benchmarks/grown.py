"""Enlarge a PostgreSQL ledger: SQL statements multiply its settled sessions.

The events of a session lie side by side, as booking would have stored them. In a ledger copied from SQLite they lie in
the order of their keys, until `CLUSTER` has reordered them.
"""

from collections.abc import Iterator

import psycopg

BATCH = 45
"""Sessions whose events are booked in one transaction, in the order of their keys."""

TABLES = {
    "sessions": {
        "id": "id + {offset}",
        "event_id": "lpad(to_hex(id + {offset}), 8, '0') || substr(event_id, 9)",
        "latest_at": "latest_at - {days} * 86400.0",
    },
    "events": {"key": "decode(md5(encode(key, 'hex') || {offset}), 'hex')", "owner": "owner + {offset}"},
    "trees": {"session": "session + {offset}"},
    "session_index": {"session": "session + {offset}"},
    "session_index_costs": {"session": "session + {offset}"},
}
"""The tables with rows of a session, and the columns that differ in each copy."""
NUMBERS = {"sessions": "id", "events": "owner"}
"""The column with the session's number, in tables where it isn't `session`."""
ORDER = {"events": f"owner / {BATCH}, decode(md5(encode(key, 'hex') || {{offset}}), 'hex')"}


def multiply(url: str, times: int) -> None:
    """Multiply the settled sessions by `times`; each copy is one day older than the copy before.

    Totals stay unchanged: no measured statement reads them.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        (count,) = connection.execute("SELECT max(id) FROM sessions").fetchone() or (0,)
        indexes = list(_dropped(connection))
        settled = "SELECT id FROM sessions WHERE state = 'settled'"
        for table in TABLES:
            which = f"{NUMBERS.get(table, 'session')} IN ({settled})"
            connection.execute(f"CREATE TEMP TABLE settled_{table} AS SELECT * FROM {table} WHERE {which}".encode())
        for number in range(1, times):
            for table in TABLES:
                connection.execute(_copying(connection, table, number, count))
        for statement in indexes:
            connection.execute(statement.encode())


def _copying(connection: psycopg.Connection, table: str, number: int, count: int) -> bytes:
    columns = [name for (name,) in connection.execute(_COLUMNS, (table,))]
    values = ", ".join(TABLES[table].get(name, f'"{name}"') for name in columns)
    named = ", ".join(f'"{name}"' for name in columns)
    order = ORDER.get(table, NUMBERS.get(table, "session"))
    statement = f"INSERT INTO {table} ({named}) SELECT {values} FROM settled_{table} ORDER BY {order}"
    return statement.format(offset=number * count, days=number).encode()


_COLUMNS = (
    "SELECT column_name FROM information_schema.columns"
    " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position"
)


def _dropped(connection: psycopg.Connection) -> Iterator[str]:
    """Drop the indexes of these tables and yield the statements that create them again.

    Building an index once is much faster than updating it row by row.
    """
    of_these = "relnamespace = 'public'::regnamespace AND relname = ANY(%s)"
    keys = connection.execute(
        "SELECT relname, conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid"
        f" WHERE contype IN ('p', 'u') AND {of_these}",
        (list(TABLES),),
    ).fetchall()
    for table, name, definition in keys:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
        yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(%s)"
    for name, definition in connection.execute(query, (list(TABLES),)).fetchall():
        connection.execute(f"DROP INDEX {name}".encode())
        yield definition
