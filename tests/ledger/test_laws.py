"""From the API's bytes to the totals: in every scenario the ledger agrees with the naive one, to the last digit.

Answers are cut, stitched, late, committed twice, in batches of any order, or fail; trees overlap, grow, are amended and
lose events; the ledger is closed and opened, its configuration changes, and sessions are pruned.
`tests/support/naive.py` says what must come out.
"""

import dataclasses
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.json import encode
from msgspec.structs import replace

from exporter.config import Budget, Config, Label
from exporter.core.attributes import AttributeReader
from exporter.core.catalog import BY_NAME
from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Claim, Poll, Session, SessionRef, Total
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from tests.support.naive import (
    CHILDREN,
    GIVE_UP_AFTER,
    ROOTS,
    SETTLE_AFTER,
    TWINNABLE,
    USAGE,
    Answer,
    NaiveLedger,
    RealEvent,
    Ref,
    Row,
    Telnyx,
    outermost,
    seen_at_depth,
    time_text,
)
from tests.support.postgres import Postgres
from tests.support.trees import RECORD_TYPES

ACCOUNTS = ("main", "other")
START = 1_700_000_000.0
DAY = 86_400
LABELS = (
    Label(name="team", field="team"),
    Label(name="campaign", field="campaign", from_="session"),
    Label(name="direction", field="direction", from_="event"),
)
NAMES = tuple(label.name for label in LABELS)
ATTRIBUTE_READER = AttributeReader(LABELS)
READER = TreeReader(ATTRIBUTE_READER.record_fields, RECORD_TYPES, TreeLimits())
BUDGETS = (
    Budget(name="today", amount=Decimal(10), window="day"),
    Budget(name="red", amount=Decimal(10), window=5000, match=(("team", "red"),)),
)
OTHER_BUDGETS = (
    Budget(name="today", amount=Decimal(10), window=DAY, currency="EUR"),
    Budget(name="red", amount=Decimal(10), window="day", match=(("campaign", "x"), ("direction", "none"))),
    Budget(name="legs", amount=Decimal(10), window=1800, match=(("record_type", "call-control"),)),
)
SETTINGS = replace(TotalsSettings.of(Config(budgets=BUDGETS)), extra=NAMES)
POLICY = PollPolicy(
    min_interval=30,
    max_interval=600,
    settle_after=SETTLE_AFTER,
    recheck_after=(DAY, 7 * DAY),
    not_found_timeout=GIVE_UP_AFTER,
    configured_recheck=DAY,
)

Item = TypeVar("Item")


def pick(items: Sequence[Item], index: int) -> Item:
    """Return an item of a list; the index wraps around."""
    return items[index % len(items)]


def read_session(telnyx: Telnyx, ref: SessionRef, depth: int) -> Session:
    """Return the session as the exporter reads it from the API's answers."""
    root = (ref.account, ref.record_type, ref.event_id)
    stitching = READER.session(ref, telnyx.answer(root, depth), depth)
    try:
        subtree = next(stitching)
        while True:
            below = (ref.account, subtree.record_type, subtree.event_id)
            subtree = stitching.send(telnyx.ask(below, subtree.max_depth))
    except StopIteration as done:
        session: Session = done.value
        return session


def counters(totals: tuple[Total, ...]) -> dict[tuple[Row, int], Decimal]:
    """Return every counter, and every bucket of every histogram."""
    found: dict[tuple[Row, int], Decimal] = {}
    for total in totals:
        if BY_NAME[total.family].kind != "gauge":
            row = (total.family, frozenset(total.labels))
            found |= {(row, place): Decimal(count) for place, count in enumerate(total.counts)}
            if not total.counts:
                found[row, -1] = total.value
    return found


NETS = {
    "telnyx_cost_total": ("net", 1),
    "telnyx_cost_credits_total": ("net", -1),
    "telnyx_inference_cost_total": ("inference net", 1),
    "telnyx_inference_cost_credits_total": ("inference net", -1),
    "telnyx_budget_cost_total": ("budget net", 1),
    "telnyx_budget_cost_credits_total": ("budget net", -1),
}
NOT_MODELLED = ("telnyx_discover", "telnyx_reconciliation_failures_total", "telnyx_unreconciled_sessions")
"""Prefixes of families that the naive ledger lacks: sources, and wrong sums of the API (tests/core/test_tree.py)."""


