"""Forgetting: sessions that have rested beyond the retention, and their events.

Owns what is deleted, and the horizon that says how far back the ledger remembers. Totals are never touched by it, so
nothing that was counted is lost. The surprising fact: an event that comes back after it was forgotten looks like a new
one; the horizon, which never moves back, is what keeps it from being booked a second time.
"""

from collections.abc import Sequence
from decimal import Decimal

from exporter.core.costs import AWAITING, LedgerEntry
from exporter.core.money import ZERO
from exporter.ledger.database import Connection
from exporter.ledger.totals.totals import Totals

SESSION_TABLES = ("substitutes", "trees", "amendments", "session_index", "session_index_costs", "root_ids", "failures")
"""Tables with rows of a session, beside its events and its own."""
_ONE = Decimal(1)


def retention_watermark(connection: Connection) -> float:
    """Events before this may have been forgotten; minus infinity as long as none was."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'retention_watermark'").fetchone()
    return float(row[0]) if row else float("-inf")


def prune(connection: Connection, totals: Totals, before: float, limit: int) -> int:
    """Delete at most `limit` sessions at rest that ended before; returns how many. Runs in the caller's transaction."""
    found = [*_at_rest("latest_at", "", connection, before, limit)]
    if found:
        _advance_watermark(connection, before)
    found += _at_rest("discovered_at", "summary IS NULL AND ", connection, before, limit - len(found))
    for session, account, state, failing in found:
        if state != "settled":
            _settle_money(connection, totals, session, account)
        totals.add("telnyx_sessions", (("account", account), ("state", state)), -_ONE)
        for check in filter(None, failing.split(",")):
            totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), -_ONE)
    if found:
        _forget(connection, totals, [session for session, *_ in found])
    return len(found)


def _at_rest(
    age: str, which: str, connection: Connection, before: float, limit: int
) -> list[tuple[int, str, str, str]]:
    """Sessions of which nothing more is expected, the oldest first: those with events, or those that never had a tree.

    Where others poll, none of them can claim or book one of these until it is gone.
    """
    resting = "configured = 0 AND claim = 0 AND state IN ('settled', 'missing', 'denied')"
    for_update = f"{connection.for_update} SKIP LOCKED" if connection.shared else ""
    query = (
        f"SELECT id, account, state, failing FROM sessions WHERE {which}{age} < ? AND {resting}"  # noqa: S608 - literals
        f" ORDER BY {age} LIMIT ?{for_update}"
    )
    return connection.execute(query, (before, limit)).fetchall()


def _settle_money(connection: Connection, totals: Totals, session: int, account: str) -> None:
    """Nobody looks at it again: its money may move no more."""
    rows = connection.execute("SELECT currency, cost FROM events WHERE owner = ? AND cost IS NOT NULL", (session,))
    for currency, cost in rows.fetchall():
        totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), -Decimal(cost))


def _forget(connection: Connection, totals: Totals, sessions: Sequence[int]) -> None:
    """One statement for each table, however many sessions: to a server each is a way there and back."""
    those = f"IN ({', '.join('?' * len(sessions))})"
    unpriced = connection.execute(f"SELECT labels FROM events WHERE owner {those} AND cost IS NULL", sessions)  # noqa: S608 - marks
    for (number,) in unpriced.fetchall():
        totals.add_entries([LedgerEntry(AWAITING, totals.labels(number), (), -_ONE)])
    deleted = connection.execute(f"DELETE FROM events WHERE owner {those}", sessions).rowcount  # noqa: S608 - marks
    totals.add("telnyx_ledger_events", (), Decimal(-deleted) if deleted else ZERO)
    for table in SESSION_TABLES:
        connection.write(f"DELETE FROM {table} WHERE session {those}", sessions)  # noqa: S608 - literals and marks
    connection.write(f"DELETE FROM sessions WHERE id {those}", sessions)  # noqa: S608 - marks


def _advance_watermark(connection: Connection, before: float) -> None:
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('retention_watermark', ?) ON CONFLICT (key)"
        " DO UPDATE SET value = excluded.value WHERE CAST(meta.value AS FLOAT) < CAST(excluded.value AS FLOAT)",
        (repr(float(before)),),
    )
