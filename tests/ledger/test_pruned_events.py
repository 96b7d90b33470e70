"""The memory of pruned events: they are recognised in whatever form they are reported again, and never booked."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.config import Config, Threshold
from exporter.core.model import SessionRef
from exporter.ledger import Ledger, TotalsSettings
from exporter.ledger.accounting.pruned_events import DAY_SECONDS, find_pruned, remember, retention_watermark
from exporter.ledger.copy_targets import open_target
from exporter.ledger.engine.sqlite import MemoryEngine
from tests.ledger.test_ledger import ALL, net, opened, poll, ref, state, values
from tests.ledger.test_retention import NOON, dated
from tests.support.postgres import Postgres
from tests.support.trees import node

DAY = float(DAY_SECONDS)
YEAR = 365 * DAY
LEG = node("call-control:c", "0.11", node("inference:i", "0.22"))
CALL = node("call-session:s", "0.001", LEG)
THRESHOLDS = (Threshold(name="expensive", cost=Decimal("0.1")),)
SETTINGS = TotalsSettings.of(replace(plain := Config(), metrics=replace(plain.metrics, thresholds=THRESHOLDS)))
COUNTERS = ("telnyx_cost_total", "telnyx_events_total", "telnyx_inference_turns_total")
SESSIONS = (
    "telnyx_sessions_started_total",
    "telnyx_sessions_settled_total",
    "telnyx_sessions_over_threshold_total",
)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger in which CALL was booked, has settled, and was pruned."""
    with closing(opened(ledger_url, SETTINGS)) as ledger:
        ledger.follow([ref("s")], "file", NOON)
        follow_up(ledger, CALL, NOON, NOON, None, None)
        assert ledger.prune(NOON + 1, 100)[0] == 1
        yield ledger


def follow_up(ledger: Ledger, tree: dict[str, Any], now: float, *times: float | None) -> int:
    """Poll the only session until it isn't due for a day, with this tree; return how many polls that takes."""
    polls, ends_at = 0, now + DAY
    while now < ends_at:
        for claim in ledger.claim(now, ALL):
            ledger.commit([dated(poll(claim, tree, now), *times)])
            polls += 1
        now += 600
    return polls


def everything(ledger: Ledger) -> dict[str, object]:
    sums: dict[str, object] = {family: sum(values(ledger, family).values()) for family in (*COUNTERS, *SESSIONS)}
    histograms = {total.family: (total.value, sum(total.counts)) for total in ledger.totals() if total.counts}
    return sums | histograms


