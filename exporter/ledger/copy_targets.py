"""The two ends of a copy: a ledger that is read while nobody else has it, and one that is written.

Owns how each is opened, and that no exporter runs on it meanwhile: a file has its lock; a server's `writers` table is
locked, which whoever writes must change. Looks into no row. The surprising fact: a server is read in one transaction,
however long it takes, since only one shows one state of all tables.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

import psycopg

from exporter.core.errors import LedgerError
from exporter.ledger import on_server, path_of
from exporter.ledger.database import Connection, Engine
from exporter.ledger.engine.errors import ServerAddress, translate_error
from exporter.ledger.engine.postgres import connect, ensure_tables
from exporter.ledger.engine.sqlite import SqliteEngine
from exporter.ledger.schema.postgres import version_of

SEEN_SECONDS = 60
"""An exporter that wrote within this time is taken for alive."""
LOCK_MILLISECONDS = 5_000

_Result = TypeVar("_Result")

_COLUMNS = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ?"
    " AND data_type NOT IN ('timestamp with time zone', 'xid8') ORDER BY ordinal_position"
)
"""But for those that only a server has: who holds what until when, and which transaction changed it."""


@contextmanager
def open_original(url: str) -> Iterator[Connection]:
    """The ledger there as it is now, for as long as the block takes; nobody writes to it meanwhile."""
    if on_server(url):
        with _reading_server(ServerAddress.of(url)) as connection:
            yield connection
        return
    path = path_of(url)
    if not path.exists():
        raise LedgerError(f"{path} doesn't exist; name the ledger that is to be copied")
    with closing(SqliteEngine(path, _unread)) as engine:
        yield engine.connection


@contextmanager
def _reading_server(address: ServerAddress) -> Iterator[Connection]:
    try:
        connection = connect(address)
        with closing(connection.driver):
            if version_of(connection) is None:
                raise LedgerError(f"{address.location} holds no ledger; name the one that is to be copied")
            ensure_tables(connection)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute("LOCK TABLE writers IN SHARE MODE")
            _nobody_alive(connection, address.location)
            yield connection
    except psycopg.Error as error:
        raise translate_error(error, address) from error


class CopyTarget(Protocol):
    """Where a copy is written to."""

    @property
    def location(self) -> str: ...
    @property
    def connection(self) -> Connection: ...
    def transact(self, work: Callable[[], _Result]) -> _Result: ...
    def close(self) -> None: ...


def open_target(url: str) -> CopyTarget:
    """The ledger there, with its tables if it had none; the caller closes it."""
    return PostgresCopyTarget(ServerAddress.of(url)) if on_server(url) else SqliteEngine(path_of(url), _unread)


class PostgresCopyTarget:
    """A server without a place among its writers: what is copied was written by others."""

    def __init__(self, address: ServerAddress) -> None:
        self._address = address
        with self._translating():
            self._connection = connect(address)
            ensure_tables(self._connection)

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
    """Within a transaction; raises LedgerError if an exporter runs there."""
    if target.connection.shared:
        _nobody_alive(target.connection, target.location)


def _nobody_alive(connection: Connection, place: str) -> None:
    query = "SELECT count(*) FROM writers WHERE seen > clock_timestamp() - ? * interval '1 second'"
    (alive,) = connection.execute(query, (SEEN_SECONDS,)).fetchone()
    if alive:
        raise LedgerError(f"{place} is in use by {alive} exporter(s), or was within {SEEN_SECONDS} s; stop them first")


def columns(connection: Connection, table: str) -> list[str]:
    """The columns that every engine has, in the order in which this one has them."""
    query = _COLUMNS if connection.shared else "SELECT name FROM pragma_table_info(?)"
    return [name for (name,) in connection.execute(query, (table,))]


def last_claim(connection: Connection) -> int:
    """The last claim number that was given."""
    shared = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM claims"
    query = shared if connection.shared else "SELECT value FROM meta WHERE key = 'claims'"
    return int(connection.execute(query).fetchone()[0])


def continue_numbers(connection: Connection, claim: int, numbered: Iterable[str]) -> None:
    """Numbers go on after those that were copied: the claims', and the ids of these tables."""
    if not connection.shared:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(claim),))
        return
    connection.execute("SELECT setval('claims', ?, ?)", (max(claim, 1), claim > 0))
    for table in numbered:
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 0) + 1, false) FROM {table}"  # noqa: S608 - names of `copying`
        )


def _unread(engine: Engine) -> None:
    """No image is kept of what is only copied."""
