"""The SQLite file: locked, opened, one transaction at a time, and looked after while it is open.

Owns the connection and what can happen to the file below it: full disk, lock held by others, damage, removal. After any
error the caller's image of the file is made anew before the next use, so nothing half-booked survives in memory. The
surprising fact: a file that was deleted is still whole for whoever has it open, and is written again from there.
"""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
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
"""How long to wait for somebody else's lock, such as a back-up's; polls wait meanwhile."""

_Result = TypeVar("_Result")


class SqliteEngine:
    """An open ledger; `image` is called whenever what is kept in memory must be read anew."""

    shared = False
    writer = 0
    retries = 0

    def __init__(self, path: Path, image: Reload) -> None:
        self.path = path
        self._image = image
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
        """Run in one transaction; after an error nothing of it is booked, and the image is made anew."""
        self._mend()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            result = work()
            self.connection.execute("COMMIT")
        except BaseException as error:
            self._stale = True
            with suppress(sqlite3.Error):
                self.connection.rollback()
            if isinstance(error, sqlite3.Error):
                raise _translated(error, self.path) from error
            raise
        return result

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads."""
        self._mend()
        try:
            return work()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def close(self) -> None:
        self.connection.close()
        self._lock.release()

    def size_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def damage(self) -> list[str]:
        return [text for (text,) in self.connection.execute("PRAGMA integrity_check") if text != "ok"]

    def _open(self) -> None:
        try:
            self.connection = _connect(self.path)
            try:
                _prepare(self.connection, self.path)
                self._image(self)
            except BaseException:
                self.connection.close()
                raise
            self._identity = _identity(self.path)
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def _mend(self) -> None:
        """Before each use: lock and file must still be the ones that are open, and the image must be true."""
        self._lock.hold()
        if self._closed:
            self._reopen()
        found = _identity(self.path)
        if found is None:
            self._rescue()
        elif found != self._identity:
            raise LedgerError(f"{self.path} was replaced while in use; restart the exporter to use the new file")
        if self._stale:
            try:
                self._image(self)
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
            self._stale = False

    def _rescue(self) -> None:
        """The file was removed: write it again from the connection, which still has all of it."""
        rescued = Path(f"{self.path}.rescued")
        try:
            rescued.unlink(missing_ok=True)
            with closing(sqlite3.connect(rescued)) as target:
                self.connection.backup(target)
            # A write-ahead log belongs to the file it was written for: beside another one it would destroy it.
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
    """A ledger without a file, for what nobody is to keep: it ends with its connection, and locks nobody out."""

    def __init__(self, image: Reload) -> None:
        self.path = Path(":memory:")
        self._image = image
        self._stale = False
        self.restores = 0
        self.connection = _connect(self.path)
        create(self.connection)
        image(self)

    def _mend(self) -> None:
        if self._stale:
            self._image(self)
            self._stale = False

    def close(self) -> None:
        self.connection.close()


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


def _prepare(connection: SqliteConnection, path: Path) -> None:
    """Bring the file to this version."""
    version = _inspected(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("BEGIN IMMEDIATE")
    if version is None:
        create(connection)
    elif version < SCHEMA_VERSION:
        migrate(connection, version)
    connection.execute("COMMIT")


def _inspected(connection: sqlite3.Connection, path: Path) -> int | None:
    """The schema's version, None in an empty file; refuses, before a byte is written, what is no ledger of ours."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if not tables >= {"meta", "totals"}:
        raise LedgerCorrupt(f"{path} is a database, but not a ledger of this exporter; set ledger.url to another file")
    version = int(connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise LedgerTooNew(
            f"{path} was written by a newer version of the exporter (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); run that version, or restore an older copy"
        )
    return version


def _translated(error: sqlite3.Error, path: Path) -> LedgerError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return LedgerCorrupt(f"{path} is not a SQLite file or is damaged ({text}); restore a copy or move it away")
    refusal = _refusal(path)
    if refusal is not None:
        return LedgerError(f"{path}: {text}: {refusal}")
    if not os.access(path.parent, os.W_OK):
        return LedgerError(f"{path}: its folder cannot be written ({text}); mend its permissions")
    return LedgerError(f"{path}: {text}")


def _refusal(path: Path) -> str | None:
    """Why the kernel lets nobody write the file: "disk I/O error" is all that SQLite says of many things.

    Touched, not opened: closing it again would free the locks that SQLite has on it.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror
    return None
