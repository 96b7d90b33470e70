"""The ledger as people look at it: lists of sessions, one session's story, the last failed polls.

Owns the questions, asked of one consistent view that `snapshots` opens. Shows and computes nothing. The surprising
fact: a list by cost is read from an index that knows nothing of costs, only of their ranks.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from typing import Any

from exporter.core.catalog import STATES
from exporter.core.errors import LedgerError
from exporter.core.model import SessionRef
from exporter.ledger.database import Connection
from exporter.ledger.schema.version import SCHEMA_VERSION
from exporter.ledger.views.index import costs_of
from exporter.ledger.views.listing import (
    ANY_CHECK,
    NUMBER_MAX,
    IndexRanges,
    SessionGroup,
    SessionQuery,
    SortKey,
    encode_cursor,
    matching,
    named,
    ordered,
    partly_named,
)
from exporter.ledger.views.models import Amendment, Failure, PastPoll, SessionHistory, SessionList, SessionListRow
from exporter.ledger.views.trees import read_tree

IDS_MAX = 1000
"""Sessions found by the beginning of an id, or by a check, that are sorted and shown; a page says if there are more."""

_ROW = (
    "sessions.id, account, record_type, event_id, date_time, state, discovered_at, changed_at, summary, failing,"
    " source, configured, due_at, first_tree_at, closed_at, latest_at, crossed, polls"
)


class Snapshot:
    """One consistent view; used by one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_version(self) -> None:
        """Raises LedgerError if the ledger isn't of this version."""
        query = "SELECT value FROM meta WHERE key = 'schema_version'"
        (version,) = self._connection.execute(query).fetchone() or ("0",)
        if int(version) != SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger has schema {version}, and this version of the exporter reads {SCHEMA_VERSION}"
            )

    def groups(self) -> tuple[SessionGroup, ...]:
        """What sessions can be filtered by."""
        rows = self._connection.execute("SELECT id, account, record_type, state FROM session_groups ORDER BY 2, 3, 4")
        return tuple(SessionGroup(*row) for row in rows)

    def currencies(self) -> tuple[str, ...]:
        """Those in which some session has a cost."""
        found: set[str] = set()
        for facet in self.groups():
            currency = self._next_currency(facet, "")
            while currency is not None:
                found.add(currency)
                currency = self._next_currency(facet, currency)
        return tuple(sorted(found))

    def _next_currency(self, facet: SessionGroup, last: str) -> str | None:
        """From the index, which is not read through."""
        query = "SELECT min(currency) FROM session_index_costs WHERE session_group = ? AND currency > ?"
        currency: str | None = self._connection.execute(query, (facet.number, last)).fetchone()[0]
        return currency

    def states(self) -> dict[str, int]:
        """How many sessions there are in each state."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        rows = self._connection.execute(
            "SELECT labels, value FROM totals JOIN series ON series.id = series WHERE family = 'telnyx_sessions'"
        )
        for labels, value in rows:
            counts[dict(json.loads(labels))["state"]] += int(value)
        return counts

    # Lists

    def sessions(self, query: SessionQuery) -> SessionList:
        """A page of a list; ValueError if `query.after` is no place of it."""
        facets, text = matching(self.groups(), query), query.text.strip()
        currency = self._currency(query) if query.sort == "cost" else None
        few: list[int] | None = None
        if text:
            words = named(facets, text)
            few = (self._beginning(text, facets) or None) if not words else None
            facets = facets if few else words or partly_named(facets, text)
        if query.check is not None:
            few = self._failing(query.check, few)
        if few is not None:
            return self._small_list(query, few, facets, currency)
        keys = IndexRanges(self._connection, query, currency).keys(facets)
        return self._page(query, list(islice(keys, query.limit + 1)), currency)

    def _currency(self, query: SessionQuery) -> str | None:
        if query.currency is not None:
            return query.currency
        known = self.currencies()
        return next((currency for currency in (*query.preferred, *known) if currency in known), None)

    def _beginning(self, text: str, facets: Iterable[SessionGroup]) -> list[int]:
        """Numbers of sessions whose ids begin with the text, as it is written or in small letters."""
        statement = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id >= ? AND event_id < ?"
        found: list[int] = []
        for account, record_type in sorted({(facet.account, facet.record_type) for facet in facets}):
            for beginning in sorted({text, text.lower()}):
                values = (account, record_type, beginning, f"{beginning}\U0010ffff", IDS_MAX + 1 - len(found))
                found += [number for (number,) in self._connection.execute(f"{statement} LIMIT ?", values)]
        return found

    def _failing(self, check: str, among: list[int] | None) -> list[int]:
        """Numbers of sessions whose last tree fails the check, or any."""
        forced = "" if self._connection.shared else "INDEXED BY sessions_failing"
        query = (
            f"SELECT id FROM sessions {forced} WHERE failing <> ''"  # noqa: S608 - a literal of this module
            " AND (? = '' OR ',' || failing || ',' LIKE '%,' || ? || ',%')"
            " ORDER BY id DESC LIMIT ?"
        )
        wanted = "" if check == ANY_CHECK else check
        within = None if among is None else set(among)
        found = self._connection.execute(query, (wanted, wanted, IDS_MAX + 1 if within is None else NUMBER_MAX))
        return [number for (number,) in found if within is None or number in within]

    def _small_list(
        self, query: SessionQuery, found: list[int], facets: Iterable[SessionGroup], currency: str | None
    ) -> SessionList:
        """Few sessions: sorted here, by the same keys that the indexes have."""
        numbers, within = found[:IDS_MAX], {facet.number for facet in facets}
        marks = _marks(numbers)
        column = "events" if query.sort == "events" else "changed_at"
        statement = f"SELECT session, session_group, {column} FROM session_index WHERE session IN ({marks})"  # noqa: S608 - literals
        values: dict[int, Any] = {
            session: value for session, facet, value in self._connection.execute(statement, numbers) if facet in within
        }
        if query.sort == "cost":
            statement = f"SELECT session, rank FROM session_index_costs WHERE currency = ? AND session IN ({marks})"  # noqa: S608 - literals
            ranks = dict(self._connection.execute(statement, (currency, *numbers)))
            values = {session: ranks.get(session) for session in values}
        keys = ordered(((value, session) for session, value in values.items()), query)
        listing = self._page(query, keys, currency)
        return SessionList(listing.rows, listing.next, currency, truncated=len(found) > IDS_MAX)

    def _page(self, query: SessionQuery, keys: list[SortKey], currency: str | None) -> SessionList:
        shown = keys[: query.limit]
        rows = self._rows([session for _, session in shown])
        more = encode_cursor(shown[-1], query.sort) if len(keys) > query.limit else None
        return SessionList(tuple(rows[session] for _, session in shown if session in rows), more, currency)

    def _rows(self, numbers: list[int]) -> dict[int, SessionListRow]:
        marks = _marks(numbers)
        found = self._connection.execute(f"SELECT {_ROW} FROM sessions WHERE id IN ({marks})", numbers)  # noqa: S608 - literals of this module
        return {row[0]: _row(row) for row in found}

    # Single sessions

    def by_id(self, event_id: str) -> tuple[SessionListRow, ...]:
        """Sessions that have this id, or whose root event has it, of whatever account and record type."""
        places = sorted({(facet.account, facet.record_type) for facet in self.groups()})
        named = [self._named(SessionRef(account, record_type, event_id)) for account, record_type in places]
        rows = {row[0]: _row(row) for row in named if row is not None}
        found = self._connection.execute("SELECT session FROM root_ids WHERE event_id = ? LIMIT ?", (event_id, IDS_MAX))
        return tuple((rows | self._rows([session for (session,) in found])).values())

    def history(self, ref: SessionRef) -> SessionHistory | None:
        """The session of this name; None if the ledger has none."""
        row = self._named(ref)
        if row is None:
            return None
        source, configured, due_at, first_tree_at, rested_at, latest_at, crossed, polls = row[10:]
        return SessionHistory(
            _row(row),
            source,
            bool(configured),
            due_at,
            first_tree_at,
            rested_at,
            latest_at,
            tuple(filter(None, crossed.split(","))),
            tuple(PastPoll(*poll) for poll in json.loads(polls)),
            self._amendments(row[0]),
            read_tree(self._connection, row[0]),
        )

    def history_by_number(self, number: int | None) -> SessionHistory | None:
        """The session of this number."""
        query = "SELECT account, record_type, event_id FROM sessions WHERE id = ?"
        row = self._connection.execute(query, (number,)).fetchone()
        return None if row is None else self.history(SessionRef(*row))

    def _named(self, ref: SessionRef) -> tuple[Any, ...] | None:
        query = f"SELECT {_ROW} FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"  # noqa: S608 - literals of this module
        row: tuple[Any, ...] | None = self._connection.execute(
            query, (ref.account, ref.record_type, ref.event_id)
        ).fetchone()
        return row

    def _amendments(self, session: int) -> tuple[Amendment, ...]:
        query = (
            "SELECT at, record_type, event_id, before, after, currency FROM amendments WHERE session = ? ORDER BY id"
        )
        return tuple(
            Amendment(at, record_type, event_id, _amount(before), _amount(after), currency)
            for at, record_type, event_id, before, after, currency in self._connection.execute(query, (session,))
        )

    def failures(self, limit: int, before: int | None = None) -> tuple[Failure, ...]:
        """The last failed polls, the newest first; `before` is the number of one, and those before it are given."""
        query = (
            "SELECT failures.id, at, account, record_type, event_id, outcome, reason, detail FROM failures"
            " JOIN sessions ON sessions.id = session WHERE failures.id < ? ORDER BY failures.id DESC LIMIT ?"
        )
        found = self._connection.execute(query, (2**62 if before is None else before, limit))
        return tuple(
            Failure(number, at, SessionRef(account, record_type, event_id), outcome, reason, detail)
            for number, at, account, record_type, event_id, outcome, reason, detail in found
        )


def _marks(numbers: list[int]) -> str:
    """Of a list that may be empty, which PostgreSQL doesn't know."""
    return ",".join("?" * len(numbers)) or "NULL"


def _row(row: tuple[Any, ...]) -> SessionListRow:
    number, account, record_type, event_id, date_time, state, followed_at, changed_at, summary, failing = row[:10]
    counts = json.loads(summary) if summary is not None else {"events": 0, "turns": 0}
    return SessionListRow(
        number,
        SessionRef(account, record_type, event_id, date_time),
        state,
        followed_at,
        changed_at,
        counts["events"],
        counts["turns"],
        tuple(sorted(costs_of(summary).items())),
        tuple(filter(None, failing.split(","))),
    )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
