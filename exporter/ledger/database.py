"""The interface between the ledger's modules and its two engines.

Statements have `?` for parameters and run on both engines; rows are tuples. The engines differ in little but whether
other processes write too, so modules ask `connection.shared`, never for an engine's name.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

_Result = TypeVar("_Result")


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed; of `executemany`, by all executions."""

    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int = ..., /) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One connection, within the caller's transaction."""

    shared: bool
    """Other processes may write: rows must be locked when they are read to be changed."""
    for_update: str
    """The end of a SELECT of rows that the transaction will change."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Cursor: ...
    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> Cursor: ...

    def bulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        """Insert many rows as fast as the engine can."""

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        """Run a statement whose result isn't needed, once for each row.

        PostgreSQL buffers it and sends it in order, with the next statement that needs an answer: one round trip.
        """

    def lock_task(self, name: str) -> None:
        """Wait until no other transaction has locked this task; hold it until the transaction ends.

        Rows that are read afterwards are as the holder before has left them.
        """


class SqliteConnection(sqlite3.Connection):
    """Writes alone: BEGIN IMMEDIATE locks the whole file."""

    shared = False
    for_update = ""

    def bulk_insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608 - our own names

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        self.executemany(statement, rows)

    def lock_task(self, name: str) -> None:
        """Do nothing: the transaction has locked the file."""


class TransactionConflict(Exception):
    """Another transaction was quicker; run again, this one sees what that one did."""


class Engine(Protocol):
    """An open database."""

    shared: bool
    """Other processes may write."""
    retries: int
    """How many transactions were run again after a conflict with others."""
    restores: int
    """How often the file was written again after its removal."""

    @property
    def writer(self) -> int:
        """The id under which this process writes totals.

        0 is the only writer of a file; on a server, writer 0 has the totals of all processes that have ended.
        """

    @property
    def location(self) -> str:
        """Its name in messages, without a password."""

    @property
    def connection(self) -> Connection:
        """The connection within `transact` or `read`."""

    @property
    def side_connection(self) -> Connection:
        """For rows that are inserted once and never change, such as label sets: on a server outside the transaction.

        Within it, another writer that needs the same row would wait until this transaction ends.
        """

    def transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction, perhaps more than once; after an error nothing of it is booked."""

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads, on one state of the data."""

    def size_bytes(self) -> int: ...

    def damage(self) -> list[str]:
        """Return what the engine finds broken, a line each; within `read`."""

    def close(self) -> None: ...


Reload = Callable[[Engine], None]
"""Called when the opener's image of the tables in memory must be made again: at first, and after any error."""
