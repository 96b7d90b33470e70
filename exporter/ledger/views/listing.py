"""Which sessions a list has, and in which order: filters and a cursor -> ids of sessions.

Merges one ordered range of the session index per group, and reads each only as far as the page needs: a page of a
million sessions takes milliseconds. Reads only the tables that `views.index` writes.
"""

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from struct import pack, unpack
from typing import Any, Literal

from msgspec import Struct

from exporter.ledger.database import Connection

Sort = Literal["cost", "changed", "events"]
Order = Literal["desc", "asc"]

SortKey = tuple[Any, int]
"""The value that a list is sorted by (None: no cost), then the session's id."""

NUMBER_MAX = 2**62
ANY_CHECK = "any"


class SessionGroup(Struct, frozen=True, order=True):
    """One combination of the properties that sessions are filtered by."""

    number: int
    account: str
    record_type: str
    state: str


class SessionQuery(Struct, frozen=True):
    """Which sessions, in which order; None means any."""

    text: str = ""
    """The beginning of an id; or an account, a record type, a state, or a part of one."""
    account: str | None = None
    record_type: str | None = None
    state: str | None = None
    check: str | None = None
    """Sessions whose last tree fails this check, or `any`."""
    sort: Sort = "changed"
    order: Order = "desc"
    currency: str | None = None
    """Currency of a list by cost; None: the first of `preferred` that the ledger has.

    Costs in different currencies can't be compared. Sessions without any cost come last; sessions with costs in other
    currencies only are not in the list.
    """
    preferred: tuple[str, ...] = ()
    after: str | None = None
    """Cursor: where the page before ended."""
    limit: int = 50


def matching(groups: Iterable[SessionGroup], query: SessionQuery) -> list[SessionGroup]:
    """Return the groups that pass the filters, the text aside."""
    wanted = (query.account, query.record_type, query.state)
    return [
        group for group in groups if all(want in {None, has} for want, has in zip(wanted, _names(group), strict=True))
    ]


def named(groups: Iterable[SessionGroup], text: str) -> list[SessionGroup]:
    """Return the groups whose account, record type or state is the text."""
    return [group for group in groups if text.lower() in map(str.lower, _names(group))]


def partly_named(groups: Iterable[SessionGroup], text: str) -> list[SessionGroup]:
    return [group for group in groups if any(text.lower() in name.lower() for name in _names(group))]


def _names(group: SessionGroup) -> tuple[str, str, str]:
    return group.account, group.record_type, group.state


# Cursors


CURSOR_PATTERN = r"(cost\.([0-9a-f]{24}|none)|changed\.[0-9a-f]{16}|events\.[0-9]{1,15})\.[0-9]{1,18}"
"""The order, the value, the session's id."""


def encode_cursor(key: SortKey, sort: Sort) -> str:
    """Return the key as text for a link, exactly."""
    value, session = key
    if value is None:
        return f"{sort}.none.{session}"
    writers: dict[Sort, Callable[[Any], str]] = {
        "cost": bytes.hex,
        "changed": lambda at: pack(">d", at).hex(),
        "events": str,
    }
    return f"{sort}.{writers[sort](value)}.{session}"


def decode_cursor(text: str | None, sort: Sort) -> SortKey | None:
    """Return the key; None, the beginning, for a cursor of another order. Raises ValueError if it is no cursor."""
    if text is None:
        return None
    if not re.fullmatch(CURSOR_PATTERN, text, re.ASCII):
        raise ValueError(text)
    of, written, number = text.split(".")
    if of != sort:
        return None
    readers: dict[Sort, Callable[[str], Any]] = {
        "cost": lambda ranked: None if ranked == "none" else bytes.fromhex(ranked),
        "changed": lambda at: unpack(">d", bytes.fromhex(at))[0],
        "events": int,
    }
    return readers[sort](written), int(number)


def ordered(keys: Iterable[SortKey], query: SessionQuery) -> list[SortKey]:
    """Return the keys behind the query's cursor, in its order; those without a value last, whichever it is."""
    down = query.order == "desc"

    def position(key: SortKey) -> tuple[bool, Any, int]:
        known = key[0] is not None
        return known is down, key[0] if known else 0, key[1]

    found = sorted(keys, key=position, reverse=down)
    after = decode_cursor(query.after, query.sort)
    if after is None:
        return found
    last = position(after)
    return [key for key in found if (position(key) < last if down else position(key) > last)]


class IndexRanges:
    """One list, read from the session index."""

    def __init__(self, connection: Connection, query: SessionQuery, currency: str | None) -> None:
        """`currency` is that of a list by cost."""
        self._connection = connection
        self._query = query
        self._currency = currency
        self._down = query.order == "desc"
        self._direction, self._beyond = ("DESC", "<") if self._down else ("ASC", ">")

    def keys(self, groups: Iterable[SessionGroup]) -> Iterator[SortKey]:
        """Yield the keys behind the query's cursor; raise ValueError if it is none.

        No range yields more than the query's limit and one: the caller takes that many of the merged ones.
        """
        after = decode_cursor(self._query.after, self._query.sort)
        numbers = [group.number for group in groups]
        if self._query.sort != "cost":
            column = "changed_at" if self._query.sort == "changed" else "events"
            ranges = [(number,) for number in numbers]
            return self._merged("session_index WHERE session_group = ?", column, ranges, after)
        costed: Iterator[SortKey] = iter(())
        if self._currency is not None and (after is None or after[0] is not None):
            where = "session_index_costs WHERE session_group = ? AND currency = ?"
            costed = self._merged(where, "rank", [(number, self._currency) for number in numbers], after)
        last = after[1] if after is not None and after[0] is None else NUMBER_MAX if self._down else 0
        return chain(costed, self._costless(numbers, last))

    def _merged(
        self, where: str, column: str, ranges: Iterable[tuple[Any, ...]], after: SortKey | None
    ) -> Iterator[SortKey]:
        select = f"SELECT {column}, session FROM {where}"  # noqa: S608 - literals of this module
        order, most = f"ORDER BY {column} {self._direction}, session {self._direction}", self._query.limit + 1

        def read(values: tuple[Any, ...]) -> Iterator[SortKey]:
            if after is None:
                return iter(self._connection.execute(f"{select} {order} LIMIT ?", (*values, most)))
            # Two statements instead of one with OR: each starts at its place in the index.
            ties = f"{select} AND {column} = ? AND session {self._beyond} ? {order} LIMIT ?"
            rest = f"{select} AND {column} {self._beyond} ? {order} LIMIT ?"
            return chain(
                self._connection.execute(ties, (*values, *after, most)),
                self._connection.execute(rest, (*values, after[0], most)),
            )

        return heapq.merge(*map(read, ranges), reverse=self._down)

    def _costless(self, groups: Iterable[int], last: int) -> Iterator[SortKey]:
        query = (
            "SELECT session FROM session_index WHERE session_group = ? AND costless = 1"  # noqa: S608 - literals of this module
            f" AND session {self._beyond} ? ORDER BY session {self._direction} LIMIT ?"
        )
        most = self._query.limit + 1

        def read(group: int) -> Iterator[SortKey]:
            yield from ((None, session) for (session,) in self._connection.execute(query, (group, last, most)))

        return heapq.merge(*map(read, groups), key=lambda key: key[1], reverse=self._down)
