"""Amounts are read exactly to the last digit, or not at all."""

from decimal import Decimal

import pytest

from exporter.core.money import read_amount


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0.1" + "0" * 35 + "1", None),
        (Decimal("0.1" + "0" * 60 + "1"), None),
        ("0.1" + "0" * 50, "0.100000000000"),
        ("-0.123456789012000", "-0.123456789012"),
        ("999999999999.999999999999", "999999999999.999999999999"),
        ("0.0000000000001", None),
        ("0.0098", "0.0098"),
        ("0.00", "0.00"),
        ("-0." + "0" * 40, "0.000000000000"),
        ("0e5", "0"),
        ("12e2", "1200"),
        ("1e12", None),
        (".5", "0.5"),
        ("+0.5", "0.5"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("+5.e-1", "0.5"),
        ("+123456.5", "123456.5"),
        ("+13125550123", None),
        (".", None),
        ("+", None),
        ("1_0", None),
        ("0x5", None),
        (" 5", None),
        ("5,0", None),
        ("1234567890123", None),
        ("NaN", None),
    ],
)
def test_an_amount_is_read_exactly_or_not_at_all(value: object, read: str | None) -> None:
    """An amount keeps its printed places up to twelve; a digit beyond them is never rounded away."""
    amount = read_amount(value)
    assert (None if amount is None else format(amount, "f")) == read
