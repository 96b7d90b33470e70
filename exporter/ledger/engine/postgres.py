"""PostgreSQL as the ledger's engine: one of several writers, one transaction at a time.

Owns the connection, what can happen to the server behind it, and this process's place among the writers. Keeps no state
in a session of the server, so a pooler may give each transaction another one. The surprising fact: who was taken for
dead, because it was away for long, finds at its next transaction that its totals are another's now, and goes on as a
new writer.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from exporter.core.errors import LedgerAway, LedgerError
from exporter.ledger.database import Connection, Reload, TransactionConflict
from exporter.ledger.engine.errors import ServerAddress, translate_error
from exporter.ledger.engine.timeouts import ServerTimeouts
from exporter.ledger.schema.postgres import bring_up, version_of
from exporter.ledger.schema.version import SCHEMA_VERSION
from exporter.log import fields

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""Of one transaction that others are in the way of; they are done by then, or something is stuck."""
PAUSE_MILLISECONDS = 50
"""At most so long before it is begun again, chosen at random, so that two don't meet for ever."""
STATEMENT_MILLISECONDS, LOCK_MILLISECONDS, IDLE_MILLISECONDS = 15_000, 5_000, 10_000
"""A statement that takes longer, a lock that is waited for longer, a transaction whose process stands still for longer.

The last is less than `fleet.LEASE_SECONDS`: what a process has locked that stands still is free before others may do
what only one does.
"""

PATIENCE_SECONDS = 45.0
"""For one answer of a server that stands still as a whole; one that doesn't ends a statement before that."""

_LIMITS = (
    f"SET LOCAL statement_timeout = {STATEMENT_MILLISECONDS}; SET LOCAL lock_timeout = {LOCK_MILLISECONDS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}"
)
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, TransactionConflict)
_RELATIONS = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
    " WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'meta'::regclass) AND c.relkind = 'r'"
)

_Result = TypeVar("_Result")


class PostgresConnection:
    """psycopg's connection as the ledger's modules speak to one."""

    shared = True
    for_update = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], patience: ServerTimeouts | None = None) -> None:
        """With `patience`, no answer is awaited for longer than it lasts."""
        self.driver = connection
        self._patience = patience
        self._waiting: list[tuple[bytes, Sequence[Any]]] = []
        """Changes that nobody waits for: they go to the server with the next question, in one go."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        self._send()
        with self.waiting():
            return self.driver.execute(_native(statement), _clean(values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> psycopg.Cursor[tuple[Any, ...]]:
        """In one go: the answers are not waited for one by one."""
        self._send()
        cursor, given = self.driver.cursor(), list(map(_clean, rows))
        if given:
            with self.waiting():
                cursor.executemany(_native(statement), given)
        return cursor

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        with self.driver.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copying:
            for row in rows:
                copying.write_row(row)

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        native = _native(statement)
        self._waiting += [(native, _clean(values)) for values in rows]

    def _send(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            with self.waiting(), self.driver.pipeline(), self.driver.cursor() as cursor:
                for statement, values in waiting:
                    cursor.execute(statement, values)

    def roll_back(self) -> None:
        self._waiting = []
        with self.waiting():
            self.driver.rollback()

    def waiting(self) -> AbstractContextManager[None]:
        """Around whatever waits for the server."""
        if self._patience is None or self.driver.closed:
            return nullcontext()
        return self._patience.waiting(self.driver.fileno())

    def lock_task(self, what: str) -> None:
        self.execute("SELECT 1 FROM leases WHERE name = ? FOR UPDATE", (what,))


class WriterFenced(Exception):
    """This writer was taken for dead, and what it wrote has been added to another's."""

    def __init__(self) -> None:
        super().__init__("this exporter was taken for dead, and goes on as a new one")


