"""The rows that one batch reads and changes: sessions by id, events by key.

Locks them, knows which must be written back, and sums up the money whose state changes. Decides nothing of the
accounting.
"""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Sequence
from decimal import Decimal

from msgspec.structs import astuple, replace

from exporter.core.costs import USAGE, BookedEvent
from exporter.core.money import ZERO, add
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.schema.rows import (
    EventRow,
    SessionRow,
    invalidate_fingerprints,
    read_events,
    read_sessions,
    write_events,
    write_sessions,
)
from exporter.ledger.totals.totals import Totals


class WorkingSet:
    """Events are written late and in bulk, so within a batch the table is behind; `flush` before querying it."""

    def __init__(self, connection: Connection, totals: Totals) -> None:
        self._connection = connection
        self._totals = totals
        self.sessions: dict[int, SessionRow] = {}
        self.events: dict[bytes, EventRow] = {}
        self.twinned: set[bytes] = set()
        """The events with booked twins: the keys of those with the ordinal 0."""
        self._dirty: set[bytes] = set()
        self._new: set[bytes] = set()
        """Dirty events that the table doesn't have yet."""
        self._invalidated: set[int] = set()
        """Sessions whose last answer would change something if it were booked again."""
        self._unsettled: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)

    # Reading and writing rows

    def lock_sessions(self, wanted: Collection[int]) -> None:
        """Read and lock the polled sessions and, if several processes write, the owners of the events.

        Every writer locks sessions first, in the order of their ids, and events after them: so no two writers wait for
        each other, and nobody changes an event whose owner is locked here.
        """
        self.sessions = read_sessions(self._connection, wanted)

    def lock_events(self, keys: Collection[bytes]) -> None:
        """Read and lock these events as well, and read their owners.

        Raises TransactionConflict if an event got another owner since `lock_sessions`.
        """
        events = read_events(self._connection, keys)
        self.events |= events
        self.twinned |= {key for key, row in events.items() if row.further_twins}
        owners = {row.owner for row in events.values()} - self.sessions.keys()
        # Among several writers all owners are locked already, but for those that were pruned, which have no row.
        if owners and self._connection.shared and read_sessions(self._connection, owners, lock=False):
            raise TransactionConflict("an event of this batch has got another owner")
        self.sessions |= read_sessions(self._connection, owners)

    def write(self, sessions: Sequence[SessionRow]) -> None:
        """Write the changed events, these sessions, unsettled money, and the fingerprints of other sessions."""
        self.flush()
        for (account, currency), amount in self._unsettled.items():
            self._totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), amount)
        write_sessions(self._connection, sessions)
        invalidate_fingerprints(self._connection, self._invalidated - {row.id for row in sessions})

    def flush(self) -> None:
        """Write the changed events."""
        write_events(self._connection, [self.events[key] for key in sorted(self._dirty)], self._new)
        self._new -= self._dirty
        self._dirty.clear()

    # Events

    def booked_event(self, row: EventRow) -> BookedEvent:
        """Return what the row says was booked."""
        # A row has the same fields in the same order, but the ids of the label sets.
        _, _, _, labels, cost_labels, *rest, _, _, _ = astuple(row)
        label_sets = self._totals.labels(labels), None if cost_labels is None else self._totals.labels(cost_labels)
        return BookedEvent(*label_sets, *rest)

    def store_event(self, key: bytes, booked: BookedEvent, owner: int, claim: int, *, nested: bool) -> None:
        """Insert an event, or update the one with this key."""
        known = self.events.get(key)
        if known is None:
            self._new.add(key)
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
            booked.cached_input_tokens,
            booked.output_tokens,
            booked.characters,
            booked.billed_seconds,
            booked.at,
            booked.settled_unpriced,
            booked.bundled,
            nested,
            known is not None and known.alike,
            0 if known is None else known.further_twins,
        )
        self._dirty.add(key)

    def mark_nested(self, event: EventRow) -> EventRow:
        """Remember that an event is not the root of some tree: a session with this root is part of another one."""
        self.events[event.key] = marked = replace(event, nested=True)
        self._dirty.add(event.key)
        return marked

    def mark_twins(self, first: bytes, further: int, shown: Iterable[bytes]) -> None:
        """Remember what `match_twins` needs of the twins of one key.

        `first` is the key of the ordinal 0, `further` the highest ordinal; `shown` are in the order of their ordinals.
        """
        seen = set()
        for key in shown:
            event = self.events.get(key)
            if event is None:  # a pruned one, which isn't booked again
                continue
            bill = event.cost, event.currency, *(getattr(event, field) for field, _, _ in USAGE)
            alike = bill in seen
            seen.add(bill)
            if alike != event.alike:
                self.events[key] = replace(event, alike=alike)
                self._dirty.add(key)
        event = self.events.get(first)
        if event is not None and event.further_twins < further:
            self.events[first] = replace(event, further_twins=further)
            self.twinned.add(first)
            self._dirty.add(first)

    def settle_unpriced(self, session: int, bundled: Container[bytes]) -> list[EventRow]:
        """Mark the unpriced events that a session owns as settled without a price; return the newly marked ones.

        Those with a key in `bundled` await no price from now on.
        """
        self.flush()
        found = self._connection.execute("SELECT key FROM events WHERE owner = ? AND cost IS NULL", (session,))
        rows = read_events(self._connection, {key for (key,) in found.fetchall()})
        marked = [
            replace(row, settled_unpriced=True, bundled=row.key in bundled)
            for row in rows.values()
            if not row.settled_unpriced
        ]
        self.events |= {row.key: row for row in marked}
        self._dirty |= {row.key for row in marked}
        return marked

    # Owners and unsettled money

    def settled(self, session: int) -> bool:
        """Return whether the money of a session's events is settled; so it is once the session was pruned."""
        row = self.sessions.get(session)
        return row is None or row.standing.state == "settled"

    def change_owned(self, session: int, change: int) -> None:
        """Change the number of events that a session owns."""
        row = self.sessions.get(session)
        if row is not None:
            self.sessions[session] = replace(row, owned=row.owned + change)

    def invalidate_fingerprint(self, session: int) -> None:
        """Have the next answer of a session be booked even if it is the same as the last one."""
        row = self.sessions.get(session)
        if row is not None:
            self.sessions[session] = replace(row, fingerprint=None)
            self._invalidated.add(session)

    def transfer_owner(self, event: EventRow, row: SessionRow) -> None:
        """Count an event of a settled session as owned by a live one; its money is unsettled again."""
        self.change_owned(event.owner, -1)
        self.change_owned(row.id, +1)
        if event.owner in self.sessions:
            write_sessions(self._connection, [self.sessions[event.owner]])
        if event.cost is not None:
            self.move_unsettled(row.ref.account, [(event.currency, event.cost)])

    def move_unsettled(self, account: str, amounts: Iterable[tuple[str, Decimal]]) -> None:
        """Add (currency, amount) to the unsettled cost of an account."""
        for currency, amount in amounts:
            self._unsettled[account, currency] = add(self._unsettled[account, currency], amount)

    def owned_net(self, session: int) -> list[tuple[str, Decimal]]:
        """Return (currency, net cost) of the events that a session owns."""
        self.flush()
        found = self._connection.execute("SELECT currency, cost FROM events WHERE owner = ?", (session,))
        nets: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for currency, cost in found:
            if cost is not None:
                nets[currency] = add(nets[currency], Decimal(cost))
        return list(nets.items())
