"""The queue of sessions: notices, due times and claims, whatever happens in which order."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from msgspec.structs import replace

from exporter.core.model import NoticeKind, SessionNotice, SessionRef
from exporter.ledger import Ledger
from exporter.ledger.queue.sessions import RATING_SECONDS, START
from tests.ledger.test_ledger import ALL, CALL, POLICY, book, opened, poll, ref, state
from tests.support.trees import node


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def report(ledger: Ledger, kind: NoticeKind, at: float) -> None:
    ledger.report([SessionNotice(ref("s"), kind)], "webhook", at)


def due(ledger: Ledger, at: float) -> bool:
    return ledger.count_due(at, ["main"]) == 1


# Notices


def test_a_notice_that_comes_during_a_poll_counts(ledger: Ledger) -> None:
    """The request may be older than the bill, so the notice's due time stays in force after the poll."""
    report(ledger, "ended", 0.0)
    (claim,) = ledger.claim(100.0, ALL)
    report(ledger, "rated", 101.0)
    ledger.commit([poll(claim, CALL, 102.0)])
    assert due(ledger, 102.0)


def test_a_notice_that_came_before_a_poll_is_answered_by_it(ledger: Ledger) -> None:
    """The request is newer than the notice, so the session isn't due again for it."""
    report(ledger, "ended", 0.0)
    report(ledger, "rated", 50.0)
    (claim,) = ledger.claim(100.0, ALL)
    ledger.commit([poll(claim, CALL, 102.0)])
    assert not due(ledger, 130.0)


def test_a_notice_makes_a_session_due_sooner_never_later(ledger: Ledger) -> None:
    """`started` sets a due time 900 s away; the session is due after 30 s already."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    report(ledger, "started", 1.0)
    assert due(ledger, 34.0)


def test_no_notice_puts_off_a_session_that_is_not_claimed(ledger: Ledger) -> None:
    """A rated session is due at once; `ended` comes late and changes nothing."""
    report(ledger, "rated", 0.0)
    report(ledger, "ended", 1.0)
    assert due(ledger, 1.0)


def test_a_new_session_waits_for_its_first_poll_as_its_notice_says(ledger: Ledger) -> None:
    """A call that has just started has no bill yet, so its first poll is due after 900 s."""
    report(ledger, "started", 0.0)
    assert not due(ledger, 899.0)
    assert due(ledger, 900.0)


# The time of a session


def requested_time(ledger: Ledger, at: float) -> str | None:
    """Return the `date_time` with which the due session is requested."""
    (claim,) = ledger.claim(at, ALL)
    ledger.release_claims([claim])
    return claim.ref.date_time


@pytest.mark.parametrize("kind", ["", "listed", "started"])
def test_a_session_gets_the_time_of_the_first_notice_that_has_one(ledger: Ledger, kind: NoticeKind) -> None:
    """A later notice fills the time of a session without one, whatever its kind, and never replaces it."""
    ledger.report([SessionNotice(ref("s"), "rated")], "webhooks", 0.0)
    for time in ("2026-11-30T22:20:27Z", "2026-12-01T00:00:00Z"):
        ledger.report([SessionNotice(replace(ref("s"), date_time=time), kind)], "webhooks", 1.0)
    assert requested_time(ledger, 1.0) == "2026-11-30T22:20:27Z"


def test_the_configured_time_of_a_session_wins(ledger: Ledger) -> None:
    """It replaces that of a notice; a configured session without a time keeps the notice's."""
    ledger.report([SessionNotice(replace(ref("s"), date_time="2026-11-30T22:20:27Z"), "rated")], "webhooks", 0.0)
    ledger.configure([ref("s")], 0.0)
    assert requested_time(ledger, 0.0) == "2026-11-30T22:20:27Z"
    ledger.configure([replace(ref("s"), date_time="2026-11-30")], 0.0)
    assert requested_time(ledger, 0.0) == "2026-11-30"


# Ratings by webhook


def test_detail_records_hasten_polls_until_a_webhook_rates_a_call(ledger_url: str) -> None:
    """A call's record waits for `call.cost` only where one has come lately; a restart doesn't change that."""
    ledger = opened(ledger_url)
    analyzed = SessionNotice(ref("a"), "rated", stated_cost=(Decimal(0), "USD"))
    ledger.report([analyzed, SessionNotice(SessionRef("main", "message", "m"), "rated")], "webhooks", 0.0)
    clear(ledger, 0.0)
    assert listed_hastens(ledger, ref("before"), 10.0)
    ledger.report([SessionNotice(ref("b"), "rated")], "webhooks", 20.0)
    clear(ledger, 20.0)
    assert not listed_hastens(ledger, ref("after"), 30.0)
    assert listed_hastens(ledger, SessionRef("main", "message", "n"), 30.0)
    ledger.close()
    ledger = opened(ledger_url)
    assert not listed_hastens(ledger, ref("restarted"), 40.0)
    later = 20.0 + RATING_SECONDS
    clear(ledger, later)
    assert listed_hastens(ledger, ref("switched off"), later)
    ledger.close()


def clear(ledger: Ledger, at: float) -> None:
    """Poll all that is due."""
    ledger.commit(
        [poll(claim, node(f"{claim.ref.record_type}:{claim.ref.event_id}", "0"), at) for claim in ledger.claim(at, ALL)]
    )


