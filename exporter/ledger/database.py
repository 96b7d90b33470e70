"""What the ledger's modules ask of a database: statements with `?`, rows as tuples, one transaction around them.

Owns the words of that seam and no behaviour of an engine; SQLite's connection fits it as it is but for two facts about
sharing. Statements are written once and run on every engine. The surprising fact: the engines differ in little but who
else may be writing, so a module asks `shared`, not for an engine's name.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

_Result = TypeVar("_Result")


class Cursor(Protocol):
    """The answer to a statement."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed, by all of them if there were many."""

    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int = ..., /) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One connection, within the caller's transaction."""

    shared: bool
    """Others may be writing: what is read to be changed must be locked."""
    for_update: str
    """The end of a SELECT of rows that are going to be changed."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Cursor: ...
    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> Cursor: ...

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        """Insert many rows, as fast as it goes."""

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        """Change something, once for each row; whoever shares the database may do it later in the transaction, in
        order, for nobody waits for an answer.
        """

    def lock_task(self, what: str) -> None:
        """Until the transaction ends, nobody else is beyond this line; what is read after it is what they left."""


class SqliteConnection(sqlite3.Connection):
    """Writes alone: BEGIN IMMEDIATE locks the whole file."""

    shared = False
    for_update = ""

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608 - our own names

    def write(self, statement: str, /, *rows: Sequence[Any]) -> None:
        self.executemany(statement, rows)

    def lock_task(self, what: str) -> None:
        """Its turn ends with the transaction anyway."""


class TransactionConflict(Exception):
    """Another transaction was quicker; begun again, this one sees what that did."""


class Engine(Protocol):
    """An open database; what is kept in memory of it is made anew after any error."""

    shared: bool
    """There may be other writers."""
    retries: int
    """How many transactions were begun again because others were in the way."""
    restores: int
    """How often it was written again after somebody had removed it."""

    @property
    def writer(self) -> int:
        """Whose totals this process writes; 0 is the only writer of a file, and has those of all that are gone."""

    @property
    def location(self) -> str:
        """What messages call it; holds no password."""

    @property
    def connection(self) -> Connection:
        """Within `transact` or `read`."""

    @property
    def side_connection(self) -> Connection:
        """For names that are given once for ever: where others write, outside the transaction, so none waits for it."""

    def transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction, perhaps more than once; after an error nothing of it is booked."""

    def read(self, work: Callable[[], _Result]) -> _Result:
        """Run what only reads, on one view of the data."""

    def size_bytes(self) -> int: ...

    def damage(self) -> list[str]:
        """What the engine itself finds broken, within `read`."""

    def close(self) -> None: ...


Reload = Callable[[Engine], None]
"""Called whenever what is kept in memory must be made anew from the connection."""