def comparable(totals: tuple[Total, ...]) -> dict[Row, Decimal]:
    """Return what is compared with `NaiveLedger.values`."""
    found: dict[Row, Decimal] = defaultdict(Decimal)
    for total in totals:
        if not total.counts and not total.family.startswith(NOT_MODELLED):
            family, sign = NETS.get(total.family, (total.family, 1))
            found[family, frozenset(total.labels)] += sign * total.value
    return {row: value for row, value in found.items() if value}


def histograms(totals: tuple[Total, ...]) -> dict[Row, tuple[list[int], Decimal]]:
    return {
        (total.family, frozenset(total.labels)): (
            [sum(total.counts[: place + 1]) for place in range(len(total.counts))],
            total.value,
        )
        for total in totals
        if sum(total.counts)
    }


def sessions_by_root(totals: tuple[Total, ...], family: str) -> Counter[tuple[str, str]]:
    """Return the number of sessions by account and record type of their root."""
    found: Counter[tuple[str, str]] = Counter()
    for total in totals:
        if total.family == family:
            labels = dict(total.labels)
            found[labels["account"], labels["root_record_type"]] += int(total.value)
    return found


class FileLocation:
    """A ledger's file in a folder of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self._folder.name) / 'ledger.sqlite'}"

    def free_claims(self) -> None:
        """Do nothing: opening the file releases them."""

    def remove(self) -> None:
        self._folder.cleanup()


class ServerLocation:
    """A database of its own."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._name = postgres.create_database()
        self.url = postgres.url(self._name)

    def free_claims(self) -> None:
        """Release all claims, as if their leases had run out."""
        self._postgres.execute("UPDATE sessions SET claim = 0", self._name)

    def remove(self) -> None:
        self._postgres.drop_database(self._name)


Locations = Callable[[], FileLocation | ServerLocation]


