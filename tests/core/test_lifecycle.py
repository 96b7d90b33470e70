"""The poll schedule: intervals grow while nothing changes, and start over when something does."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.core.lifecycle import JITTER, Outcome, PollPolicy, SessionState, after_notice, next_state, remembered_kind
from exporter.core.model import NoticeKind

POLICY = PollPolicy(
    min_interval=30,
    max_interval=3600,
    settle_after=21_600,
    recheck_after=(86_400, 604_800),
    not_found_timeout=172_800,
    configured_recheck=86_400,
)
OUTCOMES: list[Outcome] = ["changed", "unchanged", "incomplete", "gone", "denied", "failed"]


def live(outcomes: Sequence[str], *, configured: bool = False) -> tuple[list[SessionState], list[float | None]]:
    """Return the states and due times of a session that is polled whenever it is due, with these outcomes."""
    state, due = SessionState(discovered_at=0.0, configured=configured), 0.0
    states: list[SessionState] = []
    dues: list[float | None] = []
    for outcome in outcomes:
        state, next_due = next_state(state, cast("Outcome", outcome), due, POLICY, 0)
        states.append(state)
        dues.append(next_due)
        if next_due is None:
            break
        due = next_due
    return states, dues


def test_intervals_double_while_nothing_changes_and_snap_back() -> None:
    """30 s after a change, then 60, 120, ... up to the maximum; a change starts over."""
    _, dues = live(["changed", *["unchanged"] * 9, "changed"])
    waits = [(after or 0) - (before or 0) for before, after in pairwise([0.0, *dues])]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 30]


def test_a_session_settles_when_nothing_changed_for_long() -> None:
    """The session is polled exactly when settle_after has passed, settles then, and is due a day later."""
    states, dues = live(["changed", *["unchanged"] * 30])
    settled = next(i for i, state in enumerate(states) if state.state == "settled")
    assert states[settled].closed_at == 21_600
    assert dues[settled] == 21_600 + 86_400
    assert dues[settled + 1] == 21_600 + 604_800
    assert dues[settled + 2] is None


def test_a_late_amendment_makes_a_settled_session_active_again() -> None:
    """A changed session is polled closely until it settles again."""
    states, dues = live(["changed", *["unchanged"] * 13, "changed"])
    assert (states[-2].state, states[-1].state) == ("settled", "active")
    assert dues[-1] == (dues[-2] or 0) + 30


def test_an_incomplete_tree_never_settles() -> None:
    """A tree that can't be read completely is polled again for any length of time."""
    states, _ = live(["changed", *["incomplete"] * 50])
    assert {state.state for state in states} == {"active"}


def test_an_unknown_session_becomes_missing_and_is_rechecked() -> None:
    """404 for longer than not_found_timeout makes a session missing; it is rechecked like a settled one."""
    states, dues = live(["gone"] * 80)
    missing = next(i for i, state in enumerate(states) if state.state == "missing")
    rested = states[missing].closed_at
    assert rested is not None
    assert rested >= 172_800
    assert dues[missing] == rested + 86_400
    assert dues[-1] is None


def test_a_denied_session_is_closed_at_once() -> None:
    """After 400 or 403 a session is only polled at its rechecks."""
    states, dues = live(["denied", "denied", "denied"])
    assert [state.state for state in states] == ["denied"] * 3
    assert dues == [86_400, 604_800, None]


def test_a_configured_session_is_polled_daily_forever() -> None:
    """While it is configured, a settled session stays due once a day."""
    _, dues = live(["changed", *["unchanged"] * 40], configured=True)
    waits = [(b or 0) - (a or 0) for a, b in pairwise(dues[20:])]
    assert set(waits) == {86_400}


@pytest.mark.parametrize("outcome", ["gone", "failed"])
def test_a_failure_after_a_tree_keeps_the_state(outcome: Outcome) -> None:
    """A session with a tree keeps its state while the API answers with errors."""
    states, dues = live(["changed", outcome])
    assert (states[-1].state, dues[-1]) == ("active", 30 + 60)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=60), st.floats(-1, 1), st.booleans())
