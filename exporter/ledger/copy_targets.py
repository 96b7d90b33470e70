"""The two ends of a copy: a ledger that is read while no exporter runs on it, and one that is written.

A file has its lock; of a server the table `writers` is locked, which each transaction of an exporter changes first.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

import psycopg

from exporter.core.errors import LedgerError
from exporter.ledger import on_server, path_of
from exporter.ledger.database import Connection, Engine
from exporter.ledger.engine.errors import ServerAddress, translate_error
from exporter.ledger.engine.postgres import ensure_tables
from exporter.ledger.engine.postgres_connection import PostgresConnection, connect
from exporter.ledger.engine.sqlite import SqliteEngine
from exporter.ledger.schema.postgres import version_of

SEEN_SECONDS = 60
"""An exporter that wrote within this time counts as running."""
LOCK_MILLISECONDS = 5_000

_Result = TypeVar("_Result")

_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?"
    " AND data_type NOT IN ('timestamp with time zone', 'xid8') ORDER BY ordinal_position"
)
"""Without those that only PostgreSQL has: when a claim ends, and which transaction changed the row."""


@contextmanager
def open_original(url: str) -> Iterator[Connection]:
    """Yield the ledger in its present state, upgraded to this version; no exporter can write to it meanwhile."""
    if on_server(url):
        with _open_server(ServerAddress.of(url)) as connection:
            yield connection
        return
    path = path_of(url)
    if not path.exists():
        raise LedgerError(f"{path} doesn't exist; name the ledger that is to be copied")
    with closing(SqliteEngine(path, _no_image)) as engine:
        yield engine.connection


@contextmanager
def _open_server(address: ServerAddress) -> Iterator[Connection]:
    try:
        connection = connect(address)
        with closing(connection.driver):
            if version_of(connection) is None:
                raise LedgerError(f"{address.location} holds no ledger; name the one that is to be copied")
            _bring_up_unused(connection, address.location)
            # One transaction, however long the copy takes: only within one do all tables show the same state.
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute("LOCK TABLE writers IN SHARE MODE")
            _check_unused(connection, address.location)
            yield connection
    except psycopg.Error as error:
        raise translate_error(error, address) from error


class CopyTarget(Protocol):
    """The ledger that is written."""

    @property
    def location(self) -> str: ...
    @property
    def connection(self) -> Connection: ...
    def transact(self, work: Callable[[], _Result]) -> _Result: ...
    def close(self) -> None: ...


def open_target(url: str) -> CopyTarget:
    """Open the ledger at the URL, with new tables if it had none; the caller closes it."""
    return PostgresCopyTarget(ServerAddress.of(url)) if on_server(url) else SqliteEngine(path_of(url), _no_image)


class PostgresCopyTarget:
    """A server on which this process doesn't register as a writer: others wrote what it copies."""

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        with self._translating():
            self._connection = connect(address)
            try:
                _bring_up_unused(self._connection, address.location)
            except BaseException:
                self.close()
                raise

    @property
    def location(self) -> str:
        return self._address.location

    @property
    def connection(self) -> Connection:
        return self._connection

    def transact(self, work: Callable[[], _Result]) -> _Result:
        with self._translating(), self._connection.driver.transaction():
            return work()

    def close(self) -> None:
        self._connection.driver.close()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise translate_error(error, self._address) from error


def check_unused(target: CopyTarget) -> None:
    """Raise LedgerError if an exporter runs on the target; within a transaction."""
    if target.connection.shared:
        _check_unused(target.connection, target.location)


def _bring_up_unused(connection: PostgresConnection, location: str) -> None:
    """Have the tables exist in this version; refuse to upgrade those of a running exporter, which would lock it out."""
    if version_of(connection) is not None:
        _check_unused(connection, location)
    ensure_tables(connection)


def _check_unused(connection: Connection, location: str) -> None:
    query = "SELECT count(*) FROM writers WHERE seen > clock_timestamp() - ? * interval '1 second'"
    (running,) = connection.execute(query, (SEEN_SECONDS,)).fetchone()
    if running:
        raise LedgerError(
            f"{location} is in use by {running} exporter(s), or was within {SEEN_SECONDS} s; stop them first"
        )


def columns(connection: Connection, table: str) -> list[str]:
    """Return the columns that both engines have, in the order in which this one has them."""
    query = _COLUMNS if connection.shared else "SELECT name FROM pragma_table_info(?)"
    return [name for (name,) in connection.execute(query, (table,))]


def last_claim(connection: Connection) -> int:
    """Return the number of the last claim; 0 if there was none."""
    shared = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM claims"
    query = shared if connection.shared else "SELECT value FROM meta WHERE key = 'claims'"
    return int(connection.execute(query).fetchone()[0])


def continue_numbers(connection: Connection, claim: int, numbered: Iterable[str]) -> None:
    """Let new claims and ids follow those that were copied: claims after `claim`, ids in the `numbered` tables."""
    if not connection.shared:  # SQLite takes the largest id by itself
        connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(claim),))
        return
    connection.execute("SELECT setval('claims', ?, ?)", (max(claim, 1), claim > 0))
    for table in numbered:
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) FROM {table}"  # noqa: S608 - names of `copy`
        )


def _no_image(engine: Engine) -> None:
    """Keep nothing in memory of a ledger that is only copied."""