FORMS: dict[str, tuple[SessionRef, dict[str, Any], tuple[float | None, ...]]] = {
    "the same root, dated": (ref("s"), CALL, (NOON, NOON, NOON)),
    "the same root, undated": (ref("s"), CALL, (None, None, None)),
    "the same root, dated a year later": (ref("s"), CALL, (NOON + YEAR,) * 3),
    "a leg, undated": (SessionRef("main", "call-control", "c"), LEG, (None, None)),
    "a leg, dated": (SessionRef("main", "call-control", "c"), LEG, (NOON, None)),
    "an event by itself": (SessionRef("main", "inference", "i"), node("inference:i", "0.22"), (None,)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pruned_event_is_recognised_without_a_date(ledger: Ledger, form: str) -> None:
    """Whatever names it: nothing is booked or counted, no check fails, and one poll is enough."""
    session, tree, times = FORMS[form]
    before = everything(ledger)
    ledger.follow([session], "file", NOON + 100 * DAY)
    assert follow_up(ledger, tree, NOON + 100 * DAY, *times) == 1
    assert everything(ledger) == before
    assert values(ledger, "telnyx_unreconciled_sessions", "check") == {}
    assert ledger.check() == []


def test_another_root_with_pruned_events_books_the_rest(ledger: Ledger) -> None:
    """A conference that was never seen contains the pruned leg: its own price is new, the leg's is not."""
    before, conference = sum(net(ledger).values()), node("conference:x", "0.5", LEG)
    ledger.follow([SessionRef("main", "conference", "x")], "file", NOON + 100 * DAY)
    follow_up(ledger, conference, NOON + 100 * DAY, None, None, None)
    assert sum(net(ledger).values()) - before == Decimal("0.5")
    assert sum(values(ledger, "telnyx_sessions_settled_total").values()) == 2
    assert ledger.check() == []


def test_a_new_event_below_a_pruned_root_is_booked(ledger: Ledger) -> None:
    """A recording that is rated after the pruning counts, and its session counts no second time."""
    before, money = everything(ledger), sum(net(ledger).values())
    late = node("call-session:s", "0.001", LEG, node("recording:r", "0.05"))
    ledger.follow([ref("s")], "file", NOON + 100 * DAY)
    follow_up(ledger, late, NOON + 100 * DAY, None, None, None, None)
    assert sum(net(ledger).values()) - money == Decimal("0.05")
    after = everything(ledger)
    assert [family for family in SESSIONS if after[family] != before[family]] == []
    assert ledger.check() == []


def test_an_event_that_was_never_pruned_is_booked_however_old(ledger: Ledger) -> None:
    """Age alone says nothing: only what the memory has lost is refused by its date."""
    before = sum(net(ledger).values())
    ledger.follow([ref("older")], "file", NOON + 100 * DAY)
    follow_up(ledger, node("call-session:older", "3"), NOON + 100 * DAY, NOON - YEAR)
    assert sum(net(ledger).values()) - before == 3


def test_a_list_that_keeps_a_pruned_session_costs_one_request_in_a_retention(ledger: Ledger) -> None:
    """The session is named at each of three restarts: it is polled once, and kept until it is as old as others."""
    before = everything(ledger)
    for restart in range(3):
        now = NOON + (100 + restart) * DAY
        ledger.report([], "file", now)
        ledger.follow([ref("s")], "file", now)
        assert follow_up(ledger, CALL, now, None, None, None) == (1 if restart == 0 else 0)
        ledger.prune(now - 90 * DAY, 100)
    assert everything(ledger) == before
    assert state(ledger) == {"settled": 1}


def test_beyond_the_memory_the_date_decides(ledger_url: str) -> None:
    """An entry is dropped when its row is written next; from then on unknown events of that age are refused, loudly."""
    with closing(opened(ledger_url)) as ledger:
        for number, at in enumerate((NOON, NOON + 800 * DAY)):
            ledger.follow([ref(f"s{number}")], "file", at)
            follow_up(ledger, node(f"call-session:s{number}", "1"), at, at)
            assert ledger.prune(at + 1, 100, at - 730 * DAY)[0] == 1
        assert values(ledger, "telnyx_ledger_pruned_events") == {(): Decimal(1)}
        now = NOON + 801 * DAY
        for name, at, money in (("s0", NOON, 2), ("s2", NOON + DAY, 3)):
            ledger.follow([ref(name)], "file", now)
            follow_up(ledger, node(f"call-session:{name}", "1"), now, at)
            assert sum(net(ledger).values()) == money
        assert values(ledger, "telnyx_unreconciled_sessions", "check") == {("forgotten",): Decimal(1)}


EVENTS_MEASURED, PER_TRANSACTION = 165_000, 275


@pytest.mark.slow
def test_a_remembered_event_takes_at_most_24_bytes(ledger_url: str, size_on_disk: Callable[[], int]) -> None:
    """With all that the engine keeps beside the entries: indexes, and space that it doesn't use again at once."""
    with closing(open_target(ledger_url)) as target:
        before = size_on_disk()
        for number in range(EVENTS_MEASURED // PER_TRANSACTION):
            days = [(os.urandom(16), number // 50 * DAY) for _ in range(PER_TRANSACTION)]
            assert target.transact(partial(remember, target.connection, days, 0.0)) == PER_TRANSACTION
        assert size_on_disk() - before <= 24 * EVENTS_MEASURED


@pytest.fixture
def size_on_disk(ledger_url: str, postgres: Postgres) -> Callable[[], int]:
    """Return the bytes of the memory's table, or of the whole file."""
    if ledger_url.startswith("sqlite"):
        path = Path(ledger_url.removeprefix("sqlite:///"))

        def size_of_file() -> int:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return path.stat().st_size

        return size_of_file
    size = "SELECT pg_total_relation_size('pruned_events')"
    return lambda: int(postgres.execute(size, ledger_url.rpartition("/")[2])[0][0])


def test_a_key_across_two_entries_is_not_found() -> None:
    """Its bytes are the end of one entry and the beginning of the next."""
    engine = MemoryEngine(lambda _: None)
    keys = [bytes(16), b"\1" * 16]
    engine.transact(lambda: remember(engine.connection, [(key, 258 * DAY) for key in keys], 0.0))
    (stored,) = engine.connection.execute("SELECT entries FROM pruned_events").fetchone()
    across = {stored[start : start + 10] + bytes(6) for start in range(1, 12)}
    assert find_pruned(engine.connection, across) == set()
    assert find_pruned(engine.connection, keys) == set(keys)
    engine.close()


event_keys = st.binary(min_size=16, max_size=16)


@given(
    st.lists(st.tuples(st.dictionaries(event_keys, st.integers(0, 900), max_size=400), st.integers(0, 900))),
    st.lists(event_keys),
)
def test_the_memory_agrees_with_a_dictionary(steps: list[tuple[dict[bytes, int], int]], others: list[bytes]) -> None:
    """An event is remembered at least until its day is too old, and never one that wasn't given."""
    engine, given_days, oldest, count = MemoryEngine(lambda _: None), dict[bytes, int](), 0, 0
    for events, day in steps:  # `day` may be earlier than before: the clock was set back
        oldest = max(oldest, day)
        given_days |= events
        days = [(key, at * DAY + 5) for key, at in events.items()]
        count += engine.transact(partial(remember, engine.connection, days, day * DAY))
    found = find_pruned(engine.connection, {*given_days, *others})
    assert found <= given_days.keys()
    assert {key for key, day in given_days.items() if day >= oldest} <= found
    assert count == len(found)
    lost = given_days.keys() - found
    assert all((given_days[key] + 1) * DAY <= retention_watermark(engine.connection) for key in lost)
    engine.close()
