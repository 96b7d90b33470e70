"""Amounts as bytes that sort as the amounts do, for an index.

Text would sort 10 before 9, and a float isn't the exact amount.
"""

from decimal import Decimal

from exporter.core.money import CONTEXT

_SCALE = 12
"""Digits behind the point that an amount may have."""
_HALF = 2**95
"""In units of the last digit; more than the sum of 20,000 amounts of 12 digits before the point."""
RANK_BYTES = 12


def rank(amount: Decimal) -> bytes:
    """Return 12 bytes that sort as amounts do, negative ones included; beyond the range, the nearest end of it."""
    # 0.01 is 10**10 units: (2**95 + 10**10) as an unsigned number, highest byte first. -0.01 is below 2**95.
    units = min(max(int(CONTEXT.scaleb(amount, _SCALE)), -_HALF), _HALF - 1)
    return (units + _HALF).to_bytes(RANK_BYTES, "big")
