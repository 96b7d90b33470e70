"""Records that name no session: a tree brings their events, or they are followed by themselves, once and cheaply."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from exporter.core.model import Claim, DetailRecord, SessionRef
from exporter.ledger import Ledger
from exporter.ledger.copy import copy
from exporter.ledger.queue.awaited_records import AWAIT_SECONDS, AWAITED, PORTION, START
from tests.ledger.test_ledger import ALL, book, net, opened, poll, ref, state, values
from tests.ledger.test_writers import together, writers
from tests.support.trees import node

DUE_MAX = 30
AT = 1_773_748_800.25


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = opened(ledger_url)
    yield ledger
    ledger.close()


def listed(ledger: Ledger, *names: str, at: float = 0.0, cost: str = "0.001", record_type: str = "inference") -> None:
    """List records that name no session."""
    amount = Decimal(cost)
    records = [DetailRecord(name, record_type, AT, amount, "USD", None) for name in names]
    ledger.ingest_records("main", records, at)


def call(*turns: str, **fields: Any) -> dict[str, Any]:
    inner = [node(f"inference:{turn}", "0.001", **fields) for turn in turns]
    return node("call-session:s", "0", node("ai-voice-assistant:a", "0.18", *inner))


def awaited(ledger: Ledger) -> int:
    """Return what the gauge shows."""
    return int(sum(values(ledger, AWAITED, "account", "record_type").values()))


def brought(ledger: Ledger) -> None:
    assert ledger.drop_booked_records("main", START)[0] == START


def followed(ledger: Ledger, now: float) -> list[SessionRef]:
    """Follow what is due; return the sessions that are due then."""
    assert ledger.follow_awaited("main", now, DUE_MAX)[0] is False
    return [claim.ref for claim in ledger.claim(now, ALL)]


def test_a_record_whose_event_a_tree_brings_costs_no_request(ledger: Ledger) -> None:
    """Noted, then booked: the gauge falls, and nothing is ever followed; the record's cost is counted once."""
    listed(ledger, "t1", "t2")
    listed(ledger, "t1", "t2", at=1.0)
    assert awaited(ledger) == 2
    assert state(ledger) == {}
    ledger.follow([ref("s")], "file", 2.0)
    book(ledger, call("t1"), 2.0)
    assert awaited(ledger) == 2  # booking itself doesn't look for awaited records
    brought(ledger)
    assert values(ledger, AWAITED, "account", "record_type") == {("main", "inference"): Decimal(1)}
    assert ledger.check() == []
    book(ledger, call("t1", "t2"), 100.0)
    assert ledger.follow_awaited("main", AWAIT_SECONDS, DUE_MAX)[0] is False
    assert (awaited(ledger), state(ledger)) == (0, {"active": 1})
    assert values(ledger, "telnyx_detail_record_cost_total", "record_type") == {("inference",): Decimal("0.002")}
    assert ledger.check() == []


@pytest.mark.parametrize("event_name", ["inference", "inference-event"])
def test_a_record_whose_event_is_booked_is_not_noted(ledger_url: str, event_name: str) -> None:
    """Booked, then noted, also under an undocumented event name, and after a restart; and if it costs more later."""
    with closing(opened(ledger_url)) as ledger:
        ledger.follow([ref("s")], "file", 0.0)
        book(ledger, call("t1", event_name=event_name), 0.0)
    with closing(opened(ledger_url)) as ledger:
        listed(ledger, "t1", at=1.0)
        listed(ledger, "t1", at=2.0, cost="0.002")
        assert awaited(ledger) == 0
        assert followed(ledger, AWAIT_SECONDS + 2) == [ref("s")]


def test_a_record_that_no_tree_brings_is_followed_once(ledger_url: str) -> None:
    """Six hours after its listing, by its own type, id and time; a restart in between changes nothing."""
    with closing(opened(ledger_url)) as ledger:
        listed(ledger, "t1")
    with closing(opened(ledger_url)) as ledger:
        assert followed(ledger, AWAIT_SECONDS - 1) == []
        assert awaited(ledger) == 1
        (claim,) = claims_of(ledger, AWAIT_SECONDS)
        assert claim.ref == SessionRef("main", "inference", "t1", "2026-03-17T12:00:00.250Z")
        assert awaited(ledger) == 0
        listed(ledger, "t1", at=AWAIT_SECONDS)
        ledger.commit([poll(claim, node("inference:t1", "0.001"), AWAIT_SECONDS)])
        assert ledger.check() == []
    with closing(opened(ledger_url)) as ledger:
        assert followed(ledger, AWAIT_SECONDS + 1) == []
        assert net(ledger) == {("inference", "USD"): Decimal("0.001")}
        assert values(ledger, "telnyx_discovered_sessions_total", "source") == {("detail_records",): Decimal(1)}


