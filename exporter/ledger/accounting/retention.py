"""Prune sessions that have been closed for longer than the retention, with their events.

Totals never change by it but for the gauges that count what the ledger contains.
"""

from decimal import Decimal
from typing import Any

from exporter.core.costs import AWAITING, LedgerEntry
from exporter.ledger.database import Connection
from exporter.ledger.schema.rows import NOT_BUNDLED
from exporter.ledger.totals.totals import Totals

SESSION_TABLES = ("substitutes", "trees", "amendments", "session_index", "session_index_costs", "root_ids", "failures")
"""Tables with rows of a session, beside `events` and `sessions`."""
_ONE = Decimal(1)

# Example: retention is 90 days, and a call of May 1st settled on May 2nd for 0.18.
#
#     Aug 1st   prune(before=May 3rd): the call and its events are deleted, cost_total keeps the 0.18, and the
#               watermark becomes May 3rd.
#     Aug 2nd   The call is put into the configuration. Its events are unknown now, as new ones would be,
#               but they happened before the watermark: nothing is booked, and the check `forgotten` fails.
#     Aug 3rd   The clock was set back a year: prune(before=May 3rd of last year) finds nothing, and the watermark
#               stays, for it never moves back.


def retention_watermark(connection: Connection) -> float:
    """Return the time before which events may have been pruned; minus infinity if none ever was."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'retention_watermark'").fetchone()
    return float(row[0]) if row else float("-inf")


def prune(connection: Connection, totals: Totals, before: float, limit: int) -> int:
    """Delete at most `limit` closed sessions whose latest event is older than `before`; return how many."""
    found = _find_closed(connection, "latest_at < ?", "latest_at", before, limit)
    if found:
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('retention_watermark', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            " WHERE CAST(meta.value AS FLOAT) < CAST(excluded.value AS FLOAT)",
            (repr(float(before)),),
        )
    # Sessions that never had a tree own no event that could come back: they need no watermark.
    never_read = "summary IS NULL AND discovered_at < ?"
    found += _find_closed(connection, never_read, "discovered_at", before, limit - len(found))
    for session, account, state, failing in found:
        if state != "settled":  # its money is not going to change any more
            owned = "SELECT currency, cost FROM events WHERE owner = ? AND cost IS NOT NULL"
            for currency, cost in connection.execute(owned, (session,)).fetchall():
                totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), -Decimal(cost))
        totals.add("telnyx_sessions", (("account", account), ("state", state)), -_ONE)
        for check in filter(None, failing.split(",")):
            totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), -_ONE)
    if found:
        _delete(connection, totals, [session for session, *_ in found])
    return len(found)


def _find_closed(connection: Connection, condition: str, age: str, before: float, limit: int) -> list[tuple[Any, ...]]:
    """Return (id, account, state, failing) of closed sessions that no poll or configuration needs, oldest first."""
    closed = "configured = 0 AND claim = 0 AND state IN ('settled', 'missing', 'denied')"
    # The lock keeps other processes from claiming one of these sessions until it is deleted.
    for_update = f"{connection.for_update} SKIP LOCKED" if connection.shared else ""
    query = f"SELECT id, account, state, failing FROM sessions WHERE {condition} AND {closed} ORDER BY {age} LIMIT ?"  # noqa: S608 - literals
    return connection.execute(query + for_update, (before, limit)).fetchall()


def _delete(connection: Connection, totals: Totals, sessions: list[int]) -> None:
    # One statement for each table, however many sessions: each is a round trip to a server.
    marks = f"IN ({', '.join('?' * len(sessions))})"
    query = f"SELECT labels FROM events WHERE owner {marks} AND cost IS NULL AND {NOT_BUNDLED}"  # noqa: S608 - marks
    unpriced = connection.execute(query, sessions)
    for (labels,) in unpriced.fetchall():
        totals.add_entries([LedgerEntry(AWAITING, totals.labels(labels), (), -_ONE)])
    deleted = connection.execute(f"DELETE FROM events WHERE owner {marks}", sessions).rowcount  # noqa: S608 - marks
    totals.add("telnyx_ledger_events", (), Decimal(-deleted))
    for table in SESSION_TABLES:
        connection.write(f"DELETE FROM {table} WHERE session {marks}", sessions)  # noqa: S608 - literals and marks
    connection.write(f"DELETE FROM sessions WHERE id {marks}", sessions)  # noqa: S608 - marks
