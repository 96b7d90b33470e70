"""What a budget covers: its current window, and the labels that its money is booked under.

Pure; the ledger sums up. Money counts for the window in which its event happened, not for the one in which its bill
came: a call of yesterday that is billed today belongs to yesterday.
"""

import math
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct

from exporter.core.model import NONE, Labels


class BudgetLimits(Protocol):
    """The settings of a budget that decide which money counts for it."""

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


# Example: 2026-03-29 is the day in Berlin on which the clocks go from 02:00 to 03:00. At 12:00Z that day
#
#     window day     2026-03-28T23:00Z to 2026-03-29T22:00Z, 23 hours
#     window week    2026-03-22T23:00Z to 2026-03-29T22:00Z, from Monday
#     window month   2026-02-28T23:00Z to 2026-03-31T22:00Z
#     window 3600    2026-03-29T11:00Z and everything after it


def current_window(budget: BudgetLimits, now: float) -> Window:
    """Return the window that contains `now`; a sliding one ends now."""
    if not isinstance(budget.window, str):
        # Without an end: events of this second count, and those of an event whose clock is ahead.
        return Window(now - budget.window, math.inf)
    # Days are added by the calendar, so a day of 23 or 25 hours ends at midnight, too.
    today = datetime.fromtimestamp(now, ZoneInfo(budget.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.window == "day":
        first, after = today, today + timedelta(days=1)
    elif budget.window == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return Window(first.timestamp(), after.timestamp())


def covers(budget: BudgetLimits, labels: Labels, currency: str) -> bool:
    """Return whether money of this currency, booked under these labels, counts for the budget."""
    known = dict(labels)
    return currency == budget.currency and all(known.get(name, NONE) == value for name, value in budget.match)
