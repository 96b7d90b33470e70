"""Detail records that name no session, though a session's tree is expected to bring their events.

An LLM turn's record names no call, but the turn is in the tree of its call. So the record is noted and costs no request
until `AWAIT_SECONDS` are over; only an event that no tree has brought by then is followed as a session of its own.
"""

# Worked example: a call with two turns from 10:00 to 10:20, and a turn of the plain inference API at 10:05.
#
#     10:10   The records of the three turns are listed: three rows, due at 16:10, and the gauge shows 3.
#     10:30   The call's own record is listed, its tree is polled, and two of the three events are booked.
#     10:31   `drop_booked` finds both: their rows are deleted, and the gauge shows 1.
#     16:10   `pop_due`: the third is followed as the session inference/ID, and the gauge shows 0.

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from exporter.core.model import DetailRecord, SessionRef
from exporter.ledger.database import Connection
from exporter.ledger.queue.event_keys import all_names, possible_keys
from exporter.ledger.schema.rows import find_events
from exporter.ledger.totals.accounts import account_seeds
from exporter.ledger.totals.totals import Totals

AWAITED = "telnyx_awaited_detail_records"
AWAIT_SECONDS = 6 * 3600.0
"""From the listing of a record until it is followed by itself.

A turn is listed minutes after it, perhaps hours before its call ends; then the call must be rated, listed and polled.
It counts from the listing and not from the turn: records of yesterday are listed before yesterday's calls are polled.
"""
PORTION = 1000
"""Records that `drop_booked` goes through in one transaction, in some 5 ms."""

RecordName = tuple[str, str]
"""Record type and event id."""
START: RecordName = ("", "")


class AwaitedRecords:
    """The awaited records of one account, within the caller's transaction."""

    def __init__(self, connection: Connection, totals: Totals, account: str) -> None:
        self._connection = connection
        self._totals = totals
        self._account = account

    def note(self, records: Iterable[DetailRecord], now: float) -> None:
        """Await these records, but for those whose event is booked already."""
        noted = {(record.record_type, record.id): record.at for record in records}
        booked = self._booked(noted)
        for (record_type, event_id), at in noted.items():
            if (record_type, event_id) not in booked:
                row = (self._account, record_type, event_id, None if at is None else _written(at), now + AWAIT_SECONDS)
                statement = "INSERT INTO awaited_records VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
                self._count(record_type, self._connection.execute(statement, row).rowcount)

    def drop_booked(self, after: RecordName) -> RecordName:
        """Delete a portion of the records whose event is booked by now; return the position to continue from."""
        query = (
            "SELECT record_type, event_id FROM awaited_records WHERE account = ? AND (record_type, event_id) > (?, ?)"
            " ORDER BY record_type, event_id LIMIT ?"
        )
        found = self._connection.execute(query, (self._account, *after, PORTION)).fetchall()
        names = [(record_type, event_id) for record_type, event_id in found]
        self._delete(self._booked(names))
        return names[-1] if len(names) == PORTION else START

    def has_due(self, now: float) -> bool:
        query = "SELECT 1 FROM awaited_records WHERE account = ? AND due_at <= ? LIMIT 1"
        return self._connection.execute(query, (self._account, now)).fetchone() is not None

    def pop_due(self, now: float, limit: int) -> list[SessionRef]:
        """Delete at most `limit` due records, oldest first; return the sessions of those that no tree has brought."""
        for_update = self._connection.for_update
        query = (
            "SELECT record_type, event_id, date_time FROM awaited_records"  # noqa: S608 - a literal
            f" WHERE account = ? AND due_at <= ? ORDER BY due_at LIMIT ?{for_update}"
        )
        found = self._connection.execute(query, (self._account, now, limit)).fetchall()
        refs = {(ref[0], ref[1]): SessionRef(self._account, *ref) for ref in found}
        booked = self._booked(refs)
        self._delete(refs)
        return [ref for name, ref in refs.items() if name not in booked]

    def _booked(self, names: Iterable[RecordName]) -> set[RecordName]:
        """Return those of these records whose event is booked."""
        names = list(names)
        if not names:
            return set()
        seed = account_seeds(self._connection).get(self._account, self._account)
        known = all_names(self._connection)
        record_of = {key: name for name in names for key in possible_keys(known, seed, *name)}
        return {record_of[key] for key in find_events(self._connection, record_of)}

    def _delete(self, names: Iterable[RecordName]) -> None:
        statement = "DELETE FROM awaited_records WHERE account = ? AND record_type = ? AND event_id = ?"
        for name in sorted(names):
            self._count(name[0], -self._connection.execute(statement, (self._account, *name)).rowcount)

    def _count(self, record_type: str, change: int) -> None:
        if change:
            labels = (("account", self._account), ("record_type", record_type))
            self._totals.add(AWAITED, labels, Decimal(change))


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
