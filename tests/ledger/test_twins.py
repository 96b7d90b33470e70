"""Nodes of one key in one answer: a booked twin is recognised in later answers, and a repeat by mistake is credited."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.core.model import Claim, Poll, SessionRef
from exporter.core.record_types import RecordTypes
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger
from tests.ledger.test_ledger import ALL, net, opened, poll, ref, values
from tests.support.trees import body, node

CALL, LEG = ref("s"), SessionRef("main", "call-control", "c")
READER = TreeReader((), RecordTypes.documented(), TreeLimits())


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def tree(costs: str, stated: str | None, root: SessionRef = CALL) -> dict[str, Any]:
    """Return a call whose leg has a recording with these costs, or the leg alone.

    `-` is no cost. `stated` is what the sums above say, by default what the costs add up to.
    """
    nodes = [node("recording:r", None if cost == "-" else cost) for cost in costs.split()]
    leg = node("call-control:c", "0", *nodes, cumulative=stated)
    return leg if root == LEG else node("call-session:s", "0", leg)


def polled(claim: Claim, costs: str, stated: str | None, at: float) -> Poll:
    shown = tree(costs, stated, claim.ref)
    fingerprint = READER.fingerprint(body(shown), 5)
    seen = replace(poll(claim, shown, at), fingerprint=fingerprint)
    if fingerprint == claim.fingerprint:
        return Poll(claim, at, "same", fingerprint=fingerprint, reread=lambda: seen)
    return seen


class Book:
    """Polls the call and its leg, one at a time, and says what is booked."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = 0.0

    def claim(self, session: SessionRef, after: float = 700.0) -> Claim:
        self.now += after
        self.ledger.follow([session], "file", self.now)
        claims = {claim.ref: claim for claim in self.ledger.claim(self.now, ALL)}
        claim = claims.pop(session)
        self.ledger.release_claims(claims.values())
        return claim

    def poll(self, session: SessionRef, costs: str, stated: str | None = None, after: float = 700.0) -> None:
        self.ledger.commit([polled(self.claim(session, after), costs, stated, self.now)])

    @property
    def booked(self) -> str:
        """The net cost of the recordings, and `vanished` if a session misses a booked event."""
        assert self.ledger.check() == []
        missing = values(self.ledger, "telnyx_unreconciled_sessions", "check").get(("vanished_event",))
        return f"{net(self.ledger)['recording', 'USD']:.2f}{' vanished' * bool(missing)}"


