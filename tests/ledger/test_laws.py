"""The joint law: from the API's bytes to the totals, whatever happens in between, the bookkeeper agrees to the cent.

Answers are cut, stitched, late, handed over twice, in batches of any order, or fail; trees overlap, grow, are amended
and lose events; the ledger is closed and opened. `tests/support/naive.py` is the truth.
"""

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

from exporter.config import Config, Label
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
    Answer,
    Bookkeeper,
    Real,
    Ref,
    Row,
    Telnyx,
    look,
    outermost,
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
ATTRIBUTE_READER = AttributeReader(LABELS)
READER = TreeReader(ATTRIBUTE_READER.record_fields, RECORD_TYPES, TreeLimits())
SETTINGS = replace(TotalsSettings.of(Config()), extra=tuple(label.name for label in LABELS))
POLICY = PollPolicy(
    min_interval=30,
    max_interval=600,
    settle_after=SETTLE_AFTER,
    recheck_after=(DAY, 7 * DAY),
    not_found_timeout=GIVE_UP_AFTER,
    configured_recheck=DAY,
)

Item = TypeVar("Item")


def picked(items: Sequence[Item], place: int) -> Item:
    """An item of a list, counted round."""
    return items[place % len(items)]


def stitched(telnyx: Telnyx, ref: SessionRef, depth: int) -> Session:
    """The session as the exporter reads it from the API's answers."""
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


def rising(totals: tuple[Total, ...]) -> dict[tuple[Row, int], Decimal]:
    """Every counter, and every bucket of every histogram."""
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
}
NOT_MODELLED = ("telnyx_discover", "telnyx_reconciliation_failures_total", "telnyx_unreconciled_sessions")
"""How sources fare, and sums that the API states wrongly (tests/core/test_tree.py); by prefix."""


def shown(totals: tuple[Total, ...]) -> dict[Row, Decimal]:
    """What the bookkeeper's `values` are compared with."""
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


def counted(totals: tuple[Total, ...], family: str) -> Counter[tuple[str, str]]:
    """Sessions by account and record type of their root."""
    found: Counter[tuple[str, str]] = Counter()
    for total in totals:
        if total.family == family:
            labels = dict(total.labels)
            found[labels["account"], labels["root_record_type"]] += int(total.value)
    return found


class FilePlace:
    """A ledger's file in a folder of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self._folder.name) / 'ledger.sqlite'}"

    def free_claims(self) -> None:
        """Opening the file does."""

    def remove(self) -> None:
        self._folder.cleanup()


class ServerPlace:
    """A database of its own."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._name = postgres.create_database()
        self.url = postgres.url(self._name)

    def free_claims(self) -> None:
        """As if leases had run out, and somebody else had claimed all and put it back."""
        self._postgres.execute("UPDATE sessions SET claim = 0", self._name)

    def remove(self) -> None:
        self._postgres.drop_database(self._name)


Places = Callable[[], FilePlace | ServerPlace]


