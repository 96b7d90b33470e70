"""Decide when a session is polled next, and when no more.

`next_state` maps a state, the outcome of a poll and the time to the next state and due time; `after_notice` does so for
a notice of a source. Both are pure: time and jitter are arguments. The API never says that a bill is final, so
*settled* only means that nothing changed for long, and a settled session is polled again after days.
"""

# Worked example: an AI call with webhooks and the default intervals (min_interval 30 s, reported_interval 900 s,
# settle_after 6 h, recheck_after 1, 7 and 35 days). Times are seconds since the call began; jitter is left out.
#
#      0  notice `started`   due at 900: nothing is billed before the call ends
#    300  notice `ended`     due at 330
#    330  poll: first tree   next in 2 * 900 s, unless a notice comes earlier
#   1000  notice `rated`     due at once
#   1000  poll: changed      next in 8 * 900 = 7,200 s
#   8200  poll: unchanged    next in 6 * 7,200 s, but no later than settle_after
#  22600  poll: unchanged    settled, 6 h after the last change; the plan is to poll after 1, 7 and 35 days
#  50000  notice `rated`     due at once; the plan gets 50040, and 57600 for a tree that lags by two hours
#  50000  poll: unchanged    due at 50040; no planned time has passed, so none is used up
#  50040  poll: 404          retried after 30 s, 3 min, ... until a good answer uses up the planned time 50040
#
# Without notices the interval starts at 30 s and doubles up to an hour: 12 polls after the last change, not 2.

import math
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.model import NoticeKind

State = Literal["discovered", "active", "settled", "missing", "denied"]
Outcome = Literal["changed", "unchanged", "incomplete", "pruned", "gone", "denied", "failed"]
"""`pruned`: unchanged, and the session was booked, counted and pruned before."""

CLOSED = frozenset({"settled", "missing", "denied"})
"""States in which a session is polled at its planned times only."""

CATCH_UP_SECONDS = 7200.0
"""How long a tree may lag behind the report of a closed session."""
CATCH_UP_GRID_SECONDS = 900.0
"""The times at which trees may have caught up are multiples of this, so many reports add few of them to a plan."""
RETRY_GROWTH = 6
"""Factor from one retry of a recheck to the next: where the API has lost a session for good, retries are few."""

JITTER = 0.1
"""Share by which an interval varies, so that sessions that were found together don't stay due together."""


class PollPolicy(Struct, frozen=True):
    """The configured intervals, in seconds of session time."""

    min_interval: float
    max_interval: float
    settle_after: float
    recheck_after: tuple[float, ...]
    not_found_timeout: float
    configured_recheck: float
    reported_interval: float = 900.0
    """The unit of the schedules for sessions that a source reports, see `NOTICE_SCHEDULES`."""

    @property
    def longest(self) -> float:
        """The longest time from now to a due time; a later one was written before the clock was set back."""
        intervals = (
            self.max_interval,
            self.configured_recheck,
            self.settle_after / (1 - JITTER),
            _LISTED_INTERVALS * self.reported_interval,
        )
        return (1 + JITTER) * max(*intervals, *self.recheck_after)


class SessionState(Struct, frozen=True):
    """The state of one session."""

    discovered_at: float
    state: State = "discovered"
    configured: bool = False
    interval: float = 0.0
    """The interval that led to the last poll; 0 before the first poll and after a notice."""
    notice: NoticeKind = ""
    """The furthest notice so far."""
    first_tree_at: float | None = None
    changed_at: float | None = None
    closed_at: float | None = None
    """Since when the session is settled, missing or denied."""
    plan: tuple[float, ...] = ()
    """When a closed session is polled, in order. A time is used up by a good answer after it, and by nothing else."""


Transition = tuple[SessionState, float | None]
"""The new state, and when the session is due next; None: only after a notice or a reload."""


class NoticeSchedule(Struct, frozen=True):
    """Poll schedule for sessions that a source reports.

    Polling only has to catch missed reports, so it can be slow.
    """

    first: int
    """The first wait, in units of `reported_interval`."""
    growth: int
    """Factor from one wait to the next."""
    grows_on_change: bool


NOTICE_SCHEDULES: Mapping[NoticeKind, NoticeSchedule] = {
    "started": NoticeSchedule(first=1, growth=2, grows_on_change=False),
    "ended": NoticeSchedule(first=2, growth=6, grows_on_change=True),
    "rated": NoticeSchedule(first=8, growth=6, grows_on_change=False),
}
"""With these an AI call settles within six requests (tests/polling/test_freshness.py)."""