FEWER = settings(max_examples=settings().max_examples // 12)
"""Fewer examples: a step on a server takes ten times as long as one in a file."""


class Scenario:
    """Telnyx, ledgers that book its answers, and the naive ledger that gets the same answers.

    Each step takes two numbers, which choose from what exists at the time.
    """

    def __init__(self, locations: Locations, writers: int = 1) -> None:
        self.location = locations()
        self.now = START
        self.settings = SETTINGS
        self.attribute_reader = ATTRIBUTE_READER
        self.naive = NaiveLedger(SETTINGS.bounds, NAMES, BUDGETS, self.now)
        self.ledgers = [self.opened() for _ in range(writers)]
        self.turn = 0
        self.telnyx = Telnyx(ACCOUNTS, START)
        self.open_polls: list[tuple[Poll, Answer]] = []
        self.done: list[tuple[Poll, Answer]] = []
        self.before: dict[tuple[Row, int], Decimal] = {}

    def opened(self) -> Ledger:
        ledger = open_ledger(self.location.url, POLICY, self.settings)
        ledger.refresh_budgets(self.naive.budgets_at)
        return ledger

    @property
    def ledger(self) -> Ledger:
        """Return one of the ledgers that write into the same tables, in turn."""
        self.turn += 1
        return self.ledgers[self.turn % len(self.ledgers)]

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.location.remove()

    # Telnyx

    def an_event_appears(self, which: int, how: int) -> None:
        """A new event, or one that is in another tree already; below some parents twice."""
        above = pick([event for event in self.telnyx.all() if event.kind in CHILDREN], which)
        name = pick(CHILDREN[above.kind], how)
        comparable = pick(("once", "twice", "twins"), how // 5) if name in TWINNABLE else "once"
        record = {"started_at": self.a_time(how)} if which % 2 else {}
        self.telnyx.add(RealEvent(above.account, name, str(1 + how % 2), record), above, comparable)

    def a_time(self, how: int) -> str:
        """Return a time as in records; some are of the day before, and some are ahead."""
        return time_text(self.now + pick((-60, -1800, -4000, -6000, -DAY, DAY), how // 2))

    def a_price_changes(self, which: int, how: int) -> None:
        """Also its currency, now and then."""
        real = pick(self.telnyx.all(), which)
        if real.price is None and how % 7 == 0:
            real.price = Decimal(0)  # the only price that comes more than once, and never comes back
        else:
            real.price = self.telnyx.fresh(-how if how % 5 == 0 else how)
        real.currency = "EUR" if how % 3 == 0 else "USD"

    def usage_grows(self, which: int, how: int) -> None:
        real = pick(self.telnyx.all(), which)
        name = pick(tuple(USAGE), how)
        real.record[name] = real.record.get(name, 0) + how

    def a_record_changes(self, which: int, how: int) -> None:
        name = pick(("team", "campaign", "direction", "model", "started_at"), how)
        value = self.a_time(which) if name == "started_at" else pick("xyz", how)
        pick(self.telnyx.all(), which).record[name] = value

    def an_event_vanishes_or_returns(self, which: int, _: int) -> None:
        real = pick(self.telnyx.all(), which)
        real.vanished = not real.vanished

    def a_subtree_cannot_be_had_for_a_while(self, which: int, _: int) -> None:
        self.telnyx.down ^= {pick([event for event in self.telnyx.all() if event.children_shown()], which).ref}

    def a_session_is_unknown_for_a_while(self, which: int, _: int) -> None:
        self.telnyx.hidden ^= {pick(list(self.naive.sessions) or [("", "", "")], which)}

    # The exporter

    def a_session_is_followed(self, which: int, how: int) -> Ref:
        root = pick([event for event in self.telnyx.all() if event.kind in ROOTS], which)
        source = pick(("config", "file"), how)
        self.naive.follow(root.ref, self.now, configured=source == "config")
        self.ledger.follow([SessionRef(*root.ref)], source, self.now)
        return root.ref

    def time_passes(self, which: int, _: int) -> None:
        self.now += pick((1, 40, 700, SETTLE_AFTER, 2 * GIVE_UP_AFTER, DAY + 1), which)

    def budgets_are_refreshed(self, _: int, __: int) -> None:
        """The windows of the budgets move on to the present, in all processes."""
        self.naive.budgets_at = self.now
        for ledger in self.ledgers:
            ledger.refresh_budgets(self.now)

    def the_configuration_is_reloaded(self, which: int, how: int) -> None:
        """Labels are added or removed, budgets change, and other sessions are configured."""
        labels = tuple(label for place, label in enumerate(LABELS) if which >> place & 1)
        budgets = tuple(
            pick(pair, how >> place) for place, pair in enumerate(zip(BUDGETS, OTHER_BUDGETS, strict=False))
        )
        budgets += OTHER_BUDGETS[2:] if how % 3 else ()
        names = tuple(label.name for label in labels)
        self.settings = replace(SETTINGS, extra=names, budgets=budgets)
        self.attribute_reader = AttributeReader(labels)
        self.naive.reload(names, budgets, self.now)
        configured = [SessionRef(*ref) for ref in self.naive.sessions] if how % 2 else []
        for session in self.naive.sessions.values():
            session.configured = bool(configured)
        for ledger in self.ledgers:
            ledger.reconfigure(POLICY, self.settings, configured, (), self.now)

    def old_sessions_are_pruned(self, which: int, _: int) -> None:
        """Later answers and other sessions show some of their events again."""
        before = self.now - pick((0, 700, SETTLE_AFTER, DAY), which)
        pruned, _receipt = self.ledger.prune(before, 100)
        assert pruned == self.naive.prune(before)

    def some_sessions_are_polled(self, which: int, how: int) -> None:
        """A few due sessions are polled; their answers are not booked yet."""
        self.now += pick((40, 40, 700, SETTLE_AFTER), which // 5)
        self.poll(1 + how % 2, 1 + which % 5, pick(("tree",) * 8 + ("denied", "failed"), how))

    def poll(self, limit: int, depth: int, outcome: str = "tree") -> None:
        for claim in self.ledger.claim(self.now, dict.fromkeys(ACCOUNTS, limit)):
            ref = (claim.ref.account, claim.ref.record_type, claim.ref.event_id)
            self.naive.sessions[ref].claim = claim.number
            self.open_polls.append(self.answered(claim, ref, depth, outcome))

    def answered(self, claim: Claim, ref: Ref, depth: int, outcome: Any) -> tuple[Poll, Answer]:
        if ref in self.telnyx.hidden and outcome == "tree":
            outcome = "gone"
        if outcome != "tree":
            return Poll(claim, self.now, outcome), Answer(ref, claim.number, self.now, outcome)
        session = read_session(self.telnyx, claim.ref, depth)
        attributes = self.attribute_reader.event_attributes(session)
        fingerprint = None if session.cuts else READER.fingerprint(encode(session), depth)
        poll = Poll(
            claim,
            self.now,
            "tree",
            "",
            session,
            attributes,
            self.attribute_reader.session_attributes(session, attributes),
            fingerprint=fingerprint,
        )
        if fingerprint is not None and fingerprint == claim.fingerprint:
            poll = Poll(claim, self.now, "same", fingerprint=fingerprint, reread=partial(replace, poll))
        answer = seen_at_depth(self.telnyx, ref, (claim.number, self.now), depth, self.naive.names)
        return poll, dataclasses.replace(answer, adds_up=session.adds_up)

    def answers_are_booked(self, which: int, how: int) -> None:
        """Some of the open answers are booked, the latest first; perhaps one more that was booked already."""
        batch = self.open_polls[::-1][: 1 + how % 4] if which % 2 else self.open_polls[: 1 + how % 4]
        self.open_polls = [each for each in self.open_polls if each not in batch]
        self.book(batch + (self.done[-1:] if which % 3 == 0 else []))

    def all_is_polled(self, which: int, how: int) -> None:
        """All due sessions are polled and booked in one batch; answers that were open before become late."""
        self.now += pick((40, SETTLE_AFTER, DAY + 1, 700), which)
        late = len(self.open_polls)
        self.poll(100, 1 + how % 5)
        self.open_polls, batch = self.open_polls[:late], self.open_polls[late:]
        self.book(batch if how % 2 else batch[::-1])

    def an_answer_is_overtaken(self, which: int, how: int) -> None:
        """A price changes between two polls, and the second answer is booked first."""
        self.now += pick((40, SETTLE_AFTER, DAY + 1), which)
        late = len(self.open_polls)
        self.poll(1, 5)
        for place in range(4):
            self.a_price_changes(which + place, how + place)
        self.poll(100, 5)
        overtaken = self.open_polls[late:]
        self.open_polls = self.open_polls[:late]
        for each in reversed(overtaken):
            self.book([each])

    def book(self, batch: list[tuple[Poll, Answer]]) -> None:
        self.naive.book([answer for _, answer in batch])
        self.ledger.commit([poll for poll, _ in batch])
        self.done += batch

    def the_exporter_restarts(self, _: int = 0, __: int = 0) -> None:
        before = {total.row: total for total in self.ledger.totals()}
        self.ledger.close()
        self.ledgers[self.turn % len(self.ledgers)] = self.opened()
        self.location.free_claims()
        assert {total.row: total for total in self.ledger.totals()} == before
        for session in self.naive.sessions.values():
            session.claim = 0

    # Comparison

    def compare(self) -> None:
        totals = self.ledger.totals()
        after = counters(totals)
        assert {row: value for row, value in self.before.items() if after[row] < value} == {}
        self.before = after
        assert comparable(totals) == self.naive.values()
        assert histograms(totals) == self.naive.histograms()
        assert self.ledger.check() == []

    def settle_all(self) -> None:
        """Poll all completely until it settles: every event has its current price."""
        self.telnyx.down.clear()
        self.the_exporter_restarts()
        self.ledger.configure([SessionRef(*ref) for ref in self.naive.sessions], self.now)
        for _ in range(3):
            self.all_is_polled(2, 2)
            self.compare()
        for ref, session in self.naive.sessions.items():
            hidden = ref in self.telnyx.hidden
            assert session.state == "settled" or (hidden and session.state == "missing")
            for key, report in () if hidden else seen_at_depth(self.telnyx, ref, (0, 0.0), 9, ()).events.items():
                known = self.naive.events[key]
                assert known.pruned or known.cost == (None if report.price is None else (report.price, report.currency))


Step = Callable[[Scenario, int, int], object]
STEPS: tuple[Step, ...] = (
    *(Scenario.time_passes,) * 2,
    *(Scenario.an_event_appears,) * 3,
    *(Scenario.a_price_changes,) * 6,
    *(Scenario.usage_grows, Scenario.a_record_changes),
    *(Scenario.an_event_vanishes_or_returns, Scenario.a_session_is_unknown_for_a_while, Scenario.the_exporter_restarts),
    *(Scenario.a_subtree_cannot_be_had_for_a_while,) * 2,
    *(Scenario.a_session_is_followed,) * 3,
    *(Scenario.budgets_are_refreshed, Scenario.the_configuration_is_reloaded, Scenario.old_sessions_are_pruned),
    *(Scenario.some_sessions_are_polled,) * 5,
    *(Scenario.answers_are_booked,) * 4,
    *(Scenario.all_is_polled,) * 3,
    *(Scenario.an_answer_is_overtaken,) * 2,
)
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 99), st.integers(0, 99))


scenario_steps = given(st.lists(st.integers(0, 99), min_size=3, max_size=6), st.lists(step, min_size=40, max_size=60))


@pytest.mark.slow
@scenario_steps
def test_totals_agree_with_the_naive_ledger_at_every_step(
    followed: list[int], steps: list[tuple[Step, int, int]]
) -> None:
    """In whatever order answers arrive, every total is what Telnyx has shown, and no counter falls."""
    run_and_compare(Scenario(FileLocation), followed, steps)


@FEWER
@scenario_steps
def test_totals_agree_on_a_server(postgres: Postgres, followed: list[int], steps: list[tuple[Step, int, int]]) -> None:
    """The same holds on PostgreSQL."""
    run_and_compare(Scenario(partial(ServerLocation, postgres)), followed, steps)


@FEWER
@scenario_steps
def test_totals_agree_with_several_writers(
    postgres: Postgres, followed: list[int], steps: list[tuple[Step, int, int]]
) -> None:
    """Three writers that follow, poll and book in turn add up to what one would have booked."""
    run_and_compare(Scenario(partial(ServerLocation, postgres), writers=3), followed, steps)


def run_and_compare(scenario: Scenario, followed: list[int], steps: list[tuple[Step, int, int]]) -> None:
    try:
        for which in followed:
            scenario.a_session_is_followed(which, which)
        for act, which, how in steps:
            act(scenario, which, how)
            scenario.compare()
        scenario.settle_all()
    finally:
        scenario.close()


def poll_without_changes(scenario: Scenario, moments: list[tuple[int, int]], until: float) -> None:
    """Poll, book late, lose subtrees and restart, while nothing changes at Telnyx."""
    for which, how in moments:
        scenario.now = min(scenario.now + pick((1, 40, 700, 3000), which // 10), until)
        if how % 5 < 2:
            scenario.poll(1 + how % 3, 1 + which % 5)
        elif how % 5 < 4:
            scenario.answers_are_booked(which, how)
        elif which % 6:
            scenario.a_subtree_cannot_be_had_for_a_while(which, how)
        else:
            scenario.the_exporter_restarts()


moments = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=12)


scenario_starts = given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=6),
    st.lists(st.tuples(st.integers(0, 99), st.booleans(), moments), min_size=2, max_size=8),
    moments,
    moments,
)
Moments = list[tuple[int, int]]
Follows = list[tuple[int, bool, Moments]]


@pytest.mark.slow
@scenario_starts
def test_sessions_are_the_outermost_roots_in_any_order(
    events: Moments, followed: Follows, soon: Moments, later: Moments
) -> None:
    """A call and its legs count as one session, whichever is discovered and read first."""
    compare_with_outermost_roots(Scenario(FileLocation), events, followed, soon, later)


@FEWER
@scenario_starts
def test_sessions_are_the_outermost_roots_with_several_writers(
    postgres: Postgres, events: Moments, followed: Follows, soon: Moments, later: Moments
) -> None:
    """The same holds if another process books the call than its legs."""
    compare_with_outermost_roots(Scenario(partial(ServerLocation, postgres), writers=2), events, followed, soon, later)


def compare_with_outermost_roots(
    scenario: Scenario, events: Moments, followed: Follows, soon: Moments, later: Moments
) -> None:
    try:
        for which, how in events:
            scenario.an_event_appears(which, how)
        for which, hidden, between in followed:
            ref = scenario.a_session_is_followed(which, 1)
            scenario.telnyx.hidden |= {ref} if hidden else set()
            poll_without_changes(scenario, between, START + SETTLE_AFTER - 1)
        poll_without_changes(scenario, soon, START + GIVE_UP_AFTER - 1)
        scenario.telnyx.hidden.clear()
        poll_without_changes(scenario, later, START + DAY - 1000)
        scenario.telnyx.down.clear()
        scenario.book(scenario.open_polls)
        scenario.all_is_polled(3, 1)
        scenario.settle_all()
        roots = Counter(ref[:2] for ref in outermost(scenario.telnyx.all(), scenario.naive.sessions))
        for family in ("telnyx_sessions_started_total", "telnyx_sessions_settled_total"):
            assert sessions_by_root(scenario.ledger.totals(), family) == roots
    finally:
        scenario.close()
