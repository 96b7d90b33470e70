"""The JSON of /api/v1: documents whose fields are the contract, made from the ledger's view models.

Amounts are text, never JSON numbers, because most readers would turn those into floats. Times are RFC 3339 in UTC.
"""

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Struct

from exporter.core.money import amount_text
from exporter.ledger.views.models import Failure, SessionHistory, SessionList, SessionListRow
from exporter.web.pages.links import session_link
from exporter.web.pages.untrusted import Mask, instant, json_text

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
    """The path of its page; after /api/v1 it is the path of its JSON."""
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
    """The currency of a list by cost."""
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
    """The number of distinct sessions in the list."""


def session_list(listing: SessionList, mask: Mask) -> SessionListDocument:
    rows = [_summary(row, mask) for row in listing.rows]
    return SessionListDocument(rows, listing.currency, listing.next, listing.truncated)


def session(history: SessionHistory, mask: Mask) -> SessionDocument:
    return SessionDocument(
        summary=_summary(history.row, mask),
        source=history.source,
        configured=history.configured,
        due_at=instant(history.due_at),
        first_tree_at=instant(history.first_tree_at),
        settled_at=instant(history.closed_at),
        latest_event_at=instant(history.latest_at),
        crossed_thresholds=list(history.crossed),
        polls=[PollDocument(instant(poll.at), poll.outcome, poll.reason) for poll in history.polls],
        amendments=[
            AmendmentDocument(
                at=instant(amendment.at),
                record_type=json_text(amendment.record_type, mask),
                event_id=json_text(amendment.event_id, mask),
                before=_amount(amendment.before),
                after=_amount(amendment.after),
                currency=json_text(amendment.currency),
            )
            for amendment in history.amendments
        ],
        events=[
            EventDocument(
                id=json_text(node.id, mask),
                parent=node.parent,
                record_type=json_text(node.record_type, mask),
                event_cost=_amount(node.cost),
                cumulative_cost=_amount(node.cumulative),
                currency=json_text(node.currency),
            )
            for node in history.nodes
        ],
    )


def failure_list(failures: tuple[Failure, ...], next_before: int | None, mask: Mask) -> FailureListDocument:
    documents = [
        FailedPollDocument(
            number=failure.number,
            at=instant(failure.at),
            account=json_text(failure.ref.account),
            record_type=json_text(failure.ref.record_type, mask),
            event_id=json_text(failure.ref.event_id, mask),
            outcome=failure.outcome,
            reason=failure.reason,
            detail=json_text(failure.detail, mask),
        )
        for failure in failures
    ]
    return FailureListDocument(documents, next_before)


def _summary(row: SessionListRow, mask: Mask) -> SessionSummaryDocument:
    return SessionSummaryDocument(
        account=json_text(row.ref.account),
        record_type=json_text(row.ref.record_type, mask),
        event_id=json_text(row.ref.event_id, mask),
        page=session_link(row.ref, row.number, mask),
        date_time=None if row.ref.date_time is None else json_text(row.ref.date_time),
        state=row.state,
        followed_at=instant(row.discovered_at),
        changed_at=instant(row.changed_at),
        events=row.events,
        inference_turns=row.inference_turns,
        costs=[CostDocument(json_text(currency), amount_text(amount)) for currency, amount in row.costs],
        failing_checks=list(row.failing),
    )


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else amount_text(amount)