def claims_of(ledger: Ledger, now: float) -> list[Claim]:
    ledger.follow_awaited("main", now, DUE_MAX)
    return ledger.claim(now, ALL)


def test_a_turn_that_was_followed_alone_and_comes_with_a_tree_counts_once(ledger: Ledger) -> None:
    """Whether it has settled by then or not: one turn, one event, its cost once, and the tree's session owns it."""
    listed(ledger, "t1", "t2")
    first, second = claims_of(ledger, AWAIT_SECONDS)
    now = AWAIT_SECONDS
    ledger.commit([poll(each, node(f"inference:{each.ref.event_id}", "0.001"), now) for each in (first, second)])
    book_due(ledger, now + 10_000.0, "t1")
    ledger.follow([ref("s")], "file", now + 10_001.0)
    (claim,) = [each for each in ledger.claim(now + 10_001.0, ALL) if each.ref == ref("s")]
    ledger.commit([poll(claim, call("t1", "t2", "t3"), now + 10_001.0)])
    assert values(ledger, "telnyx_inference_turns_total", "model") == {("none",): Decimal(3)}
    assert net(ledger)["inference", "USD"] == Decimal("0.003")
    assert values(ledger, "telnyx_unsettled_cost", "currency") == {("USD",): Decimal("0.183")}
    assert ledger.check() == []


def book_due(ledger: Ledger, now: float, name: str) -> None:
    """Poll the session of one turn again, so that it settles."""
    claims = ledger.claim(now, ALL)
    ledger.commit([poll(each, node(f"inference:{name}", "0.001"), now) for each in claims if each.ref.event_id == name])
    ledger.release_claims([each for each in claims if each.ref.event_id != name])
    assert state(ledger)["settled"] == 1


def test_calls_come_first(ledger: Ledger) -> None:
    """No more are followed than leave `limit` sessions due, oldest first; the others as soon as these are polled."""
    ledger.follow([ref(f"call-{number}") for number in range(DUE_MAX - 5)], "file", AWAIT_SECONDS)
    for number in range(40):
        listed(ledger, f"t{number:02}", at=number / 100)
    now = AWAIT_SECONDS + 1
    assert ledger.follow_awaited("main", now, DUE_MAX)[0] is True
    assert ledger.count_due(now, ["main"]) == DUE_MAX
    assert ledger.follow_awaited("main", now, DUE_MAX)[0] is True
    assert ledger.count_due(now, ["main"]) == DUE_MAX
    turns = [claim.ref.event_id for claim in ledger.claim(now, ALL) if claim.ref.record_type == "inference"]
    assert turns == ["t00", "t01", "t02", "t03", "t04"]
    assert ledger.follow_awaited("main", now, DUE_MAX)[0] is True
    assert len(ledger.claim(now, ALL)) == DUE_MAX
    assert ledger.follow_awaited("main", now, DUE_MAX)[0] is False
    assert len(ledger.claim(now, ALL)) == 5
    assert ledger.check() == []


def test_all_are_followed_before_their_time_at_the_end_of_a_backfill(ledger: Ledger) -> None:
    """They are history like the rest, so they are booked before anything is shown."""
    listed(ledger, "t1")
    assert ledger.follow_awaited("main", 10.0, DUE_MAX, at_once=True)[0] is False
    assert state(ledger) == {"discovered": 1}


def test_a_large_table_is_gone_through_in_portions(ledger: Ledger) -> None:
    """Each call continues where the last one ended, and the one after the end begins again."""
    names = [f"{number:04}" for number in range(PORTION + 1)]
    ledger.follow([ref("s")], "file", 0.0)
    listed(ledger, *names)
    book(ledger, call(names[0], names[-1]), 1.0)
    position, left = START, []
    for _ in range(2):
        position, _ = ledger.drop_booked_records("main", position)
        left.append(awaited(ledger))
    assert left == [PORTION, PORTION - 1]
    assert position == START


