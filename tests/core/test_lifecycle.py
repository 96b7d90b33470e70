"""When a session is looked at again: slower while nothing changes, at once slower no more when something does."""

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
    """A session that is polled whenever it is due, with these outcomes."""
    standing, due = SessionState(discovered_at=0.0, configured=configured), 0.0
    standings: list[SessionState] = []
    dues: list[float | None] = []
    for outcome in outcomes:
        standing, next_due = next_state(standing, cast("Outcome", outcome), due, POLICY, 0)
        standings.append(standing)
        dues.append(next_due)
        if next_due is None:
            break
        due = next_due
    return standings, dues


def test_intervals_double_while_nothing_changes_and_snap_back() -> None:
    """30 s after a change, then 60, 120, ... up to the maximum; a change starts over."""
    _, dues = live(["changed", *["unchanged"] * 9, "changed"])
    waits = [(after or 0) - (before or 0) for before, after in pairwise([0.0, *dues])]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 30]


def test_a_session_settles_when_nothing_changed_for_long() -> None:
    """It is looked at exactly when settle_after has passed, settles then, and is due a day later."""
    standings, dues = live(["changed", *["unchanged"] * 30])
    settled = next(i for i, standing in enumerate(standings) if standing.state == "settled")
    assert standings[settled].closed_at == 21_600
    assert dues[settled] == 21_600 + 86_400
    assert dues[settled + 1] == 21_600 + 604_800
    assert dues[settled + 2] is None


def test_a_late_amendment_makes_a_settled_session_active_again() -> None:
    """Whatever changes is followed closely until it rests once more."""
    standings, dues = live(["changed", *["unchanged"] * 13, "changed"])
    assert (standings[-2].state, standings[-1].state) == ("settled", "active")
    assert dues[-1] == (dues[-2] or 0) + 30


def test_an_incomplete_tree_never_settles() -> None:
    """What could not be read completely is asked for again, however long it takes."""
    standings, _ = live(["changed", *["incomplete"] * 50])
    assert {standing.state for standing in standings} == {"active"}


def test_a_session_nobody_knows_is_given_up_and_rechecked() -> None:
    """404 for longer than give_up_after makes it missing, which is rechecked like a settled one."""
    standings, dues = live(["gone"] * 80)
    missing = next(i for i, standing in enumerate(standings) if standing.state == "missing")
    rested = standings[missing].closed_at
    assert rested is not None
    assert rested >= 172_800
    assert dues[missing] == rested + 86_400
    assert dues[-1] is None


def test_a_denied_session_rests_at_once() -> None:
    """400 and 403 are not asked again and again, but at each recheck."""
    standings, dues = live(["denied", "denied", "denied"])
    assert [standing.state for standing in standings] == ["denied"] * 3
    assert dues == [86_400, 604_800, None]


def test_a_configured_session_is_looked_at_daily_for_ever() -> None:
    """As long as the configuration names it, a settled session stays due once a day."""
    _, dues = live(["changed", *["unchanged"] * 40], configured=True)
    waits = [(b or 0) - (a or 0) for a, b in pairwise(dues[20:])]
    assert set(waits) == {86_400}


@pytest.mark.parametrize("outcome", ["gone", "failed"])
def test_a_failure_after_a_tree_keeps_the_state(outcome: Outcome) -> None:
    """A session that was seen stays what it was while the API has nothing better to say."""
    standings, dues = live(["changed", outcome])
    assert (standings[-1].state, dues[-1]) == ("active", 30 + 60)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=60), st.floats(-1, 1), st.booleans())
def test_no_session_is_due_in_the_past_nor_beyond_the_longest_interval(
    outcomes: list[Outcome], jitter: float, configured: bool
) -> None:
    """Whatever happens, the next look is later than now and no later than the policy's longest."""
    standing, now = SessionState(discovered_at=0.0, configured=configured), 0.0
    for outcome in outcomes:
        standing, due = next_state(standing, outcome, now, POLICY, jitter)
        if due is None:
            assert standing.state in {"settled", "missing", "denied"}
            break
        assert now + (1 - JITTER) * POLICY.min_interval <= due <= now + POLICY.longest
        now = due


# What sources say


def told(*said: tuple[float, NoticeKind]) -> list[float | None]:
    """When a session, followed at 0, is due at the latest after each word; None: it was no news."""
    standing, dues = SessionState(discovered_at=0.0), list[float | None]()
    for at, hint in said:
        heard = after_notice(standing, hint, at, POLICY)
        dues.append(None if heard is None else heard[1])
        standing = standing if heard is None else heard[0]
    return dues


def test_hints_make_a_session_due_when_there_is_something_to_see() -> None:
    """Begun: in a while; ended: soon; rated: now, and again whenever it is rated again."""
    assert told((0, "started"), (100, "ended"), (5000, "rated"), (9000, "rated")) == [900, 130, 5000, 9000]


def test_no_hint_puts_a_session_off_beyond_the_longest_interval() -> None:
    """Later than that means that the clock was set back; so no setting may lead there."""
    policy = replace(POLICY, reported_interval=100 * 86_400.0)
    for before, hint in product(get_args(NoticeKind), repeat=2):
        heard = after_notice(SessionState(discovered_at=0.0, notice=remembered_kind(before)), hint, 0.0, policy)
        due_at = 0.0 if heard is None else heard[1]
        assert due_at is not None
        assert due_at <= policy.longest, (before, hint)


def test_hints_that_come_late_or_twice_are_no_news() -> None:
    """Out of order and doubled: that it began says nothing of a call that has ended, nor its end of a rated one."""
    assert told((0, "ended"), (1, "started"), (2, "ended"), (3, "rated"), (4, "ended"), (5, "started")) == [
        *(30, None, None, 3, None, None)
    ]


def test_a_record_of_one_event_is_news_where_nobody_else_tells_of_the_bill() -> None:
    """With records alone each is looked at; where a rating will be told of, only after hours, should it be lost."""
    assert told((0, "listed"), (5, "started"), (9, "listed")) == [0, None, 9]
    hours = 4 * 3600
    assert told((0, "started"), (100, "listed"), (200, "ended"), (300, "listed"), (400, "rated"), (500, "listed")) == [
        *(900, 100 + hours, 230, 300 + hours, 400, 500)
    ]


def test_a_rated_session_is_looked_at_twice_more() -> None:
    """After the rating it is seen once after two hours, and settles; an answer that lags is asked for again soon."""
    standing, due = after_notice(SessionState(discovered_at=0.0), "rated", 0.0, POLICY) or (SessionState(0.0), None)
    dues = []
    for outcome in ("unchanged", "changed", "unchanged", "unchanged"):
        standing = replace(standing, changed_at=0.0) if standing.changed_at is None else standing
        standing, due = next_state(standing, outcome, due or 0.0, POLICY, 0)
        dues.append(due)
    assert dues == [30, 30 + 7200, 30 + 21_600, 30 + 21_600 + 86_400]
    assert standing.state == "settled"


def test_an_ended_session_waits_longer_each_time_whatever_it_shows() -> None:
    """Between its end and its rating more and more appears; that is no reason to look sooner."""
    standing, due = after_notice(SessionState(discovered_at=0.0), "ended", 0.0, POLICY) or (SessionState(0.0), None)
    dues = [due]
    for outcome in ("gone", "changed", "changed"):
        standing, due = next_state(standing, outcome, due or 0.0, POLICY, 0)
        dues.append(due)
    assert dues == [30, 30 + 1800, 30 + 1800 + 5400, 30 + 1800 + 5400 + 16_200]
