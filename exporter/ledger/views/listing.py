"""Which sessions a list has, in which order: filters and a place in it -> session numbers.

Owns the merge of one ordered index range per facet, which is read only as far as a page goes: with a million sessions
a page takes milliseconds, whatever it is filtered by. Reads only the tables that `facets` writes. The surprising fact:
costs are never compared over currencies, so a list by cost is one of one currency; sessions without any cost come last
in it, and those with costs in other currencies alone are not in it.
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
"""Where a session stands in a list: the value it is sorted by (None: no cost), then its number."""

NUMBER_MAX = 2**62
ANY_CHECK = "any"


class SessionGroup(Struct, frozen=True, order=True):
    """One combination of what sessions are filtered by."""

    number: int
    account: str
    record_type: str
    state: str


class SessionQuery(Struct, frozen=True):
    """Which sessions, in which order; None is any."""

    text: str = ""
    """The beginning of an id, or an account, a record type, or a part of one."""
    account: str | None = None
    record_type: str | None = None
    state: str | None = None
    check: str | None = None
    """Sessions whose last tree fails this check, or any."""
    sort: Sort = "changed"
    order: Order = "desc"
    currency: str | None = None
    """Of a list by cost; None: the first of `preferred` that the ledger knows."""
    preferred: tuple[str, ...] = ()
    after: str | None = None
    """The place where the page before ended."""
    limit: int = 50


def matching(facets: Iterable[SessionGroup], query: SessionQuery) -> list[SessionGroup]:
    """Those that the filters let through; the text aside."""
    wanted = (query.account, query.record_type, query.state)
    return [
        facet for facet in facets if all(want in {None, has} for want, has in zip(wanted, _words(facet), strict=True))
    ]


def named(facets: Iterable[SessionGroup], text: str) -> list[SessionGroup]:
    """Those whose account, record type or state is the text."""
    return [facet for facet in facets if text.lower() in map(str.lower, _words(facet))]


def partly_named(facets: Iterable[SessionGroup], text: str) -> list[SessionGroup]:
    return [facet for facet in facets if any(text.lower() in word.lower() for word in _words(facet))]


def _words(facet: SessionGroup) -> tuple[str, str, str]:
    return facet.account, facet.record_type, facet.state


# Places


CURSOR_PATTERN = r"(cost\.([0-9a-f]{24}|none)|changed\.[0-9a-f]{16}|events\.[0-9]{1,15})\.[0-9]{1,18}"
"""A place as text: the order, the value, the session's number."""


def encode_cursor(key: SortKey, sort: Sort) -> str:
    """The key as text that a link may carry, exactly."""
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
    """The key again; None, the beginning, if it is a place of another order. ValueError if it is none at all."""
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
    """Keys at hand in the order that the query asks for, behind its place; None always comes last."""
    down = query.order == "desc"

    def standing(key: SortKey) -> tuple[bool, Any, int]:
        known = key[0] is not None
        return known is down, key[0] if known else 0, key[1]

    found = sorted(keys, key=standing, reverse=down)
    after = decode_cursor(query.after, query.sort)
    if after is None:
        return found
    last = standing(after)
    return [key for key in found if (standing(key) < last if down else standing(key) > last)]


# Ranges


class IndexRanges:
    """One list, read from the indexes."""

    def __init__(self, connection: Connection, query: SessionQuery, currency: str | None) -> None:
        """`currency` is that of a list by cost."""
        self._connection = connection
        self._query = query
        self._currency = currency
        self._down = query.order == "desc"
        self._direction, self._beyond = ("DESC", "<") if self._down else ("ASC", ">")

    def keys(self, facets: Iterable[SessionGroup]) -> Iterator[SortKey]:
        """The keys behind the query's place, one more than its limit of each kind; ValueError if that is none."""
        after = decode_cursor(self._query.after, self._query.sort)
        numbers = [facet.number for facet in facets]
        if self._query.sort != "cost":
            column = "changed_at" if self._query.sort == "changed" else "events"
            return self._merged(
                "session_index WHERE session_group = ?", column, [(number,) for number in numbers], after
            )
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
            # Two questions, not one with OR: each is answered from its place in the index.
            ties = f"{select} AND {column} = ? AND session {self._beyond} ? {order} LIMIT ?"
            rest = f"{select} AND {column} {self._beyond} ? {order} LIMIT ?"
            return chain(
                self._connection.execute(ties, (*values, *after, most)),
                self._connection.execute(rest, (*values, after[0], most)),
            )

        return heapq.merge(*map(read, ranges), reverse=self._down)

    def _costless(self, facets: Iterable[int], last: int) -> Iterator[SortKey]:
        query = (
            "SELECT session FROM session_index WHERE session_group = ? AND costless = 1"  # noqa: S608 - literals of this module
            f" AND session {self._beyond} ? ORDER BY session {self._direction} LIMIT ?"
        )
        most = self._query.limit + 1

        def read(facet: int) -> Iterator[SortKey]:
            yield from ((None, session) for (session,) in self._connection.execute(query, (facet, last, most)))

        return heapq.merge(*map(read, facets), key=lambda key: key[1], reverse=self._down)