_ORDER: tuple[NoticeKind, ...] = ("", "final", "started", "ended", "rated")
_REPORTED = frozenset({"started", "ended"})
"""A source that reported these will also report the whole bill."""
_LISTED_INTERVALS = 16
"""If that report gets lost, a listed event has its session polled after this many `reported_interval`s."""


def next_state(
    session: SessionState,
    outcome: Outcome,
    now: float,
    policy: PollPolicy,
    jitter: float,
    *,
    lags: bool | None = None,
    complete: bool = True,
) -> Transition:
    """Return the state after a poll and the next due time; `jitter` is a number from -1 to 1.

    A tree that isn't `complete` is read on soon: more of it may be had now, or another subtree may be read.
    `lags` says whether the tree is older than the last rating. None: unknown, then an unchanged tree is taken to be.
    """
    factor = 1 + JITTER * jitter
    state, due_at = _AFTER[outcome](session, now, policy, factor)
    lags = outcome == "unchanged" if lags is None else lags
    if outcome == "changed" and not complete:
        return replace(state, interval=policy.min_interval), now + factor * policy.min_interval
    # Poll again soon, once: only the first poll after a notice has no interval yet.
    if lags and session.notice == "rated" and not session.interval and state.state == "active":
        state, soon = replace(state, interval=policy.min_interval), now + factor * policy.min_interval
        due_at = soon if due_at is None else min(due_at, soon)
    return state, due_at


def after_notice(
    session: SessionState, kind: NoticeKind, now: float, policy: PollPolicy, *, rating_expected: bool = False
) -> Transition | None:
    """Return the state after a notice, and the latest due time; None if the notice is no news.

    Notices come twice and out of order: `started` says nothing about a session that has ended, nor `ended` about one
    that is rated. A rating may come again, with another amount. `rating_expected` says that a webhook will report when
    the session is rated; otherwise a listed event is the only sign of that.

    A closed session is polled at once, whatever is reported, and again when its tree must have caught up.
    """
    if session.state in CLOSED and kind not in {"", "final"}:
        notice = max(session.notice, remembered_kind(kind), key=_ORDER.index)
        plan = tuple(sorted({*session.plan, *_catch_up(now, policy)}))
        return replace(session, notice=notice, interval=0.0, plan=plan), now
    if kind == "listed" and session.notice in _REPORTED and rating_expected:
        return session, now + _LISTED_INTERVALS * policy.reported_interval
    if remembered_kind(kind) != "rated" and _ORDER.index(kind) <= _ORDER.index(session.notice):
        return None
    return replace(session, notice=remembered_kind(kind), interval=0.0), now + first_wait(kind, policy)


def _catch_up(now: float, policy: PollPolicy) -> tuple[float, float]:
    """Return when the tree of a session that was reported now is polled: soon, and when it must have caught up."""
    soon = _next_multiple(now + policy.min_interval, policy.min_interval)
    return soon, _next_multiple(now + CATCH_UP_SECONDS, CATCH_UP_GRID_SECONDS)


def _next_multiple(time: float, step: float) -> float:
    return math.ceil(time / step) * step


def first_wait(kind: NoticeKind, policy: PollPolicy) -> float:
    """Return the seconds from a notice to the poll: nothing is billed before the end, and then not at once."""
    return {"started": policy.reported_interval, "ended": policy.min_interval}.get(kind, 0.0)


def remembered_kind(kind: NoticeKind) -> NoticeKind:
    """Return the kind to store: without reports, a listed event is the only sign that the session is rated."""
    return "rated" if kind == "listed" else kind


