"""A read-only view of one state of the ledger: lists of sessions, one session's history, failed polls.

`exporter.ledger.snapshot` opens it. Computes nothing that isn't in the tables.
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
"""How many sessions found by the beginning of an id, or by a check, are sorted; the page says if there are more."""

_ROW = (
    "sessions.id, account, record_type, event_id, date_time, state, discovered_at, changed_at, summary, failing,"
    " source, configured, due_at, first_tree_at, closed_at, latest_at, crossed, polls"
)


class Snapshot:
    """One consistent view; used by one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_version(self) -> None:
        """Raise LedgerError if the ledger isn't of this version."""
        query = "SELECT value FROM meta WHERE key = 'schema_version'"
        (version,) = self._connection.execute(query).fetchone() or ("0",)
        if int(version) != SCHEMA_VERSION:
            cure = "; start this version of the exporter once to upgrade it" if int(version) < SCHEMA_VERSION else ""
            raise LedgerError(
                f"the ledger has schema {version}, and this version of the exporter reads {SCHEMA_VERSION}{cure}"
            )

    def groups(self) -> tuple[SessionGroup, ...]:
        """Return the combinations of account, record type and state that sessions can be filtered by."""
        rows = self._connection.execute("SELECT id, account, record_type, state FROM session_groups ORDER BY 2, 3, 4")
        return tuple(SessionGroup(*row) for row in rows)

    def currencies(self) -> tuple[str, ...]:
        """Return the currencies in which some session has a cost."""
        # From currency to currency in the index, which isn't read through.
        query = "SELECT min(currency) FROM session_index_costs WHERE session_group = ? AND currency > ?"
        found: set[str] = set()
        for group in self.groups():
            currency = ""
            while currency is not None:
                found.add(currency)
                currency = self._connection.execute(query, (group.number, currency)).fetchone()[0]
        return tuple(sorted(found - {""}))

    def states(self) -> dict[str, int]:
        """Return how many sessions there are in each state."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        rows = self._connection.execute(
            "SELECT labels, value FROM totals JOIN series ON series.id = series WHERE family = 'telnyx_sessions'"
        )
        for labels, value in rows:
            counts[dict(json.loads(labels))["state"]] += int(value)
        return counts

    # Lists

    def sessions(self, query: SessionQuery) -> SessionList:
        """Return a page of a list; raise ValueError if `query.after` is no cursor."""
        groups, text = matching(self.groups(), query), query.text.strip()
        currency = self._currency(query) if query.sort == "cost" else None
        few: list[int] | None = None
        if text:
            # The name of an account, record type or state; else the beginning of an id; else a part of such a name.
            exact = named(groups, text)
            few = (self._ids_beginning(text, groups) or None) if not exact else None
            groups = groups if few else exact or partly_named(groups, text)
        if query.check is not None:
            few = self._failing(query.check, few)
        if few is not None:
            return self._small_list(query, few, groups, currency)
        keys = IndexRanges(self._connection, query, currency).keys(groups)
        return self._page(query, list(islice(keys, query.limit + 1)), currency)

    def _currency(self, query: SessionQuery) -> str | None:
        if query.currency is not None:
            return query.currency
        known = self.currencies()
        return next((currency for currency in (*query.preferred, *known) if currency in known), None)

    def _ids_beginning(self, text: str, groups: Iterable[SessionGroup]) -> list[int]:
        """Return sessions whose ids begin with the text, as it is written or in lower case."""
        statement = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id >= ? AND event_id < ?"
        found: list[int] = []
        for account, record_type in sorted({(group.account, group.record_type) for group in groups}):
            for beginning in sorted({text, text.lower()}):
                values = (account, record_type, beginning, f"{beginning}\U0010ffff", IDS_MAX + 1 - len(found))
                found += [number for (number,) in self._connection.execute(f"{statement} LIMIT ?", values)]
        return found

    def _failing(self, check: str, among: list[int] | None) -> list[int]:
        """Return sessions whose last tree fails the check, or any."""
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
        self, query: SessionQuery, found: list[int], groups: Iterable[SessionGroup], currency: str | None
    ) -> SessionList:
        """Return a page of few sessions: sorted here, by the same keys that the index has."""
        numbers, within = found[:IDS_MAX], {group.number for group in groups}
        marks = _marks(numbers)
        column = "events" if query.sort == "events" else "changed_at"
        statement = f"SELECT session, session_group, {column} FROM session_index WHERE session IN ({marks})"  # noqa: S608 - literals
        rows = self._connection.execute(statement, numbers)
        values: dict[int, Any] = {session: value for session, group, value in rows if group in within}
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
        """Return sessions with this id, or whose root event has it, of any account and record type."""
        kinds = sorted({(group.account, group.record_type) for group in self.groups()})
        found = [self._find(SessionRef(account, record_type, event_id)) for account, record_type in kinds]
        rows = {row[0]: _row(row) for row in found if row is not None}
        query = "SELECT session FROM root_ids WHERE event_id = ? LIMIT ?"
        by_root = [session for (session,) in self._connection.execute(query, (event_id, IDS_MAX))]
        return tuple((rows | self._rows(by_root)).values())

    def history(self, ref: SessionRef) -> SessionHistory | None:
        """Return all that the ledger has of the session; None if it doesn't have it."""
        row = self._find(ref)
        if row is None:
            return None
        source, configured, due_at, first_tree_at, closed_at, latest_at, crossed, polls = row[10:]
        query = (
            "SELECT at, record_type, event_id, before, after, currency FROM amendments WHERE session = ? ORDER BY id"
        )
        amendments = self._connection.execute(query, (row[0],)).fetchall()
        return SessionHistory(
            _row(row),
            source,
            bool(configured),
            due_at,
            first_tree_at,
            closed_at,
            latest_at,
            tuple(filter(None, crossed.split(","))),
            tuple(PastPoll(*poll) for poll in json.loads(polls)),
            tuple(
                Amendment(at, record_type, event_id, _amount(before), _amount(after), currency)
                for at, record_type, event_id, before, after, currency in amendments
            ),
            read_tree(self._connection, row[0]),
        )

    def history_by_number(self, number: int | None) -> SessionHistory | None:
        query = "SELECT account, record_type, event_id FROM sessions WHERE id = ?"
        row = self._connection.execute(query, (number,)).fetchone()
        return None if row is None else self.history(SessionRef(*row))

    def _find(self, ref: SessionRef) -> tuple[Any, ...] | None:
        query = f"SELECT {_ROW} FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"  # noqa: S608 - literals of this module
        values = (ref.account, ref.record_type, ref.event_id)
        row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return row

    def failures(self, limit: int, before: int | None = None) -> tuple[Failure, ...]:
        """Return the last failed polls, newest first; `before` is the number of one, and older ones are returned."""
        query = (
            "SELECT failures.id, at, sessions.id, account, record_type, event_id, outcome, reason, detail FROM failures"
            " JOIN sessions ON sessions.id = session WHERE failures.id < ? ORDER BY failures.id DESC LIMIT ?"
        )
        found = self._connection.execute(query, (NUMBER_MAX if before is None else before, limit))
        return tuple(
            Failure(number, at, session, SessionRef(account, record_type, event_id), outcome, reason, detail)
            for number, at, session, account, record_type, event_id, outcome, reason, detail in found
        )


def _marks(numbers: list[int]) -> str:
    # PostgreSQL doesn't accept an empty list.
    return ",".join("?" * len(numbers)) or "NULL"


def _row(row: tuple[Any, ...]) -> SessionListRow:
    number, account, record_type, event_id, date_time, state, discovered_at, changed_at, summary, failing = row[:10]
    counts = json.loads(summary) if summary is not None else {"events": 0, "turns": 0}
    return SessionListRow(
        number,
        SessionRef(account, record_type, event_id, date_time),
        state,
        discovered_at,
        changed_at,
        counts["events"],
        counts["turns"],
        tuple(sorted(costs_of(summary).items())),
        tuple(filter(None, failing.split(","))),
    )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
