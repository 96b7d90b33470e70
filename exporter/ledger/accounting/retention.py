"""Prune sessions that have been closed for longer than the retention, with their events.

Totals never change by it but for the gauges that count what the ledger contains.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from exporter.core.costs import AWAITING, LedgerEntry
from exporter.ledger.accounting.pruned_events import remember
from exporter.ledger.database import Connection
from exporter.ledger.schema.rows import NOT_BUNDLED
from exporter.ledger.totals.totals import Totals

SESSION_TABLES = ("substitutes", "trees", "amendments", "session_index", "session_index_costs", "root_ids", "failures")
"""Tables with rows of a session, beside `events` and `sessions`."""
_ONE = Decimal(1)


def prune(connection: Connection, totals: Totals, before: float, limit: int, oldest: float) -> int:
    """Delete at most `limit` closed sessions whose latest event is older than `before`; return how many.

    Their events are remembered until their session is older than `oldest`: see `pruned_events`.
    """
    found = _find_closed(connection, "latest_at < ?", "latest_at", before, limit)
    # Sessions that never had a tree own no event that could come back.
    never_read = "summary IS NULL AND discovered_at < ?"
    found += _find_closed(connection, never_read, "discovered_at", before, limit - len(found))
    for session, account, state, failing, _ in found:
        if state != "settled":  # its money is not going to change any more
            owned = "SELECT currency, cost FROM events WHERE owner = ? AND cost IS NOT NULL"
            for currency, cost in connection.execute(owned, (session,)).fetchall():
                totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), -Decimal(cost))
        totals.add("telnyx_sessions", (("account", account), ("state", state)), -_ONE)
        for check in filter(None, failing.split(",")):
            totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), -_ONE)
    if found:
        _delete(connection, totals, {session: latest_at for session, *_, latest_at in found}, oldest)
    return len(found)


def _find_closed(connection: Connection, condition: str, age: str, before: float, limit: int) -> list[tuple[Any, ...]]:
    """Return (id, account, state, failing, latest_at) of closed sessions that nothing needs any more, oldest first."""
    closed = "configured = 0 AND claim = 0 AND state IN ('settled', 'missing', 'denied')"
    # The lock keeps other processes from claiming one of these sessions until it is deleted.
    for_update = f"{connection.for_update} SKIP LOCKED" if connection.shared else ""
    columns = "id, account, state, failing, latest_at"
    query = f"SELECT {columns} FROM sessions WHERE {condition} AND {closed} ORDER BY {age} LIMIT ?"  # noqa: S608 - literals
    return connection.execute(query + for_update, (before, limit)).fetchall()


def _delete(connection: Connection, totals: Totals, ended_at: Mapping[int, float], oldest: float) -> None:
    """Delete sessions, given with the time of their latest event, and all that they own."""
    sessions = list(ended_at)
    # One statement for each table, however many sessions: each is a round trip to a server.
    marks = f"IN ({', '.join('?' * len(sessions))})"
    owned = connection.execute(f"SELECT key, owner FROM events WHERE owner {marks}", sessions).fetchall()  # noqa: S608 - marks
    grown = remember(connection, [(key, ended_at[owner]) for key, owner in owned], oldest)
    totals.add("telnyx_ledger_pruned_events", (), Decimal(grown))
    query = f"SELECT labels FROM events WHERE owner {marks} AND cost IS NULL AND {NOT_BUNDLED}"  # noqa: S608 - marks
    unpriced = connection.execute(query, sessions)
    for (labels,) in unpriced.fetchall():
        totals.add_entries([LedgerEntry(AWAITING, totals.labels(labels), (), -_ONE)])
    deleted = connection.execute(f"DELETE FROM events WHERE owner {marks}", sessions).rowcount  # noqa: S608 - marks
    totals.add("telnyx_ledger_events", (), Decimal(-deleted))
    for table in SESSION_TABLES:
        connection.write(f"DELETE FROM {table} WHERE session {marks}", sessions)  # noqa: S608 - literals and marks
    connection.write(f"DELETE FROM sessions WHERE id {marks}", sessions)  # noqa: S608 - marks
