"""The request rate of one account's endpoints: when the next request may leave.

The API counts requests per endpoint, so each endpoint has a `Pacer`, and none waits for another's quota. Its schedule
of slots follows a rate and the quota that the API reports. Time is an argument (`now`, monotonic seconds); nothing here
sleeps. Answers arrive late, so the quota that the API calls `remaining` doesn't count the requests under way. The pacer
counts them, and goes by the smaller number.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

HOLD_SECONDS_MAX = 300.0
"""The longest stop that one answer can impose; after it a single request finds out whether the stop still holds."""

HOLD_SECONDS_DEFAULT = 1.0
"""How long a 429 without a wait stops the endpoint: the first step of the back-off that Telnyx advises."""

SESSION = "session"
"""The endpoint of polls: its rate is configured."""
ENDPOINTS = (SESSION, "metadata", "detail_records", "detail_record_options", "balance")
"""Values of the label `endpoint`."""
LIST_QUOTA, LIST_SECONDS = 40, 60
"""The quota of an endpoint until the API states another one: what lists have on live accounts, per UTC minute."""
BURST_SHARE = 10
"""A tenth of a quota may be used at once; the rest is spread, so that no minute holds more, whenever it begins."""

WINDOW_SECONDS_MAX = 86_400.0
"""A reset further away than a day is ignored: it is no number of seconds (some APIs send a time of day)."""

WINDOW_SLACK_SECONDS = 1.0
"""Resets are whole seconds, so two that differ by no more are of the same window."""

LOW_SHARE = 0.25
"""Below this share of its limit the rest of the quota is spread over the rest of the window."""

_POLICY = re.compile(r"\s*(\d{1,9})\s*;.*\bw=(\d{1,9})\b.*", re.ASCII)
"""A limit and its window in seconds, as in `40;w=60`."""

EARLY_SECONDS = 0.001
"""A sleep may end this much early and its slot still counts."""


class Pacer:
    """Spreads the requests to one endpoint over time; learns from every answer."""

    def __init__(self, requests_per_second: float, max_in_flight: int) -> None:
        """Keep to this rate, and to the quota that the API reports if it is smaller."""
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self.max_in_flight = max_in_flight
        self.quota_limit: int | None = None
        self.quota_remaining: int | None = None
        """Both as the API reported them last; None until it does."""
        self.throttled_seconds = 0.0
        """Total time that requests waited for the rate, the quota and after 429s."""
        self._next_slot = -math.inf
        self._held_until = -math.inf
        self._window_end = -math.inf
        self._quota_left = 0
        self._window_seconds: int | None = None
        """Length of the quota's window; None until the API reports it."""
        self._follows_quota = False
        self.set_rate(requests_per_second)

    @classmethod
    def of_quota(cls, limit: int, seconds: int) -> "Pacer":
        """Return a pacer whose rate is this quota's, until the API reports another one."""
        pacer = cls(1.0, 1)
        pacer._follows_quota = True
        pacer._set_quota(limit, seconds)
        return pacer

    def _set_quota(self, limit: int, seconds: int) -> None:
        self.burst = max(1, limit // BURST_SHARE)
        self._interval = seconds / max(1, limit - self.burst)

    def set_rate(self, requests_per_second: float) -> None:
        """Change the rate; reserved slots stay reserved."""
        if not 0 < requests_per_second < math.inf:
            raise ValueError(f"requests_per_second must be above 0, got {requests_per_second}")
        self._interval = 1 / requests_per_second
        self.burst = max(1, min(self.max_in_flight, int(requests_per_second)))
        """Requests that may leave at once after a pause: a second's worth, but no more than may be in flight."""

    @property
    def wait_seconds_max(self) -> float:
        """The longest possible wait: a full hold, then all that may be in flight ahead, at the slowest pace."""
        return HOLD_SECONDS_MAX + self.max_in_flight * self._interval_max

    def reserve(self, now: float) -> float:
        """Reserve the next slot; return the seconds to wait for it."""
        slot = self._slot(now)
        self._next_slot = slot + self._distance(slot)
        self._quota_left -= 1
        wait = max(0.0, slot - now)
        self.throttled_seconds += wait
        return wait

    def wait(self, now: float) -> float:
        """Return the seconds to wait for the next slot, without reserving it."""
        return max(0.0, self._slot(now) - now)

    def _slot(self, now: float) -> float:
        slot = max(self._next_slot, self._held_until, now - (self.burst - 1) * self._interval)
        if slot < self._window_end and self._quota_left <= 0:
            slot = min(self._window_end, max(slot, now + HOLD_SECONDS_MAX))
        return min(slot, now + self.wait_seconds_max)

    def held(self, now: float) -> bool:
        """Return whether a 429 stops the endpoint; a request that slept while it arrived must reserve again."""
        return now < self._held_until - EARLY_SECONDS

    def learn(self, headers: Mapping[str, str], status: int, now: float) -> None:
        """Learn from an answer; `headers` are by lower-case name, and unreadable ones are ignored."""
        limit, window = read_quota(headers.get("x-ratelimit-limit", ""))
        remaining, reset = _count(headers.get("x-ratelimit-remaining")), _seconds(headers.get("x-ratelimit-reset"))
        reset = reset if reset is not None and reset <= WINDOW_SECONDS_MAX else None
        if limit is not None:
            self.quota_limit = limit
            self._window_seconds = window
            if self._follows_quota and window is not None:
                self._set_quota(limit, window)
        if remaining is not None:
            self.quota_remaining = remaining
            end = now + (reset or 0.0)  # 0: the window is over
            if now < self._window_end and abs(end - self._window_end) <= WINDOW_SLACK_SECONDS:
                self._quota_left = min(self._quota_left, remaining)
            else:
                self._quota_left, self._window_end = remaining, end
        if status == 429:  # noqa: PLR2004 - the status that means it
            stop = retry_after_seconds(headers)
            if stop is None:
                # A reset of 0 says that the window is over already, so it says nothing of this refusal.
                stop = self._minute_left(headers) if reset is None else reset or HOLD_SECONDS_DEFAULT
            self._held_until = max(self._held_until, now + min(stop, HOLD_SECONDS_MAX))

    def _minute_left(self, headers: Mapping[str, str]) -> float:
        """Return the seconds to the end of the UTC minute, by the answer's own date, if the quota is per minute."""
        date = _date(headers.get("date")) if self._window_seconds == LIST_SECONDS else None
        return HOLD_SECONDS_DEFAULT if date is None else float(LIST_SECONDS - date.second)

    def _distance(self, slot: float) -> float:
        """Return the seconds from one slot to the next: by the rate, or more while the quota runs low."""
        low = self.quota_limit is None or self._quota_left < self.quota_limit * LOW_SHARE
        if slot >= self._window_end or not low:
            return self._interval
        spread = (self._window_end - slot) / max(self._quota_left, 1)
        return min(max(spread, self._interval), self._interval_max)

    @property
    def _interval_max(self) -> float:
        """The slowest pace: all requests that may be in flight leave within one longest hold."""
        return max(self._interval, HOLD_SECONDS_MAX / self.max_in_flight)


class AccountPacers:
    """The pacers of one account, by endpoint; they stay over reloads, because the API's quotas do."""

    def __init__(self, session: Pacer) -> None:
        """`session` paces the polls."""
        self.session = session
        quotas = {name: Pacer.of_quota(LIST_QUOTA, LIST_SECONDS) for name in ENDPOINTS if name != SESSION}
        self._by_endpoint = {SESSION: session, **quotas}

    def __getitem__(self, endpoint: str) -> Pacer:
        return self._by_endpoint[endpoint]

    def items(self) -> Iterable[tuple[str, Pacer]]:
        """Return each endpoint with its pacer."""
        return self._by_endpoint.items()


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the wait that an answer asks for (`retry-after-ms`, or `retry-after` in seconds or as a date), if any.

    A date is measured from the answer's own `date`, so that the exporter's clock doesn't matter.
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


def read_quota(text: str) -> tuple[int | None, int | None]:
    """Return limit and window in seconds of a header: `40`, or `40, 40;w=60` with a policy behind the limit."""
    first, *policies = text.split(",")
    limit = _count(first.partition(";")[0])
    for policy in (first, *policies):
        found = _POLICY.fullmatch(policy)
        if found and int(found[1]) == limit and 0 < int(found[2]) <= WINDOW_SECONDS_MAX:
            return limit, int(found[2])
    return limit, None


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
    except (ValueError, TypeError, IndexError, OverflowError):  # TypeError: from older Pythons
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