def test_no_session_is_due_in_the_past_nor_beyond_the_longest_interval(
    outcomes: list[Outcome], jitter: float, configured: bool
) -> None:
    """The next poll is always later than now, and no later than the policy's longest interval."""
    state, now = SessionState(discovered_at=0.0, configured=configured), 0.0
    for outcome in outcomes:
        state, due = next_state(state, outcome, now, POLICY, jitter)
        if due is None:
            assert state.state in {"settled", "missing", "denied"}
            break
        assert now + (1 - JITTER) * POLICY.min_interval <= due <= now + POLICY.longest
        now = due


# Notices


def due_after(*notices: tuple[float, NoticeKind], rating_expected: bool = False) -> list[float | None]:
    """Return when a session, discovered at 0, is due at the latest after each notice; None if it was no news."""
    state, dues = SessionState(discovered_at=0.0), list[float | None]()
    for at, kind in notices:
        after = after_notice(state, kind, at, POLICY, rating_expected=rating_expected)
        dues.append(None if after is None else after[1])
        state = state if after is None else after[0]
    return dues


def test_a_notice_makes_a_session_due_when_its_bill_can_have_changed() -> None:
    """Started: after a while; ended: soon; rated: now, and at each further rating."""
    assert due_after((0, "started"), (100, "ended"), (5000, "rated"), (9000, "rated")) == [900, 130, 5000, 9000]


def test_no_notice_delays_a_session_beyond_the_longest_interval() -> None:
    """A later due time means that the clock was set back, so no setting may lead to one."""
    policy = replace(POLICY, reported_interval=100 * 86_400.0)
    for before, kind in product(get_args(NoticeKind), repeat=2):
        after = after_notice(
            SessionState(discovered_at=0.0, notice=remembered_kind(before)), kind, 0.0, policy, rating_expected=True
        )
        due_at = 0.0 if after is None else after[1]
        assert due_at is not None
        assert due_at <= policy.longest, (before, kind)


def test_notices_that_come_late_or_twice_are_no_news() -> None:
    """Notices may come twice and out of order: `started` is no news after `ended`, nor `ended` after `rated`."""
    assert due_after((0, "ended"), (1, "started"), (2, "ended"), (3, "rated"), (4, "ended"), (5, "started")) == [
        *(30, None, None, 3, None, None)
    ]


def test_a_listed_event_is_news_if_no_source_reports_the_bill() -> None:
    """Each listed event has its session polled at once; where a webhook will report the rating, only after hours."""
    assert due_after((0, "listed"), (5, "started"), (9, "listed")) == [0, None, 9]
    assert due_after((0, "started"), (100, "listed"), (200, "ended"), (300, "listed")) == [900, 100, None, 300]
    hours = 4 * 3600
    assert due_after(
        *((0, "started"), (100, "listed"), (200, "ended"), (300, "listed"), (400, "rated"), (500, "listed")),
        rating_expected=True,
    ) == [*(900, 100 + hours, 230, 300 + hours, 400, 500)]


@pytest.mark.parametrize(
    ("outcome", "lags", "wait"),
    [
        ("changed", None, 7200),
        ("changed", True, 30),
        ("changed", False, 7200),
        ("unchanged", None, 30),
        ("unchanged", True, 30),
        ("unchanged", False, 7200),
    ],
)
def test_a_tree_that_lags_behind_the_rating_is_polled_again_soon_but_once(
    outcome: Outcome, lags: bool | None, wait: int
) -> None:
    """A stated total says whether a tree lags; without one an unchanged tree is taken to lag."""
    rated = SessionState(discovered_at=0.0, state="active", notice="rated", changed_at=0.0)
    state, due = next_state(rated, outcome, 1000.0, POLICY, 0, lags=lags)
    assert due == 1000 + wait
    _, due = next_state(state, outcome, 2000.0, POLICY, 0, lags=lags)
    assert (due or 0) >= 2000 + 7200