FEWER = settings(max_examples=settings().max_examples // 12)
"""A step on a server takes ten times as long as one in a file."""


class Play:
    """Telnyx, a ledger that is polled from it, and the bookkeeper who saw the same answers.

    Each act takes two numbers, which choose from whatever there is at the time.
    """

    def __init__(self, places: Places, writers: int = 1) -> None:
        self.place = places()
        self.ledgers = [self.opened() for _ in range(writers)]
        self.turn = 0
        self.telnyx = Telnyx(ACCOUNTS)
        self.truth = Bookkeeper(SETTINGS.bounds)
        self.now = START
        self.under_way: list[tuple[Poll, Answer]] = []
        self.done: list[tuple[Poll, Answer]] = []
        self.before: dict[tuple[Row, int], Decimal] = {}

    def opened(self) -> Ledger:
        return open_ledger(self.place.url, POLICY, SETTINGS)

    @property
    def ledger(self) -> Ledger:
        """Of several that write into the same tables each has its turn."""
        self.turn += 1
        return self.ledgers[self.turn % len(self.ledgers)]

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.place.remove()

    # Telnyx

    def an_event_appears(self, which: int, how: int) -> None:
        """A new one, or one that stands elsewhere already; below some parents twice."""
        above = picked([event for event in self.telnyx.all() if event.kind in CHILDREN], which)
        name = picked(CHILDREN[above.kind], how)
        shown = picked(("once", "twice", "twins"), how // 5) if name in TWINNABLE else "once"
        self.telnyx.add(Real(above.account, name, str(1 + how % 2)), above, shown)

    def a_price_changes(self, which: int, how: int) -> None:
        """Also its currency, now and then."""
        real = picked(self.telnyx.all(), which)
        if real.price is None and how % 7 == 0:
            real.price = Decimal(0)  # the only price that comes more than once, and never comes back
        else:
            real.price = self.telnyx.fresh(-how if how % 5 == 0 else how)
        real.currency = "EUR" if how % 3 == 0 else "USD"

    def usage_grows(self, which: int, how: int) -> None:
        real = picked(self.telnyx.all(), which)
        name = picked(("input_tokens", "output_tokens", "billed_sec"), how)
        real.record[name] = real.record.get(name, 0) + how

    def a_record_changes(self, which: int, how: int) -> None:
        name = picked(("team", "campaign", "direction", "model"), how)
        picked(self.telnyx.all(), which).record[name] = picked("xyz", how)

    def an_event_vanishes_or_returns(self, which: int, _: int) -> None:
        real = picked(self.telnyx.all(), which)
        real.vanished = not real.vanished

    def a_subtree_cannot_be_had_for_a_while(self, which: int, _: int) -> None:
        self.telnyx.down ^= {picked([event for event in self.telnyx.all() if event.below()], which).ref}

    def a_session_is_unknown_for_a_while(self, which: int, _: int) -> None:
        self.telnyx.hidden ^= {picked(list(self.truth.sessions) or [("", "", "")], which)}

    # The exporter

    def a_session_is_followed(self, which: int, how: int) -> Ref:
        root = picked([event for event in self.telnyx.all() if event.kind in ROOTS], which)
        self.truth.follow(root.ref, self.now)
        self.ledger.follow([SessionRef(*root.ref)], picked(("config", "file"), how), self.now)
        return root.ref

    def time_passes(self, which: int, _: int) -> None:
        self.now += picked((1, 40, 700, SETTLE_AFTER, 2 * GIVE_UP_AFTER, DAY + 1), which)

    def polls_are_asked(self, which: int, how: int) -> None:
        """A few of what is due; their answers are under way."""
        self.now += picked((40, 40, 700, SETTLE_AFTER), which // 5)
        self.ask(1 + how % 2, 1 + which % 5, picked(("tree",) * 8 + ("denied", "failed"), how))

    def ask(self, limit: int, depth: int, outcome: str = "tree") -> None:
        for claim in self.ledger.claim(self.now, dict.fromkeys(ACCOUNTS, limit)):
            ref = (claim.ref.account, claim.ref.record_type, claim.ref.event_id)
            self.truth.sessions[ref].claim = claim.number
            self.under_way.append(self.answered(claim, ref, depth, outcome))

    def answered(self, claim: Claim, ref: Ref, depth: int, outcome: Any) -> tuple[Poll, Answer]:
        if ref in self.telnyx.hidden and outcome == "tree":
            outcome = "gone"
        if outcome != "tree":
            return Poll(claim, self.now, outcome), Answer(ref, claim.number, self.now, outcome)
        session = stitched(self.telnyx, claim.ref, depth)
        facts = ATTRIBUTE_READER.event_attributes(session)
        fingerprint = None if session.cuts else READER.fingerprint(encode(session), depth)
        poll = Poll(
            claim,
            self.now,
            "tree",
            "",
            session,
            facts,
            ATTRIBUTE_READER.session_attributes(session, facts),
            fingerprint=fingerprint,
        )
        if fingerprint is not None and fingerprint == claim.fingerprint:
            poll = Poll(claim, self.now, "same", fingerprint=fingerprint, reread=partial(replace, poll))
        return poll, look(self.telnyx, ref, claim.number, self.now, depth)

    def answers_are_booked(self, which: int, how: int) -> None:
        """Some of those under way, the latest first; perhaps one more that was booked already."""
        batch = self.under_way[::-1][: 1 + how % 4] if which % 2 else self.under_way[: 1 + how % 4]
        self.under_way = [each for each in self.under_way if each not in batch]
        self.book(batch + (self.done[-1:] if which % 3 == 0 else []))

    def all_is_polled(self, which: int, how: int) -> None:
        """All that is due, in one batch; what is under way becomes late."""
        self.now += picked((40, SETTLE_AFTER, DAY + 1, 700), which)
        late = len(self.under_way)
        self.ask(100, 1 + how % 5)
        self.under_way, batch = self.under_way[:late], self.under_way[late:]
        self.book(batch if how % 2 else batch[::-1])

    def an_answer_is_overtaken(self, which: int, how: int) -> None:
        """A price changes between two questions, and the second answer is booked first."""
        self.now += picked((40, SETTLE_AFTER, DAY + 1), which)
        late = len(self.under_way)
        self.ask(1, 5)
        for place in range(4):
            self.a_price_changes(which + place, how + place)
        self.ask(100, 5)
        overtaken = self.under_way[late:]
        self.under_way = self.under_way[:late]
        for each in reversed(overtaken):
            self.book([each])

    def book(self, batch: list[tuple[Poll, Answer]]) -> None:
        self.truth.book([answer for _, answer in batch])
        self.ledger.commit([poll for poll, _ in batch])
        self.done += batch

    def the_exporter_restarts(self, _: int = 0, __: int = 0) -> None:
        before = {total.row: total for total in self.ledger.totals()}
        self.ledger.close()
        self.ledgers[self.turn % len(self.ledgers)] = self.opened()
        self.place.free_claims()
        assert {total.row: total for total in self.ledger.totals()} == before
        for session in self.truth.sessions.values():
            session.claim = 0

    # The law

    def the_bookkeeper_agrees(self) -> None:
        totals = self.ledger.totals()
        after = rising(totals)
        assert {row: value for row, value in self.before.items() if after[row] < value} == {}
        self.before = after
        assert shown(totals) == self.truth.values()
        assert histograms(totals) == self.truth.histograms()
        assert self.ledger.check() == []

    def it_comes_to_rest(self) -> None:
        """All is polled completely once more: every event that is shown has its price of now, every session rests."""
        self.telnyx.down.clear()
        self.the_exporter_restarts()
        self.ledger.configure([SessionRef(*ref) for ref in self.truth.sessions], self.now)
        for _ in range(3):
            self.all_is_polled(2, 2)
            self.the_bookkeeper_agrees()
        for ref, session in self.truth.sessions.items():
            hidden = ref in self.telnyx.hidden
            assert session.state == "settled" or (hidden and session.state == "missing")
            for key, report in () if hidden else look(self.telnyx, ref, 0, 0.0, 9).events.items():
                known = self.truth.events[key].cost
                assert known == (None if report.price is None else (report.price, report.currency))


Act = Callable[[Play, int, int], object]
ACTS: tuple[Act, ...] = (
    *(Play.time_passes,) * 2,
    *(Play.an_event_appears,) * 3,
    *(Play.a_price_changes,) * 6,
    *(Play.usage_grows, Play.a_record_changes),
    *(Play.an_event_vanishes_or_returns, Play.a_session_is_unknown_for_a_while, Play.the_exporter_restarts),
    *(Play.a_subtree_cannot_be_had_for_a_while,) * 2,
    *(Play.a_session_is_followed,) * 3,
    *(Play.polls_are_asked,) * 5,
    *(Play.answers_are_booked,) * 4,
    *(Play.all_is_polled,) * 3,
    *(Play.an_answer_is_overtaken,) * 2,
)
acts = st.tuples(st.sampled_from(ACTS), st.integers(0, 99), st.integers(0, 99))


steps = given(st.lists(st.integers(0, 99), min_size=3, max_size=6), st.lists(acts, min_size=40, max_size=60))


@pytest.mark.slow
@steps
def test_the_bookkeeper_agrees_at_every_step(followed: list[int], played: list[tuple[Act, int, int]]) -> None:
    """Whatever Telnyx shows, in whatever order it arrives: every total is what was shown, and no counter falls."""
    agree_at_every_step(Play(FilePlace), followed, played)


@FEWER
@steps
def test_the_bookkeeper_agrees_on_a_server(
    postgres: Postgres, followed: list[int], played: list[tuple[Act, int, int]]
) -> None:
    """The same, in PostgreSQL."""
    agree_at_every_step(Play(partial(ServerPlace, postgres)), followed, played)


@FEWER
@steps
def test_the_bookkeeper_agrees_with_several_writers(
    postgres: Postgres, followed: list[int], played: list[tuple[Act, int, int]]
) -> None:
    """Whoever of three follows, polls and books: what they add up to is what one would have booked."""
    agree_at_every_step(Play(partial(ServerPlace, postgres), writers=3), followed, played)


def agree_at_every_step(play: Play, followed: list[int], played: list[tuple[Act, int, int]]) -> None:
    try:
        for which in followed:
            play.a_session_is_followed(which, which)
        for act, which, how in played:
            act(play, which, how)
            play.the_bookkeeper_agrees()
        play.it_comes_to_rest()
    finally:
        play.close()


def scenes(play: Play, moments: list[tuple[int, int]], until: float) -> None:
    """Polls, late answers, missing subtrees and restarts; what Telnyx has stays as it is."""
    for which, how in moments:
        play.now = min(play.now + picked((1, 40, 700, 3000), which // 10), until)
        if how % 5 < 2:
            play.ask(1 + how % 3, 1 + which % 5)
        elif how % 5 < 4:
            play.answers_are_booked(which, how)
        elif which % 6:
            play.a_subtree_cannot_be_had_for_a_while(which, how)
        else:
            play.the_exporter_restarts()


moments = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=12)


beginnings = given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=6),
    st.lists(st.tuples(st.integers(0, 99), st.booleans(), moments), min_size=2, max_size=8),
    moments,
    moments,
)
Moments = list[tuple[int, int]]
Follows = list[tuple[int, bool, Moments]]


@pytest.mark.slow
@beginnings
def test_sessions_are_the_outermost_roots_in_any_order(
    events: Moments, followed: Follows, soon: Moments, later: Moments
) -> None:
    """Found within an hour, readable within a day: a call and its legs are one session, whichever comes first."""
    only_the_outermost_count(Play(FilePlace), events, followed, soon, later)


@FEWER
@beginnings
def test_sessions_are_the_outermost_roots_with_several_writers(
    postgres: Postgres, events: Moments, followed: Follows, soon: Moments, later: Moments
) -> None:
    """Also if the call is booked by another process than its legs."""
    only_the_outermost_count(Play(partial(ServerPlace, postgres), writers=2), events, followed, soon, later)


def only_the_outermost_count(play: Play, events: Moments, followed: Follows, soon: Moments, later: Moments) -> None:
    try:
        for which, how in events:
            play.an_event_appears(which, how)
        for which, hidden, between in followed:
            ref = play.a_session_is_followed(which, 1)
            play.telnyx.hidden |= {ref} if hidden else set()
            scenes(play, between, START + SETTLE_AFTER - 1)
        scenes(play, soon, START + GIVE_UP_AFTER - 1)
        play.telnyx.hidden.clear()
        scenes(play, later, START + DAY - 1000)
        play.telnyx.down.clear()
        play.book(play.under_way)
        play.all_is_polled(3, 1)
        play.it_comes_to_rest()
        roots = Counter(ref[:2] for ref in outermost(play.telnyx.all(), play.truth.sessions))
        for family in ("telnyx_sessions_started_total", "telnyx_sessions_settled_total"):
            assert counted(play.ledger.totals(), family) == roots
    finally:
        play.close()
