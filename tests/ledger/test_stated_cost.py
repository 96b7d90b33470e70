"""The total that a webhook states is compared with the session's tree, and never booked."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from msgspec.structs import replace

from exporter.core.model import SessionNotice
from exporter.ledger import Ledger
from tests.ledger.test_ledger import ALL, CALL, POLICY, book, net, opened, poll, ref, values
from tests.ledger.test_unread_answers import Answers
from tests.support.trees import node

SETTLED = 10_000.0
"""When the poll after a rating is due, and the session settles."""
LESS = node("call-session:s", "0", node("call-control:c", "0.0052", node("ai-voice-assistant:a", "0.17")))
"""CALL before a part of it was rated."""


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def state_cost(ledger: Ledger, amount: str, at: float, currency: str = "USD") -> None:
    notice = SessionNotice(ref("s"), "rated", stated_cost=(Decimal(amount), currency))
    ledger.report([notice], "webhooks", at)


def failing(ledger: Ledger) -> int:
    return int(values(ledger, "telnyx_unreconciled_sessions", "check").get(("stated_cost",), 0))


def failures(ledger: Ledger) -> int:
    return int(values(ledger, "telnyx_reconciliation_failures_total", "check").get(("stated_cost",), 0))


def due_at(ledger: Ledger, *times: float) -> list[bool]:
    return [ledger.count_due(at, ["main"]) == 1 for at in times]


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_session_that_settles_without_the_stated_total_fails_a_check(ledger: Ledger, *, known: bool) -> None:
    """The log says by how much; the check heals once a recheck finds the stated total. Only events are booked."""
    if known:
        ledger.follow([ref("s")], "file", 0.0)
    state_cost(ledger, "0.1852", 0.0)
    assert book(ledger, LESS, 0.0).failed_checks == ()
    (failed,) = book(ledger, LESS, SETTLED).failed_checks
    assert (failed.what, failed.detail) == (
        "stated_cost",
        "the events add up to 0.1752, a webhook stated 0.1852 USD: -0.01 apart",
    )
    assert sum(net(ledger).values()) == Decimal("0.1752")
    recheck = SETTLED + POLICY.recheck_after[0] + 1
    assert (failing(ledger), failures(ledger)) == (1, 1)
    assert book(ledger, CALL, recheck).failed_checks == ()
    assert (failing(ledger), failures(ledger)) == (0, 1)
    assert ledger.check() == []


@pytest.mark.parametrize(
    ("amount", "currency", "fails"),
    [
        ("0.1852", "USD", 0),
        ("0.18520", "USD", 0),
        ("0.1853", "USD", 1),
        ("0.18524", "USD", 1),
        ("0.1852", "EUR", 1),
    ],
)
def test_a_stated_total_is_compared_as_it_was_rounded(ledger: Ledger, amount: str, currency: str, fails: int) -> None:
    """Telnyx rounds the total in a webhook to four places at least; the currency must be the same."""
    state_cost(ledger, amount, 0.0, currency)
    book(ledger, CALL, 0.0)
    book(ledger, CALL, SETTLED)
    assert failing(ledger) == fails


def test_a_total_that_was_rounded_is_confirmed(ledger: Ledger) -> None:
    """The events of the witnessed call cost 0.09415 USD, and its webhook states 0.0942."""
    state_cost(ledger, "0.0942", 0.0)
    call = node("call-session:s", "0", node("call-control:c", "0.0941", node("inference:i", "0.00005")))
    book(ledger, call, 0.0)
    book(ledger, call, SETTLED)
    assert failing(ledger) == 0


def test_an_amendment_after_the_confirmation_is_no_failure(ledger: Ledger) -> None:
    """The stated total is forgotten once a tree has confirmed it."""
    state_cost(ledger, "0.1852", 0.0)
    book(ledger, CALL, 0.0)
    book(ledger, LESS, SETTLED)
    book(ledger, LESS, 2 * SETTLED)
    assert failures(ledger) == 0


def test_a_tree_that_lags_behind_the_stated_total_is_polled_again_soon(ledger: Ledger) -> None:
    """A changed tree that lags is polled again after 30 s, once; one that has the total isn't, changed or not."""
    state_cost(ledger, "0.1852", 0.0)
    book(ledger, LESS, 0.0)
    assert due_at(ledger, 26.0, 34.0) == [False, True]
    book(ledger, LESS, 34.0)
    assert due_at(ledger, 600.0) == [False]
    state_cost(ledger, "0.1752", 700.0)
    book(ledger, LESS, 700.0)
    assert due_at(ledger, 1300.0) == [False]


def test_an_answer_that_is_the_same_is_read_if_a_total_was_stated_since(ledger: Ledger) -> None:
    """`call.analyzed` often states what the last poll has seen already; the comparison must not wait for a change."""
    answers = Answers()
    ledger.follow([ref("s")], "file", 0.0)
    for now in (0.0, 100.0):
        (claim,) = ledger.claim(now, ALL)
        ledger.commit([answers(claim, CALL, now)])
    assert answers.read == 1
    state_cost(ledger, "0.1852", 200.0)
    (claim,) = ledger.claim(200.0, ALL)
    ledger.commit([answers(claim, CALL, 200.0)])
    assert answers.read == 2
    assert due_at(ledger, 234.0) == [False]


def test_an_incomplete_tree_neither_confirms_nor_fails(ledger: Ledger) -> None:
    """A tree without one of its parts may have the stated total by chance."""
    state_cost(ledger, "0.1852", 0.0)
    (claim,) = ledger.claim(0.0, ALL)
    whole = poll(claim, CALL, 0.0)
    assert whole.session is not None
    ledger.commit([replace(whole, session=replace(whole.session, complete=False))])
    book(ledger, LESS, SETTLED)
    book(ledger, LESS, 2 * SETTLED)
    assert failures(ledger) == 1
