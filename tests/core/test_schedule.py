"""The poll schedule: jitter, old sessions that the API loses, and calls in progress."""

import pytest

from exporter.core.lifecycle import JITTER, SessionState, next_state
from tests.core.test_lifecycle import POLICY

DAY = 86_400.0


@pytest.mark.parametrize("jitter", [-1.0, -0.5, 0.0, 1.0])
def test_jitter_moves_the_due_time_and_not_the_interval(jitter: float) -> None:
    """Sessions that were found together drift apart by up to a tenth; the interval itself still doubles exactly."""
    session = SessionState(discovered_at=0.0, state="active", changed_at=0.0, interval=100.0)
    after, due = next_state(session, "unchanged", 1000.0, POLICY, jitter)
    assert after.interval == 200.0
    assert due == 1000.0 + 200.0 * (1 + JITTER * jitter)


def test_an_old_session_is_missing_only_after_the_timeout_since_its_last_change() -> None:
    """A session that was discovered long ago and changed a minute ago keeps its state at one 404."""
    session = SessionState(discovered_at=0.0, state="active", first_tree_at=1.0, changed_at=100 * DAY)
    assert next_state(session, "gone", 100 * DAY + 60, POLICY, 0)[0].state == "active"
    assert next_state(session, "gone", 102 * DAY, POLICY, 0)[0].state == "missing"


def test_a_call_in_progress_is_polled_at_least_every_longest_interval() -> None:
    """The notice `ended` may be lost, so the interval has the same limit as that of any live session."""
    session, now = SessionState(discovered_at=0.0, notice="started", changed_at=0.0), 0.0
    for _ in range(5):
        session, due = next_state(session, "unchanged", now, POLICY, 0)
        assert due is not None
        assert due - now <= POLICY.max_interval
        now = due


def test_a_settled_session_that_the_api_loses_stays_settled() -> None:
    """Its bill stays as it is, and its rechecks continue."""
    session = SessionState(discovered_at=0.0, state="settled", changed_at=0.0, closed_at=1000.0)
    for outcome in ("gone", "denied"):
        after, due = next_state(session, outcome, DAY + 1000, POLICY, 0)
        assert (after.state, after.rechecks, due) == ("settled", 1, 1000 + 7 * DAY)


def test_each_change_postpones_the_settling() -> None:
    """The six hours without a change count from the last change."""
    hour = 3600.0
    session, _ = next_state(SessionState(discovered_at=0.0), "changed", 0.0, POLICY, 0)
    session, _ = next_state(session, "changed", 3 * hour, POLICY, 0)
    session, due = next_state(session, "unchanged", 6 * hour, POLICY, 0)
    assert session.state == "active"
    assert due is not None
    assert due <= 9 * hour
    assert next_state(session, "unchanged", 9 * hour, POLICY, 0)[0].state == "settled"