class PostgresEngine:
    """An open ledger in PostgreSQL."""

    shared = True
    restores = 0

    def __init__(self, address: ServerAddress, image: Reload, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._address = address
        self._patience = ServerTimeouts(patience_seconds)
        self._image = image
        self._connection: PostgresConnection | None = None
        self._aside: PostgresConnection | None = None
        self._writer: int | None = None
        self._stale = True
        self.retries = 0
        try:
            self.read(lambda: None)
        except BaseException:
            self._patience.end()
            self._drop()
            raise

    @property
    def location(self) -> str:
        return self._address.location

    @property
    def writer(self) -> int:
        assert self._writer is not None, "within transact or read"
        return self._writer

    @property
    def connection(self) -> Connection:
        assert self._connection is not None, "within transact or read"
        return self._connection

    @property
    def side_connection(self) -> Connection:
        """Commits each statement at once, so no other writer ever waits for a name until a transaction has ended."""
        self._aside = _usable(self._aside) or connect(self._address, self._patience)
        return self._aside

    def transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction, again if others were in the way; after an error nothing of it is booked."""
        idle = self._connection is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._within("READ COMMITTED", work, writes=True)
            except (WriterFenced, *_AGAIN) as error:
                self.retries += 1
                log.info("transaction is begun again", extra=fields(why=" ".join(str(error).split())))
                if attempt == ATTEMPTS:
                    raise translate_error(error, self._address) from error
            except psycopg.Error as error:
                # Before COMMIT nothing was done: a connection that was broken while it lay idle is made anew at once.
                if attempt > 1 or not idle or self._connection is not None:
                    raise translate_error(error, self._address) from error
                continue
            _pause(attempt)
        raise AssertionError("unreachable")

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads, on one view of the data."""
        idle = self._connection is not None
        for again in (False, True):
            try:
                return self._within("REPEATABLE READ READ ONLY", work, writes=False)
            except psycopg.Error as error:
                if again or not idle or self._connection is not None:  # a broken one is dropped
                    raise translate_error(error, self._address) from error
        raise AssertionError("unreachable")

    def size_bytes(self) -> int:
        return self.read(lambda: int(self.connection.execute(_RELATIONS).fetchone()[0]))

    def damage(self) -> list[str]:
        """Its pages are the server's to check."""
        return []

    def close(self) -> None:
        """What this writer holds is free at once, and its totals may be added to others'."""
        with suppress(psycopg.Error, LedgerError):
            if self._connection is not None and self._writer is not None:
                self._connection.execute("UPDATE leases SET until = '-infinity' WHERE holder = ?", (self._writer,))
                self._connection.execute("UPDATE writers SET seen = '-infinity' WHERE id = ?", (self._writer,))
        self._patience.end()
        self._drop()

    def _within(self, isolation: str, work: Callable[[], _Result], *, writes: bool) -> _Result:
        connection = self._prepare()
        try:
            self._begin(connection, isolation, writes=writes)
            result = work()
            if writes:
                self._commit(connection)
            else:
                connection.execute("COMMIT")
        except BaseException as error:
            self._stale = True
            with suppress(psycopg.Error):
                connection.roll_back()
            if isinstance(error, WriterFenced):
                self._writer = None
            if connection.driver.closed:
                self._drop()
            raise
        return result

    def _commit(self, connection: PostgresConnection) -> None:
        try:
            done = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if connection.driver.closed:
                raise LedgerAway(
                    f"{self.location}: the connection broke while a transaction was being committed, and whether it was"
                    " is not known; it is begun again, and what was booked is not booked twice"
                ) from error
            raise
        if done != "COMMIT":
            raise LedgerError(f"{self.location}: the server said {done} to COMMIT")

    def _prepare(self) -> PostgresConnection:
        """A connection, a place among the writers, and an image that is true."""
        self._connection = _usable(self._connection) or connect(self._address, self._patience)
        if self._writer is None:
            ensure_tables(self._connection)  # a newer version may have upgraded them and fenced all writers
            row = self._connection.execute("INSERT INTO writers DEFAULT VALUES RETURNING id").fetchone()
            assert row is not None, "it returns one"
            self._writer, self._stale = int(row[0]), True
        if self._stale:
            self._image(self)
            self._stale = False
        return self._connection

    def _begin(self, connection: PostgresConnection, isolation: str, *, writes: bool) -> None:
        """In one go; whoever writes is alive, and locks its place, so that nobody takes it for dead meanwhile."""
        statement = f"BEGIN ISOLATION LEVEL {isolation}; {_LIMITS}"
        if writes:
            statement += f"; UPDATE writers SET seen = clock_timestamp() WHERE id = {self.writer}"  # noqa: S608 - a number
        with connection.waiting():
            cursor = connection.driver.execute(statement.encode())
        while cursor.nextset():
            pass
        if writes and cursor.rowcount != 1:
            raise WriterFenced

    def _drop(self) -> None:
        for connection in (self._connection, self._aside):
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.driver.close()
        self._connection = self._aside = None


def _pause(attempt: int) -> None:
    """On the ledger's own thread, which has nothing else to do until the others are done."""
    time.sleep(secrets.randbelow(PAUSE_MILLISECONDS * attempt) / 1000)


def connect(address: ServerAddress, patience: ServerTimeouts | None = None) -> PostgresConnection:
    """Each statement is a transaction of its own until there is a BEGIN, and no session of the server is relied on."""
    driver = psycopg.connect(**address.with_password(), autocommit=True, prepare_threshold=None)
    return PostgresConnection(driver, patience)


def ensure_tables(connection: PostgresConnection) -> None:
    """Have the tables exist in this version; raise LedgerError if that is impossible."""
    for attempt in itertools.count(1):
        try:
            if version_of(connection) == SCHEMA_VERSION:
                return
            with connection.driver.transaction():
                bring_up(connection)
        except _AGAIN:
            if attempt == ATTEMPTS:
                raise
            _pause(attempt)


def _usable(connection: PostgresConnection | None) -> PostgresConnection | None:
    return None if connection is None or connection.driver.closed else connection


@lru_cache(maxsize=1024)  # statements are literals of few modules
def _native(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _clean(values: Sequence[Any]) -> Sequence[Any]:
    """A NUL is the one character that PostgreSQL's text can't hold."""
    if any(type(value) is str and "\0" in value for value in values):
        return [value.replace("\0", "\ufffd") if type(value) is str else value for value in values]
    return values
