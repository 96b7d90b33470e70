"""Exact amounts: how they are read, added and written.

Owns the one decimal context in which money is computed: 50 digits, and an operation that would have to round raises
instead. Knows nothing of events or currencies. The surprising fact: Python's default context rounds at 28 digits
without a word, and `Decimal()` reads `1_000` and Arabic digits, which no invoice means.
"""

import re
from collections.abc import Iterable
from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache

DIGITS_MAX = 12
"""Digits that an amount may have before, and after, the point; more is no price that anybody charges."""

CONTEXT = Context(prec=50, traps=[Clamped, DivisionByZero, Inexact, InvalidOperation, Overflow])

ZERO = Decimal(0)

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_TEXT_MAX = 64


def read_decimal(text: str) -> Decimal | None:
    """A JSON number that is no integer, with the places that it was printed with; None if Decimal can't hold it."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def read_amount(value: object) -> Decimal | None:
    """An amount as the API sent it (decimal string or number), keeping its printed places; None if it is no price."""
    if isinstance(value, str):
        return _read_text(value) if len(value) <= _TEXT_MAX else None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return _within_limits(Decimal(value))
    return None


@lru_cache(maxsize=8192)  # some 2 MB: few prices exist, and each comes back with every poll
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
    beyond = -exponent - DIGITS_MAX  # cut by hand: no context is wide enough for every text
    if beyond <= 0:
        return amount
    return None if any(digits[-beyond:]) else Decimal((sign, digits[:-beyond], -DIGITS_MAX))


def add(left: Decimal, right: Decimal) -> Decimal:
    return CONTEXT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    return CONTEXT.subtract(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    result = ZERO
    for amount in amounts:
        result = CONTEXT.add(result, amount)
    return result


def places(amount: Decimal) -> int:
    """How many places behind the point the amount was printed with."""
    return max(0, -int(amount.as_tuple().exponent))


def amount_text(amount: Decimal) -> str:
    """The plain, normalised decimal: no exponent, no trailing zeros, no negative zero."""
    text = str(amount)
    if "E" in text:
        text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
