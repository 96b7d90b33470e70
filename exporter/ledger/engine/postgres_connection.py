"""One connection to a PostgreSQL server, in the form of `database.Connection`.

Buffers writes that need no answer, and cuts a connection whose server has stopped answering. Knows nothing of
transactions or of the ledger's tables.
"""

import os
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import Any

import psycopg

from exporter.ledger.engine.errors import ServerAddress


class ServerTimeouts:
    """Limits how long each answer of a server may take; used by one thread at a time.

    A server whose disk has stopped answering keeps its connections open, and its own time-outs stand still with it. So
    a thread of this process shuts the socket down.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` should be more than the server's own time-out of a statement."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._socket: int | None = None  # None while no answer is awaited
        self._waited = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="server-timeouts", daemon=True).start()

    @contextmanager
    def waiting(self, fileno: int) -> Iterator[None]:
        """Limit the block, which waits for an answer on this connection."""
        # The watcher has a duplicate: should the driver close its own meanwhile, the system may give the number away.
        duplicate = os.dup(fileno)
        with self._lock:
            self._socket, self._waited = duplicate, 0.0
        try:
            yield
        finally:
            with self._lock:
                self._socket = None
            os.close(duplicate)

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        # Counts its own steps instead of reading a clock: time in which this process stood still doesn't count.
        step = self._seconds / 10
        while not self._ended.wait(step):
            with self._lock:
                self._waited += step
                if self._socket is not None and self._waited > self._seconds:
                    with suppress(OSError), socket.socket(fileno=os.dup(self._socket)) as connection:
                        connection.shutdown(socket.SHUT_RDWR)


class PostgresConnection:
    """A psycopg connection as a `database.Connection`; each statement is a transaction of its own until a BEGIN."""

    shared = True
    for_update = " FOR UPDATE"

    def __init__(self, driver: psycopg.Connection[tuple[Any, ...]], timeouts: ServerTimeouts | None = None) -> None:
        self.driver = driver
        self._timeouts = timeouts
        self._buffer: list[tuple[bytes, Sequence[Any]]] = []

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        self._flush()
        with self.waiting():
            return self.driver.execute(_native(statement), _storable(values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> psycopg.Cursor[tuple[Any, ...]]:
        self._flush()
        cursor, given = self.driver.cursor(), list(map(_storable, rows))
        if given:  # psycopg pipelines them: one round trip for all
            with self.waiting():
                cursor.executemany(_native(statement), given)
        return cursor

    def bulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        with self.driver.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copying:
            for row in rows:
                copying.write_row(row)

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        native = _native(statement)
        self._buffer += [(native, _storable(values)) for values in rows]

    def _flush(self) -> None:
        if self._buffer:
            buffer, self._buffer = self._buffer, []
            with self.waiting(), self.driver.pipeline(), self.driver.cursor() as cursor:
                for statement, values in buffer:
                    cursor.execute(statement, values)

    def roll_back(self) -> None:
        self._buffer = []
        with self.waiting():
            self.driver.rollback()

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context for code that waits for the server."""
        if self._timeouts is None or self.driver.closed:
            return nullcontext()
        return self._timeouts.waiting(self.driver.fileno())

    def lock_task(self, name: str) -> None:
        self.execute("SELECT 1 FROM leases WHERE name = ? FOR UPDATE", (name,))


def connect(address: ServerAddress, timeouts: ServerTimeouts | None = None) -> PostgresConnection:
    # Nothing is kept in a session of the server, prepared statements included: a pooler may change it at any BEGIN.
    driver = psycopg.connect(**address.with_password(), autocommit=True, prepare_threshold=None)
    return PostgresConnection(driver, timeouts)


@lru_cache(maxsize=1024)  # statements are literals of few modules
def _native(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _storable(values: Sequence[Any]) -> Sequence[Any]:
    # NUL is the one character that PostgreSQL's text can't hold.
    if any(type(value) is str and "\0" in value for value in values):
        return [value.replace("\0", "\ufffd") if type(value) is str else value for value in values]
    return values
