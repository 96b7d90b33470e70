"""The accounting rule for answers that leave a field out, and for usage."""

from decimal import Decimal
from typing import Any

import pytest

from exporter.core.costs import BookedEvent, book
from exporter.core.model import UNKNOWN, EventAttributes, Labels

LABELS: Labels = (("account", "a"), ("record_type", "inference"), ("product", "inference"), ("model", "m"))
USED = EventAttributes(LABELS, 10, 4, 20, 6, Decimal(30), 1000.0)
BOOKED = book(None, Decimal("0.5"), "USD", USED).after


def test_a_currency_that_is_left_out_is_the_one_before() -> None:
    """It books nothing and fails no check; an amendment without a currency counts in the currency before."""
    same = book(BOOKED, Decimal("0.5"), UNKNOWN, USED)
    assert (same.entries, same.failed, same.after) == ((), (), BOOKED)
    more = book(BOOKED, Decimal("0.7"), UNKNOWN, USED)
    assert [(entry.family, entry.further, entry.amount) for entry in more.entries] == [
        ("telnyx_cost_total", (("currency", "USD"),), Decimal("0.2")),
        ("telnyx_inference_cost_total", (("currency", "USD"),), Decimal("0.2")),
    ]
    assert (more.failed, more.after.currency) == ((), "USD")


def test_a_first_price_without_a_currency_is_booked_as_unknown() -> None:
    """There is no currency before it; when one comes, the amount moves to it."""
    first = book(None, Decimal("0.5"), UNKNOWN, USED)
    assert first.after.currency == UNKNOWN
    then = book(first.after, Decimal("0.5"), "USD", USED)
    assert [check for check, _ in then.failed] == ["currency"]
    assert then.after.currency == "USD"


def test_a_time_that_comes_later_is_taken_and_then_stays() -> None:
    """An event's money stays in the budget window of its first known time."""
    undated = book(None, Decimal("0.5"), "USD", EventAttributes(LABELS)).after
    assert undated.at is None
    dated = book(undated, Decimal("0.5"), "USD", EventAttributes(LABELS, at=1000.0)).after
    assert dated.at == 1000.0
    assert book(dated, Decimal("0.5"), "USD", EventAttributes(LABELS, at=5.0)).after.at == 1000.0


def test_a_price_that_disappears_stays_booked() -> None:
    """An answer without a cost books nothing, and fails a check; the event doesn't await a price again."""
    gone = book(BOOKED, None, "EUR", USED)
    assert (gone.entries, gone.after) == ((), BOOKED)
    assert gone.failed == (("price_withdrawn", "cost 0.5 USD, now has no price"),)


def test_usage_is_booked_by_direction_and_difference() -> None:
    """Each kind of usage is booked apart, by the difference."""
    more = book(BOOKED, None, "USD", EventAttributes(LABELS, 13, 5, 25, 8, Decimal("30.5")))
    assert [(entry.family, entry.further, entry.amount) for entry in more.entries] == [
        ("telnyx_inference_tokens_total", (("token_direction", "input"),), Decimal(3)),
        ("telnyx_inference_cached_input_tokens_total", (), Decimal(1)),
        ("telnyx_inference_tokens_total", (("token_direction", "output"),), Decimal(5)),
        ("telnyx_characters_total", (), Decimal(2)),
        ("telnyx_billed_seconds_total", (), Decimal("0.5")),
    ]
    assert more.after == BookedEvent(LABELS, LABELS, Decimal("0.5"), "USD", 13, 5, 25, 8, Decimal("30.5"), 1000.0)


@pytest.mark.parametrize("field", ["input_tokens", "cached_input_tokens", "output_tokens", "characters"])
def test_usage_that_falls_is_reported_and_kept(field: str) -> None:
    """The counter stays, and the check usage_decreased fails."""
    fallen: dict[str, Any] = {field: 3}
    less = book(BOOKED, BOOKED.cost, "USD", EventAttributes(LABELS, **fallen))
    name, was = field.replace("_", " "), getattr(BOOKED, field)
    assert less.failed == (("usage_decreased", f"{name} were {was}, are now 3"),)
    assert (less.entries, less.after) == ((), BOOKED)


def test_billed_seconds_that_fall_are_reported_and_kept() -> None:
    """The same for a usage with decimals."""
    less = book(BOOKED, BOOKED.cost, "USD", EventAttributes(LABELS, billed_seconds=Decimal("29.5")))
    assert less.failed == (("usage_decreased", "billed seconds were 30, are now 29.5"),)
    assert (less.entries, less.after) == ((), BOOKED)


def test_only_inference_is_a_turn() -> None:
    """An event of another record type has no turn, no inference cost, and its cost all the same."""
    labels = (("account", "a"), ("record_type", "inference-speech-to-text"), ("product", "inference"))
    booking = book(None, Decimal("0.5"), "USD", EventAttributes(labels))
    assert [entry.family for entry in booking.entries] == ["telnyx_events_total", "telnyx_cost_total"]


def test_an_event_that_settled_unpriced_stays_so_until_it_has_a_price() -> None:
    """A poll without a price changes nothing, and the late price is counted once."""
    waiting = BookedEvent(LABELS, settled_unpriced=True)
    assert book(waiting, None, "USD", EventAttributes(LABELS)).after.settled_unpriced
    priced = book(waiting, Decimal(0), "USD", EventAttributes(LABELS))
    late = [entry.amount for entry in priced.entries if entry.family == "telnyx_events_priced_late_total"]
    assert late == [1]
    assert not priced.after.settled_unpriced
