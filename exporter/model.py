"""The words that the rooms exchange: frozen records, no behaviour beyond their own shape.

Money is `Decimal` in the major unit of its currency, times are seconds since the epoch (UTC), absent is None.
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

UNKNOWN, NONE, OTHER = "unknown", "none", "other"
"""Label values where the API says nothing understandable; where nothing applies; where many are folded into one."""


class SessionRef(Struct, frozen=True, order=True):
    """The name of a session at the API: what a source finds and a poll asks for."""

    account: str
    record_type: str
    event_id: str
    date_time: str | None = None
    """ISO 8601 date or date-time that narrows the API's index; a wrong one makes it answer 404."""


class Event(Struct, frozen=True):
    """One node of a session's tree."""

    product: str
    event_name: str
    id: str
    """Empty when the node has none; such an event cannot be booked."""
    ordinal: int
    """0, or the place among twins: nodes of one key that the roll-up shows to be different events."""
    record_type: str
    """Canonical, or the product's own name where the metadata doesn't know it."""
    parent: int
    """Index of the parent in `Session.events`; -1 at the root."""
    cost: Decimal | None
    """The event's own cost, with the places that the API printed; None is unpriced, which is not zero."""
    cumulative: Decimal | None
    currency: str
    """ISO 4217, or `unknown`."""
    record: Mapping[str, object]
    """The fields of its detail record that the configuration needs, and only those."""


class Mismatch(Struct, frozen=True):
    """A check of a tree that failed: its name, and by how much what differed."""

    check: str
    detail: str


class Session(Struct, frozen=True):
    """One session as one poll saw it: the tree, flat in pre-order, the root first."""

    ref: SessionRef
    events: tuple[Event, ...]
    complete: bool
    """False when a cut subtree could not be had; then nothing may be concluded from what is absent."""
    mismatches: tuple[Mismatch, ...]
    cuts: int
    """How many nodes were cut at max_depth."""
    cuts_unresolved: int
