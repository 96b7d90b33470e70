"""What a budget covers: which events, and since when.

Owns the windows (the current day, week or month in the budget's time zone, or so many seconds up to now) and the match
of labels. Pure: `now` is an argument and the sums are the ledger's. The surprising fact: a window is asked by when
money was spent, not by when its bill came, so yesterday's call that is billed today belongs to yesterday.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct

from exporter.core.model import NONE, Labels


class BudgetLimits(Protocol):
    """What of a configured budget decides which money counts against it."""

    @property
    def currency(self) -> str: ...

    @property
    def window(self) -> str | float:
        """Return `day`, `week` or `month`, or the length of a sliding window in seconds."""

    @property
    def timezone(self) -> str: ...

    @property
    def match(self) -> tuple[tuple[str, str], ...]:
        """Return the label values that the money must be booked under."""


class Window(Struct, frozen=True):
    """From `start` until before `end`, seconds since the epoch."""

    start: float
    end: float


def current_window(budget: BudgetLimits, now: float) -> Window:
    """The window that `now` lies in; one in seconds ends now and moves with it."""
    if isinstance(budget.window, str):
        today = datetime.fromtimestamp(now, ZoneInfo(budget.timezone)).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        first, after = _CALENDAR[budget.window](today)
        return Window(first.timestamp(), after.timestamp())
    return Window(now - budget.window, math.inf)  # what happens in this second, or by a clock ahead, counts


def covers(budget: BudgetLimits, labels: Labels, currency: str) -> bool:
    """Whether money of this currency, booked under these labels, counts against the budget."""
    known = dict(labels)
    return currency == budget.currency and all(known.get(name, NONE) == value for name, value in budget.match)


def _day(today: datetime) -> tuple[datetime, datetime]:
    return today, today + timedelta(days=1)  # of the calendar: a day has 23 or 25 hours when clocks change


def _week(today: datetime) -> tuple[datetime, datetime]:
    monday = today - timedelta(days=today.weekday())
    return monday, monday + timedelta(days=7)


def _month(today: datetime) -> tuple[datetime, datetime]:
    first = today.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


_CALENDAR: Mapping[str, Callable[[datetime], tuple[datetime, datetime]]] = {"day": _day, "week": _week, "month": _month}
