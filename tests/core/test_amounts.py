"""Amounts as they are written, and sums that are exact however long they get."""

from decimal import Decimal, Inexact

import pytest

from exporter.core.money import CONTEXT, add, amount_text, places, subtract, total


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("100", "100"),
        ("0.000000000001", "0.000000000001"),
        ("1E-12", "0.000000000001"),
        ("1E+3", "1000"),
        ("-0.0", "0"),
        ("0", "0"),
        ("-2.10", "-2.1"),
    ],
)
def test_an_amount_is_written_plainly(amount: str, text: str) -> None:
    """An amount has no exponent, no trailing zeros, no trailing point, and zero has no sign."""
    assert amount_text(Decimal(amount)) == text


def test_sums_keep_every_digit() -> None:
    """The largest amount and the smallest one have 24 digits together; millions of them have a few more."""
    large, small = Decimal("999999999999.999999999999"), Decimal("0.000000000001")
    assert add(large, small) == Decimal(1000000000000)
    assert subtract(add(large, large), small) == Decimal("1999999999999.999999999997")
    assert total([large] * 1000) == Decimal("999999999999999.999999999000")


def test_an_operation_that_would_round_raises() -> None:
    """A wrong amount would be booked for ever; an error is found at once."""
    with pytest.raises(Inexact):
        CONTEXT.divide(Decimal(1), Decimal(3))


def test_places_are_those_that_were_printed() -> None:
    """Checks of sums use them to bound what rounding explains."""
    assert [places(Decimal(text)) for text in ("1", "1.0", "0.0052", "1E+2")] == [0, 1, 4, 0]