def test_other_accounts_and_types_keep_their_records(ledger: Ledger) -> None:
    """A record is brought by an event of its own account and type, not by one that has the same id."""
    listed(ledger, "t1", record_type="text-to-speech")
    ledger.ingest_records("other", [DetailRecord("t1", "inference", None, None, "USD", None)], 0.0)
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, call("t1"), 0.0)
    brought(ledger)
    ledger.drop_booked_records("other", START)
    assert awaited(ledger) == 2
    assert ledger.follow_awaited("other", AWAIT_SECONDS, DUE_MAX)[0] is False
    assert awaited(ledger) == 1
    (claim,) = ledger.claim(AWAIT_SECONDS, {"other": 1})
    assert claim.ref == SessionRef("other", "inference", "t1")


def test_a_renamed_account_keeps_its_awaited_records(ledger: Ledger) -> None:
    """They are looked up among the events that were booked under the old name."""
    listed(ledger, "t1", "t2")
    ledger.follow([ref("s")], "file", 0.0)
    book(ledger, call("t1"), 0.0)
    ledger.rename_account("main", "prod")
    ledger.drop_booked_records("prod", START)
    assert values(ledger, AWAITED, "account") == {("prod",): Decimal(1)}
    ledger.follow_awaited("prod", AWAIT_SECONDS, DUE_MAX)
    assert SessionRef("prod", "inference", "t2", "2026-03-17T12:00:00.250Z") in [
        claim.ref for claim in ledger.claim(AWAIT_SECONDS, {"prod": 9})
    ]
    assert ledger.check() == []


def test_the_audit_counts_awaited_records(ledger: Ledger) -> None:
    """A row that vanished differs from the gauge."""
    listed(ledger, "t1")
    ledger._engine.transact(lambda: ledger._connection.execute("DELETE FROM awaited_records"))  # noqa: SLF001 - damage
    (line,) = ledger.check()
    assert line.startswith(f"{AWAITED} {{account=main, record_type=inference}}")


def test_a_copy_goes_on_awaiting(ledger_url: str, tmp_path: Any) -> None:
    """The copy follows what the original would have followed, and knows what is booked under which names."""
    with closing(opened(ledger_url)) as ledger:
        listed(ledger, "t1")
        ledger.follow([ref("s")], "file", 0.0)
        book(ledger, call("t2", event_name="inference-event"), 0.0)
    target = f"sqlite:///{tmp_path / 'copy.sqlite'}"
    copy(ledger_url, target, lambda _: None)
    with closing(opened(target)) as ledger:
        listed(ledger, "t2", at=1.0)
        assert awaited(ledger) == 1
        assert [found.event_id for found in followed(ledger, AWAIT_SECONDS)] == ["s", "t1"]
        assert ledger.check() == []


def test_replicas_share_what_is_awaited(database: str) -> None:
    """One replica books under a new name what another has listed; both follow at once, and each session is new once."""
    with writers(database, 2) as (one, two):
        listed(one, *(f"t{number}" for number in range(20)))
        two.follow([ref("s")], "file", 0.0)
        book(two, call("t0", "t1", event_name="inference-event"), 0.0)
        brought(one)
        assert awaited(two) == 18
        listed(two, "t0", at=1.0, cost="0.01")
        together(
            lambda: one.follow_awaited("main", AWAIT_SECONDS, DUE_MAX),
            lambda: two.follow_awaited("main", AWAIT_SECONDS, DUE_MAX),
        )
        assert (awaited(one), awaited(two)) == (0, 0)
        assert values(one, "telnyx_discovered_sessions_total", "source")["detail_records",] == 18
        assert one.check() == []


def test_names_that_replicas_learn_at_once_keep_none_waiting(database: str) -> None:
    """Both book a first event under the same new name in one moment."""
    with writers(database, 2) as (one, two):
        one.follow([ref("s"), ref("t")], "file", 0.0)
        (first, second) = one.claim(0.0, ALL)
        trees = [node(f"inference:{name}", "1", event_name="inference-event") for name in "ab"]
        together(
            lambda: one.commit([poll(first, trees[0], 0.0)]),
            lambda: two.commit([poll(second, trees[1], 0.0)]),
        )
        assert values(two, "telnyx_inference_turns_total", "model") == {("none",): Decimal(2)}
        listed(one, "a", "b")
        assert awaited(one) == 0
