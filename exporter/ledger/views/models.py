"""Records that pages read from the ledger: sessions, their trees, their past; `views.snapshot` fills them.

Money is `Decimal`, times are seconds since the epoch, and None is absent.
"""

from decimal import Decimal

from msgspec import Struct

from exporter.core.model import SessionRef
from exporter.ledger.views.trees import StoredNode


class SessionListRow(Struct, frozen=True):
    """A session in a list."""

    number: int
    ref: SessionRef
    state: str
    discovered_at: float
    changed_at: float | None
    events: int
    inference_turns: int
    costs: tuple[tuple[str, Decimal], ...]
    """Net cost by currency, each once."""
    failing: tuple[str, ...]
    """Checks that its last tree fails."""


class SessionList(Struct, frozen=True):
    """One page of a list."""

    rows: tuple[SessionListRow, ...]
    next: str | None
    currency: str | None
    """The currency that a list by cost is sorted by."""
    truncated: bool = False
    """More sessions match the text or the check than are listed."""


class PastPoll(Struct, frozen=True):
    at: float
    outcome: str
    reason: str


class Amendment(Struct, frozen=True):
    """A change of an event's cost after it was booked."""

    at: float
    record_type: str
    event_id: str
    before: Decimal | None
    after: Decimal | None
    currency: str


class SessionHistory(Struct, frozen=True):
    """All that the ledger has of one session."""

    row: SessionListRow
    source: str
    configured: bool
    due_at: float | None
    first_tree_at: float | None
    closed_at: float | None
    latest_at: float | None
    crossed: tuple[str, ...]
    polls: tuple[PastPoll, ...]
    amendments: tuple[Amendment, ...]
    nodes: tuple[StoredNode, ...]


class Failure(Struct, frozen=True):
    """A poll that failed."""

    number: int
    """Of the failure, for the next page."""
    at: float
    session: int
    """The number of its session, for a link where the id can't be in one."""
    ref: SessionRef
    outcome: str
    reason: str
    detail: str
