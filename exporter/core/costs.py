"""The accounting rule for one event: `book` returns what a newly seen state of it adds to the totals.

Pure; the ledger stores the result. A rise of the price is a cost and a fall is a credit, so no entry of a counter is
negative. A missing price is not zero: the event is unpriced, counted apart, and booked when its price comes.
"""

from decimal import Decimal
from typing import TypeVar

from msgspec import Struct

from exporter.core.model import UNKNOWN, EventAttributes, Labels
from exporter.core.money import ZERO, subtract

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
INFERENCE_COST, INFERENCE_CREDITS = "telnyx_inference_cost_total", "telnyx_inference_cost_credits_total"
EVENTS, TURNS = "telnyx_events_total", "telnyx_inference_turns_total"
AWAITING, PRICED_LATE = "telnyx_events_awaiting_price", "telnyx_events_priced_late_total"
SETTLED_UNPRICED, BUNDLED = "telnyx_events_settled_unpriced_total", "telnyx_events_bundled_total"
TOKENS, BILLED_SECONDS = "telnyx_inference_tokens_total", "telnyx_billed_seconds_total"

INFERENCE = "inference"
"""The record type of LLM turns; speech-to-text and text-to-speech have their own."""

_ONE = Decimal(1)
_Usage = TypeVar("_Usage", int, Decimal)


class LedgerEntry(Struct, frozen=True, gc=False):
    """One addition to one total; `labels` are the event's, `further` are labels that the family has beyond them."""

    family: str
    labels: Labels
    further: Labels
    amount: Decimal
    """Negative only for gauges."""


class BookedEvent(Struct, frozen=True, gc=False):
    """What the ledger has booked of one event."""

    labels: Labels
    """The event is counted under these, its labels when it was first seen."""
    cost_labels: Labels | None = None
    """Its cost is booked under these, its labels when it first had a price."""
    cost: Decimal | None = None
    currency: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    billed_seconds: Decimal = ZERO
    at: float | None = None
    """When it happened, as first known. Its money counts as spent then, so this never changes."""
    settled_unpriced: bool = False
    """Its session settled while it had no price."""
    bundled: bool = False
    """Then it was counted as bundled, and no longer awaits a price."""


class Booking(Struct, frozen=True, gc=False):
    """The result of `book`; `failed` has (check, difference) of the checks that fail."""

    after: BookedEvent
    entries: tuple[LedgerEntry, ...]
    failed: tuple[tuple[str, str], ...] = ()


# Example: one event in five polls. Net cost is cost - credits, and always the last price.
#
#     poll   price      entries                                      cost   credits   net
#     1      none       events +1, awaiting +1                       0      0         0
#     2      0.30 USD   awaiting -1, cost +0.30 USD                  0.30   0         0.30
#     3      0.10 USD   credits +0.20 USD   (amended down)           0.30   0.20      0.10
#     4      0.15 USD   cost +0.05 USD      (amended up)             0.35   0.20      0.15
#     5      none       none: what was booked stays booked           0.35   0.20      0.15
#
# A change to 0.14 EUR would credit all of the dollars and book all of the euros: credits +0.15 USD, cost +0.14 EUR.


def book(before: BookedEvent | None, cost: Decimal | None, currency: str, attributes: EventAttributes) -> Booking:
    """Book one state of an event; `before` is None for a new one. The same state booked again yields no entries."""
    entries: list[LedgerEntry] = []
    failed: list[tuple[str, str]] = []
    awaiting = before is not None and before.cost is None and not before.bundled
    if before is None:
        before = BookedEvent(labels=attributes.labels)
        families = [EVENTS, *([TURNS] if is_inference(before.labels) else []), *([AWAITING] if cost is None else [])]
        entries += [LedgerEntry(family, before.labels, (), _ONE) for family in families]
    cost_labels = before.cost_labels
    if cost is None:
        cost, currency = before.cost, before.currency
    else:
        cost_labels = cost_labels or attributes.labels
        if before.cost is not None and currency == UNKNOWN:
            currency = before.currency  # the API left it out; it has not changed
        if before.cost is not None and currency != before.currency:
            failed.append(("currency", f"was in {before.currency}, is now in {currency}"))
        entries += _price_entries(before, awaiting, cost, currency, cost_labels)
    input_tokens = _rise(before.input_tokens, attributes.input_tokens, "input tokens", failed)
    output_tokens = _rise(before.output_tokens, attributes.output_tokens, "output tokens", failed)
    seconds = _rise(before.billed_seconds, attributes.billed_seconds, "billed seconds", failed)
    tokens = {"input": input_tokens - before.input_tokens, "output": output_tokens - before.output_tokens}
    for direction, more in tokens.items():
        if more:
            entries.append(LedgerEntry(TOKENS, before.labels, (("token_direction", direction),), Decimal(more)))
    if seconds != before.billed_seconds:
        entries.append(LedgerEntry(BILLED_SECONDS, before.labels, (), subtract(seconds, before.billed_seconds)))
    at = before.at if before.at is not None else attributes.at
    unpriced = before.settled_unpriced and cost is None
    usage = (input_tokens, output_tokens, seconds)
    bundled = before.bundled and cost is None
    after = BookedEvent(before.labels, cost_labels, cost, currency, *usage, at, unpriced, bundled)
    return Booking(after, tuple(entries), tuple(failed))


def net_amounts(entries: tuple[LedgerEntry, ...]) -> list[tuple[str, Decimal]]:
    """Return (currency, signed amount) of the costs and credits in these entries."""
    return [
        (entry.further[0][1], entry.amount if entry.family == COST else -entry.amount)
        for entry in entries
        if entry.family in {COST, CREDITS}
    ]


def is_inference(labels: Labels) -> bool:
    return ("record_type", INFERENCE) in labels


def _price_entries(
    before: BookedEvent,
    awaiting: bool,  # noqa: FBT001 - a fact, not a switch
    cost: Decimal,
    currency: str,
    labels: Labels,
) -> list[LedgerEntry]:
    if before.cost is None:
        entries = [LedgerEntry(AWAITING, before.labels, (), -_ONE)] if awaiting else []
        if before.settled_unpriced:
            entries.append(LedgerEntry(PRICED_LATE, before.labels, (), _ONE))
        return entries + _cost_entries(cost, currency, labels)  # also for 0, so that the series of a free event exists
    if before.currency != currency:
        credited = _cost_entries(-before.cost, before.currency, labels) if before.cost else []
        return credited + _cost_entries(cost, currency, labels)
    return _cost_entries(subtract(cost, before.cost), currency, labels) if cost != before.cost else []


def _cost_entries(difference: Decimal, currency: str, labels: Labels) -> list[LedgerEntry]:
    up, further = difference >= 0, (("currency", currency),)
    entries = [LedgerEntry(COST if up else CREDITS, labels, further, abs(difference))]
    if is_inference(labels):
        entries.append(LedgerEntry(INFERENCE_COST if up else INFERENCE_CREDITS, labels, further, abs(difference)))
    return entries


def _rise(before: _Usage, now: _Usage | None, name: str, failed: list[tuple[str, str]]) -> _Usage:
    """Return the usage that is booked from now on: it never falls, and a fall fails a check."""
    if now is not None and now < before:
        failed.append(("usage_decreased", f"{name} were {before}, are now {now}"))
    return before if now is None or now <= before else now
