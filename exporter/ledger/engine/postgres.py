"""PostgreSQL as the ledger's engine: this process is one of several writers, and has one transaction open at a time.

Begins transactions again that conflicted with another writer's, connects again after a broken connection, and registers
this process as a writer. Each writer adds to totals of its own, so writers rarely conflict.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg
from psycopg import errors

from exporter.core.errors import LedgerAway, LedgerError
from exporter.ledger.database import Connection, Reload, TransactionConflict
from exporter.ledger.engine.errors import ServerAddress, translate_error
from exporter.ledger.engine.postgres_connection import PostgresConnection, ServerTimeouts, connect
from exporter.ledger.schema.postgres import bring_up, version_of
from exporter.ledger.schema.version import SCHEMA_VERSION
from exporter.log import fields

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a transaction is tried that conflicts with others."""
PAUSE_MILLISECONDS = 50
"""The longest pause before the second attempt; a random part of it, so that two writers don't collide for ever."""
STATEMENT_MILLISECONDS, LOCK_MILLISECONDS, IDLE_MILLISECONDS = 15_000, 5_000, 10_000
"""Time-outs of the server: for a statement, for a lock, and for a transaction whose process does nothing.

The last is less than `replicas.LEASE_SECONDS`: the locks of a stalled process are free before its leases run out.
"""
ANSWER_SECONDS = 45.0
"""How long an answer may take; a server that works ends the statement before."""
VIEW_MILLISECONDS = 5_000
"""Time-out of a statement for a page."""

_LIMITS = (
    f"SET LOCAL statement_timeout = {STATEMENT_MILLISECONDS}; SET LOCAL lock_timeout = {LOCK_MILLISECONDS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_MILLISECONDS}"
)
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, TransactionConflict)
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
    " WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'meta'::regclass) AND c.relkind = 'r'"
)

_Result = TypeVar("_Result")


class WriterFenced(Exception):
    """Another writer took this one for dead and has added its totals to writer 0's."""

    def __init__(self) -> None:
        super().__init__("another exporter took this one for dead; it continues as a new writer")