def listed_hastens(ledger: Ledger, session: SessionRef, at: float) -> bool:
    """Return whether a detail record of a session that has ended makes it due at once; then poll it."""
    ledger.report([SessionNotice(session, "ended")], "webhooks", at)
    assert ledger.count_due(at, ["main"]) == 0
    ledger.report([SessionNotice(session, "listed")], "detail_records", at)
    hastened = ledger.count_due(at, ["main"]) == 1
    clear(ledger, at)
    return hastened


# Substitutes


def test_a_substitute_is_polled_only_if_the_session_is_unknown(ledger: Ledger) -> None:
    """A record names a call and its leg: the leg is polled when the API doesn't know the call."""
    leg = SessionRef("main", "call-control", "leg")
    ledger.report([SessionNotice(ref("s"), "listed", leg)], "detail_records", 0.0)
    assert state(ledger) == {"discovered": 1}
    book(ledger, None, 0.0)
    assert state(ledger) == {"discovered": 2}
    assert [claim.ref for claim in ledger.claim(0.0, ALL)] == [leg]


def test_a_session_that_was_found_needs_no_substitute(ledger: Ledger) -> None:
    """A 404 after the first tree has no leg polled."""
    leg = SessionRef("main", "call-control", "leg")
    ledger.report([SessionNotice(ref("s"), "listed", leg)], "detail_records", 0.0)
    book(ledger, CALL, 0.0)
    book(ledger, None, 8000.0)
    assert sum(state(ledger).values()) == 1


# Due times


def test_a_start_leaves_due_times_as_they_are(ledger_url: str) -> None:
    """Live sessions that are due within their longest interval keep their due time, so a start is no burst."""
    ledger = opened(ledger_url)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    ledger.close()
    again = opened(ledger_url)
    again.configure([], 1.0)
    assert again.clamp_due(1.0, START) is None
    assert not due(again, 1.0)
    assert due(again, 34.0)
    again.close()


def test_live_sessions_beyond_the_longest_interval_are_due_now(ledger: Ledger) -> None:
    """The clock was set back by a day."""
    ledger.follow([ref("s")], "file", 86_400.0)
    book(ledger, CALL, 86_400.0)
    assert not due(ledger, 0.0)
    ledger.clamp_due(0.0, START)
    assert due(ledger, 0.0)


def test_a_settled_session_waits_for_its_recheck_whatever_the_clamp(ledger: Ledger) -> None:
    """Its next poll is a day away on purpose."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, CALL, 0.0)
    book(ledger, CALL, 3601.0)
    assert state(ledger) == {"settled": 1}
    ledger.clamp_due(3602.0, START)
    assert not due(ledger, 3602.0)


def test_a_session_that_is_no_longer_configured_gets_no_daily_poll(ledger: Ledger) -> None:
    """Its rechecks are its last polls; a configured session is polled daily without end."""
    ledger.configure([ref("s")], 0.0)
    book(ledger, CALL, 0.0)
    ledger.configure([], 1.0)
    for at in (3601.0, 100_000.0):
        book(ledger, CALL, at)
    assert not due(ledger, 10**8)
    ledger.configure([ref("s")], 200_000.0)
    assert due(ledger, 200_000.0)


# Claims


def test_a_released_claim_is_due_as_it_was(ledger: Ledger) -> None:
    """The next process claims at once what a stop has cancelled."""
    ledger.follow([ref("s")], "file", 0.0)
    claims = ledger.claim(0.0, ALL)
    assert ledger.claim(0.0, ALL) == []
    ledger.release_claims(claims)
    (again,) = ledger.claim(0.0, ALL)
    assert again.due_at == claims[0].due_at


def test_a_late_release_takes_nothing_from_the_next_claim(ledger: Ledger) -> None:
    """A newer claim of the same session stays in force."""
    ledger.follow([ref("s")], "file", 0.0)
    old = ledger.claim(0.0, ALL)
    ledger.release_claims(old)
    ledger.claim(0.0, ALL)
    ledger.release_claims(old)
    assert ledger.claim(0.0, ALL) == []


def test_a_deferred_session_waits_for_the_longest_interval(ledger: Ledger) -> None:
    """A poll that can't be booked releases its claim, and its session is due later."""
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    ledger.defer(claim, 1.0)
    assert not due(ledger, POLICY.max_interval)
    assert due(ledger, POLICY.max_interval + 1)
    assert len(ledger.claim(POLICY.max_interval + 1, ALL)) == 1


def test_claims_rise(ledger: Ledger) -> None:
    """Claim numbers order the polls by their requests."""
    ledger.follow([ref("s"), ref("t")], "file", 0.0)
    first, second = ledger.claim(0.0, ALL)
    ledger.release_claims([first, second])
    third, _ = ledger.claim(0.0, ALL)
    assert first.number < second.number < third.number


def test_the_longest_due_is_claimed_first(ledger: Ledger) -> None:
    """The order in which sessions were reported doesn't matter."""
    ledger.report([SessionNotice(ref("young"))], "file", 50.0)
    ledger.report([SessionNotice(ref("old"))], "file", 10.0)
    (claim,) = ledger.claim(100.0, {"main": 1})
    assert claim.ref.event_id == "old"


def test_a_poll_without_an_event_leaves_the_queue_in_order(ledger: Ledger) -> None:
    """A tree whose only node has no id books nothing; the session is active and polled again."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, node("call-session:", "1"), 0.0)
    assert state(ledger) == {"active": 1}
    assert due(ledger, 40.0)
