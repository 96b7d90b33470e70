"""The account's prepaid balance, read from `GET /balance` and shown as gauges.

Each amount may be absent, and is then not shown. The balance is no spend, so it is in no counter.
"""

from decimal import Decimal

import msgspec
from msgspec import Struct

from exporter.core.errors import TreeError
from exporter.core.model import UNKNOWN
from exporter.core.money import read_amount, read_decimal
from exporter.metrics import Metrics

AMOUNTS = {
    "balance": "telnyx_balance",
    "available_credit": "telnyx_available_credit",
    "credit_limit": "telnyx_credit_limit",
    "pending": "telnyx_pending_amount",
}
"""The gauges by the fields of the answer."""


class _Answer(Struct):
    data: dict[str, object]


_ANSWERS = msgspec.json.Decoder(_Answer, float_hook=read_decimal)


def read_balance(body: bytes) -> tuple[str, dict[str, Decimal]]:
    """Return the currency and the amount of each gauge; raises TreeError if the answer has none."""
    try:
        data = _ANSWERS.decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TreeError("malformed", f"the answer is no balance: {error}") from None
    amounts = {gauge: read_amount(data.get(field)) for field, gauge in AMOUNTS.items()}
    readable = {gauge: amount for gauge, amount in amounts.items() if amount is not None}
    if not readable:
        raise TreeError("malformed", "the answer has no amount")
    currency = data.get("currency")
    return currency if isinstance(currency, str) and currency else UNKNOWN, readable


def hide_balance(metrics: Metrics, account: str) -> None:
    """Remove the account's gauges."""
    for gauge in AMOUNTS.values():
        metrics.swap(gauge, account, {})


def show_balance(metrics: Metrics, account: str, body: bytes) -> None:
    """Set the account's gauges from an answer; raises TreeError."""
    currency, amounts = read_balance(body)
    for gauge in AMOUNTS.values():
        amount = amounts.get(gauge)
        metrics.swap(gauge, account, {} if amount is None else {(account, currency): amount})
