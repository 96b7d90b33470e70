"""Views of the ledger in PostgreSQL: one transaction each, on a connection of its own.

Owns how a view is opened and how long it may take; any thread may have one. The surprising fact: connections are not
kept, for people look at pages seldom and for seconds, few at a time, and a server has more use for its memory; where
they do it often, a pooler before the server keeps them better than we could.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from exporter.ledger.engine.errors import ServerAddress, translate_error
from exporter.ledger.engine.postgres import connect
from exporter.ledger.views.snapshot import Snapshot

VIEW_MILLISECONDS = 5_000
"""A statement of a page that takes longer is ended."""


@contextmanager
def server_snapshot(address: ServerAddress) -> Iterator[Snapshot]:
    """The ledger as it is now, for as long as the block takes; LedgerError if it can't be read."""
    try:
        connection = connect(address)
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(f"SET LOCAL statement_timeout = {VIEW_MILLISECONDS}")
            snapshot = Snapshot(connection)
            snapshot.check_version()
            yield snapshot
        finally:
            connection.driver.close()
    except psycopg.Error as error:
        raise translate_error(error, address) from error