class PostgresEngine:
    """An open ledger in PostgreSQL."""

    shared = True
    restores = 0

    def __init__(self, address: ServerAddress, reload: Reload, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._address = address
        self._timeouts = ServerTimeouts(answer_seconds)
        self._reload = reload
        self._connection: PostgresConnection | None = None
        self._side_connection: PostgresConnection | None = None
        self._writer: int | None = None
        self._stale = True
        self.retries = 0
        try:
            self.read(lambda: None)
        except BaseException:
            self._timeouts.end()
            self._disconnect()
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
        """Commits each statement at once: another writer that needs the same row doesn't wait for our transaction."""
        self._side_connection = _usable(self._side_connection) or connect(self._address, self._timeouts)
        return self._side_connection

    def transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction, again after a conflict; after an error nothing is booked. Raises LedgerError."""
        return self._retry(lambda: self._run("READ COMMITTED", work, writes=True))

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads, on one state of the data. Raises LedgerError."""
        return self._retry(lambda: self._run("REPEATABLE READ READ ONLY", work, writes=False))

    def _retry(self, run: Callable[[], _Result]) -> _Result:
        had_connection = self._connection is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return run()
            except (WriterFenced, *_CONFLICTS) as error:
                self.retries += 1
                log.info("transaction is retried", extra=fields(why=" ".join(str(error).split())))
                if attempt == ATTEMPTS:
                    raise translate_error(error, self._address) from error
                _pause(attempt)
            except psycopg.Error as error:
                # A connection that broke while it was idle: nothing is done yet, so a new one may be tried at once.
                if attempt > 1 or not had_connection or self._connection is not None:
                    raise translate_error(error, self._address) from error
        raise AssertionError("unreachable")

    def size_bytes(self) -> int:
        return self.read(lambda: int(self.connection.execute(_SIZE).fetchone()[0]))

    def damage(self) -> list[str]:
        """Return nothing: the server checks its own pages."""
        return []

    def close(self) -> None:
        # What this writer holds is free at once: its leases, and its totals, for others to fold.
        with suppress(psycopg.Error, LedgerError):
            if self._connection is not None and self._writer is not None:
                self._connection.execute("UPDATE leases SET until = '-infinity' WHERE holder = ?", (self._writer,))
                self._connection.execute("UPDATE writers SET seen = '-infinity' WHERE id = ?", (self._writer,))
        self._timeouts.end()
        self._disconnect()

    def _run(self, isolation: str, work: Callable[[], _Result], *, writes: bool) -> _Result:
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
                self._disconnect()
            raise
        return result

    def _prepare(self) -> PostgresConnection:
        """Have a connection, an id among the writers, and an image in memory that is true."""
        self._connection = _usable(self._connection) or connect(self._address, self._timeouts)
        if self._writer is None:
            # Also after being fenced: a newer version may have upgraded the tables.
            ensure_tables(self._connection)
            row = self._connection.execute("INSERT INTO writers DEFAULT VALUES RETURNING id").fetchone()
            assert row is not None, "it returns one"
            self._writer, self._stale = int(row[0]), True
        if self._stale:
            self._reload(self)
            self._stale = False
        return self._connection

    def _begin(self, connection: PostgresConnection, isolation: str, *, writes: bool) -> None:
        # All in one round trip. The UPDATE says that this writer is alive, and its lock keeps others from folding it
        # until the transaction ends.
        statement = f"BEGIN ISOLATION LEVEL {isolation}; {_LIMITS}"
        if writes:
            statement += f"; UPDATE writers SET seen = clock_timestamp() WHERE id = {self.writer}"  # noqa: S608 - a number
        with connection.waiting():
            cursor = connection.driver.execute(statement.encode())
        while cursor.nextset():
            pass
        if writes and cursor.rowcount != 1:
            raise WriterFenced

    def _commit(self, connection: PostgresConnection) -> None:
        try:
            status = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if connection.driver.closed:
                # Booking the same polls again is safe either way: their events' costs are compared with those booked.
                raise LedgerAway(
                    f"{self.location}: the connection broke during COMMIT, so the transaction may or may not be"
                    " committed; it is retried, and nothing is booked twice"
                ) from error
            raise
        if status != "COMMIT":
            raise LedgerError(f"{self.location}: the server answered {status} to COMMIT")

    def _disconnect(self) -> None:
        for connection in (self._connection, self._side_connection):
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.driver.close()
        self._connection = self._side_connection = None


def _pause(attempt: int) -> None:
    # Blocks the ledger's thread, which can do nothing else before the other writers have finished.
    time.sleep(secrets.randbelow(PAUSE_MILLISECONDS * attempt) / 1000)


def _usable(connection: PostgresConnection | None) -> PostgresConnection | None:
    return None if connection is None or connection.driver.closed else connection


def ensure_tables(connection: PostgresConnection) -> None:
    """Have the tables exist in this version; raise LedgerError if that is impossible."""
    for attempt in itertools.count(1):
        try:
            if version_of(connection) == SCHEMA_VERSION:
                return
            with connection.driver.transaction():
                bring_up(connection)
        except _CONFLICTS:
            if attempt == ATTEMPTS:
                raise
            _pause(attempt)


@contextmanager
def read_only(address: ServerAddress) -> Iterator[Connection]:
    """Yield a connection that sees the ledger as it is now; raise LedgerError if the server can't be read.

    Connections are not pooled here: pages are opened seldom. Put a pooler before the server where they aren't.
    """
    try:
        connection = connect(address)
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(f"SET LOCAL statement_timeout = {VIEW_MILLISECONDS}")
            yield connection
        finally:
            connection.driver.close()
    except psycopg.Error as error:
        raise translate_error(error, address) from error
