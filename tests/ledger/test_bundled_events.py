"""Events of AI conversations that never get a price: they are no error where the stated sums need none of them."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from exporter.ledger import Ledger
from tests.ledger.test_ledger import book, net, opened, ref, state, values
from tests.ledger.test_retention import NOON, book_at
from tests.support.trees import node

DAY = 86_400.0
AWAITING, BUNDLED = "telnyx_events_awaiting_price", "telnyx_events_bundled_total"
UNPRICED, LATE = "telnyx_events_settled_unpriced_total", "telnyx_events_priced_late_total"
FREE = {"event_cost": None, "cumulative_cost": None, "currency": None}


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    assert ledger.check() == []
    ledger.close()


def call(*, turn: str | None = None, kind: str = "ai-voice-assistant") -> dict[str, Any]:
    """Return a call with an assistant, an unpriced turn and voice of its conversation, and an unpriced recording."""
    inner = node(f"{kind}:a", "0.05", node("inference:i", turn))
    leg = node("call-control:c", "0.002", inner, node("text-to-speech:v", None))
    return node("call-session:s", "0", leg, node("recording:r", None))


def counted(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Return the number of events by record type, of each family that has any."""
    found: dict[str, dict[str, int]] = {}
    for family in (AWAITING, BUNDLED, UNPRICED, LATE):
        numbers = {kind: int(number) for (kind,), number in values(ledger, family, "record_type").items() if number}
        found |= {family: numbers} if numbers else {}
    return found


def settle(ledger: Ledger, tree: dict[str, Any], **stated: Any) -> None:
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, tree, 0.0, **stated)
    book(ledger, tree, 3601.0, **stated)
    assert state(ledger) == {"settled": 1}


def test_what_the_stated_sums_don_t_need_is_bundled(ledger: Ledger) -> None:
    """Events below an assistant and voices are bundled, a recording isn't; all await a price until the call settles."""
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, call(), 0.0)
    assert counted(ledger) == {AWAITING: {"inference": 1, "text-to-speech": 1, "recording": 1}}
    book(ledger, call(), 3601.0)
    bundled = {"inference": 1, "text-to-speech": 1}
    assert counted(ledger) == {AWAITING: {"recording": 1}, BUNDLED: bundled, UNPRICED: {"recording": 1}}
    book(ledger, call(), 3602.0 + DAY)
    assert counted(ledger) == {AWAITING: {"recording": 1}, BUNDLED: bundled, UNPRICED: {"recording": 1}}


@pytest.mark.parametrize(
    ("tree", "stated"),
    [
        pytest.param(call(), {"total": "0.06"}, id="cost.total is higher"),
        pytest.param(call(), {"total": "unknown"}, id="no total is stated"),
        pytest.param(call(kind="amd"), {}, id="no assistant"),
    ],
)
def test_nothing_else_is_bundled(ledger: Ledger, tree: dict[str, Any], stated: dict[str, Any]) -> None:
    """A price that the sums need is missing, or there is nothing to tell that they don't need it."""
    settle(ledger, tree, **stated)
    waiting = {"inference": 1, "text-to-speech": 1, "recording": 1}
    assert counted(ledger) == {AWAITING: waiting, UNPRICED: waiting}


def test_a_bundled_event_may_get_a_price_after_all(ledger: Ledger) -> None:
    """It counts as priced late, its price is booked, and the gauge stays exact though its session reopens."""
    settle(ledger, call())
    book(ledger, call(turn="0.003"), 3602.0 + DAY)
    assert net(ledger)["inference", "USD"] == Decimal("0.003")
    assert counted(ledger)[AWAITING] == {"recording": 1}
    assert counted(ledger)[LATE] == {"inference": 1}
    book(ledger, call(turn="0.003"), 10_000.0 + DAY)
    assert state(ledger) == {"settled": 1}
    assert counted(ledger)[BUNDLED] == {"inference": 1, "text-to-speech": 1}


def test_a_pruned_session_takes_only_what_awaited_a_price(ledger: Ledger) -> None:
    """The gauge falls by the recording alone."""
    ledger.follow([ref("s")], "file", NOON)
    book_at(ledger, call(), NOON, *[NOON] * 6)
    book_at(ledger, call(), NOON + 3601, *[NOON] * 6)
    assert ledger.prune(NOON + 1, 100)[0] == 1
    assert AWAITING not in counted(ledger)


@pytest.mark.parametrize("free", [{"cost": None}, {"cost": {}}, {"cost": "none"}, {"cost": FREE}])
def test_a_node_may_have_no_cost_in_any_form(ledger: Ledger, free: dict[str, Any]) -> None:
    """Null, empty, a text, or costs that are all null: no check fails, and the event is bundled."""
    turn = node("inference:i", None) | free
    tree = node("call-session:s", "0")
    tree["children"] = [node("ai-voice-assistant:a", "0.05") | {"children": [turn]}]
    tree["cost"]["cumulative_cost"] = "0.05"
    settle(ledger, tree)
    assert sum(values(ledger, "telnyx_reconciliation_failures_total", "check").values()) == 0
    assert counted(ledger) == {BUNDLED: {"inference": 1}}
