"""The tables in PostgreSQL: made once, by one of however many processes start at the same time.

Owns what PostgreSQL has beyond `schema`: who writes, who holds what, when a claim or a value was last touched, and how
tables are kept tidy. The surprising fact: each process asks whether the tables are there, and only if not does one take
the lock under which they are made; all others wait for it and find them.
"""

import uuid

from psycopg import errors
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from exporter.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from exporter.ledger.connection import Connection
from exporter.ledger.schema import SCHEMA_VERSION, meta, metadata

TURNS = ("budgets", "folding")
"""What is done by one process at a time; `leases` has a row of each that can be locked."""

_BEYOND = (
    "CREATE SEQUENCE claims",
    "ALTER TABLE sessions ADD COLUMN leased_until TIMESTAMPTZ",
    # In the order of claims: of many that are due at once, the first are found without sorting all.
    "DROP INDEX sessions_due",
    "CREATE INDEX sessions_due ON sessions (account, due_at, id)",
    "ALTER TABLE totals ADD COLUMN changed XID8 NOT NULL DEFAULT pg_current_xact_id()",
    "ALTER TABLE series ADD COLUMN changed XID8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE TABLE writers (id BIGSERIAL PRIMARY KEY, seen TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())",
    'CREATE TABLE leases (name TEXT COLLATE "C" PRIMARY KEY, holder BIGINT NOT NULL, until TIMESTAMPTZ NOT NULL)',
    *(f"INSERT INTO leases VALUES ('{name}', 0, '-infinity')" for name in TURNS),  # noqa: S608 - names of this module
    # Rows that change with every poll find room on their own page, and what they leave is swept up early: the tables
    # are large, so a share of their rows is many.
    *(
        f"ALTER TABLE {table} SET (fillfactor = {fill}, autovacuum_vacuum_scale_factor = 0.02,"
        f" autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1)"
        for table, fill in (
            ("sessions", 75),
            ("totals", 50),
            ("spend", 75),
            ("events", 90),
            ("trees", 90),
            ("listed", 80),
            ("listed_costs", 90),
            ("series", 100),
            ("failures", 100),
            ("writers", 50),
            ("leases", 50),
            ("meta", 50),
        )
    ),
)

_MEANWHILE = (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject)
"""What CREATE TABLE IF NOT EXISTS says when two do it at once."""


def ready(connection: Connection) -> bool:
    """Whether the tables are there; raises LedgerError if they are not of this version."""
    if connection.execute("SELECT to_regclass('meta')").fetchone()[0] is None:
        return False
    found = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if found is None:
        raise LedgerCorrupt("the database has a table `meta`, but no ledger of this exporter; use another database")
    if int(found[0]) > SCHEMA_VERSION:
        raise LedgerTooNew(
            f"the ledger was written by a newer version of the exporter (schema {found[0]}, this one knows"
            f" {SCHEMA_VERSION}); run that version"
        )
    if int(found[0]) < SCHEMA_VERSION:
        raise LedgerError(f"the ledger has schema {found[0]}, and nothing leads from there to {SCHEMA_VERSION}")
    return True


def create(connection: Connection) -> None:
    """Make the tables, unless another process was quicker; within a transaction that is its own."""
    compiled = postgresql.dialect()  # type: ignore[no-untyped-call]
    try:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_body(str(CreateTable(meta).compile(dialect=compiled)))}")
    except _MEANWHILE as error:
        raise errors.SerializationFailure(str(error)) from error  # begin again: by then they are there
    connection.execute("LOCK TABLE meta IN EXCLUSIVE MODE")
    if connection.execute("SELECT 1 FROM meta WHERE key = 'schema_version'").fetchone():
        return
    for table in metadata.sorted_tables:
        if table is not meta:
            connection.execute(str(CreateTable(table).compile(dialect=compiled)))
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            connection.execute(str(CreateIndex(index).compile(dialect=compiled)))
    for statement in _BEYOND:
        connection.execute(statement)
    values = {"schema_version": str(SCHEMA_VERSION), "ledger_id": uuid.uuid4().hex}
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", list(values.items()))


def _body(statement: str) -> str:
    return statement.strip().removeprefix("CREATE TABLE ")
