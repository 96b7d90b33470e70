"""What a budget covers: its current window, and the labels that its money is booked under.

Pure; the ledger sums up. Money counts for the window in which its event happened, not for the one in which its bill
came: a call of yesterday that is billed today belongs to yesterday.
"""

import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from exporter.core.model import NONE, Labels


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


def current_window(window: str | float, timezone: str, now: float) -> Window:
    """Return the `day`, `week` or `month` that contains `now`, or the sliding window of so many seconds until now."""
    if not isinstance(window, str):
        # Without an end: events of this second count, and those of an event whose clock is ahead.
        return Window(now - window, math.inf)
    # Days are added by the calendar, so a day of 23 or 25 hours ends at midnight, too.
    today = datetime.fromtimestamp(now, ZoneInfo(timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        first, after = today, today + timedelta(days=1)
    elif window == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return Window(first.timestamp(), after.timestamp())


def matches(match: tuple[tuple[str, str], ...], labels: Labels) -> bool:
    """Return whether money that is booked under these labels counts for a budget with this `match`."""
    known = dict(labels)
    return all(known.get(name, NONE) == value for name, value in match)
