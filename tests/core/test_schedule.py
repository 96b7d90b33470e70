"""The poll schedule: jitter, old sessions that the API loses, calls in progress, and the plans of closed sessions."""

from typing import cast

import pytest
from msgspec.structs import replace

from exporter.core.lifecycle import JITTER, Outcome, SessionState, State, after_notice, next_state
from exporter.core.model import NoticeKind
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


def closed(state: State = "settled", *plan: float, configured: bool = False) -> SessionState:
    times = plan or (DAY, 7 * DAY)
    return SessionState(
        discovered_at=0.0, state=state, changed_at=0.0, closed_at=0.0, plan=times, configured=configured
    )


def test_only_a_planned_time_that_has_passed_is_used_up() -> None:
    """Polls between the planned times use up none; after a long standstill one poll serves all that have passed."""
    assert next_state(closed(), "unchanged", DAY - 1, POLICY, 0) == (closed(), DAY + POLICY.min_interval - 1)
    assert next_state(closed(), "unchanged", 5 * DAY, POLICY, 0) == (closed("settled", 7 * DAY), 7 * DAY)
    after, due = next_state(closed(), "unchanged", 8 * DAY, POLICY, 0)
    assert (after.plan, due) == ((), None)


def test_the_daily_polls_of_a_configured_session_use_up_nothing_ahead() -> None:
    """Once it is no longer configured, the planned times that are ahead are still polled."""
    session, now = closed(configured=True), 0.0
    while now < 6 * DAY:
        session, due = next_state(session, "unchanged", now, POLICY, 0)
        assert due is not None
        now = due
    after, due = next_state(replace(session, configured=False), "unchanged", now, POLICY, 0)
    assert (after.plan, due) == ((7 * DAY,), 7 * DAY)


@pytest.mark.parametrize("outcome", ["gone", "denied"])
def test_a_recheck_that_is_refused_is_retried_and_then_given_up(outcome: Outcome) -> None:
    """The session stays settled. Within not_found_timeout it costs five retries for each planned time."""
    session, now, dues = closed(), DAY, [0.0]
    while len(session.plan) == 2:
        session, due = next_state(session, outcome, now, POLICY, 0)
        assert (session.state, due is None) == ("settled", False)
        now = due or 0.0
        dues.append(now - DAY)
    assert dues == [0, 30, 210, 1290, 7770, 46_650, 6 * DAY]
    after, due = next_state(closed(), outcome, DAY - 1, POLICY, 0)
    assert (after.plan, due) == ((DAY, 7 * DAY), DAY + 29)


def test_a_good_answer_ends_the_retries() -> None:
    """The next recheck that is refused is retried as soon as the first one."""
    session, _ = next_state(closed(), "gone", DAY, POLICY, 0)
    session, due = next_state(session, "unchanged", DAY + 30, POLICY, 0)
    assert (session.plan, due) == ((7 * DAY,), 7 * DAY)
    assert next_state(session, "denied", 7 * DAY, POLICY, 0)[1] == 7 * DAY + 30


@pytest.mark.parametrize("outcome", ["incomplete", "failed"])
def test_a_recheck_that_shows_nothing_whole_is_retried_for_ever(outcome: Outcome) -> None:
    """Up to an hour apart."""
    session, now = closed(), DAY
    for _ in range(50):
        session, due = next_state(session, outcome, now, POLICY, 0)
        assert (session.plan, due is None) == ((DAY, 7 * DAY), False)
        now = due or 0.0
    assert next_state(session, "unchanged", now, POLICY, 0)[0].plan == (7 * DAY,)


@pytest.mark.parametrize(("state", "outcome"), [("missing", "gone"), ("denied", "denied")])
def test_the_answer_that_closed_a_session_uses_up_a_planned_time(state: State, outcome: Outcome) -> None:
    """A session that the API has never known costs one request for each of them."""
    assert next_state(closed(state), outcome, DAY, POLICY, 0) == (closed(state, 7 * DAY), 7 * DAY)


AS_BEFORE: dict[State, Outcome] = {"settled": "unchanged", "missing": "gone", "denied": "denied"}