# One answer after the other: what the recording's nodes cost, what the sum above states if it isn't their sum, and what
# is booked then.
@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([("0.25 0.25", None, "0.50"), ("0.25", None, "0.25")], id="a repeat in the first answer"),
        pytest.param(
            [("0.25", None, "0.25"), ("0.25 0.25", None, "0.50"), ("0.25", None, "0.25"), ("0.25", None, "0.25")],
            id="a repeat between two answers without",
        ),
        pytest.param([("0.25", None, "0.25"), ("0.25 0.25", "0.25", "0.25")], id="a repeat that no sum has"),
        pytest.param(
            [("0.25 0.25", None, "0.50"), ("0.25", None, "0.25"), ("0.25 0.25", None, "0.50"), ("0.25", None, "0.25")],
            id="a repeat that comes back",
        ),
        pytest.param(
            [("0.25 0.25 0.25", None, "0.75"), ("0.25 0.25", None, "0.50"), ("0.25", None, "0.25")],
            id="two repeats, one after the other",
        ),
        pytest.param([("0.25 0.25 0.25", None, "0.75"), ("0.25", None, "0.25")], id="two repeats at once"),
        pytest.param(
            [("0.25 0.25", None, "0.50"), ("0.25", None, "0.25"), ("0.05", None, "0.05")],
            id="amended far down after a repeat",
        ),
        pytest.param(
            [("0.25 0.25", None, "0.50"), ("0.25", "0.50", "0.50 vanished"), ("0.25", None, "0.25")],
            id="missing in the list, not in the sum",
        ),
        pytest.param(
            [("0.25 0.25 0.25", None, "0.75"), ("0.25", "0.50", "0.50 vanished")], id="one repeat, one missing"
        ),
        pytest.param(
            [("0.05 0.10", None, "0.15"), ("0.10", None, "0.15 vanished"), ("0.05 0.10", None, "0.15")],
            id="the cheaper one vanishes, and returns",
        ),
        pytest.param([("0.05 0.10", None, "0.15"), ("0.05", None, "0.15 vanished")], id="the dearer one vanishes"),
        pytest.param(
            [("0.05 0.10", None, "0.15"), ("0.12", None, "0.17 vanished"), ("0.11", None, "0.16 vanished")],
            id="one vanishes while the dearer one is amended",
        ),
        pytest.param(
            [("0.05 0.10", None, "0.15"), ("0.06", None, "0.16 vanished")],
            id="one vanishes while the cheaper one is amended",
        ),
        pytest.param(
            [("0.25 0.25", None, "0.50"), ("0.30", None, "0.30"), ("0.25", None, "0.25")],
            id="a repeat of an event that is amended since",
        ),
        pytest.param(
            [("0.05 0.10 0.20", None, "0.35"), ("0.10 0.20", None, "0.35 vanished"), ("0.20", None, "0.35 vanished")],
            id="three, and the cheapest vanishes each time",
        ),
        pytest.param(
            [("0.05 0.25 0.25", None, "0.55"), ("0.05 0.25", None, "0.30"), ("0.25", None, "0.30 vanished")],
            id="a repeat of one of two, which vanishes later",
        ),
        pytest.param(
            [("0.10 -", None, "0.10"), ("0.05 0.10", None, "0.15"), ("0.10", None, "0.15 vanished")],
            id="one gets its price later",
        ),
        pytest.param([("0.10 0.20", None, "0.30"), ("0 0", None, "0.00")], id="both become free"),
        pytest.param([("0.10 0.20", None, "0.30"), ("0.20 -", None, "0.30")], id="one loses its price"),
    ],
)
def test_twins_are_recognised_and_repeats_are_credited(
    ledger: Ledger, answers: list[tuple[str, str | None, str]]
) -> None:
    """A twin keeps its cost when another vanishes; one that was listed by mistake is credited, and fails no check."""
    book, booked = Book(ledger), []
    for costs, stated, _ in answers:
        book.poll(CALL, costs, stated)
        booked.append(book.booked)
    assert booked == [expected for _, _, expected in answers]


prices = st.sampled_from(["0", "0.10", "0.20", "0.30"])


@given(st.lists(st.tuples(prices, prices, st.integers(1, 3)), min_size=2, max_size=6))
def test_what_is_shown_is_booked_while_no_event_is_missing(answers: list[tuple[str, str, int]]) -> None:
    """Two events of one id, amended at any time, one listed up to three times: the net cost is what is shown."""
    with tempfile.TemporaryDirectory() as folder, closing(opened(Path(folder) / "ledger.sqlite")) as ledger:
        book = Book(ledger)
        for one, other, times in answers:
            book.poll(CALL, " ".join([*[one] * times, other]))
            assert book.booked == f"{Decimal(one) * times + Decimal(other):.2f}"


def test_a_repeat_is_credited_by_the_session_that_owns_it(ledger: Ledger) -> None:
    """A leg with its call: answers of the leg leave the call's twin alone, until the call has settled."""
    book = Book(ledger)
    book.poll(LEG, "0.25")
    book.poll(CALL, "0.25 0.25")
    book.poll(LEG, "0.25")
    assert book.booked == "0.50", "the call still shows both"
    book.poll(CALL, "0.25")
    assert book.booked == "0.25"
    book.poll(CALL, "0.25 0.25")
    book.poll(CALL, "0.25 0.25", after=4000)
    book.poll(LEG, "0.26")
    book.poll(LEG, "0.25")
    assert book.booked == "0.25", "the call is settled, and the leg is not"
    book.poll(LEG, "0.25")
    assert book.booked == "0.25"


