"""The words that the rooms exchange: frozen records, no behaviour beyond their own shape.

Money is `Decimal` in the major unit of its currency, times are seconds since the epoch (UTC), absent is None.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Literal

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


NoticeKind = Literal["", "started", "ended", "listed", "rated"]
"""What a source says has just happened to a session; the empty one: it exists; listed: one of its events was rated."""


class SessionNotice(Struct, frozen=True):
    """A source's word on one session."""

    ref: SessionRef
    kind: NoticeKind = ""
    substitute: SessionRef | None = None
    """What is followed instead as long as the API doesn't know the session: an event of it that surely exists."""


class DetailRecord(Struct, frozen=True):
    """One detail record, as far as discovery is concerned."""

    id: str
    record_type: str
    """Canonical."""
    at: float | None
    cost: Decimal | None
    currency: str
    notice: SessionNotice


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


Labels = tuple[tuple[str, str], ...]
"""Label names with their values, in the order of the family's labels."""


class EventAttributes(Struct, frozen=True):
    """What the records say of one event: its labels, and the usage it was billed for."""

    labels: Labels
    """account, record_type, product, model (`none` unless an LLM turn), then the configured extra labels."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    billed_seconds: Decimal | None = None
    at: float | None = None
    """When the event happened, by its own record."""


class SessionAttributes(Struct, frozen=True):
    """What a session is as a whole; distinct events only."""

    root_record_type: str
    session_kind: str
    events: int
    inference_turns: int
    duration_seconds: float | None


class Exemplar(Struct, frozen=True, gc=False):
    """One observation that a bucket points to."""

    event_id: str
    value: float
    at: float


class Total(Struct, frozen=True, gc=False):
    """One row of the ledger's totals, absolute: a counter, a gauge or a histogram."""

    row: int
    family: str
    labels: Labels
    value: Decimal
    """Of a histogram: the sum of its observations."""
    exposed: bool
    """False: the series must be scraped at 0 before the value may be shown."""
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    """Of a histogram: observations per bucket, not cumulative, the last one for +Inf."""
    exemplars: tuple[Exemplar | None, ...] = ()


class Receipt(Struct, frozen=True):
    """What one commit of the ledger changed, ready to be shown."""

    totals: tuple[Total, ...] = ()
    sessions: tuple["SessionGauges", ...] = ()
    failed_checks: tuple["FailedCheck", ...] = ()
    state_changes: tuple["StateChange", ...] = ()


class SessionGauges(Struct, frozen=True):
    """One session as the bounded per-session gauges show it."""

    ref: SessionRef
    events: int
    inference_turns: int
    changed_at: float
    costs: tuple[tuple[str, str, Decimal], ...]
    """Net cost by (product, currency)."""
    configured: bool


class FailedCheck(Struct, frozen=True):
    """Something an operator may want to know: a check that began to fail, a bad record. Goes to the log."""

    ref: SessionRef
    what: str
    detail: str


class StateChange(Struct, frozen=True):
    """A session that has come into another state. Goes to the log."""

    ref: SessionRef
    before: str
    """Empty for one that is new."""
    after: str
    why: str
    """The source that named it, or the reason of the poll that was its last."""


class Claim(Struct, frozen=True):
    """The right to poll a session once; a newer claim makes an older one stale."""

    session: int
    """The ledger's number of the session."""
    number: int
    """From one rising sequence: tells which of two polls was claimed later."""
    ref: SessionRef
    due_at: float
    fingerprint: bytes | None = None
    """Fingerprint of the last answer, if booking the same one again would change nothing."""


class Poll(Struct, frozen=True):
    """A finished poll, ready to be booked."""

    claim: Claim
    at: float
    outcome: Literal["tree", "same", "gone", "denied", "failed"]
    """same: the answer was the last one again, to the byte, and was not read."""
    reason: str = ""
    session: Session | None = None
    attributes: tuple[EventAttributes, ...] = ()
    session_attributes: SessionAttributes | None = None
    detail: str = ""
    """What the error said, of a poll that failed."""
    fingerprint: bytes | None = None
    """Fingerprint of the answer; None where it took several to see all of the tree."""
    reread: "Callable[[], Poll] | None" = None
    """Reads the same answer nonetheless, if booking it turns out to need it."""