@pytest.mark.parametrize("state", AS_BEFORE)
@pytest.mark.parametrize("kind", ["started", "ended", "listed", "rated"])
def test_a_report_of_a_closed_session_adds_two_times(state: State, kind: NoticeKind) -> None:
    """It is polled at once, soon, and when its tree has caught up, even after its last recheck."""
    reported = after_notice(replace(closed(state), plan=()), kind, 100 * DAY, POLICY, rating_expected=True)
    assert reported is not None
    assert reported[1] == 100 * DAY
    assert reported[0].plan == (100 * DAY + 30, 100 * DAY + 7200)
    outcome = AS_BEFORE[state]
    after, due = next_state(reported[0], outcome, 100 * DAY, POLICY, 0)
    assert (after.plan, due) == (reported[0].plan, 100 * DAY + 30)
    after, due = next_state(after, outcome, 100 * DAY + 30, POLICY, 0)
    assert (after.plan, due) == ((100 * DAY + 7200,), 100 * DAY + 7200)
    assert next_state(after, outcome, 100 * DAY + 7200, POLICY, 0)[1] is None


def test_a_session_that_is_found_again_keeps_the_times_of_its_report() -> None:
    """It was missing; its tree is as it was before, and may lag behind the report."""
    reported = after_notice(closed("missing"), "ended", 100 * DAY, POLICY) or (closed(), 0.0)
    after, due = next_state(reported[0], "unchanged", 100 * DAY, POLICY, 0)
    assert (after.state, due) == ("settled", 100 * DAY + 30)
    assert after.plan == tuple(100 * DAY + seconds for seconds in (30, 7200, DAY, 7 * DAY))


def test_a_pruned_session_that_is_reported_is_polled_again_when_its_tree_has_caught_up() -> None:
    """A list that names it costs one poll."""
    for notice, plan in (("rated", (60, 8100)), ("", ())):
        new = SessionState(discovered_at=0.0, notice=cast("NoticeKind", notice))
        assert next_state(new, "pruned", 5.0, POLICY, 0)[0].plan == plan


def test_an_outage_before_a_404_gives_up_no_recheck() -> None:
    """The retries after errors grow up to an hour; that after a 404 is still one."""
    policy = replace(POLICY, not_found_timeout=7200)
    session, now = closed("settled", DAY), DAY
    for outcome in cast("list[Outcome]", [*["failed"] * 20, "gone"]):
        session, due = next_state(session, outcome, now, policy, 0)
        assert (session.plan, due is None) == ((DAY,), False)
        now = due or 0.0


def test_a_403_after_a_404_starts_no_new_plan() -> None:
    """Nor does a 404 after it."""
    session = closed("missing")
    for outcome in cast("list[Outcome]", ["denied", "gone"] * 3):
        session, _ = next_state(session, outcome, DAY / 2, POLICY, 0)
    assert (session.plan, session.closed_at) == ((DAY, 7 * DAY), 0.0)


def test_many_reports_keep_a_plan_short() -> None:
    """A thousand reports in an hour."""
    session = closed()
    for second in range(0, 3600, 4):
        session, _ = after_notice(session, "rated", 100 * DAY + second, POLICY) or (session, 0.0)
        session, _ = next_state(session, "unchanged", 100 * DAY + second, POLICY, 0)
    assert len(session.plan) < 10


def test_a_plan_beyond_the_longest_interval_is_polled_earlier() -> None:
    """Else such a session would be due all the time: after a reload, or because the clock was set back."""
    after, due = next_state(closed("settled", 1000 * DAY), "unchanged", 0.0, POLICY, 0)
    assert (after.plan, due) == ((1000 * DAY,), POLICY.longest)


def test_an_unfinished_reading_goes_on_soon() -> None:
    """A tree that changed and isn't complete is polled again after the shortest interval, whatever was reported."""
    rated = SessionState(discovered_at=0.0, state="active", notice="rated", changed_at=0.0, interval=7200.0)
    after, due = next_state(rated, "changed", 1000.0, POLICY, 0, complete=False)
    assert (after.state, due) == ("active", 1000 + 30)
    assert next_state(rated, "changed", 1000.0, POLICY, 0)[1] == 1000 + 7200


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


def test_a_pruned_session_keeps_the_poll_for_a_tree_that_lags() -> None:
    """A report of a session that was pruned before: the poll at once shows nothing new, the one in two hours may."""
    settled = SessionState(0.0, "settled", first_tree_at=0.0, closed_at=0.0)
    reported = after_notice(settled, "rated", 1e6, POLICY)
    assert reported is not None
    state, due_at = next_state(reported[0], "pruned", 1e6, POLICY, 0.0)
    assert state.plan == reported[0].plan != ()
    assert due_at == state.plan[0]
