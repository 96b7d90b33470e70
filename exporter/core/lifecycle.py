"""When a session is looked at again, and when no more.

Owns the states of a session and the pure step `(standing, outcome, now) -> (standing, due_at)`. Knows neither the
API nor the ledger; time and jitter are arguments. The surprising fact: nothing says that a bill is final, so settled
only means that nothing changed for long, and a settled session is looked at again after days.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.model import NoticeKind

State = Literal["discovered", "active", "settled", "missing", "denied"]
Outcome = Literal["changed", "unchanged", "incomplete", "gone", "denied", "failed"]

JITTER = 0.1
"""Share by which an interval may be shorter or longer, so that sessions found together don't stay together."""


class PollPolicy(Struct, frozen=True):
    """The configured pace; all in seconds of session time."""

    min_interval: float
    max_interval: float
    settle_after: float
    recheck_after: tuple[float, ...]
    not_found_timeout: float
    configured_recheck: float
    reported_interval: float = 900.0
    """Of sessions that a source tells of: they are waited for rather than asked for."""

    @property
    def longest(self) -> float:
        """No session is due later than this from now; one that is was written before the clock was set back."""
        intervals = (
            self.max_interval,
            self.configured_recheck,
            self.settle_after,
            _AWAITED_INTERVALS * self.reported_interval,
        )
        return (1 + JITTER) * max(*intervals, *self.recheck_after)


class SessionState(Struct, frozen=True):
    """Where one session stands in its life."""

    discovered_at: float
    state: State = "discovered"
    configured: bool = False
    interval: float = 0.0
    """The interval that led to the last poll; 0 before the first, and after a hint."""
    notice: NoticeKind = ""
    """The furthest that a source has said."""
    first_tree_at: float | None = None
    changed_at: float | None = None
    closed_at: float | None = None
    """Since when it is settled, missing or denied."""
    rechecks: int = 0


Transition = tuple[SessionState, float | None]
"""The new standing and when the session is due next; None: not again by itself."""


def next_state(standing: SessionState, outcome: Outcome, now: float, policy: PollPolicy, jitter: float) -> Transition:
    """The next standing after a poll; `jitter` is a number from -1 to 1."""
    return _STEPS[outcome](standing, now, policy, 1 + JITTER * jitter)


def after_notice(standing: SessionState, hint: NoticeKind, now: float, policy: PollPolicy) -> Transition | None:
    """The standing after a source's word, and when the session is due at the latest; None if it is no news.

    Words come twice and out of order: that a session began says nothing of a known one, nor does its end once it is
    rated. A rating may come again, with another amount.
    """
    if hint == "listed" and standing.notice in _AWAITED:
        return standing, now + _AWAITED_INTERVALS * policy.reported_interval
    if remembered_kind(hint) != "rated" and _KEPT.index(hint) <= _KEPT.index(standing.notice):
        return None
    return replace(standing, notice=remembered_kind(hint), interval=0.0), now + first_wait(hint, policy)


def first_wait(hint: NoticeKind, policy: PollPolicy) -> float:
    """How long after the word the session is looked at: nothing is billed before the end, and then not at once."""
    return {"started": policy.reported_interval, "ended": policy.min_interval}.get(hint, 0.0)


def remembered_kind(hint: NoticeKind) -> NoticeKind:
    """The word as it is remembered: where nobody else tells of a session, that an event is rated is all there is."""
    return "rated" if hint == "listed" else hint


_KEPT: tuple[NoticeKind, ...] = ("", "started", "ended", "rated")
_AWAITED = frozenset({"started", "ended"})
"""Somebody told of the session who will tell of its whole bill too: for one event of it nobody need hurry."""
_AWAITED_INTERVALS = 16
"""Should that word be lost, an event's record has its session looked at after so many hinted intervals."""


class NoticeSchedule(Struct, frozen=True):
    """How a session is looked at between two words of a source; nothing more need be asked than words may miss."""

    first: int
    """The first wait, in hinted intervals."""
    growth: int
    """So many times the last wait is the next."""
    grows_on_change: bool
    """A change is no reason to look sooner: more is to come, and will be told of."""