def test_the_root_of_a_tree_says_nothing_of_its_twins(ledger: Ledger) -> None:
    """A recording that is polled by itself is alone there, even if its call has another one of its id.

    The call has settled before the last poll, so that one may decide about the call's events.
    """
    book, recording = Book(ledger), SessionRef("main", "recording", "r")
    for session, after in ((CALL, 0.0), (recording, 700.0), (CALL, 3700.0), (recording, 0.0)):
        claim = book.claim(session, after)
        shown = tree("0.25 0.25", None) if session == CALL else node("recording:r", "0.25")
        ledger.commit([poll(claim, shown, book.now)])
        assert book.booked == "0.50"


def test_a_late_answer_credits_nothing(ledger: Ledger) -> None:
    """An answer without a twin that was requested before the twin was seen doesn't make it a repeat."""
    book = Book(ledger)
    book.poll(LEG, "0.25")
    late = book.claim(LEG)
    book.poll(CALL, "0.25 0.30")
    ledger.commit([polled(late, "0.25", None, book.now)])
    assert book.booked == "0.55"
    book.poll(CALL, "0.30")
    ledger.commit([])
    assert book.booked == "0.55"


def test_two_answers_of_one_batch(ledger: Ledger) -> None:
    """The second answer of a batch finds the twins that the first one has booked."""
    ledger.follow([CALL, LEG], "file", 0.0)
    first, second = sorted(ledger.claim(0.0, ALL), key=lambda claim: claim.number)
    ledger.commit([polled(first, "0.05 0.10", None, 0.0), polled(second, "0.10", None, 0.0)])
    assert net(ledger)["recording", "USD"] == Decimal("0.15")
    assert values(ledger, "telnyx_cost_credits_total", "record_type")["recording",] == 0


def test_an_unpriced_repeat_awaits_no_price(ledger: Ledger) -> None:
    """It is no event, so nothing will ever price it; shown again with a price, it is booked."""
    book, awaiting = Book(ledger), []
    for costs in ("0.10 - -", "0.10 -", "0.10 - 0.20"):
        book.poll(CALL, costs)
        awaiting.append(int(values(ledger, "telnyx_events_awaiting_price", "record_type")["recording",]))
    assert awaiting == [2, 1, 1]
    assert book.booked == "0.30"


def test_the_same_answer_again_books_nothing_on_twins(ledger: Ledger) -> None:
    """After a repeat was credited, an answer that equals the last one byte for byte is skipped, and nothing changes."""
    book = Book(ledger)
    for costs in ("0.25 0.25", "0.25", "0.25"):
        book.poll(CALL, costs)
    claim = book.claim(CALL)
    assert polled(claim, "0.25", None, book.now).outcome == "same"
    assert book.booked == "0.25"


def test_a_new_twin_amends_no_other(ledger: Ledger) -> None:
    """A cheaper event appears beside a booked one of its key: its cost is added, and nothing is credited."""
    book = Book(ledger)
    book.poll(CALL, "0.10")
    book.poll(CALL, "0.05 0.10")
    assert book.booked == "0.15"
    assert values(ledger, "telnyx_cost_credits_total", "record_type")["recording",] == 0


def test_twins_with_different_usage_are_no_repeats(ledger: Ledger) -> None:
    """Two events of one id can have the same cost; a repeat by mistake has the same usage, too."""
    book = Book(ledger)
    for costs, seconds in (("0.25 0.25", (1, 2)), ("0.25", (1,))):
        seen = polled(book.claim(CALL), costs, None, book.now)
        used = [
            *seen.attributes[:2],
            *(replace(a, billed_seconds=Decimal(s)) for a, s in zip(seen.attributes[2:], seconds, strict=True)),
        ]
        ledger.commit([replace(seen, attributes=tuple(used))])
    assert book.booked == "0.50 vanished"
