"""The accounting rule for one event: whatever polls see, the booked net cost is the last price seen."""

from collections import defaultdict
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.costs import BookedEvent, Booking, LedgerEntry, book, net_amounts
from exporter.core.model import EventAttributes, Labels

LABELS: Labels = (("account", "a"), ("record_type", "inference"), ("product", "inference"), ("model", "m"))
ATTRIBUTES = EventAttributes(LABELS)
USD, EUR = "USD", "EUR"

prices = st.none() | st.decimals(min_value=-10, max_value=10**9, places=6)
states = st.lists(st.tuples(prices, st.sampled_from([USD, EUR])), min_size=1, max_size=12)


def run(seen: list[tuple[Decimal | None, str]]) -> tuple[list[Booking], dict[str, Decimal]]:
    """Book one event seen with these prices; return the bookings and the sums by family and further label."""
    bookings: list[Booking] = []
    sums: dict[str, Decimal] = defaultdict(Decimal)
    before: BookedEvent | None = None
    for cost, currency in seen:
        booking = book(before, cost, currency, ATTRIBUTES)
        for entry in booking.entries:
            sums["/".join([entry.family, *(value for _, value in entry.further)])] += entry.amount
        bookings.append(booking)
        before = booking.after
    return bookings, sums


@given(states)
def test_net_is_the_last_price_seen(seen: list[tuple[Decimal | None, str]]) -> None:
    """Costs minus credits are the last price in its currency, and 0 in any other."""
    _, sums = run(seen)
    priced = [(cost, currency) for cost, currency in seen if cost is not None]
    wanted = {USD: Decimal(0), EUR: Decimal(0)} | ({priced[-1][1]: priced[-1][0]} if priced else {})
    for prefix in ("telnyx", "telnyx_inference"):
        for currency, amount in wanted.items():
            assert sums[f"{prefix}_cost_total/{currency}"] - sums[f"{prefix}_cost_credits_total/{currency}"] == amount


@given(states)
def test_no_counter_is_ever_decreased(seen: list[tuple[Decimal | None, str]]) -> None:
    """Every entry is zero or more, but those of the gauge."""
    bookings, _ = run(seen)
    entries = [entry for booking in bookings for entry in booking.entries]
    assert all(entry.amount >= 0 for entry in entries if entry.family != "telnyx_events_awaiting_price")


@given(states)
def test_seeing_the_same_again_books_nothing(seen: list[tuple[Decimal | None, str]]) -> None:
    """Booking the last state of an event again yields neither entries nor a change."""
    last = run(seen)[0][-1].after
    again = book(last, *seen[-1], ATTRIBUTES)
    assert again.entries == ()
    assert again.after == last


@given(states)
def test_an_event_is_counted_once_and_awaits_its_price_until_it_has_one(seen: list[tuple[Decimal | None, str]]) -> None:
    """One event and one turn are counted; awaiting is 1 only until a price is seen."""
    _, sums = run(seen)
    assert sums["telnyx_events_total"] == sums["telnyx_inference_turns_total"] == 1
    assert sums["telnyx_events_awaiting_price"] == int(all(cost is None for cost, _ in seen))


def test_an_amendment_down_is_a_credit() -> None:
    """0.30 then 0.10 is a cost of 0.30 and a credit of 0.20."""
    _, sums = run([(Decimal("0.30"), USD), (Decimal("0.10"), USD)])
    assert sums["telnyx_cost_total/USD"] == Decimal("0.30")
    assert sums["telnyx_cost_credits_total/USD"] == Decimal("0.20")


def test_a_changed_currency_fails_a_check() -> None:
    """The old amount is credited in full, the new one booked in full, and the check currency fails."""
    bookings, sums = run([(Decimal(1), USD), (Decimal(2), EUR)])
    assert [check for check, _ in bookings[1].failed] == ["currency"]
    assert sums["telnyx_cost_credits_total/USD"] == 1
    assert sums["telnyx_cost_total/EUR"] == 2


def test_a_price_of_zero_is_a_price() -> None:
    """Free is not unpriced: the cost series exists, at 0."""
    (booking,), _ = run([(Decimal(0), USD)])
    assert [entry.family for entry in booking.entries if entry.further] == [
        "telnyx_cost_total",
        "telnyx_inference_cost_total",
    ]
    assert booking.after.cost == 0


def test_a_late_price_is_counted_after_its_session_settled() -> None:
    """An event that settled unpriced and then gets a price counts as priced late, once."""
    unpriced = book(None, None, USD, ATTRIBUTES).after
    settled = BookedEvent(unpriced.labels, settled_unpriced=True)
    booking = book(settled, Decimal(1), USD, ATTRIBUTES)
    assert "telnyx_events_priced_late_total" in [entry.family for entry in booking.entries]
    assert booking.after.settled_unpriced is False


def test_costs_stay_under_the_labels_of_the_first_price() -> None:
    """An event is counted under its first labels, and priced under those it had with its first price."""
    first = book(None, None, USD, EventAttributes((("account", "a"), ("record_type", "x"), ("team", "none")))).after
    priced = book(first, Decimal(1), USD, EventAttributes((("account", "a"), ("record_type", "x"), ("team", "blue"))))
    later = book(
        priced.after, Decimal(3), USD, EventAttributes((("account", "a"), ("record_type", "x"), ("team", "red")))
    )
    assert [entry.labels[2][1] for entry in priced.entries] == ["none", "blue"]  # awaiting ends where it began
    assert [entry.labels[2][1] for entry in later.entries] == ["blue"]


@pytest.mark.parametrize(
    ("seen", "booked", "failed"),
    [([5, 9], 9, 0), ([9, 5], 9, 1), ([None, 7], 7, 0), ([7, None], 7, 0)],
)
def test_usage_is_booked_upward_only(seen: list[int | None], booked: int, failed: int) -> None:
    """Tokens and billed seconds rise; a decrease fails the check usage_decreased and takes nothing back."""
    before, total, problems = None, Decimal(0), []
    for tokens in seen:
        booking = book(before, None, USD, EventAttributes(LABELS, input_tokens=tokens))
        total += sum(entry.amount for entry in booking.entries if entry.family == "telnyx_inference_tokens_total")
        problems += [check for check, _ in booking.failed]
        before = booking.after
    assert total == booked
    assert problems == ["usage_decreased"] * failed


def test_net_signs_costs_and_credits() -> None:
    """Unsettled money moves up by costs and down by credits, by currency."""
    entries = (
        LedgerEntry("telnyx_cost_total", LABELS, (("currency", USD),), Decimal(3)),
        LedgerEntry("telnyx_cost_credits_total", LABELS, (("currency", EUR),), Decimal(2)),
        LedgerEntry("telnyx_events_total", LABELS, (), Decimal(1)),
    )
    assert net_amounts(entries) == [(USD, Decimal(3)), (EUR, Decimal(-2))]
