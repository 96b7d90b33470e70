"""The settings that compare money with a limit: budgets, and thresholds of single sessions.

Owns their rows and rules; knows no metric and no clock. The surprising fact: the time zone is part of a budget, since
a day begins when its people say so.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from exporter.config.rules import Rule, SettingSpec, money, printable, text, whole

MATCHES_MAX = 20
WINDOWS = ("day", "week", "month")
_NAME = text("1 to 64 of the characters a-z, A-Z, 0-9, _ and -", r"[a-zA-Z0-9_-]{1,64}")
_CURRENCY = text("three capital letters (ISO 4217), such as USD", r"[A-Z]{3}")


def _window() -> Rule:
    seconds = whole(60, 366 * 86_400)
    expected = "day, week, month or a whole number of seconds from 60 to 31622400"

    def accept(value: Any) -> str | int:
        if value in WINDOWS:
            return str(value)
        try:
            return int(seconds.accept(value))
        except ValueError:
            raise ValueError(f"expected {expected}, got {value!r}") from None

    return Rule(expected, accept)


def _timezone() -> Rule:
    expected = "a time zone of the IANA database, such as UTC or Europe/Berlin"

    def accept(value: Any) -> str:
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise ValueError(f"expected {expected}, got {value!r}") from None

    return Rule(expected, accept)


def _match() -> Rule:
    expected = "label names with the value each must have, such as {record_type: inference}"
    name = text("a label name", r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
    label = printable(128)

    def accept(value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, Mapping) or len(value) > MATCHES_MAX:
            raise ValueError(f"expected {expected}, got {value!r}")
        return tuple(sorted((name.accept(key), label.accept(wanted)) for key, wanted in value.items()))

    return Rule(expected, accept)


class Budget(Struct, frozen=True, kw_only=True):
    """Money that may be spent in a window of time; nothing is stopped when it is."""

    name: Annotated[str, SettingSpec(_NAME, "The budget's name, the value of the label `budget`.")]
    amount: Annotated[Decimal, SettingSpec(money(0, 1_000_000_000), "How much may be spent in each window.")]
    currency: Annotated[str, SettingSpec(_CURRENCY, "Money of other currencies doesn't count against it.")] = "USD"
    window: Annotated[
        Literal["day", "week", "month"] | int,
        SettingSpec(_window(), "The current `day`, `week` (from Monday) or `month`, or so many seconds up to now."),
    ] = "month"
    timezone: Annotated[str, SettingSpec(_timezone(), "Where days, weeks and months begin.")] = "UTC"
    match: Annotated[
        tuple[tuple[str, str], ...],
        SettingSpec(
            _match(),
            "Only money booked under these labels counts: account, record_type, product, model or labels of your own.",
        ),
    ] = ()


class Threshold(Struct, frozen=True, kw_only=True):
    """A cost or a number of turns that a single session should not go over."""

    name: Annotated[str, SettingSpec(_NAME, "The threshold's name, the value of the label `threshold`.")]
    cost: Annotated[
        Decimal | None,
        SettingSpec(money(0, 1_000_000_000), "The session's net cost is above this.", "none: see `turns`"),
    ] = None
    currency: Annotated[str, SettingSpec(_CURRENCY, "The currency of `cost`.")] = "USD"
    turns: Annotated[
        int | None, SettingSpec(whole(1, 1_000_000), "The session has more LLM turns than this.", "none: see `cost`")
    ] = None