NOTICE_SCHEDULES: Mapping[NoticeKind, NoticeSchedule] = {
    "started": NoticeSchedule(first=1, growth=2, grows_on_change=False),
    "ended": NoticeSchedule(first=2, growth=3, grows_on_change=True),
    "rated": NoticeSchedule(first=8, growth=6, grows_on_change=False),
}
"""With these an AI call takes at most six requests to settle (tests/polling/test_freshness.py)."""


def _changed(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    interval = _next_interval(standing, policy, changed=True)
    active = replace(
        standing,
        state="active",
        interval=interval,
        first_tree_at=now if standing.first_tree_at is None else standing.first_tree_at,
        changed_at=now,
        closed_at=None,
        rechecks=0,
    )
    return active, now + stretch * interval


def _unchanged(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    if standing.state == "settled":
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    if standing.changed_at is None:  # a tree without a single event that could be booked
        return _changed(standing, now, policy, stretch)
    settles_at = standing.changed_at + policy.settle_after
    if now >= settles_at:
        return _rest(replace(standing, state="settled", closed_at=now, rechecks=0), now, policy, stretch)
    # The tree may be behind the notice; it is asked again soon.
    lags = standing.notice == "rated" and not standing.interval
    interval = policy.min_interval if lags else _next_interval(standing, policy, changed=False)
    return replace(standing, state="active", interval=interval), min(now + stretch * interval, settles_at)


def _next_interval(standing: SessionState, policy: PollPolicy, *, changed: bool) -> float:
    """The next interval of a session whose answers are as good as can be had now."""
    pace = NOTICE_SCHEDULES.get(standing.notice)
    if pace is None:
        return policy.min_interval if changed else _doubled(standing, policy)
    first = pace.first * policy.reported_interval
    if not standing.interval or (changed and not pace.grows_on_change):
        return first
    grown = max(first, pace.growth * standing.interval)
    return min(grown, max(policy.max_interval, first)) if standing.notice == "started" else grown


def _doubled(standing: SessionState, policy: PollPolicy) -> float:
    return min(policy.max_interval, max(policy.min_interval, 2 * standing.interval))


def _again(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    interval = _doubled(standing, policy)
    return replace(standing, interval=interval), now + stretch * interval


def _incomplete(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    seen = now if standing.first_tree_at is None else standing.first_tree_at
    return _again(replace(standing, first_tree_at=seen), now, policy, stretch)


def _gone(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    if standing.state in {"missing", "settled"}:
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    known_at = standing.discovered_at if standing.changed_at is None else standing.changed_at
    if now - known_at >= policy.not_found_timeout:
        return _rest(replace(standing, state="missing", closed_at=now, rechecks=0), now, policy, stretch)
    waited_for = standing.notice in {"started", "ended"}
    interval = _doubled(standing, policy)
    if waited_for:
        interval = min(_next_interval(standing, policy, changed=False), max(policy.max_interval, interval))
    return replace(standing, interval=interval), now + stretch * interval


def _denied(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    if standing.state in {"denied", "settled"}:
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    return _rest(replace(standing, state="denied", closed_at=now, rechecks=0), now, policy, stretch)


def _rest(standing: SessionState, now: float, policy: PollPolicy, stretch: float) -> Transition:
    """Due again after each of the rechecks; after the last only while it is configured."""
    due_at: float | None = None
    if standing.rechecks < len(policy.recheck_after):
        since = standing.closed_at if standing.closed_at is not None else now
        due_at = max(since + policy.recheck_after[standing.rechecks], now + policy.min_interval)
    if standing.configured:
        daily = now + stretch * policy.configured_recheck
        due_at = daily if due_at is None else min(due_at, daily)
    return standing, due_at


_STEPS = {
    "changed": _changed,
    "unchanged": _unchanged,
    "incomplete": _incomplete,
    "gone": _gone,
    "denied": _denied,
    "failed": _again,
}