def _changed(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    interval = _next_interval(session, policy, changed=True)
    active = replace(
        session,
        state="active",
        interval=interval,
        first_tree_at=now if session.first_tree_at is None else session.first_tree_at,
        changed_at=now,
        closed_at=None,
        plan=(),
    )
    return active, now + factor * interval


def _unchanged(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    if session.state == "settled":
        return _use_up(session, now, policy, factor)
    if session.changed_at is None:  # the first tree, but without any event that can be booked
        return _changed(session, now, policy, factor)
    settles_at = session.changed_at + policy.settle_after
    if now >= settles_at:
        return _close(session, "settled", now, policy, factor)
    interval = _next_interval(session, policy, changed=False)
    return replace(session, state="active", interval=interval), min(now + factor * interval, settles_at)


def _next_interval(session: SessionState, policy: PollPolicy, *, changed: bool) -> float:
    """Return the interval after a good answer."""
    if session.notice == "final":  # the second poll settles it, however early the jitter makes it
        return policy.settle_after / (1 - JITTER)
    schedule = NOTICE_SCHEDULES.get(session.notice)
    if schedule is None:
        return policy.min_interval if changed else _doubled(session, policy)
    first = schedule.first * policy.reported_interval
    if not session.interval or (changed and not schedule.grows_on_change):
        return first
    grown = max(first, min(schedule.growth * session.interval, policy.settle_after))
    # While a call lasts no poll may be too far off: its `ended` may be the report that gets lost.
    return min(grown, max(policy.max_interval, first)) if session.notice == "started" else grown


def _doubled(session: SessionState, policy: PollPolicy) -> float:
    return min(policy.max_interval, max(policy.min_interval, 2 * session.interval))


def _failed(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    interval = _doubled(session, policy)
    if session.state in CLOSED:  # else one 404 after a long outage would give up the recheck, see `_retry`
        interval = min(interval, max(policy.min_interval, policy.not_found_timeout / RETRY_GROWTH))
    return replace(session, interval=interval), now + factor * interval


def _incomplete(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    first_tree_at = now if session.first_tree_at is None else session.first_tree_at
    return _failed(replace(session, first_tree_at=first_tree_at), now, policy, factor)


def _pruned(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    if session.changed_at is not None:  # it has events beside the pruned ones
        return _unchanged(session, now, policy, factor)
    first_tree_at = now if session.first_tree_at is None else session.first_tree_at
    # It may have a new event when its tree has caught up with the report; a list that names it reports nothing.
    reported = session.state not in CLOSED and session.notice not in {"", "final"}
    plan = tuple(sorted({*session.plan, *(_catch_up(now, policy) if reported else ())}))
    closed = replace(session, state="settled", first_tree_at=first_tree_at, closed_at=now, plan=plan)
    return _use_up(closed, now, policy, factor)


def _gone(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    if session.state == "missing":
        return _use_up(session, now, policy, factor)
    if session.state == "settled":
        return _retry(session, now, policy, factor)
    known_at = session.discovered_at if session.changed_at is None else session.changed_at
    if now - known_at >= policy.not_found_timeout:
        return _close(session, "missing", now, policy, factor)
    interval = _doubled(session, policy)
    if session.notice in _REPORTED:
        interval = min(_next_interval(session, policy, changed=False), max(policy.max_interval, interval))
    elif session.notice == "final":
        interval = _next_interval(session, policy, changed=False)
    return replace(session, interval=interval), now + factor * interval


def _denied(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    if session.state == "denied":
        return _use_up(session, now, policy, factor)
    if session.state == "settled":
        return _retry(session, now, policy, factor)
    return _close(session, "denied", now, policy, factor)


def _close(session: SessionState, state: State, now: float, policy: PollPolicy, factor: float) -> Transition:
    if session.state in CLOSED and state != "settled":  # 403 after 404: its plan goes on
        return _use_up(replace(session, state=state), now, policy, factor)
    ahead = (time for time in session.plan if time > now)  # it may have been missing
    plan = tuple(sorted({*ahead, *(now + seconds for seconds in policy.recheck_after)}))
    closed = replace(session, state=state, closed_at=now, interval=0.0, plan=plan)
    return closed, _planned(closed, now, policy, factor)


def _use_up(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    """Return the state after the answer that was expected: the planned times that have passed are used up."""
    after = replace(session, interval=0.0, plan=tuple(time for time in session.plan if time > now))
    return after, _planned(after, now, policy, factor)


def _retry(session: SessionState, now: float, policy: PollPolicy, factor: float) -> Transition:
    """Retry a recheck at growing intervals; give it up when one would be longer than `not_found_timeout`."""
    interval = max(policy.min_interval, RETRY_GROWTH * session.interval)
    if not session.plan or session.plan[0] > now or interval > policy.not_found_timeout:
        return _use_up(session, now, policy, factor)
    after = replace(session, interval=interval)
    return after, now + factor * interval


def _planned(session: SessionState, now: float, policy: PollPolicy, factor: float) -> float | None:
    """Return when a closed session is due: at its next planned time, and daily while it is configured."""
    due_at: float | None = None
    if session.plan:  # it may lie further ahead than `longest` after a reload, or if the clock was set back
        due_at = min(max(session.plan[0], now + policy.min_interval), now + policy.longest)
    if session.configured:
        configured = now + factor * policy.configured_recheck
        due_at = configured if due_at is None else min(due_at, configured)
    return due_at


_AFTER = {
    "changed": _changed,
    "unchanged": _unchanged,
    "incomplete": _incomplete,
    "pruned": _pruned,
    "gone": _gone,
    "denied": _denied,
    "failed": _failed,
}
