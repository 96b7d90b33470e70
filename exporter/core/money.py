"""Read, add and print exact amounts of money.

All sums use one decimal context: 50 digits, and an operation that would have to round raises an error. Python's default
context silently rounds at 28 digits.
"""

import re
from collections.abc import Iterable
from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache

DIGITS_MAX = 12
"""Most digits before, and most after, the decimal point; an amount with more is unpriced."""

CONTEXT = Context(prec=50, traps=[Clamped, DivisionByZero, Inexact, InvalidOperation, Overflow])

ZERO = Decimal(0)

# Checked before Decimal() reads a text, since that also accepts `1_000` and Arabic digits. A plus sign before seven
# digits or more is a phone number.
_NUMBER = re.compile(r"(-|\+(?![0-9]{7}))?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_TEXT_MAX = 64


def read_decimal(text: str) -> Decimal | None:
    """Return a JSON number with a fraction or exponent, keeping its printed places; None if Decimal can't hold it."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def read_amount(value: object) -> Decimal | None:
    """Return an amount of the API (decimal string or number), keeping its printed places; None if it is unpriced."""
    if isinstance(value, str):
        return _read_text(value) if len(value) <= _TEXT_MAX else None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return _within_limits(Decimal(value))
    return None


@lru_cache(maxsize=8192)  # some 2 MB; few prices exist, and without it reading a tree takes 40 % longer
def _read_text(text: str) -> Decimal | None:
    return _within_limits(Decimal(text)) if _NUMBER.fullmatch(text) else None


def _within_limits(amount: Decimal) -> Decimal | None:
    if not amount.is_finite():
        return None
    sign, digits, exponent = amount.as_tuple()
    exponent = int(exponent)
    if amount.is_zero():
        return Decimal((0, (0,), max(min(exponent, 0), -DIGITS_MAX)))
    if amount.adjusted() >= DIGITS_MAX or amount.adjusted() < -DIGITS_MAX:
        return None
    if exponent > 0:
        return Decimal((sign, digits + (0,) * exponent, 0))
    beyond = -exponent - DIGITS_MAX
    if beyond <= 0:
        return amount
    # Zeros beyond the limit are cut on the digits, which works whatever the length; other digits make it no price.
    return None if any(digits[-beyond:]) else Decimal((sign, digits[:-beyond], -DIGITS_MAX))


def add(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact sum."""
    return CONTEXT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact difference."""
    return CONTEXT.subtract(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of all amounts."""
    result = ZERO
    for amount in amounts:
        result = CONTEXT.add(result, amount)
    return result


def places(amount: Decimal) -> int:
    """Return the number of decimal places that the amount was printed with."""
    return max(0, -int(amount.as_tuple().exponent))


def amount_text(amount: Decimal) -> str:
    """Print an amount without an exponent, trailing zeros or a negative zero."""
    text = str(amount)
    if "E" in text:
        text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
