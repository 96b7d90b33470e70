"""What the gauges of single sessions show after a start: configured sessions, and those that changed lately.

Owns the questions; reads only. The surprising fact: sessions are not asked when they changed, but the lists of the
pages are, one per facet: they are in order, and of a million sessions as many are read as are wanted.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from heapq import nlargest
from typing import Any

from exporter.core.model import SessionGauges, SessionRef
from exporter.ledger.database import Connection

_COLUMNS = "account, record_type, event_id, configured, sessions.changed_at, summary"
_CONFIGURED = (
    f"SELECT {_COLUMNS} FROM sessions WHERE configured = 1 AND summary IS NOT NULL ORDER BY changed_at DESC LIMIT ?"  # noqa: S608 - literals
)
_CHANGED = (
    f"SELECT {_COLUMNS} FROM session_index CROSS JOIN sessions ON sessions.id = session_index.session"  # noqa: S608 - literals
    " WHERE session_group = ? AND session_index.changed_at >= ? AND configured = 0 AND summary IS NOT NULL"
    " AND sessions.changed_at IS NOT NULL ORDER BY session_index.changed_at DESC LIMIT ?"
)
_CHANGED_AT = 4


def recent_sessions(connection: Connection, since: float, limit: int) -> tuple[SessionGauges, ...]:
    """At most so many, configured ones first, then by when they changed."""
    configured = connection.execute(_CONFIGURED, (limit,)).fetchall()
    changed = nlargest(limit - len(configured), _changed(connection, since, limit), key=lambda row: row[_CHANGED_AT])
    return tuple(map(_followed, [*configured, *changed]))


def _changed(connection: Connection, since: float, limit: int) -> Iterator[tuple[Any, ...]]:
    # A cross join is SQLite's way to have the list read first.
    query = _CHANGED.replace("CROSS JOIN", "JOIN") if connection.shared else _CHANGED
    for (facet,) in connection.execute("SELECT id FROM session_groups").fetchall():
        yield from connection.execute(query, (facet, since, limit))


def _followed(row: tuple[Any, ...]) -> SessionGauges:
    account, record_type, event_id, configured, at, summary = row
    known = json.loads(summary)
    costs = tuple((product, currency, Decimal(amount)) for product, currency, amount in known["costs"])
    ref = SessionRef(account, record_type, event_id)
    return SessionGauges(ref, known["events"], known["turns"], at or 0.0, costs, bool(configured))
