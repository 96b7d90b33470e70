"""Sessions on their way into the ledger: inserted once, hastened by what sources say of them.

Owns the insert, the hints and the fallbacks; runs within the caller's transaction. Decides no due time: `lifecycle`
does. The surprising fact: a hint may come while the session is being polled, and the poll's own outcome must not
push the due time back behind it.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.lifecycle import JITTER, PollPolicy, after_notice, first_wait, remembered_kind
from exporter.core.model import SessionNotice, SessionRef, StateChange
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.schema.rows import SessionRow, read_sessions
from exporter.ledger.schema.version import GIVEN_UP, LIVE
from exporter.ledger.totals.totals import Totals
from exporter.ledger.views.index import SessionIndex

CONFIGURED = "config"
"""The source of sessions that the configuration names."""

QueuePosition = tuple[str, str, int]
"""Of a live session: its account, record type and number, in the order in which all are looked through."""
START: QueuePosition = ("", "", 0)
PORTION = 2000
"""Sessions that are looked through in one transaction, some 10 ms: a webhook waits for one at most."""

_ONE = Decimal(1)


class SessionQueue:
    """What a transaction does to the queue of sessions."""

    def __init__(self, connection: Connection, totals: Totals, policy: PollPolicy) -> None:
        self._connection = connection
        self._totals = totals
        self._policy = policy
        self.state_changes: list[StateChange] = []
        """Sessions that are new."""
        self._index = SessionIndex(connection)

    def report(self, notices: Iterable[SessionNotice], source: str, now: float) -> None:
        """Remember sessions that are new, and look sooner at those of which something is said."""
        for notice in notices:
            if not self._insert(notice, source, now) and notice.kind:
                self._hasten(notice, now)
            if notice.substitute is not None:
                self._keep_substitute(notice.ref, notice.substitute)

    def configure(self, refs: Sequence[SessionRef], now: float) -> None:
        """Look daily at these sessions and no others."""
        self._connection.execute("UPDATE sessions SET configured = 0 WHERE configured = 1")
        self.report(map(SessionNotice, refs), CONFIGURED, now)
        daily = now + self._policy.configured_recheck
        self._connection.executemany(
            "UPDATE sessions SET configured = 1, due_at = CASE WHEN due_at IS NULL THEN ? WHEN due_at > ? THEN ?"
            " ELSE due_at END WHERE account = ? AND record_type = ? AND event_id = ?",
            [(min(now, daily), daily, daily, ref.account, ref.record_type, ref.event_id) for ref in refs],
        )

    def clamp_due(self, now: float, after: QueuePosition) -> QueuePosition | None:
        """Live sessions are due no later than their longest interval from now: some of those that come after a place.

        The place to go on from; None at the end.
        """
        query = (
            f"SELECT account, record_type, id, due_at FROM sessions WHERE {LIVE}"  # noqa: S608 - a literal
            " AND (account, record_type, id) > (?, ?, ?) ORDER BY account, record_type, id LIMIT ?"
        )
        found = self._connection.execute(query, (*after, PORTION)).fetchall()
        latest = now + (1 + JITTER) * self._policy.max_interval
        late = [(now, number) for _, _, number, due_at in found if due_at is not None and due_at > latest]
        self._connection.executemany("UPDATE sessions SET due_at = ? WHERE id = ?", late)
        return found[-1][:3] if len(found) == PORTION else None

    def requeue_failed(self, now: float) -> bool:
        """Have some of the sessions that were given up be due: what was wrong with them may have been mended.

        The recheck that this look will count as is given back, else a few reloads would use up all of them. Whether
        there may be more.
        """
        changed = 0
        for which, values in (("due_at IS NULL", ()), ("due_at > ?", (now,))):
            query = f"SELECT id FROM sessions WHERE {GIVEN_UP} AND {which} LIMIT ?"  # noqa: S608 - literals
            found = self._connection.execute(query, (*values, PORTION - changed)).fetchall()
            given_back = "rechecks = CASE WHEN rechecks > 0 THEN rechecks - 1 ELSE -1 END"
            statement = f"UPDATE sessions SET due_at = ?, {given_back} WHERE id = ?"  # noqa: S608 - literals
            self._connection.executemany(statement, [(now, number) for (number,) in found])
            changed += len(found)
        return changed == PORTION

    def follow_substitutes(self, row: SessionRow, now: float) -> None:
        """The API doesn't know the session: follow what is known of it instead."""
        if row.standing.first_tree_at is None:
            query = "SELECT record_type, event_id FROM substitutes WHERE session = ?"
            found = self._connection.execute(query, (row.id,)).fetchall()
            refs = [SessionRef(row.ref.account, record_type, event_id) for record_type, event_id in found]
            self.report(map(SessionNotice, refs), DETAIL_RECORDS, now)
            self.forget_substitutes(row.id)

    def forget_substitutes(self, session: int) -> None:
        self._connection.write("DELETE FROM substitutes WHERE session = ?", (session,))

    def _insert(self, notice: SessionNotice, source: str, now: float) -> bool:
        ref, due_at = notice.ref, now + first_wait(notice.kind, self._policy)
        named = (ref.account, ref.record_type, ref.event_id, ref.date_time)
        cursor = self._connection.execute(
            "INSERT INTO sessions (account, record_type, event_id, date_time, source, configured, due_at, claim,"
            " state, interval, discovered_at, rechecks, observed, owned, failing, polls, notice)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'discovered', 0, ?, 0, 0, 0, '', '[]', ?) ON CONFLICT DO NOTHING"
            " RETURNING id",
            (*named, source, int(source == CONFIGURED), due_at, now, remembered_kind(notice.kind)),
        )
        inserted = cursor.fetchall()
        for (number,) in inserted:
            self._index.insert(number, ref, now)
            self.state_changes.append(StateChange(ref, "", "discovered", source))
            account = ("account", ref.account)
            self._totals.add("telnyx_sessions", (account, ("state", "discovered")), _ONE)
            self._totals.add("telnyx_discovered_sessions_total", (account, ("source", source)), _ONE)
        return bool(inserted)

    def _hasten(self, notice: SessionNotice, now: float) -> None:
        ref = notice.ref
        query = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"
        found = self._connection.execute(query, (ref.account, ref.record_type, ref.event_id)).fetchall()
        rows = read_sessions(self._connection, [number for (number,) in found])
        if not rows:
            raise TransactionConflict("a session was forgotten as it was named again")
        ((number, row),) = rows.items()
        step = after_notice(row.standing, notice.kind, now, self._policy)
        if step is not None:
            standing, due_at = step
            self._connection.write(
                "UPDATE sessions SET notice = ?, interval = ?, due_at = CASE WHEN due_at < ? THEN due_at ELSE ? END,"
                " notice_due = CASE WHEN notice_due < ? THEN notice_due ELSE ? END WHERE id = ?",
                (standing.notice, standing.interval, due_at, due_at, due_at, due_at, number),
            )

    def _keep_substitute(self, ref: SessionRef, substitute: SessionRef) -> None:
        self._connection.write(
            "INSERT INTO substitutes SELECT id, ?, ? FROM sessions"
            " WHERE account = ? AND record_type = ? AND event_id = ? AND first_tree_at IS NULL ON CONFLICT DO NOTHING",
            (substitute.record_type, substitute.event_id, ref.account, ref.record_type, ref.event_id),
        )
