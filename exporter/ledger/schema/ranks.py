"""Amounts as bytes that an index can order.

Owns the one encoding; pure. Text sorts 10 before 9, and a float is not the amount. The surprising fact: the order is
exact down to the last of twelve places, for sums of as many events as a session may have.
"""

from decimal import Decimal

from exporter.core.money import CONTEXT

_SCALE = 12
"""Places behind the point that an amount may have."""
_HALF = 2**95
"""A sum of 20,000 amounts of 12 digits before and 12 behind the point is below it, in units of the last place."""
RANK_BYTES = 12


def rank(amount: Decimal) -> bytes:
    """Bytes that sort as exact amounts do, negative ones included: an index may order by them, and by no float."""
    units = min(max(int(CONTEXT.scaleb(amount, _SCALE)), -_HALF), _HALF - 1)
    return (units + _HALF).to_bytes(RANK_BYTES, "big")
