"""SQLite as the ledger's engine: one file, one process, one transaction at a time.

Deals with what can happen to the file while it is open: a full disk, another process's lock, damage, removal. After any
error the caller's image of the file in memory is made again before the next use.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from exporter.core.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from exporter.ledger.database import Connection, Reload, SqliteConnection
from exporter.ledger.engine.file_lock import FileLock
from exporter.ledger.schema.creation import create
from exporter.ledger.schema.migrations import migrate
from exporter.ledger.schema.version import SCHEMA_VERSION

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
"""How long to wait for a lock of another process, such as a back-up; polls wait meanwhile."""
VIEW_BUSY_SECONDS = 1.0
"""The same for pages: readers of a write-ahead log meet a lock only while it is being recovered."""
VIEW_STEPS, VIEW_STEPS_MAX = 10_000, 20_000
"""A page's view is ended after 20,000 times 10,000 instructions of SQLite's machine: some seconds."""

_Result = TypeVar("_Result")


class SqliteEngine:
    """An open ledger file."""

    shared = False
    writer = 0
    retries = 0

    def __init__(self, path: Path, reload: Reload) -> None:
        self.path = path
        self._reload = reload
        self._stale = self._closed = False
        self.restores = 0
        self._lock = FileLock(path)
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def side_connection(self) -> Connection:
        return self.connection

    def transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction; after an error nothing is booked, and the image is made again. Raises LedgerError."""
        self._check()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            result = work()
            self.connection.execute("COMMIT")
        except BaseException as error:
            self._stale = True
            with suppress(sqlite3.Error):
                self.connection.rollback()
            if isinstance(error, sqlite3.Error):
                raise _translate_error(error, self.path) from error
            raise
        return result

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads. Raises LedgerError."""
        self._check()
        try:
            return work()
        except sqlite3.Error as error:
            raise _translate_error(error, self.path) from error

    def close(self) -> None:
        self.connection.close()
        self._lock.release()

    def size_bytes(self) -> int:
        """Return the size of the file and its write-ahead log."""
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def damage(self) -> list[str]:
        return [text for (text,) in self.connection.execute("PRAGMA integrity_check") if text != "ok"]

    def _open(self) -> None:
        try:
            self.connection = _connect(self.path)
            try:
                _bring_up(self.connection, self.path)
                self._reload(self)
            except BaseException:
                self.connection.close()
                raise
            self._identity = _identity(self.path)
        except sqlite3.Error as error:
            raise _translate_error(error, self.path) from error

    def _check(self) -> None:
        """Before each use: lock and file must still be the ones that were opened, and the image must be true."""
        self._lock.ensure_held()
        if self._closed:
            self._reopen()
        found = _identity(self.path)
        if found is None:
            self._restore()
        elif found != self._identity:
            raise LedgerError(f"{self.path} was replaced while in use; restart the exporter to use the new file")
        if self._stale:
            try:
                self._reload(self)
            except sqlite3.Error as error:
                raise _translate_error(error, self.path) from error
            self._stale = False

    def _restore(self) -> None:
        """Write the file again after its removal: an open connection still reads all of it."""
        rescued = Path(f"{self.path}.rescued")
        try:
            rescued.unlink(missing_ok=True)
            with closing(sqlite3.connect(rescued)) as target:
                self.connection.backup(target)
            # A write-ahead log belongs to the file that it was written for; beside another file it would destroy it.
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            rescued.rename(self.path)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"{self.path} was removed while in use and can't be written again: {error}") from error
        self._identity = _identity(self.path)
        self.connection.close()
        self._closed = True
        self._reopen()
        self.restores += 1
        log.error("ledger file was removed while in use; it was written again, complete")

    def _reopen(self) -> None:
        self._open()
        self._closed = self._stale = False


class MemoryEngine(SqliteEngine):
    """A ledger without a file or a lock, for totals that nobody keeps; it ends with its connection."""

    def __init__(self, reload: Reload) -> None:
        self.path = Path(":memory:")
        self._reload = reload
        self._stale = False
        self.restores = 0
        self.connection = _connect(self.path)
        create(self.connection)
        reload(self)

    def _check(self) -> None:
        if self._stale:
            self._reload(self)
            self._stale = False

    def close(self) -> None:
        self.connection.close()


@contextmanager
def read_only(path: Path) -> Iterator[Connection]:
    """Yield a connection that sees the file as it is now; raise LedgerError if it can't be read.

    It is not kept for the next page: the file may be replaced, and a kept connection would still read the old one.
    """
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=VIEW_BUSY_SECONDS, factory=SqliteConnection
        )
        try:
            left = iter(range(VIEW_STEPS_MAX))
            connection.set_progress_handler(lambda: next(left, None) is None, VIEW_STEPS)
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger can't be read now ({error})") from error


def _connect(path: Path) -> SqliteConnection:
    return sqlite3.connect(
        path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False, factory=SqliteConnection
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bring_up(connection: SqliteConnection, path: Path) -> None:
    """Create the tables, or upgrade them to this version; refuse another program's file before a byte is written."""
    version = None
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables:
        if not tables >= {"meta", "totals"}:
            raise LedgerCorrupt(
                f"{path} is a database, but not a ledger of this exporter; set ledger.url to another file"
            )
        version = int(connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise LedgerTooNew(
                f"{path} was written by a newer version of the exporter (schema {version}, this one knows"
                f" {SCHEMA_VERSION}); run that version, or restore an older copy"
            )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what a receipt reports must survive a power cut
    connection.execute("PRAGMA cache_size = -8192")  # KiB
    connection.execute("BEGIN IMMEDIATE")
    if version is None:
        create(connection)
    elif version < SCHEMA_VERSION:
        migrate(connection, version)
    connection.execute("COMMIT")


def _translate_error(error: sqlite3.Error, path: Path) -> LedgerError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return LedgerCorrupt(f"{path} is not a SQLite file or is damaged ({text}); restore a copy or move it away")
    # "disk I/O error" is all that SQLite says of many refusals; the system says why. The file is touched instead of
    # opened: closing it again would free the locks that SQLite has on it.
    try:
        os.utime(path)
    except FileNotFoundError:
        pass
    except OSError as refusal:
        return LedgerError(f"{path}: {text}: {refusal.strerror}")
    if not os.access(path.parent, os.W_OK):
        return LedgerError(f"{path}: its folder can't be written ({text}); change its permissions")
    return LedgerError(f"{path}: {text}")
