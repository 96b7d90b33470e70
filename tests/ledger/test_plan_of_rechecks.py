"""A settled session is polled at each of its planned times, whatever else happens to it, so no amendment is missed."""

import math
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.core.model import Poll, SessionNotice
from exporter.ledger import Ledger, open_ledger
from tests.ledger.test_ledger import ALL, POLICY, SETTINGS, net, poll, ref, state
from tests.support.trees import node

DAY = 86_400.0
SHIFT = 1_774_000_000.0
FIRST = node("call-session:s", "0.1")
AMENDED = node("call-session:s", "0.5")
Answer = dict[str, Any] | str | None


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    policy = replace(POLICY, recheck_after=(DAY, 7 * DAY, 35 * DAY))
    with closing(open_ledger(ledger_url, policy, SETTINGS)) as ledger:
        yield ledger


class Life:
    """One session; every due poll gets the answer that the script has for its time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = SHIFT
        self.polls: list[float] = []
        self.answer: Answer = FIRST

    def until(self, day: float) -> None:
        while self.now < SHIFT + day * DAY:
            for claim in self.ledger.claim(self.now, ALL):
                self.polls.append((self.now - SHIFT) / DAY)
                if isinstance(self.answer, str):
                    self.ledger.commit([Poll(claim, self.now, self.answer)])  # type: ignore[arg-type]
                else:
                    self.ledger.commit([poll(claim, self.answer, self.now)])
            # To the next poll: the answer changes at the ends of such calls only.
            (due_at,) = self.ledger._connection.execute("SELECT min(due_at) FROM sessions").fetchone()  # noqa: SLF001 - no method returns it
            self.now = min(max(self.now + 30, due_at or math.inf), SHIFT + day * DAY)

    def report(self, kind: Any) -> None:
        self.ledger.report([SessionNotice(ref("s"), kind)], "webhooks", self.now)

    @property
    def cost(self) -> Decimal:
        return net(self.ledger)["call-session", "USD"]


@pytest.fixture
def life(ledger: Ledger) -> Life:
    """A session that has settled on day 0.25."""
    ledger.follow([ref("s")], "file", SHIFT)
    life = Life(ledger)
    life.until(0.25)
    assert state(ledger) == {"settled": 1}
    return life


def test_reports_without_news_use_up_no_recheck(life: Life) -> None:
    """Three webhooks show nothing new; an amendment of day 20 is found at the last recheck."""
    for day, kind in ((0.5, "rated"), (2, "listed"), (3, "rated")):
        life.until(day)
        life.report(kind)
    life.until(20)
    life.answer = AMENDED
    life.until(40)
    assert life.cost == Decimal("0.5")


def test_daily_polls_use_up_no_recheck(life: Life) -> None:
    """The session is configured for five days, then taken out; the rechecks of days 7 and 35 are still made."""
    life.ledger.configure([ref("s")], life.now)
    life.until(5)
    life.ledger.configure([], life.now)
    life.until(20)
    life.answer = AMENDED
    life.until(40)
    assert life.cost == Decimal("0.5")


@pytest.mark.parametrize("answer", [None, "denied", "failed"])
def test_one_bad_answer_at_the_last_recheck_is_retried(life: Life, answer: Answer) -> None:
    """404, 403 and 500: the amendment is booked minutes later."""
    life.until(20)
    life.answer = answer
    polls = len(life.polls)
    while len(life.polls) == polls:
        life.until((life.now - SHIFT) / DAY + 0.001)
    life.answer = AMENDED
    life.until(37)
    assert life.polls[polls] > 34
    assert life.cost == Decimal("0.5")


@pytest.mark.parametrize("lag", [0.0005, 1 / 24])
def test_a_tree_that_lags_behind_a_report_is_booked(life: Life, lag: float) -> None:
    """The report comes after the last recheck; the tree shows the new price half a minute or an hour later."""
    life.until(50)
    assert life.ledger.count_due(10**10, ["main"]) == 0
    life.report("rated")
    life.until(50 + lag)
    life.answer = AMENDED
    life.until(51)
    assert life.cost == Decimal("0.5")


def test_a_session_that_is_gone_for_good_costs_few_requests(life: Life) -> None:
    """Each recheck is retried within not_found_timeout, here two hours: five requests for each of three rechecks."""
    settled = len(life.polls)
    life.answer = None
    life.until(60)
    assert len(life.polls) - settled == 15
    assert state(life.ledger) == {"settled": 1}
    assert life.cost == Decimal("0.1")


def test_a_date_that_came_during_a_poll_is_not_judged_by_it(ledger: Ledger) -> None:
    """The API refused the old date; the next poll asks with the new one."""
    old, new = replace(ref("s"), date_time="2025-01-01T00:00:00Z"), replace(ref("s"), date_time="2026-03-20T00:00:00Z")
    ledger.configure([old], SHIFT)
    (claim,) = ledger.claim(SHIFT, ALL)
    ledger.configure([new], SHIFT)
    ledger.commit([replace(poll(claim, FIRST, SHIFT), date_time_accepted=False)])
    (claim,) = ledger.claim(SHIFT + DAY, ALL)
    assert claim.ref.date_time == new.date_time
