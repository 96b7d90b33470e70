"""The queue of sessions: they enter it once, and notices have them polled sooner.

Runs within the caller's transaction. Due times are computed by `lifecycle`. A notice may come while its session is
polled; its due time is kept in `notice_due`, so that the poll doesn't postpone it.
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
"""Account, record type and id of a live session: the order in which `clamp_due` goes through them."""
START: QueuePosition = ("", "", 0)
PORTION = 2000
"""Sessions that one transaction goes through, in some 10 ms: a webhook waits for one transaction at most."""

CALL = "call-session"
RATINGS = "ratings"
"""The keys in `meta` are this and an account; the value is the time of a rating by webhook."""
RATING_SECONDS = 7 * 86_400.0
"""How long after a rating by webhook the next one is expected; then `call.cost` was switched off."""
RATING_NOTED_SECONDS = 3600.0

# All expressions see the date of before. A date that the API refused is tried again only if it is another one.
_SET_DATE = (
    "UPDATE sessions SET date_time = coalesce(?, date_time),"
    " date_time_accepted = CASE WHEN coalesce(?, date_time) = date_time THEN date_time_accepted END"
    " WHERE account = ? AND record_type = ? AND event_id = ?"
)

_ONE = Decimal(1)


class SessionQueue:
    """What one transaction changes in the queue."""

    def __init__(self, connection: Connection, totals: Totals, policy: PollPolicy) -> None:
        self._connection = connection
        self._totals = totals
        self._policy = policy
        self._index = SessionIndex(connection)
        self._ratings: dict[str, float | None] = {}
        """By account: when a webhook last rated a call; None if none ever did."""
        self.state_changes: list[StateChange] = []
        """Sessions that are new."""

    def report(self, notices: Iterable[SessionNotice], source: str, now: float) -> None:
        """Insert the sessions that are new; have known ones polled sooner if the kind of notice says so."""
        rating_accounts = set()
        for notice in notices:
            # A call is rated by `call.cost`, or by `call.analyzed`, which states the total and comes for AI calls only.
            if notice.kind == "rated" and notice.ref.record_type == CALL and notice.stated_cost is None:
                rating_accounts.add(notice.ref.account)
            if not self._insert(notice, source, now) and (notice.kind or notice.ref.date_time):
                self._update(notice, now)
            if notice.substitute is not None:
                self._connection.write(
                    "INSERT INTO substitutes SELECT id, ?, ? FROM sessions WHERE account = ? AND record_type = ?"
                    " AND event_id = ? AND first_tree_at IS NULL ON CONFLICT DO NOTHING",
                    (notice.substitute.record_type, notice.substitute.event_id, *_key(notice.ref)),
                )
        for account in sorted(rating_accounts):  # after the sessions, in the order in which every process locks rows
            self._note_rating(account, now)

    def _insert(self, notice: SessionNotice, source: str, now: float) -> bool:
        ref, due_at = notice.ref, now + first_wait(notice.kind, self._policy)
        reported = (remembered_kind(notice.kind), _stated(notice))
        cursor = self._connection.execute(
            "INSERT INTO sessions (account, record_type, event_id, date_time, source, configured, due_at, claim,"
            " state, interval, discovered_at, rechecks, observed, owned, failing, polls, notice, stated_cost)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'discovered', 0, ?, 0, 0, 0, '', '[]', ?, ?) ON CONFLICT DO NOTHING"
            " RETURNING id",
            (*_key(ref), ref.date_time, source, int(source == CONFIGURED), due_at, now, *reported),
        )
        inserted = cursor.fetchall()
        for (number,) in inserted:
            self._index.insert(number, ref, now)
            self.state_changes.append(StateChange(ref, "", "discovered", source))
            account = ("account", ref.account)
            self._totals.add("telnyx_sessions", (account, ("state", "discovered")), _ONE)
            self._totals.add("telnyx_discovered_sessions_total", (account, ("source", source)), _ONE)
        return bool(inserted)

    def _update(self, notice: SessionNotice, now: float) -> None:
        """Store what a notice says about a known session."""
        query = "SELECT id FROM sessions WHERE account = ? AND record_type = ? AND event_id = ?"
        found = self._connection.execute(query, _key(notice.ref)).fetchall()
        rows = read_sessions(self._connection, [number for (number,) in found])
        if not rows:
            raise TransactionConflict("a session was pruned as it was reported again")
        ((number, row),) = rows.items()
        if notice.ref.date_time is not None and (row.ref.date_time is None or row.date_time_accepted is False):
            self._set_dates([notice.ref])
        if notice.stated_cost is not None:
            # Without its fingerprint the next answer is read, and compared, even if it is the same as the last.
            statement = "UPDATE sessions SET stated_cost = ?, fingerprint = NULL WHERE id = ?"
            self._connection.write(statement, (_stated(notice), number))
        expected = notice.kind == "listed" and self._rating_expected(notice.ref, now)
        transition = after_notice(row.standing, notice.kind, now, self._policy, rating_expected=expected)
        if transition is not None:
            state, due_at = transition
            # The earlier due time counts: the session may be due sooner for another reason.
            self._connection.write(
                "UPDATE sessions SET notice = ?, interval = ?, due_at = CASE WHEN due_at < ? THEN due_at ELSE ? END,"
                " notice_due = CASE WHEN notice_due < ? THEN notice_due ELSE ? END WHERE id = ?",
                (state.notice, state.interval, due_at, due_at, due_at, due_at, number),
            )

    def _rating_expected(self, ref: SessionRef, now: float) -> bool:
        """Return whether a webhook will report when a session is rated.

        Telnyx sends `call.cost` only where it is switched on, so one must have come for the account lately. The
        webhooks of other sessions say nothing after their end.
        """
        rated_at = self._rated_at(ref.account)
        return ref.record_type == CALL and rated_at is not None and now - rated_at < RATING_SECONDS

    def _rated_at(self, account: str) -> float | None:
        if account not in self._ratings:
            query = "SELECT value FROM meta WHERE key = ?"
            found = self._connection.execute(query, (f"{RATINGS}:{account}",)).fetchone()
            self._ratings[account] = None if found is None else float(found[0])
        return self._ratings[account]

    def _note_rating(self, account: str, now: float) -> None:
        """Store that a webhook has rated a call of the account; hourly, as all webhooks would wait for this row."""
        rated_at = self._rated_at(account)
        if rated_at is None or not 0 <= now - rated_at < RATING_NOTED_SECONDS:
            self._ratings[account] = now
            self._connection.write(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (f"{RATINGS}:{account}", repr(now)),
            )

    def configure(self, refs: Sequence[SessionRef], now: float) -> None:
        """Have these sessions polled daily, and no others."""
        self._connection.execute("UPDATE sessions SET configured = 0 WHERE configured = 1")
        self.report(map(SessionNotice, refs), CONFIGURED, now)
        daily = now + self._policy.configured_recheck
        self._connection.executemany(
            "UPDATE sessions SET configured = 1,"
            " due_at = CASE WHEN due_at IS NULL THEN ? WHEN due_at > ? THEN ? ELSE due_at END"
            " WHERE account = ? AND record_type = ? AND event_id = ?",
            [(min(now, daily), daily, daily, *_key(ref)) for ref in refs],
        )
        self._set_dates(refs)

    def _set_dates(self, refs: Iterable[SessionRef]) -> None:
        """Store the dates that these references have."""
        dated = [(ref.date_time, ref.date_time, *_key(ref)) for ref in refs if ref.date_time is not None]
        self._connection.executemany(_SET_DATE, dated)

    def clamp_due(self, now: float, after: QueuePosition) -> QueuePosition | None:
        """Have a portion of the live sessions be due no later than `max_interval` from now.

        Return the position to continue from; None at the end.
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
        """Have a portion of the missing and denied sessions be due; return whether there may be more."""
        changed = 0
        for condition, values in (("due_at IS NULL", ()), ("due_at > ?", (now,))):
            query = f"SELECT id FROM sessions WHERE {GIVEN_UP} AND {condition} LIMIT ?"  # noqa: S608 - literals
            found = self._connection.execute(query, (*values, PORTION - changed)).fetchall()
            # The poll will count as a recheck. It is given back, else a few reloads would use up all rechecks.
            given_back = "rechecks = CASE WHEN rechecks > 0 THEN rechecks - 1 ELSE -1 END"
            statement = f"UPDATE sessions SET due_at = ?, {given_back} WHERE id = ?"  # noqa: S608 - literals
            self._connection.executemany(statement, [(now, number) for (number,) in found])
            changed += len(found)
        return changed == PORTION

    def follow_substitutes(self, row: SessionRow, now: float) -> None:
        """Follow the events that stand for a session that the API has never known."""
        if row.standing.first_tree_at is None:
            query = "SELECT record_type, event_id FROM substitutes WHERE session = ?"
            found = self._connection.execute(query, (row.id,)).fetchall()
            refs = [SessionRef(row.ref.account, record_type, event_id) for record_type, event_id in found]
            self.report(map(SessionNotice, refs), DETAIL_RECORDS, now)
            self.forget_substitutes(row.id)

    def forget_substitutes(self, session: int) -> None:
        self._connection.write("DELETE FROM substitutes WHERE session = ?", (session,))


def _stated(notice: SessionNotice) -> str | None:
    """Return the stated total as it is stored; its printed places say how it was rounded."""
    if notice.stated_cost is None:
        return None
    amount, currency = notice.stated_cost
    return f"{amount:f} {currency}"


def _key(ref: SessionRef) -> tuple[str, str, str]:
    return ref.account, ref.record_type, ref.event_id
