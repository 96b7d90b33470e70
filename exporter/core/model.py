"""The records that the packages exchange, all frozen.

Money is `Decimal` in the major unit of its currency, times are seconds since the epoch (UTC), None is absent.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Literal

from msgspec import Struct

UNKNOWN, NONE, OTHER = "unknown", "none", "other"
"""Label values: the API states nothing readable; the label doesn't apply; the value was folded to bound the series."""


class SessionRef(Struct, frozen=True, order=True):
    """The name of a session at the API; a source discovers it, a poll requests it."""

    account: str
    record_type: str
    event_id: str
    date_time: str | None = None
    """ISO 8601 date or date-time by which the API finds the event faster; with a wrong one it answers 404."""


NoticeKind = Literal["", "final", "started", "ended", "listed", "rated"]
"""The kind of a source's report about a session.

Empty: it exists. `listed`: one of its events has its price. `final`: it was rated hours ago, and nothing else is known.
"""


class SessionNotice(Struct, frozen=True):
    """A source's report about one session."""

    ref: SessionRef
    kind: NoticeKind = ""
    substitute: SessionRef | None = None
    """An event of the session that surely exists; it is polled instead while the API doesn't know the session."""
    stated_cost: tuple[Decimal, str] | None = None
    """The session's total and its currency, if the source states them; compared with the tree, never booked."""


class DetailRecord(Struct, frozen=True):
    """One detail record, reduced to the fields that discovery needs."""

    id: str
    record_type: str
    """Canonical."""
    at: float | None
    cost: Decimal | None
    currency: str
    notice: SessionNotice | None
    """None: the record is awaited. It names no session, but a tree is expected to bring its event."""


class Event(Struct, frozen=True):
    """One node of a session's tree."""

    product: str
    event_name: str
    id: str
    """Empty if the node has none; such an event can't be booked."""
    ordinal: int
    """0, or the number among twins: nodes of one key that the roll-up shows to be different events."""
    record_type: str
    """Canonical, or the product's own name where the metadata doesn't know it."""
    parent: int
    """Index of the parent in `Session.events`; -1 at the root."""
    cost: Decimal | None
    """The event's own cost with its printed places; None is unpriced, which is not zero."""
    cumulative: Decimal | None
    currency: str
    """ISO 4217, or `unknown`."""
    record: Mapping[str, object]
    """The fields of its detail record that the configuration needs, no others."""


class Mismatch(Struct, frozen=True):
    """A check of a tree that failed, with the difference."""

    check: str
    detail: str


class Session(Struct, frozen=True):
    """One session as one poll read it: the events of the tree in pre-order, the root first."""

    ref: SessionRef
    events: tuple[Event, ...]
    complete: bool
    """False if a cut subtree could not be read; then an absent event may still exist."""
    mismatches: tuple[Mismatch, ...]
    cuts: int
    """Number of nodes whose subtree the API cut off at max_depth."""
    cuts_unresolved: int
    adds_up: bool = False
    """The API states a total, and its events fit every stated sum: those without a cost are no part of it."""
    gaps: Mapping[int, Decimal] | None = None
    """By index in `events`: stated cumulative cost less the sum of its events, where they differ at all.

    None if the sums could not be compared: the tree is incomplete, or in several currencies.
    """


Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs in the order of the family's labels."""


class EventAttributes(Struct, frozen=True):
    """The labels and the billed usage of one event, from its detail record."""

    labels: Labels
    """account, record_type, product, model (`none` unless an LLM turn), then the configured extra labels."""
    input_tokens: int | None = None
    """Includes the cached ones."""
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    characters: int | None = None
    billed_seconds: Decimal | None = None
    at: float | None = None
    """Time of the event, from its own record."""


class SessionAttributes(Struct, frozen=True):
    """Attributes of a whole session; distinct events only."""

    root_record_type: str
    session_kind: str
    events: int
    inference_turns: int
    duration_seconds: float | None


class Exemplar(Struct, frozen=True, gc=False):
    """One observation of a histogram bucket, with the session that it comes from."""

    event_id: str
    value: float
    at: float


class Total(Struct, frozen=True, gc=False):
    """One row of the ledger's totals with its absolute value: a counter, a gauge or a histogram."""

    row: int
    family: str
    labels: Labels
    value: Decimal
    """For a histogram the sum of its observations."""
    exposed: bool
    """False: the series must be scraped at 0 before the value may be shown."""
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    """For a histogram the observations per bucket, not cumulative, +Inf last."""
    exemplars: tuple[Exemplar | None, ...] = ()


class Receipt(Struct, frozen=True):
    """Everything that one commit of the ledger changed, for /metrics and the log."""

    totals: tuple[Total, ...] = ()
    sessions: tuple["SessionGauges", ...] = ()
    failed_checks: tuple["FailedCheck", ...] = ()
    state_changes: tuple["StateChange", ...] = ()


class SessionGauges(Struct, frozen=True):
    """One session as the per-session gauges show it."""

    ref: SessionRef
    events: int
    inference_turns: int
    changed_at: float
    costs: tuple[tuple[str, str, Decimal], ...]
    """Net cost by (product, currency)."""
    configured: bool


class FailedCheck(Struct, frozen=True):
    """A check that began to fail, or a bad record; goes to the log."""

    ref: SessionRef
    what: str
    detail: str


class StateChange(Struct, frozen=True):
    """A session that changed its state; goes to the log."""

    ref: SessionRef
    before: str
    """Empty for a new session."""
    after: str
    why: str
    """The source that discovered it, or the reason of its last poll."""


class Claim(Struct, frozen=True):
    """The right to poll a session once; a newer claim of the same session makes it stale."""

    session: int
    """The session's id in the ledger."""
    number: int
    """From one rising sequence, so the higher of two numbers was claimed later."""
    ref: SessionRef
    due_at: float
    fingerprint: bytes | None = None
    """Fingerprint of the last answer, if booking the same answer again would change nothing."""


class Poll(Struct, frozen=True):
    """A finished poll, ready to be booked."""

    claim: Claim
    at: float
    outcome: Literal["tree", "same", "gone", "denied", "failed"]
    """same: the answer had the fingerprint of the last one and was not read."""
    reason: str = ""
    session: Session | None = None
    attributes: tuple[EventAttributes, ...] = ()
    session_attributes: SessionAttributes | None = None
    detail: str = ""
    """The error message of a failed poll."""
    fingerprint: bytes | None = None
    """Fingerprint of the answer; None if the tree was completed from several answers."""
    date_time_accepted: bool | None = None
    """Whether the API found the session with the date of its reference; None if that isn't known."""
    reread: "Callable[[], Poll] | None" = None
    """Reads a `same` answer after all; the ledger calls it if it must book the events again."""
