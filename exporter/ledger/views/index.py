"""The session index: tables from which lists of sessions are read in order, by cost, last change or number of events.

Writes within the caller's transaction, and is no part of the accounting. A session group is one combination of account,
record type and state; there are few, so a list is merged from one ordered range of each.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from heapq import nlargest
from typing import Any

from msgspec.json import decode

from exporter.core.model import SessionGauges, SessionRef
from exporter.core.money import ZERO, add, amount_text
from exporter.ledger.database import Connection
from exporter.ledger.schema.ranks import rank
from exporter.ledger.schema.rows import SessionRow

_GAUGES = "account, record_type, event_id, configured, sessions.changed_at, summary"
_CONFIGURED = (
    f"SELECT {_GAUGES} FROM sessions WHERE configured = 1 AND summary IS NOT NULL ORDER BY changed_at DESC LIMIT ?"  # noqa: S608 - literals
)
_CHANGED = (
    f"SELECT {_GAUGES} FROM session_index CROSS JOIN sessions ON sessions.id = session_index.session"  # noqa: S608 - literals
    " WHERE session_group = ? AND session_index.changed_at >= ? AND configured = 0 AND summary IS NOT NULL"
    " AND sessions.changed_at IS NOT NULL ORDER BY session_index.changed_at DESC LIMIT ?"
)
_CHANGED_AT = 4


def costs_of(summary: str | None) -> dict[str, Decimal]:
    """Return the net cost by currency of a session's summary, which has it by product."""
    costs: dict[str, Decimal] = {}
    for _, currency, amount in decode(summary)["costs"] if summary is not None else ():
        costs[currency] = add(costs.get(currency, ZERO), Decimal(amount))
    return costs


class SessionIndex:
    """Writes the index within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._groups: dict[tuple[str, str, str], int] = {}

    def insert(self, session: int, ref: SessionRef, now: float) -> None:
        """Insert a session that was just discovered."""
        group = self._group(ref.account, ref.record_type, "discovered")
        self._connection.write("INSERT INTO session_index VALUES (?, ?, ?, 0, 1)", (session, group, now))

    def update(self, before: SessionRow, after: SessionRow) -> None:
        """Write what a poll changed; most polls change nothing that is indexed."""
        old, new = before.standing, after.standing
        if (old.state, old.changed_at, before.summary) != (new.state, new.changed_at, after.summary):
            changed_at = new.discovered_at if new.changed_at is None else new.changed_at
            self.write(after.id, after.ref, new.state, changed_at, after.summary)

    def write(self, session: int, ref: SessionRef, state: str, changed_at: float, summary: str | None) -> None:
        group, costs = self._group(ref.account, ref.record_type, state), costs_of(summary)
        events = decode(summary)["events"] if summary is not None else 0
        self._connection.write(
            "INSERT INTO session_index (session, session_group, changed_at, events, costless) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (session) DO UPDATE SET session_group = excluded.session_group,"
            " changed_at = excluded.changed_at, events = excluded.events, costless = excluded.costless",
            (session, group, changed_at, events, int(not costs)),
        )
        self._connection.write("DELETE FROM session_index_costs WHERE session = ?", (session,))
        self._connection.write(
            "INSERT INTO session_index_costs VALUES (?, ?, ?, ?, ?)",
            *[(session, currency, group, amount_text(cost), rank(cost)) for currency, cost in costs.items()],
        )

    def add_root_id(self, session: int, ref: SessionRef, root_id: str) -> None:
        """Let the session be found by the id of its root event, which exemplars have."""
        if root_id not in {ref.event_id, ""}:
            statement = "INSERT INTO root_ids VALUES (?, ?) ON CONFLICT DO NOTHING"
            self._connection.write(statement, (root_id.encode("utf-8", "replace").decode(), session))

    def _group(self, account: str, record_type: str, state: str) -> int:
        named = (account, record_type, state)
        if named not in self._groups:
            query = "SELECT id FROM session_groups WHERE account = ? AND record_type = ? AND state = ?"
            found = self._connection.execute(query, named).fetchone()
            if found is None:
                self._connection.execute(
                    "INSERT INTO session_groups (account, record_type, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    named,
                )
                found = self._connection.execute(query, named).fetchone()
            self._groups[named] = int(found[0])
        return self._groups[named]


def check_index(connection: Connection) -> Iterator[str]:
    """Yield a line for each session whose row in the index isn't what its own row says."""
    costs: dict[int, dict[str, Decimal]] = {}
    for session, currency, amount in connection.execute("SELECT session, currency, amount FROM session_index_costs"):
        costs.setdefault(session, {})[currency] = Decimal(amount)
    rows = connection.execute(
        "SELECT sessions.id, summary, session_groups.id IS NOT NULL AND session_index.changed_at ="
        " coalesce(sessions.changed_at, discovered_at), session_index.events"
        " FROM sessions LEFT JOIN session_index ON session_index.session = sessions.id"
        " LEFT JOIN session_groups ON session_groups.id = session_group AND session_groups.account = sessions.account"
        " AND session_groups.record_type = sessions.record_type AND session_groups.state = sessions.state"
    )
    for session, summary, in_place, events in rows:
        counted = decode(summary)["events"] if summary is not None else 0
        listed = costs.pop(session, {})
        if not in_place or events != counted or listed != costs_of(summary):
            yield f"session {session}: its row in the session index is wrong"
    yield from (f"session {session} is in the session index, and doesn't exist" for session in costs)


def rename_account_groups(connection: Connection, old: str, new: str) -> None:
    """Give the groups of an account its new name, which no session has yet."""
    # A group may be left from an account that had the name before.
    connection.execute("DELETE FROM session_groups WHERE account = ?", (new,))
    connection.execute("UPDATE session_groups SET account = ? WHERE account = ?", (new, old))


def recent_sessions(connection: Connection, since: float, limit: int) -> tuple[SessionGauges, ...]:
    """Return at most `limit` sessions for the gauges: configured ones, then those changed since, newest first.

    Read from the index, since `sessions` is not sorted by time: as many rows as are wanted, of a million.
    """
    configured = connection.execute(_CONFIGURED, (limit,)).fetchall()
    # With a cross join SQLite reads the index first; PostgreSQL decides for itself.
    query = _CHANGED.replace("CROSS JOIN", "JOIN") if connection.shared else _CHANGED
    groups = connection.execute("SELECT id FROM session_groups").fetchall()
    found = (row for (group,) in groups for row in connection.execute(query, (group, since, limit)))
    changed = nlargest(limit - len(configured), found, key=lambda row: row[_CHANGED_AT])
    return tuple(map(_gauges, [*configured, *changed]))


def _gauges(row: tuple[Any, ...]) -> SessionGauges:
    account, record_type, event_id, configured, at, summary = row
    known = json.loads(summary)
    costs = tuple((product, currency, Decimal(amount)) for product, currency, amount in known["costs"])
    ref = SessionRef(account, record_type, event_id)
    return SessionGauges(ref, known["events"], known["turns"], at or 0.0, costs, bool(configured))
