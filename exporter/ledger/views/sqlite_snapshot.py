"""Views of the ledger for whoever only reads: one consistent state of what was committed, and nobody is kept waiting.

Owns how a view is opened and how long it may take; any thread may have one. The surprising fact: of a file a connection
is opened for each view and closed after it, for the file may be replaced meanwhile, and a kept connection would go on
reading the old one.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.core.errors import LedgerError
from exporter.ledger.database import SqliteConnection
from exporter.ledger.views.snapshot import Snapshot

STEPS, STEPS_MAX = 10_000, 20_000
"""A snapshot is ended after 20,000 times 10,000 instructions of SQLite's machine, which take it some seconds."""
WAIT_SECONDS = 1.0
"""For somebody else's lock; readers of a write-ahead log meet one only while it is being recovered."""


@contextmanager
def file_snapshot(path: Path) -> Iterator[Snapshot]:
    """A file as it is now, for as long as the block takes; LedgerError if it can't be read."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=WAIT_SECONDS, factory=SqliteConnection
        )
        try:
            left = iter(range(STEPS_MAX))
            connection.set_progress_handler(lambda: next(left, None) is None, STEPS)
            connection.execute("BEGIN")
            snapshot = Snapshot(connection)
            snapshot.check_version()
            yield snapshot
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger can't be read now ({error})") from error
