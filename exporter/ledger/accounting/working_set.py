"""The rows of one batch, as booking finds and changes them.

Owns which sessions and events a transaction has read and locked, who owns an event, what must be written back, and the
money that may still move. Decides nothing of the accounting. The surprising fact: rows are written late and in bulk, so
within a batch the table is behind; whoever must ask it flushes first.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from exporter.core.costs import BookedEvent
from exporter.core.money import ZERO, add
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.schema.rows import (
    EventRow,
    SessionRow,
    invalidate_fingerprints,
    read_events,
    read_owners,
    read_sessions,
    write_events,
    write_sessions,
)
from exporter.ledger.totals.totals import Totals


class WorkingSet:
    """Sessions by number, events by key."""

    def __init__(self, connection: Connection, totals: Totals) -> None:
        self._connection = connection
        self._totals = totals
        self.sessions: dict[int, SessionRow] = {}
        self.events: dict[bytes, EventRow] = {}
        self._dirty: set[bytes] = set()
        self._new: set[bytes] = set()
        """Events that the table doesn't have yet."""
        self._disturbed: set[int] = set()
        """Sessions whose last answer would change something if it were booked again."""
        self._unsettled: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)

    # Read and written

    def lock_sessions(self, polled: Collection[int], keys: Collection[bytes]) -> None:
        """Read the polled sessions and the owners of these events; among several writers nobody changes them then.

        All are locked in one order, before the events: whoever changes an event holds its owner.
        """
        wanted = set(polled)
        if self._connection.shared:
            wanted |= read_owners(self._connection, keys)
        self.sessions = read_sessions(self._connection, wanted)

    def lock_events(self, keys: Collection[bytes]) -> None:
        """Read these events, and their owners; raises Overtaken if an owner is not locked."""
        self.events = read_events(self._connection, keys)
        owners = {row.owner for row in self.events.values()} - self.sessions.keys()
        if owners and self._connection.shared and read_sessions(self._connection, owners, lock=False):
            raise TransactionConflict("an event of this batch has got another owner")
        self.sessions |= read_sessions(self._connection, owners)

    def write(self, sessions: Sequence[SessionRow]) -> None:
        """Write the events that changed, these sessions, and what both mean for others."""
        self.flush()
        for (account, currency), amount in self._unsettled.items():
            self._totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), amount)
        write_sessions(self._connection, sessions)
        invalidate_fingerprints(self._connection, self._disturbed - {row.id for row in sessions})

    def flush(self) -> None:
        """Have the table of events be as they are here."""
        write_events(self._connection, [self.events[key] for key in sorted(self._dirty)], self._new)
        self._new -= self._dirty
        self._dirty.clear()

    # Events

    def booked_event(self, row: EventRow) -> BookedEvent:
        cost_labels = self._totals.labels(row.cost_labels) if row.cost_labels is not None else None
        return BookedEvent(
            self._totals.labels(row.labels),
            cost_labels,
            row.cost,
            row.currency,
            row.input_tokens,
            row.output_tokens,
            row.billed_seconds,
            row.at,
            row.settled_unpriced,
        )

    def insert_event(self, key: bytes, booked: BookedEvent, owner: int, claim: int, *, nested: bool) -> None:
        """An event that is booked for the first time."""
        self._new.add(key)
        self.update_event(key, booked, owner, claim, nested=nested)

    def update_event(self, key: bytes, booked: BookedEvent, owner: int, claim: int, *, nested: bool) -> None:
        cost_labels = self._totals.intern(booked.cost_labels) if booked.cost_labels is not None else None
        self.events[key] = EventRow(
            key,
            owner,
            claim,
            self._totals.intern(booked.labels),
            cost_labels,
            booked.cost,
            booked.currency,
            booked.input_tokens,
            booked.output_tokens,
            booked.billed_seconds,
            booked.at,
            booked.settled_unpriced,
            nested,
        )
        self._dirty.add(key)

    def mark_nested(self, key: bytes) -> None:
        """Remember that the event stands below another one: followed on its own, its session is absorbed."""
        row = self.events[key]
        if not row.nested:
            self.events[key] = replace(row, nested=True)
            self._dirty.add(key)

    def settle_unpriced(self, session: int) -> list[EventRow]:
        """Mark the session's events that have no price as settled without one; those that weren't marked before."""
        self.flush()
        found = self._connection.execute("SELECT key FROM events WHERE owner = ? AND cost IS NULL", (session,))
        rows = read_events(self._connection, {key for (key,) in found.fetchall()})
        marked = [replace(row, settled_unpriced=True) for row in rows.values() if not row.settled_unpriced]
        self.events |= {row.key: row for row in marked}
        self._dirty |= {row.key for row in marked}
        return marked

    # Owners and unsettled money

    def settled(self, session: int) -> bool:
        row = self.sessions.get(session)
        return row is None or row.standing.state == "settled"

    def change_owned(self, session: int, change: int) -> None:
        row = self.sessions.get(session)
        if row is not None:
            self.sessions[session] = replace(row, owned=row.owned + change)

    def invalidate_fingerprint(self, session: int) -> None:
        row = self.sessions.get(session)
        if row is not None:
            self.sessions[session] = replace(row, fingerprint=None)
            self._disturbed.add(session)

    def transfer_owner(self, event: EventRow, row: SessionRow) -> int:
        """A live session takes an event over from a settled one; its money is unsettled again."""
        self.change_owned(event.owner, -1)
        self.change_owned(row.id, +1)
        if event.owner in self.sessions:
            write_sessions(self._connection, [self.sessions[event.owner]])
        if event.cost is not None:
            self.move_unsettled(row.ref.account, [(event.currency, event.cost)])
        return row.id

    def move_unsettled(self, account: str, amounts: Iterable[tuple[str, Decimal]]) -> None:
        for currency, amount in amounts:
            self._unsettled[account, currency] = add(self._unsettled[account, currency], amount)

    def owned_net(self, session: int) -> list[tuple[str, Decimal]]:
        self.flush()
        found = self._connection.execute("SELECT currency, cost FROM events WHERE owner = ?", (session,))
        nets: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for currency, cost in found:
            if cost is not None:
                nets[currency] = add(nets[currency], Decimal(cost))
        return list(nets.items())
