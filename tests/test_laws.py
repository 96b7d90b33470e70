"""The joint law: from the API's bytes to the totals, whatever happens in between, the bookkeeper agrees to the cent.

Answers are cut, stitched, late, handed over twice, in batches of any order, or fail; trees overlap, grow, are amended
and lose events; the ledger is closed and opened. `tests/naive.py` is the truth.
"""

import tempfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from exporter.catalog import BY_NAME
from exporter.config import Config, Label
from exporter.labels import Labeller
from exporter.ledger import Settings, SqliteLedger, open_ledger
from exporter.lifecycle import Policy
from exporter.model import Claim, Poll, Session, SessionRef, Total
from exporter.tree import Limits, Reader
from tests.naive import (
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
from tests.trees import RECORD_TYPES

ACCOUNTS = ("main", "other")
START = 1_700_000_000.0
DAY = 86_400
LABELS = (
    Label(name="team", field="team"),
    Label(name="campaign", field="campaign", from_="session"),
    Label(name="direction", field="direction", from_="event"),
)
LABELLER = Labeller(LABELS)
READER = Reader(LABELLER.record_fields, RECORD_TYPES, Limits())
SETTINGS = replace(Settings.of(Config()), extra=tuple(label.name for label in LABELS))
POLICY = Policy(
    min_interval=30,
    max_interval=600,
    settle_after=SETTLE_AFTER,
    recheck_after=(DAY, 7 * DAY),
    give_up_after=GIVE_UP_AFTER,
    configured_recheck=DAY,
)

places = st.integers(0, 30)
"""An item of a list, counted round."""
depths = st.integers(1, 5)


def picked(items: list[Any], place: int) -> Any:
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
    found = {}
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
NOT_MODELLED = {
    "telnyx_discovered_sessions_total",
    "telnyx_reconciliation_failures_total",
    "telnyx_unreconciled_sessions",
}
"""Sums that the API states wrongly are the matter of tests/test_tree.py."""


def shown(totals: tuple[Total, ...]) -> dict[Row, Decimal]:
    """What the bookkeeper's `values` are compared with."""
    found: dict[Row, Decimal] = defaultdict(Decimal)
    for total in totals:
        if not total.counts and total.family not in NOT_MODELLED:
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


class Accounting(RuleBasedStateMachine):
    """Telnyx, a ledger that is polled from it, and the bookkeeper who saw the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = self.opened()
        self.telnyx = Telnyx(ACCOUNTS)
        self.truth = Bookkeeper(SETTINGS.bounds)
        self.now = START
        self.under_way: list[tuple[Poll, Answer]] = []
        self.done: list[tuple[Poll, Answer]] = []
        self.before: dict[tuple[Row, int], Decimal] = {}

    def opened(self) -> SqliteLedger:
        return open_ledger(f"sqlite:///{Path(self.folder.name) / 'ledger.sqlite'}", POLICY, SETTINGS)

    # Telnyx

    @rule(parent=places, kind=places, other=places, again=st.sampled_from(["once", "once", "twice", "twins"]))
    def an_event_appears(self, parent: int, kind: int, other: int, again: str) -> None:
        """A new one, or one that stands elsewhere already."""
        above: Real = picked([event for event in self.telnyx.all() if event.kind in CHILDREN], parent)
        name = picked(list(CHILDREN[above.kind]), kind)
        shown = again if name in TWINNABLE else "once"
        self.telnyx.add(Real(above.account, name, str(other % 3 + 1)), above, shown)

    @rule(account=st.sampled_from(ACCOUNTS))
    def another_call(self, account: str) -> None:
        self.telnyx.add(Real(account, "call-session", "2", {"campaign": "autumn"}))

    @rule(event=places, amount=st.integers(-200, 4000), currency=st.sampled_from(["USD", "USD", "EUR"]))
    def a_price_changes(self, event: int, amount: int, currency: str) -> None:
        real: Real = picked(self.telnyx.all(), event)
        real.price, real.currency = self.telnyx.fresh(amount), currency

    @rule(event=places)
    def an_event_turns_out_to_be_free(self, event: int) -> None:
        real: Real = picked(self.telnyx.all(), event)
        if real.price is None:
            real.price = Decimal(0)

    @rule(event=places, name=st.sampled_from(["input_tokens", "output_tokens", "billed_sec"]), more=st.integers(1, 99))
    def usage_grows(self, event: int, name: str, more: int) -> None:
        real: Real = picked(self.telnyx.all(), event)
        real.record[name] = real.record.get(name, 0) + more

    @rule(event=places, name=st.sampled_from(["team", "campaign", "direction", "model"]), value=st.sampled_from("xyz"))
    def a_record_changes(self, event: int, name: str, value: str) -> None:
        picked(self.telnyx.all(), event).record[name] = value

    @rule(event=places)
    def an_event_vanishes_or_returns(self, event: int) -> None:
        real: Real = picked(self.telnyx.all(), event)
        real.vanished = not real.vanished

    @rule(event=places)
    def a_subtree_cannot_be_had_for_a_while(self, event: int) -> None:
        self.telnyx.down ^= {picked(self.telnyx.all(), event).ref}

    @rule(event=places)
    def a_session_is_unknown_for_a_while(self, event: int) -> None:
        self.telnyx.hidden ^= {picked(self.telnyx.all(), event).ref}

    # The exporter

    @rule(event=places, source=st.sampled_from(["config", "file"]))
    def a_session_is_followed(self, event: int, source: str) -> None:
        self.follow(picked([event for event in self.telnyx.all() if event.kind in ROOTS], event), source)

    def follow(self, root: Real, source: str) -> None:
        self.truth.follow(root.ref, self.now)
        self.ledger.follow([SessionRef(*root.ref)], source, self.now)

    @rule(seconds=st.sampled_from([1, 40, 700, SETTLE_AFTER, 2 * GIVE_UP_AFTER, DAY + 1]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 3), depth=depths, outcome=st.sampled_from(["tree", "tree", "tree", "denied", "failed"]))
    def polls_are_claimed_and_answered(self, limit: int, depth: int, outcome: str) -> None:
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
        facts = LABELLER.facts(session)
        poll = Poll(claim, self.now, "tree", "", session, facts, LABELLER.profile(session, facts))
        return poll, look(self.telnyx, ref, claim.number, self.now, depth)

    @precondition(lambda self: self.under_way)
    @rule(random=st.randoms(use_true_random=False), most=st.integers(1, 6), twice=st.booleans())
    def answers_are_booked(self, random: Any, most: int, twice: bool) -> None:
        """Some of those under way, in any order; perhaps one more that was booked already."""
        random.shuffle(self.under_way)
        batch, self.under_way = self.under_way[:most], self.under_way[most:]
        self.book(batch + (self.done[-1:] if twice else []))

    @rule(seconds=st.sampled_from([40, SETTLE_AFTER, DAY + 1]), depth=depths)
    def all_is_polled(self, seconds: int, depth: int) -> None:
        self.now += seconds
        self.polls_are_claimed_and_answered(100, depth, "tree")
        batch, self.under_way = self.under_way, []
        self.book(batch)

    def book(self, batch: list[tuple[Poll, Answer]]) -> None:
        self.truth.book([answer for _, answer in batch])
        self.ledger.record([poll for poll, _ in batch])
        self.done += batch

    @rule()
    def the_exporter_restarts(self) -> None:
        before = {total.row: total for total in self.ledger.totals()}
        self.ledger.close()
        self.ledger = self.opened()
        assert {total.row: total for total in self.ledger.totals()} == before
        for session in self.truth.sessions.values():
            session.claim = 0

    # The law

    @invariant()
    def the_bookkeeper_agrees(self) -> None:
        totals = self.ledger.totals()
        after = rising(totals)
        assert {row: value for row, value in self.before.items() if after[row] < value} == {}
        self.before = after
        assert shown(totals) == self.truth.values()
        assert histograms(totals) == self.truth.histograms()
        assert self.ledger.check() == []

    def teardown(self) -> None:
        """Polled once more completely, every event shown is booked at its price of now, and all rests."""
        try:
            self.telnyx.down.clear()
            self.ledger.configure([SessionRef(*ref) for ref in self.truth.sessions], self.now)
            self.the_exporter_restarts()
            for _ in range(3):
                self.all_is_polled(2 * DAY, 3)
                self.the_bookkeeper_agrees()
            for ref, session in self.truth.sessions.items():
                hidden = ref in self.telnyx.hidden
                assert session.state == "settled" or (hidden and session.state == "missing")
                for key, sight in () if hidden else look(self.telnyx, ref, 0, 0.0, 9).events.items():
                    assert self.truth.events[key].cost == (
                        None if sight.price is None else (sight.price, sight.currency)
                    )
        finally:
            self.ledger.close()
            self.folder.cleanup()


def test_the_bookkeeper_agrees_at_every_step() -> None:
    """Whatever Telnyx shows, in whatever order it arrives: every total is what was shown, and no counter falls."""
    run_state_machine_as_test(Accounting, settings=settings(stateful_step_count=40))  # type: ignore[no-untyped-call]
