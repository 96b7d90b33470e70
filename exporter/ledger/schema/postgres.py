"""The tables in PostgreSQL: made once, by one of however many processes start at the same time.

Owns the look whether they are there, and their making; the statements are `schema`'s. The surprising fact: no lock is
needed, for all make the same table first, and whoever isn't the first to do so waits until that one has made all.
"""

from psycopg import errors

from exporter.core.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.schema.creation import create
from exporter.ledger.schema.version import SCHEMA_VERSION

VERSION_MIN = 130_000
"""The first that says of a row which transaction wrote it in a number that never comes again."""
_MEANWHILE = (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject)
"""What CREATE TABLE says when another process has just made the same."""


def ready(connection: Connection) -> bool:
    """Whether the tables are there; raises LedgerError if they are not of this version.

    A writer looks when it takes its place: what leads the tables to another version must erase all writers.
    """
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


def _check(connection: Connection) -> None:
    """What the tables need of the server."""
    (version,) = connection.execute("SHOW server_version_num").fetchone()
    if int(version) < VERSION_MIN:
        raise LedgerError(f"the ledger needs PostgreSQL {VERSION_MIN // 10_000} or newer, and this is {version}")
    (encoding,) = connection.execute("SHOW server_encoding").fetchone()
    if encoding != "UTF8":
        raise LedgerError(f"the database is encoded in {encoding}; create it with ENCODING 'UTF8'")


def create_tables(connection: Connection) -> None:
    """Make the tables, unless another process is quicker; within a transaction that is its own."""
    _check(connection)
    try:
        create(connection)
    except _MEANWHILE as error:
        raise TransactionConflict from error
