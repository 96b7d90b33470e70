"""The request budget of one account: when the next request may leave.

Owns one schedule of slots, fed by the configured rate and by what the API says about its quota; refuses to know
sockets, tasks or the clock (`now`, monotonic seconds, is passed in). The surprising fact: answers arrive late, so what
the API calls `remaining` doesn't count the requests under way; the pacer does, and believes the smaller number.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

HOLD_SECONDS_MAX = 300.0
"""The longest stop that one answer can impose; after it a single request finds out whether the API still means it."""

HOLD_SECONDS_DEFAULT = 1.0
"""How long a 429 stops the account when it doesn't say for how long: the first step of Telnyx's advised back-off."""

WINDOW_SECONDS_MAX = 86_400.0
"""A reset further away than a day is no number of seconds (other APIs send the time of day there) and is ignored."""

WINDOW_SLACK_SECONDS = 1.0
"""Resets are whole seconds: two that differ by less speak of the same window."""

LOW_SHARE = 0.25
"""Below this share of the limit the rest of the quota is spread over the rest of the window."""

EARLY_SECONDS = 0.001
"""A sleeper may wake this much early without being sent back."""


class Pacer:
    """Spreads the requests of one account; every answer must be shown to it."""

    def __init__(self, requests_per_second: float, max_in_flight: int) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.max_in_flight = max_in_flight
        self.quota_limit: int | None = None
        """As the API said last; None until it does."""
        self.quota_remaining: int | None = None
        """As the API said last; None until it does."""
        self.throttled_seconds = 0.0
        """What requests waited in all, for the rate, the quota and after 429s."""
        self._next_slot = -math.inf
        self._held_until = -math.inf
        self._window_end = -math.inf
        self._quota_left = 0
        self.set_rate(requests_per_second)

    def set_rate(self, requests_per_second: float) -> None:
        """Change the rate; slots that are taken stay taken."""
        if not 0 < requests_per_second < math.inf:
            raise ValueError(f"requests_per_second must be above 0, got {requests_per_second}")
        self._interval = 1 / requests_per_second
        self.burst = max(1, min(self.max_in_flight, int(requests_per_second)))
        """How many requests may leave at once after a pause: a second's worth, or as many as may be in flight."""

    @property
    def wait_seconds_max(self) -> float:
        """No wait is longer: a full hold, then everybody who may be in flight ahead, at the slowest pace."""
        return HOLD_SECONDS_MAX + self.max_in_flight * self._interval_max

    def reserve(self, now: float) -> float:
        """Take the next slot; the answer is how many seconds to wait for it."""
        slot = self._slot(now)
        self._next_slot = slot + self._distance(slot)
        self._quota_left -= 1
        wait = max(0.0, slot - now)
        self.throttled_seconds += wait
        return wait

    def wait(self, now: float) -> float:
        """How long the next slot would have to be waited for; it stays free."""
        return max(0.0, self._slot(now) - now)

    def _slot(self, now: float) -> float:
        slot = max(self._next_slot, self._held_until, now - (self.burst - 1) * self._interval)
        if slot < self._window_end and self._quota_left <= 0:
            slot = min(self._window_end, max(slot, now + HOLD_SECONDS_MAX))
        return min(slot, now + self.wait_seconds_max)

    def held(self, now: float) -> bool:
        """Whether a 429 stops the account: who slept through its arrival must reserve again."""
        return now < self._held_until - EARLY_SECONDS

    def saw(self, headers: Mapping[str, str], status: int, now: float) -> None:
        """Learn from an answer; `headers` by lower-case name. What can't be understood there is ignored."""
        limit, remaining = _count(headers.get("x-ratelimit-limit")), _count(headers.get("x-ratelimit-remaining"))
        if limit is not None:
            self.quota_limit = limit
        if remaining is not None:
            self.quota_remaining = remaining
            self._learn_window(remaining, now + _window_seconds(headers.get("x-ratelimit-reset")), now)
        if status == 429:  # noqa: PLR2004 - the status that means it
            stop = retry_after_seconds(headers)
            stop = HOLD_SECONDS_DEFAULT if stop is None else min(stop, HOLD_SECONDS_MAX)
            self._held_until = max(self._held_until, now + stop)

    def _learn_window(self, remaining: int, end: float, now: float) -> None:
        if now < self._window_end and abs(end - self._window_end) <= WINDOW_SLACK_SECONDS:
            self._quota_left = min(self._quota_left, remaining)
        else:
            self._quota_left, self._window_end = remaining, end

    def _distance(self, slot: float) -> float:
        """From one slot to the next: the rate's, or wider while the quota runs low."""
        low = self.quota_limit is None or self._quota_left < self.quota_limit * LOW_SHARE
        if slot >= self._window_end or not low:
            return self._interval
        spread = (self._window_end - slot) / max(self._quota_left, 1)
        return min(max(spread, self._interval), self._interval_max)

    @property
    def _interval_max(self) -> float:
        """The slowest pace: all that may be in flight get their turn within one longest hold."""
        return max(self._interval, HOLD_SECONDS_MAX / self.max_in_flight)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What an answer asks to wait (`retry-after-ms`, `retry-after` in seconds or as a date); None if it doesn't say.

    A date is measured from the answer's own `date`: the server's clock against itself, not against ours.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after")
    seconds = _seconds(asked)
    if seconds is not None:
        return seconds
    until, since = _date(asked), _date(headers.get("date"))
    return max(0.0, (until - since).total_seconds()) if until and since else None


def _window_seconds(text: str | None) -> float:
    """0, a window that is over, where no believable reset is given."""
    seconds = _seconds(text)
    return seconds if seconds is not None and seconds <= WINDOW_SECONDS_MAX else 0.0


def _count(text: str | None) -> int | None:
    number = _seconds(text)
    return None if number is None else int(number)


def _seconds(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):  # TypeError: what the parser of old Pythons lets out
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
