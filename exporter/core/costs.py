"""The whole accounting rule: what one sighting of an event adds to the totals.

Owns `book`: from what was booked of an event and what a poll now sees of it, the new booked state and the entries
that carry the totals from one to the other. Pure; the ledger stores what it says. An upward difference is a cost, a
downward one a credit, and no entry is ever negative. The surprising fact: an absent price is not zero, it is unpriced,
counted apart and booked when it comes.
"""

from decimal import Decimal

from msgspec import Struct

from exporter.core.model import UNKNOWN, EventAttributes, Labels
from exporter.core.money import ZERO, subtract

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
INFERENCE_COST, INFERENCE_CREDITS = "telnyx_inference_cost_total", "telnyx_inference_cost_credits_total"
EVENTS, TURNS = "telnyx_events_total", "telnyx_inference_turns_total"
AWAITING, PRICED_LATE = "telnyx_events_awaiting_price", "telnyx_events_priced_late_total"
TOKENS, BILLED_SECONDS = "telnyx_inference_tokens_total", "telnyx_billed_seconds_total"

INFERENCE = "inference"
"""Exactly this record type is an LLM turn; its speech-to-text and text-to-speech cousins are not."""

_ONE = Decimal(1)
_MONEY = frozenset({COST, CREDITS})


class LedgerEntry(Struct, frozen=True, gc=False):
    """One addition to one total; `labels` are the event's, `further` what the family has beyond them."""

    family: str
    labels: Labels
    further: Labels
    amount: Decimal
    """Never negative, but of gauges."""


class BookedEvent(Struct, frozen=True, gc=False):
    """What the ledger has booked of one event."""

    labels: Labels
    """Under these the event is counted: those known when it was first seen."""
    cost_labels: Labels | None = None
    """Under these its cost is booked: those known when it first had a price."""
    cost: Decimal | None = None
    currency: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    billed_seconds: Decimal = ZERO
    at: float | None = None
    """When it happened, as first known; where its money counts as spent, so it never moves."""
    settled_unpriced: bool = False
    """It was counted as settled without a price."""


class Booking(Struct, frozen=True, gc=False):
    """The outcome of one sighting; `failed` names checks that it fails, with what differed."""

    after: BookedEvent
    entries: tuple[LedgerEntry, ...]
    failed: tuple[tuple[str, str], ...] = ()


def book(before: BookedEvent | None, cost: Decimal | None, currency: str, facts: EventAttributes) -> Booking:
    """Book one sighting; the same sighting booked again yields no entries."""
    entries: list[LedgerEntry] = []
    failed: list[tuple[str, str]] = []
    if before is None:
        before = BookedEvent(labels=facts.labels)
        entries += _count(facts.labels, unpriced=cost is None)
        awaiting = False
    else:
        awaiting = before.cost is None
    cost_labels = before.cost_labels
    if currency == UNKNOWN and before.cost is not None:
        currency = before.currency  # it was left out, not changed
    if cost is None:  # what was booked stays booked
        cost, currency = before.cost, before.currency
    else:
        cost_labels = cost_labels or facts.labels
        entries += _price(before, awaiting, cost, currency, cost_labels)
        if before.cost is not None and before.currency != currency:
            failed.append(("currency", f"was in {before.currency}, is now in {currency}"))
    usage = _use(before, facts, entries, failed)
    at = before.at if before.at is not None else facts.at
    after = BookedEvent(
        before.labels, cost_labels, cost, currency, *usage, at, before.settled_unpriced and cost is None
    )
    return Booking(after, tuple(entries), tuple(failed))


def is_unchanged(before: BookedEvent, cost: Decimal | None, currency: str, facts: EventAttributes) -> bool:
    """Whether `book` would leave all as it is: the usual sighting, and the quick answer to it."""
    return (
        (cost is None or (cost == before.cost and currency in {before.currency, UNKNOWN}))
        and (facts.input_tokens is None or facts.input_tokens == before.input_tokens)
        and (facts.output_tokens is None or facts.output_tokens == before.output_tokens)
        and (facts.billed_seconds is None or facts.billed_seconds == before.billed_seconds)
        and (facts.at is None or before.at is not None)
    )


def net_amounts(entries: tuple[LedgerEntry, ...]) -> list[tuple[str, Decimal]]:
    """(currency, signed amount) of the money in these entries."""
    return [
        (entry.further[0][1], entry.amount if entry.family == COST else -entry.amount)
        for entry in entries
        if entry.family in _MONEY
    ]


def is_inference(labels: Labels) -> bool:
    return ("record_type", INFERENCE) in labels


def _count(labels: Labels, *, unpriced: bool) -> list[LedgerEntry]:
    entries = [LedgerEntry(EVENTS, labels, (), _ONE)]
    if is_inference(labels):
        entries.append(LedgerEntry(TURNS, labels, (), _ONE))
    if unpriced:
        entries.append(LedgerEntry(AWAITING, labels, (), _ONE))
    return entries


def _price(before: BookedEvent, awaiting: bool, cost: Decimal, currency: str, labels: Labels) -> list[LedgerEntry]:  # noqa: FBT001 - a fact, not a switch
    entries: list[LedgerEntry] = []
    if awaiting:
        entries.append(LedgerEntry(AWAITING, before.labels, (), -_ONE))
        if before.settled_unpriced:
            entries.append(LedgerEntry(PRICED_LATE, before.labels, (), _ONE))
    if before.cost is None:
        return entries + _differ(cost, currency, labels, first=True)
    if before.currency == currency:
        return entries + _differ(subtract(cost, before.cost), currency, labels)
    return entries + _differ(-before.cost, before.currency, labels) + _differ(cost, currency, labels, first=True)


def _differ(difference: Decimal, currency: str, labels: Labels, *, first: bool = False) -> list[LedgerEntry]:
    """Entries for a difference; a first price of zero yields one too, so that its series exists."""
    if not difference and not first:
        return []
    up = difference >= 0
    further = (("currency", currency),)
    entries = [LedgerEntry(COST if up else CREDITS, labels, further, abs(difference))]
    if is_inference(labels):
        entries.append(LedgerEntry(INFERENCE_COST if up else INFERENCE_CREDITS, labels, further, abs(difference)))
    return entries


def _use(
    before: BookedEvent, facts: EventAttributes, entries: list[LedgerEntry], failed: list[tuple[str, str]]
) -> tuple[int, int, Decimal]:
    """Book tokens and billed seconds, upward only."""
    read = _more_tokens("input", facts.input_tokens, before, entries, failed)
    written = _more_tokens("output", facts.output_tokens, before, entries, failed)
    known, seconds = before.billed_seconds, facts.billed_seconds
    if seconds is None:
        return read, written, known
    if seconds > known:
        entries.append(LedgerEntry(BILLED_SECONDS, before.labels, (), subtract(seconds, known)))
        return read, written, seconds
    if seconds < known:
        failed.append(("usage_decreased", f"billed seconds were {known}, are now {seconds}"))
    return read, written, known


def _more_tokens(
    direction: str, now: int | None, before: BookedEvent, entries: list[LedgerEntry], failed: list[tuple[str, str]]
) -> int:
    known = before.input_tokens if direction == "input" else before.output_tokens
    if now is None or now == known:
        return known
    if now < known:
        failed.append(("usage_decreased", f"{direction} tokens were {known}, are now {now}"))
        return known
    entries.append(LedgerEntry(TOKENS, before.labels, (("token_direction", direction),), Decimal(now - known)))
    return now
