"""What programs are told under /api/v1.

Owns the shape of the JSON: records whose fields are the contract. Money is text, times are RFC 3339 in UTC. The
surprising fact: an amount is never a JSON number, since most readers would make it a float.
"""

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Struct

from exporter.core.model import SessionRef
from exporter.core.money import amount_text
from exporter.ledger.views.models import Failure, SessionHistory, SessionList, SessionListRow
from exporter.web.pages.untrusted import Mask, told
from exporter.web.pages.view import instant, session_link

Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="An exact decimal.")]
Instant = Annotated[str, Meta(description="RFC 3339, UTC.")]


class CostDocument(Struct, frozen=True):
    currency: str
    amount: Amount


class SessionSummaryDocument(Struct, frozen=True):
    account: str
    record_type: str
    event_id: str
    page: str
    """The path of its page; below /api/v1 it is the path of the whole story."""
    date_time: str | None
    state: str
    followed_at: Instant | None
    changed_at: Instant | None
    events: int
    inference_turns: int
    costs: list[CostDocument]
    failing_checks: list[str]


class SessionListDocument(Struct, frozen=True):
    sessions: list[SessionSummaryDocument]
    currency: str | None
    """That of a list by cost."""
    next: str | None
    """The `after` of the next page."""
    truncated: bool
    """More sessions were found by `q` or `check` than are listed."""


class EventDocument(Struct, frozen=True):
    id: str
    parent: int
    """Index of the parent in the list; -1 at the root."""
    record_type: str
    event_cost: Amount | None
    """None: unpriced, which is not zero."""
    cumulative_cost: Amount | None
    currency: str


class PollDocument(Struct, frozen=True):
    at: Instant | None
    outcome: str
    reason: str


class AmendmentDocument(Struct, frozen=True):
    at: Instant | None
    record_type: str
    event_id: str
    before: Amount | None
    after: Amount | None
    currency: str


class SessionDocument(Struct, frozen=True):
    summary: SessionSummaryDocument
    source: str
    configured: bool
    due_at: Instant | None
    first_tree_at: Instant | None
    settled_at: Instant | None
    latest_event_at: Instant | None
    crossed_thresholds: list[str]
    polls: list[PollDocument]
    amendments: list[AmendmentDocument]
    events: list[EventDocument]
    """The last tree, parents before children."""


class FailedPollDocument(Struct, frozen=True):
    number: int
    at: Instant | None
    account: str
    record_type: str
    event_id: str
    outcome: str
    reason: str
    detail: str


class FailureListDocument(Struct, frozen=True):
    failures: list[FailedPollDocument]
    next: int | None
    """The `before` of the next page."""


class ConfigurationDocument(Struct, frozen=True):
    config: dict[str, Any]
    """The effective settings, defaults included; no key is in it."""


class ProblemDocument(Struct, frozen=True):
    error: str


class AcceptedDocument(Struct, frozen=True):
    sessions: int
    """How many distinct sessions the list names."""


def sessions(listing: SessionList, mask: Mask) -> SessionListDocument:
    return SessionListDocument(
        [_summary(row, mask) for row in listing.rows], listing.currency, listing.next, listing.truncated
    )


def session(story: SessionHistory, mask: Mask) -> SessionDocument:
    return SessionDocument(
        _summary(story.row, mask),
        story.source,
        story.configured,
        instant(story.due_at),
        instant(story.first_tree_at),
        instant(story.closed_at),
        instant(story.latest_at),
        list(story.crossed),
        [PollDocument(instant(poll.at), poll.outcome, poll.reason) for poll in story.polls],
        [
            AmendmentDocument(
                instant(amendment.at),
                told(amendment.record_type, mask),
                told(amendment.event_id, mask),
                _amount(amendment.before),
                _amount(amendment.after),
                told(amendment.currency),
            )
            for amendment in story.amendments
        ],
        [
            EventDocument(
                told(node.id, mask),
                node.parent,
                told(node.record_type, mask),
                _amount(node.cost),
                _amount(node.cumulative),
                told(node.currency),
            )
            for node in story.nodes
        ],
    )


def failures(found: tuple[Failure, ...], following: int | None, mask: Mask) -> FailureListDocument:
    return FailureListDocument(
        [
            FailedPollDocument(
                failure.number,
                instant(failure.at),
                *_name(failure.ref, mask),
                failure.outcome,
                failure.reason,
                told(failure.detail, mask),
            )
            for failure in found
        ],
        following,
    )


def _summary(row: SessionListRow, mask: Mask) -> SessionSummaryDocument:
    return SessionSummaryDocument(
        *_name(row.ref, mask),
        session_link(row, mask),
        None if row.ref.date_time is None else told(row.ref.date_time),
        row.state,
        instant(row.discovered_at),
        instant(row.changed_at),
        row.events,
        row.inference_turns,
        [CostDocument(told(currency), amount_text(amount)) for currency, amount in row.costs],
        list(row.failing),
    )


def _name(ref: SessionRef, mask: Mask) -> tuple[str, str, str]:
    return told(ref.account), told(ref.record_type, mask), told(ref.event_id, mask)


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else amount_text(amount)
