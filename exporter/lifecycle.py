"""When a session is looked at again, and when no more.

Owns the states of a session and the pure step `(standing, outcome, now) -> (standing, due_at)`. Knows neither the
API nor the ledger; time and jitter are arguments. The surprising fact: nothing says that a bill is final, so settled
only means that nothing changed for long, and a settled session is looked at again after days.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

State = Literal["discovered", "active", "settled", "missing", "denied"]
Outcome = Literal["changed", "unchanged", "incomplete", "gone", "denied", "failed"]

JITTER = 0.1
"""Share by which an interval may be shorter or longer, so that sessions found together don't stay together."""


class Policy(Struct, frozen=True):
    """The configured pace; all in seconds of session time."""

    min_interval: float
    max_interval: float
    settle_after: float
    recheck_after: tuple[float, ...]
    give_up_after: float
    configured_recheck: float

    @property
    def longest(self) -> float:
        """No session is due later than this from now; one that is was written before the clock was set back."""
        return (1 + JITTER) * max(self.max_interval, self.configured_recheck, self.settle_after, *self.recheck_after)


class Standing(Struct, frozen=True):
    """Where one session stands in its life."""

    followed_at: float
    state: State = "discovered"
    configured: bool = False
    interval: float = 0.0
    """The interval that led to the last poll; 0 before the first."""
    first_tree_at: float | None = None
    changed_at: float | None = None
    rested_at: float | None = None
    """Since when it is settled, missing or denied."""
    rechecks: int = 0


Step = tuple[Standing, float | None]
"""The new standing and when the session is due next; None: not again by itself."""


def step(standing: Standing, outcome: Outcome, now: float, policy: Policy, jitter: float) -> Step:
    """The next standing after a poll; `jitter` is a number from -1 to 1."""
    return _STEPS[outcome](standing, now, policy, 1 + JITTER * jitter)


def _changed(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    active = replace(
        standing,
        state="active",
        interval=policy.min_interval,
        first_tree_at=now if standing.first_tree_at is None else standing.first_tree_at,
        changed_at=now,
        rested_at=None,
        rechecks=0,
    )
    return active, now + stretch * policy.min_interval


def _unchanged(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    if standing.state == "settled":
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    if standing.changed_at is None:  # a tree without a single event that could be booked
        return _changed(standing, now, policy, stretch)
    settles_at = standing.changed_at + policy.settle_after
    if now >= settles_at:
        return _rest(replace(standing, state="settled", rested_at=now, rechecks=0), now, policy, stretch)
    slower, due_at = _again(replace(standing, state="active"), now, policy, stretch)
    return slower, min(due_at, settles_at) if due_at is not None else None


def _again(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    interval = min(policy.max_interval, max(policy.min_interval, 2 * standing.interval))
    return replace(standing, interval=interval), now + stretch * interval


def _incomplete(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    seen = now if standing.first_tree_at is None else standing.first_tree_at
    return _again(replace(standing, first_tree_at=seen), now, policy, stretch)


def _gone(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    if standing.state in {"missing", "settled"}:
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    known_at = standing.followed_at if standing.changed_at is None else standing.changed_at
    if now - known_at >= policy.give_up_after:
        return _rest(replace(standing, state="missing", rested_at=now, rechecks=0), now, policy, stretch)
    return _again(standing, now, policy, stretch)


def _denied(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    if standing.state in {"denied", "settled"}:
        return _rest(replace(standing, rechecks=standing.rechecks + 1), now, policy, stretch)
    return _rest(replace(standing, state="denied", rested_at=now, rechecks=0), now, policy, stretch)


def _rest(standing: Standing, now: float, policy: Policy, stretch: float) -> Step:
    """Due again after each of the rechecks; after the last only while it is configured."""
    due_at: float | None = None
    if standing.rechecks < len(policy.recheck_after):
        since = standing.rested_at if standing.rested_at is not None else now
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
