"""Answers that are the last one again, to the byte: they are not read, unless reading them would book something."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.core.model import Claim, Poll
from exporter.core.record_types import RecordTypes
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger
from tests.core.test_record_types import metadata
from tests.ledger.test_ledger import ALL, CALL, POLICY, net, opened, poll, ref, state, values
from tests.support.trees import answer, body, node


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = opened(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


class Answers:
    """Polls as a journey makes them of answers, counting those that were read."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, claim: Claim, tree: dict[str, Any], at: float) -> Poll:
        fingerprint = READER.fingerprint(body(answer(tree)), 5)
        seen = replace(poll(claim, tree, at), fingerprint=fingerprint)
        if fingerprint == claim.fingerprint:
            return Poll(claim, at, "same", fingerprint=fingerprint, reread=partial(self._reading, seen))
        return self._reading(seen)

    def _reading(self, seen: Poll) -> Poll:
        self.read += 1
        return seen


READER = TreeReader((), RecordTypes.documented(), TreeLimits())


def test_the_last_answer_again_is_not_read(ledger: Ledger) -> None:
    """It is booked as unchanged: the session's pace and history go on, and nothing else moves."""
    answers = Answers()
    ledger.follow([ref("s")], "file", 0.0)
    for now in (0.0, 100.0, 300.0, 800.0):
        (claim,) = ledger.claim(now, ALL)
        receipt = ledger.commit([answers(claim, CALL, now)])
        assert bool(receipt.sessions) == (now == 0.0)
    assert answers.read == 1
    assert net(ledger)["ai-voice-assistant", "USD"] == Decimal("0.18")
    assert ledger.check() == []


def test_it_is_read_when_the_session_settles(ledger: Ledger) -> None:
    """The session is counted as a whole then, once; at its rechecks it isn't read again."""
    answers = Answers()
    ledger.follow([ref("s")], "file", 0.0)
    reads = []
    for now in (0.0, 100.0, POLICY.settle_after, POLICY.settle_after + 1.2 * POLICY.recheck_after[0]):
        (claim,) = ledger.claim(now, ALL)
        ledger.commit([answers(claim, CALL, now)])
        reads.append(answers.read)
    assert reads == [1, 1, 2, 2]
    assert state(ledger) == {"settled": 1}
    assert values(ledger, "telnyx_sessions_settled_total", "root_record_type") == {("call-session",): Decimal(1)}


OTHER = node("call-session:t", "0", node("call-control:c", "0.0060"))
"""Another session with an event of CALL, dearer."""


@pytest.mark.parametrize("together", [False, True], ids=["one batch after the other", "in one batch"])
def test_it_is_read_when_others_have_booked_on_its_events(ledger: Ledger, *, together: bool) -> None:
    """Else the older price, which the API shows again, would not come back: what was seen last counts."""
    answers = Answers()
    ledger.follow([ref("s")], "file", 0.0)
    ledger.commit([answers(claim, CALL, 0.0) for claim in ledger.claim(0.0, ALL)])
    ledger.follow([ref("t")], "file", 100.0)
    claims = {claim.ref.event_id: claim for claim in ledger.claim(100.0, ALL)}
    first, last = sorted(claims.values(), key=lambda claim: claim.number)
    tree = {"s": CALL, "t": OTHER}
    polls = [answers(claim, tree[claim.ref.event_id], 100.0) for claim in (first, last)]
    assert answers.read == 2, "that of s was the last one again"
    for batch in [polls] if together else [[polls[0]], [polls[1]]]:
        ledger.commit(batch)
    booked = {"s": Decimal("0.0052"), "t": Decimal("0.0060")}[last.ref.event_id]
    assert net(ledger)["call-control", "USD"] == booked
    (again,) = [claim for claim in ledger.claim(300.0, ALL) if claim.ref == ref("s")]
    assert again.fingerprint is None, "an event of s stands in another session too"
    assert ledger.check() == []


def test_it_is_read_when_a_check_failed_by_the_change_alone(ledger: Ledger) -> None:
    """That another currency is stated is said once; the session agrees with itself as soon as it is stated again."""
    answers, failing = Answers(), []
    ledger.follow([ref("s")], "file", 0.0)
    for now, currency in ((0.0, "USD"), (100.0, "EUR"), (300.0, "EUR"), (800.0, "EUR")):
        tree = node("call-session:s", "0.5")
        tree["cost"]["currency"] = currency
        ledger.commit([answers(claim, tree, now) for claim in ledger.claim(now, ALL)])
        failing.append(values(ledger, "telnyx_unreconciled_sessions", "check").get(("currency",), 0))
    assert failing == [0, 1, 0, 0]
    assert answers.read == 3, "that of 800 was the last one again"
    assert net(ledger) == {("call-session", "USD"): 0, ("call-session", "EUR"): Decimal("0.5")}


def test_an_answer_in_several_parts_has_no_fingerprint(ledger: Ledger) -> None:
    """What its first part says of the whole is too little."""
    ledger.follow([ref("s")], "file", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    ledger.commit([poll(claim, CALL, 0.0)])
    (claim,) = ledger.claim(100.0, ALL)
    assert claim.fingerprint is None


@pytest.mark.parametrize(
    "other",
    [
        lambda: TreeReader(("model",), RecordTypes.documented(), TreeLimits()),
        lambda: TreeReader((), RecordTypes.documented(), TreeLimits(max_nodes=10)),
        lambda: TreeReader((), RecordTypes.documented().extended(metadata({"record_type": "new"})), TreeLimits()),
    ],
    ids=["fields", "limits", "record types"],
)
def test_whoever_reads_otherwise_reads_it_again(other: Callable[[], TreeReader]) -> None:
    """A fingerprint is worth nothing to a reader that may see something else in the same bytes."""
    text = body(answer(CALL))
    same = TreeReader((), RecordTypes.documented(), TreeLimits())
    assert READER.fingerprint(text, 5) == same.fingerprint(text, 5) != same.fingerprint(text, 4)
    assert READER.fingerprint(text, 5) != other().fingerprint(text, 5)


def test_a_withdrawn_price_fails_a_check_until_it_is_back(ledger: Ledger) -> None:
    """The old price stays booked. The check goes on to fail while the same answer comes again, read or not."""
    answers, failing = Answers(), []
    ledger.follow([ref("s")], "file", 0.0)
    for now, cost in ((0.0, "0.5"), (100.0, None), (300.0, None), (800.0, "?"), (1600.0, "0.5"), (2500.0, None)):
        tree = node("call-session:s", "0", node("call-control:c", cost, cumulative="0"))
        receipt = ledger.commit([answers(claim, tree, now) for claim in ledger.claim(now, ALL)])
        failing.append(int(values(ledger, "telnyx_unreconciled_sessions", "check").get(("price_withdrawn",), 0)))
        assert net(ledger)["call-control", "USD"] == Decimal("0.5")
    assert failing == [0, 1, 1, 1, 0, 1]
    assert answers.read == 5, "that of 300 was the last one again"
    assert ("price_withdrawn", "call-control c: cost 0.5 USD, now has no price") in [
        (failed.what, failed.detail) for failed in receipt.failed_checks
    ]
    assert values(ledger, "telnyx_reconciliation_failures_total", "check")["price_withdrawn",] == 2
    assert values(ledger, "telnyx_events_awaiting_price", "record_type").get(("call-control",), 0) == 0