def test_a_rated_session_is_polled_twice_more() -> None:
    """After the rating the session is polled once after two hours, and settles; a lagging tree is polled again soon."""
    state, due = after_notice(SessionState(discovered_at=0.0), "rated", 0.0, POLICY) or (SessionState(0.0), None)
    dues = []
    for outcome in ("unchanged", "changed", "unchanged", "unchanged"):
        state = replace(state, changed_at=0.0) if state.changed_at is None else state
        state, due = next_state(state, outcome, due or 0.0, POLICY, 0)
        dues.append(due)
    assert dues == [30, 30 + 7200, 30 + 21_600, 30 + 21_600 + 86_400]
    assert state.state == "settled"


def test_an_ended_session_waits_longer_each_time_whatever_it_shows() -> None:
    """Between its end and its rating a tree grows; that doesn't shorten the interval."""
    state, due = after_notice(SessionState(discovered_at=0.0), "ended", 0.0, POLICY) or (SessionState(0.0), None)
    dues = [due]
    for outcome in ("gone", "changed", "changed"):
        state, due = next_state(state, outcome, due or 0.0, POLICY, 0)
        dues.append(due)
    assert dues == [30, 30 + 1800, 30 + 1800 + 10_800, 30 + 1800 + 10_800 + 21_600]


def test_the_worked_example_of_a_reported_ai_call() -> None:
    """The schedule that the comment in the module shows: two polls for the bill, two until the session settles."""
    state = SessionState(discovered_at=0.0, notice="started")
    after_end = after_notice(state, "ended", 300.0, POLICY)
    assert after_end is not None
    assert after_end[1] == 330
    state, due = next_state(after_end[0], "changed", 330.0, POLICY, 0)
    assert due == 330 + 1800
    after_rating = after_notice(state, "rated", 1000.0, POLICY)
    assert after_rating is not None
    assert after_rating[1] == 1000
    state, due = next_state(after_rating[0], "changed", 1000.0, POLICY, 0)
    assert due == 8200
    state, due = next_state(state, "unchanged", 8200.0, POLICY, 0)
    assert due == 22_600
    state, due = next_state(state, "unchanged", 22_600.0, POLICY, 0)
    assert (state.state, due) == ("settled", 22_600 + 86_400)


@pytest.mark.parametrize("jitter", [-0.99, 0.0, 1.0])
@pytest.mark.parametrize("settle_after", [3600.0, 21_600.0, 7 * 86_400.0])
def test_a_session_whose_bill_is_final_is_polled_twice_and_settles(settle_after: float, jitter: float) -> None:
    """Its record is hours old: a second poll, settle_after later, only confirms the first. Then it is rechecked."""
    policy = replace(POLICY, settle_after=settle_after)
    state, due = after_notice(SessionState(discovered_at=0.0), "final", 0.0, policy) or (SessionState(0.0), None)
    assert due == 0
    state, due = next_state(state, "changed", 0.0, policy, jitter)
    assert due is not None
    assert settle_after <= due <= policy.longest
    state, due = next_state(state, "unchanged", due, policy, jitter)
    assert (state.state, len(state.plan)) == ("settled", len(policy.recheck_after))


def test_a_final_session_that_the_api_does_not_know_is_polled_seldom() -> None:
    """An LLM turn may have no tree of its own: a few polls until it is missing, not one each hour."""
    state, due = SessionState(discovered_at=0.0, notice="final"), 0.0
    polls = 0
    while state.state != "missing":
        state, next_due = next_state(state, "gone", due, POLICY, 0)
        assert next_due is not None
        polls, due = polls + 1, next_due
    assert polls <= 9
    assert POLICY.not_found_timeout == 172_800
