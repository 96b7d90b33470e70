"""The accounting rule for one event: `book` returns what a newly seen state of it adds to the totals.

Pure; the ledger stores the result. A rise of the price is a cost and a fall is a credit, so no entry of a counter is
negative. A missing price is not zero: the event is unpriced, counted apart, and booked when its price comes.
"""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.core.model import UNKNOWN, EventAttributes, Labels
from exporter.core.money import ZERO, amount_text, subtract

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
INFERENCE_COST, INFERENCE_CREDITS = "telnyx_inference_cost_total", "telnyx_inference_cost_credits_total"
EVENTS, TURNS = "telnyx_events_total", "telnyx_inference_turns_total"
AWAITING, PRICED_LATE = "telnyx_events_awaiting_price", "telnyx_events_priced_late_total"
SETTLED_UNPRICED, BUNDLED = "telnyx_events_settled_unpriced_total", "telnyx_events_bundled_total"
TOKENS, CACHED_TOKENS = "telnyx_inference_tokens_total", "telnyx_inference_cached_input_tokens_total"
CHARACTERS, BILLED_SECONDS = "telnyx_characters_total", "telnyx_billed_seconds_total"

INFERENCE = "inference"
"""The record type of LLM turns; speech-to-text and text-to-speech have their own."""

USAGE: tuple[tuple[str, str, Labels], ...] = (
    ("input_tokens", TOKENS, (("token_direction", "input"),)),
    ("cached_input_tokens", CACHED_TOKENS, ()),
    ("output_tokens", TOKENS, (("token_direction", "output"),)),
    ("characters", CHARACTERS, ()),
    ("billed_seconds", BILLED_SECONDS, ()),
)
"""Each kind of usage: its field in records of events, its family, and the labels that this has beyond the event's."""

_ONE = Decimal(1)


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
    cached_input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
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
#     5      none       none: what was booked stays booked, and      0.35   0.20      0.15
#                       the check `price_withdrawn` fails
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
        if before.cost is not None:
            failed.append(("price_withdrawn", f"cost {amount_text(before.cost)} {before.currency}, now has no price"))
        cost, currency = before.cost, before.currency
    else:
        cost_labels = cost_labels or attributes.labels
        if before.cost is not None and currency == UNKNOWN:
            currency = before.currency  # the API left it out; it has not changed
        if before.cost is not None and currency != before.currency:
            failed.append(("currency", f"was in {before.currency}, is now in {currency}"))
        entries += _price_entries(before, awaiting, cost, currency, cost_labels)
    usage = _book_usage(before, attributes, entries, failed)
    at = before.at if before.at is not None else attributes.at
    unpriced = before.settled_unpriced and cost is None
    bundled = before.bundled and cost is None
    booked = (before.labels, cost_labels, cost, currency)
    after = BookedEvent(*booked, at=at, settled_unpriced=unpriced, bundled=bundled, **usage)
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


def _book_usage(
    before: BookedEvent, attributes: EventAttributes, entries: list[LedgerEntry], failed: list[tuple[str, str]]
) -> dict[str, Any]:
    """Book each rise of usage and return all usage by field: what is booked never falls, and a fall fails a check."""
    usage = {}
    for field, family, further in USAGE:
        booked, now = getattr(before, field), getattr(attributes, field)
        usage[field] = booked if now is None or now < booked else now
        if usage[field] != booked:
            more = subtract(Decimal(now), Decimal(booked))
            entries.append(LedgerEntry(family, before.labels, further, more))
        elif now is not None and now < booked:
            failed.append(("usage_decreased", f"{field.replace('_', ' ')} were {booked}, are now {now}"))
    return usage
