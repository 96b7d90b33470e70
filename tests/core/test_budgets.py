"""Budgets: the window that a moment lies in, and the money that counts against one."""

import math
from datetime import datetime

import pytest

from exporter.core.budgets import Window, current_window, matches

BERLIN, AUCKLAND = "Europe/Berlin", "Pacific/Auckland"
LABELS = (("account", "main"), ("record_type", "inference"), ("product", "ai"), ("model", "none"))


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("window", "timezone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-03-18T15:30Z", "2026-03-18T00:00Z", "2026-03-19T00:00Z"),
        ("day", "UTC", "2026-03-18T00:00Z", "2026-03-18T00:00Z", "2026-03-19T00:00Z"),
        ("day", BERLIN, "2026-03-17T23:30Z", "2026-03-17T23:00Z", "2026-03-18T23:00Z"),
        ("day", BERLIN, "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),  # 23 hours: summer begins
        ("day", BERLIN, "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),  # 25 hours: it ends
        ("week", "UTC", "2026-03-16T00:00Z", "2026-03-16T00:00Z", "2026-03-23T00:00Z"),  # a Monday
        ("week", "UTC", "2026-03-22T23:59Z", "2026-03-16T00:00Z", "2026-03-23T00:00Z"),  # a Sunday
        ("week", AUCKLAND, "2026-03-22T23:59Z", "2026-03-22T11:00Z", "2026-03-29T11:00Z"),  # where it is Monday
        ("month", "UTC", "2026-01-31T12:00Z", "2026-01-01T00:00Z", "2026-02-01T00:00Z"),
        ("month", "UTC", "2026-02-28T12:00Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"),
        ("month", "UTC", "2028-02-29T12:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("month", "UTC", "2026-04-30T12:00Z", "2026-04-01T00:00Z", "2026-05-01T00:00Z"),
        ("month", "UTC", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("month", BERLIN, "2026-02-28T23:30Z", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
    ],
)
def test_a_window_of_the_calendar(window: str, timezone: str, now: str, start: str, end: str) -> None:
    """Days, weeks from Monday and months begin at midnight of the budget's time zone, however long they are."""
    assert current_window(window, timezone, seconds(now)) == Window(seconds(start), seconds(end))


def test_a_window_of_seconds_ends_now() -> None:
    """It moves with the time and has no end, so an event whose clock is ahead counts."""
    assert current_window(3600, "UTC", 10_000.0) == Window(6400.0, math.inf)


@pytest.mark.parametrize(
    ("match", "counts"),
    [
        ((), True),
        ((("record_type", "inference"),), True),
        ((("record_type", "message"),), False),
        ((("account", "main"), ("record_type", "inference")), True),
        ((("account", "other"), ("record_type", "inference")), False),
        ((("account", "main"), ("record_type", "message")), False),
        ((("team", "none"),), True),
        ((("team", "blue"),), False),
    ],
)
def test_money_counts_by_every_label(match: tuple[tuple[str, str], ...], counts: bool) -> None:
    """All labels of `match` must have their values; a label that the money lacks is `none`."""
    assert matches(match, LABELS) is counts
