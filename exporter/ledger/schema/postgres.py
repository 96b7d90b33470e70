"""The tables in PostgreSQL: created, or brought to this version, by one of however many processes start at once.

Creation needs no lock: all processes create the same first table, so all but one wait for that one, then fail. An
upgrade locks out the replicas of the version before, for good.
"""

from psycopg import errors

from exporter.core.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.schema.creation import create
from exporter.ledger.schema.migrations import OLDEST_SHARED, migrate
from exporter.ledger.schema.version import SCHEMA_VERSION

VERSION_MIN = 130_000
"""The first version of PostgreSQL with 64-bit transaction ids: it tells which transaction wrote a row."""
UPGRADE_LOCK_MILLISECONDS = 20_000
"""Longer than a writer's statement may take; an upgrade that a copy or a back-up blocks for longer is tried again."""
_MEANWHILE = (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject)
"""Errors of CREATE TABLE if another process has just created the same table."""


def version_of(connection: Connection) -> int | None:
    """Return the schema's version, None without tables; raise LedgerError if this exporter can't use it."""
    if connection.execute("SELECT to_regclass('meta')").fetchone()[0] is None:
        return None
    found = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if found is None:
        raise LedgerCorrupt("the database has a table `meta`, but no ledger of this exporter; use another database")
    version = int(found[0])
    if version > SCHEMA_VERSION:
        raise LedgerTooNew(
            f"the ledger was written by a newer version of the exporter (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); run that version"
        )
    if version < OLDEST_SHARED:
        raise LedgerError(f"the ledger has schema {version}, which no exporter ever wrote to PostgreSQL")
    return version


def bring_up(connection: Connection) -> None:
    """Create the tables or upgrade them, within a transaction that does nothing else.

    Raises TransactionConflict if another process was quicker: then the tables may be current already.
    """
    _check_server(connection)
    if version_of(connection) is None:
        try:
            create(connection)
        except _MEANWHILE as error:
            raise TransactionConflict from error
        return
    # Each transaction of a writer begins with a change of its row in `writers`: from here on no writer has one open.
    connection.execute(f"SET LOCAL lock_timeout = {UPGRADE_LOCK_MILLISECONDS}")
    connection.execute("LOCK TABLE writers")
    version = version_of(connection)
    assert version is not None, "it was there, and nothing drops tables"
    if version < SCHEMA_VERSION:
        _fence_writers(connection)
        migrate(connection, version)


def _fence_writers(connection: Connection) -> None:
    """Give all writers new ids, as dead ones.

    A replica of the version before finds its id gone, looks at the schema's version again, and refuses it. Its totals
    are not lost: the next `fold_dead_writers` adds those of writer -5, that was 5, to those of writer 0.
    """
    connection.execute("UPDATE totals SET writer = -abs(writer), changed = DEFAULT WHERE writer <> 0")
    connection.execute("UPDATE spend SET writer = -abs(writer) WHERE writer <> 0")
    connection.execute("UPDATE writers SET id = -abs(id), seen = '-infinity'")


def _check_server(connection: Connection) -> None:
    (version,) = connection.execute("SHOW server_version_num").fetchone()
    if int(version) < VERSION_MIN:
        raise LedgerError(f"the ledger needs PostgreSQL {VERSION_MIN // 10_000} or newer, and this is {version}")
    (encoding,) = connection.execute("SHOW server_encoding").fetchone()
    if encoding != "UTF8":
        raise LedgerError(f"the database is encoded in {encoding}; create it with ENCODING 'UTF8'")
