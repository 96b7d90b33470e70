"""Several writers on one ledger at the same time: conflicts, broken connections and dead writers lose nothing."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Budget
from exporter.core.errors import LedgerAway, LedgerError
from exporter.core.model import Claim, DetailRecord, Poll, SessionNotice
from exporter.ledger import Ledger
from exporter.ledger.sharing.writers import DEAD_SECONDS
from tests.ledger.test_ledger import ALL, CALL, SETTINGS, net, opened, poll, ref, state, values
from tests.support.commit_fault_proxy import Moment, fault_proxy
from tests.support.postgres import Postgres, running
from tests.support.trees import node
from tests.support.waiting import until

WRITERS = 4
ONE = {"main": 1}


@contextmanager
def writers(url: str, count: int = WRITERS) -> Iterator[list[Ledger]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(opened(url))) for _ in range(count)]


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run all at once, each in a thread; return their results, or raise the first exception."""
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


def end_leases(postgres: Postgres, url: str) -> None:
    """End every claim's lease."""
    postgres.execute("UPDATE sessions SET leased_until = '-infinity', due_at = 0", url.rpartition("/")[2])


def test_many_that_start_at_once_find_one_ledger(database: str) -> None:
    """Of processes that find an empty database, one creates the tables, and all use them."""
    found = together(*[lambda: opened(database)] * 8)
    for number, ledger in enumerate(found):
        ledger.follow([ref(str(number))], "file", 0.0)
    assert state(found[0]) == {"discovered": 8}
    for ledger in found:
        ledger.close()


def test_a_session_is_claimed_by_one(database: str) -> None:
    """Each due session is claimed by exactly one of the writers that ask at once."""
    with writers(database) as ledgers:
        ledgers[0].follow([ref(str(number)) for number in range(200)], "file", 0.0)
        rounds = [
            together(*[lambda ledger=ledger: ledger.claim(1.0, {"main": 13}) for ledger in ledgers]) for _ in range(8)
        ]
        claims = [claim for found in rounds for part in found for claim in part]
        claims += ledgers[0].claim(1.0, ALL)
    assert len({claim.session for claim in claims}) == len(claims) == 200
    assert len({claim.number for claim in claims}) == 200


def test_a_writer_can_not_book_by_a_claim_that_another_has_by_now(postgres: Postgres, database: str) -> None:
    """After the lease ran out, another may claim the session; if none did, the first one's poll still counts."""
    with writers(database, 2) as (first, second):
        first.follow([ref("a"), ref("b")], "file", 0.0)
        lost, kept = first.claim(0.0, ALL)
        assert second.claim(0.0, ALL) == []
        end_leases(postgres, database)
        first.renew_claims([kept])
        (again,) = second.claim(0.0, ALL)
        assert (again.session, again.number > kept.number) == (lost.session, True)
        first.commit([poll(lost, node("call-session:a", "9"), 1.0), poll(kept, node("call-session:b", "2"), 1.0)])
        assert net(second) == {("call-session", "USD"): Decimal(2)}
        second.commit([poll(again, node("call-session:a", "1"), 2.0)])
        assert net(first) == {("call-session", "USD"): Decimal(3)}


def test_a_new_event_is_booked_once_by_two_writers(database: str) -> None:
    """Overlapping trees committed at the same instant, many times: one writer inserts the event, the other finds it."""
    rounds = 25
    with writers(database, 2) as ledgers:
        for number in range(rounds):
            ledgers[0].follow([ref(f"s{number}"), ref(f"t{number}")], "file", 0.0)
            claims = ledgers[0].claim(0.0, ALL)
            shared = [node(f"call-control:{number}-{place}", "0.1") for place in range(6)]
            polls = [
                poll(claim, node(f"call-session:{claim.ref.event_id}", "0", *legs), 1.0)
                for claim, legs in zip(claims, (shared, shared[::-1]), strict=True)
            ]
            together(
                *[
                    lambda ledger=ledger, one=one: ledger.commit([one])
                    for ledger, one in zip(ledgers, polls, strict=True)
                ]
            )
        assert net(ledgers[0])["call-control", "USD"] == Decimal("0.6") * rounds
        assert values(ledgers[0], "telnyx_events_total", "record_type")["call-control",] == 6 * rounds
        assert ledgers[1].check() == []


class SharedEvents:
    """Sessions that share events, whose costs change all the time."""

    def __init__(self, seed: int, sessions: int, events: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._trees = {
            f"s{number}": [f"e{place}" for place in self._random.sample(range(events), 6)] for number in range(sessions)
        }
        self._prices = {f"e{place}": 0 for place in range(events)}

    @property
    def refs(self) -> list[Any]:
        return [ref(name) for name in self._trees]

    def change(self) -> None:
        with self._lock:
            for name in self._random.sample(sorted(self._prices), 3):
                self._prices[name] = self._random.randrange(1, 100)

    def poll_of(self, claim: Claim, at: float) -> Poll:
        with self._lock:
            legs = [
                node(f"call-control:{name}", str(Decimal(self._prices[name]) / 100))
                for name in self._trees[claim.ref.event_id]
            ]
        return poll(claim, node(f"call-session:{claim.ref.event_id}", "0.01", *legs), at)

    def net(self) -> dict[tuple[str, ...], Decimal]:
        seen = {name for names in self._trees.values() for name in names}
        spent = sum(self._prices[name] for name in seen)
        return {
            ("call-session", "USD"): Decimal(len(self._trees)) / 100,
            ("call-control", "USD"): Decimal(spent) / 100,
        }


class PollingWriter:
    """One writer that polls a village until `stop`, whatever errors the ledger raises."""

    def __init__(self, world: SharedEvents, seed: int, stop: threading.Event) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._stop = stop
        self.booked = self.refused = 0

    def run(self, url: str) -> None:
        ledger: Ledger | None = None
        now = 0.0
        waiting: list[Poll] = []
        while not self._stop.is_set():
            now += 1000.0
            self._world.change()
            try:
                ledger = ledger or opened(url)
                waiting += [self._world.poll_of(claim, now) for claim in ledger.claim(now, {"main": 5})]
                self._random.shuffle(waiting)
                ledger.commit(waiting[:7])
                self.booked += len(waiting[:7])
                del waiting[:7]
            except LedgerError:
                self.refused += 1
                self._stop.wait(0.05)
        if ledger is not None:
            ledger.close()


def run_writers(world: SharedEvents, url: str, meanwhile: Callable[[], None], seed: int) -> list[PollingWriter]:
    """Run several writers until `meanwhile` returns."""
    stop = threading.Event()
    polling = [PollingWriter(world, seed + number, stop) for number in range(WRITERS)]

    def finally_stop() -> None:
        try:
            meanwhile()
        finally:
            stop.set()

    together(*[lambda writer=writer: writer.run(url) for writer in polling], finally_stop)
    return polling


def check_final_state(postgres: Postgres, world: SharedEvents, url: str) -> None:
    """Poll everything once more: the ledger then has every present cost, once, and agrees with itself."""
    end_leases(postgres, url)
    with closing(opened(url)) as ledger:
        due = ledger.claim(1e9, {"main": 10_000})
        assert len(due) == len(world.refs)
        ledger.commit([world.poll_of(claim, 1e9) for claim in due])
        assert net(ledger) == world.net()
        assert ledger.check() == []


def counters(ledger: Ledger) -> dict[int, Decimal]:
    """Return all counters by their series."""
    return {total.row: total.value for total in ledger.totals() if total.family.endswith("_total")}


def test_conflicting_writers_lose_nothing(postgres: Postgres, database: str) -> None:
    """Four writers book amendments of the same events for a while: no counter decreases, and the sums are right."""
    world = SharedEvents(1, 30, 20)

    def watch() -> None:
        with closing(opened(database)) as ledger:
            ledger.follow(world.refs, "file", 0.0)
            before: dict[int, Decimal] = {}
            for _ in range(100):
                after = counters(ledger)
                assert {row: value for row, value in before.items() if after[row] < value} == {}
                before = after

    polling = run_writers(world, database, watch, 10)
    assert min(writer.booked for writer in polling) > 0
    assert [writer.refused for writer in polling] == [0] * WRITERS
    check_final_state(postgres, world, database)


def test_the_totals_of_a_dead_writer_are_folded(postgres: Postgres, database: str) -> None:
    """The sums don't change; a writer that was only away continues as a new one, with a true image."""
    with writers(database, 3) as (away, here, third):
        away.follow([ref("s"), ref("t")], "file", 0.0)
        first, second = away.claim(0.0, ALL)
        away.commit([poll(first, CALL, 0.0)])
        before = {total.row: total for total in here.totals()}
        seen = f"UPDATE writers SET seen = seen - interval '{DEAD_SECONDS + 1} s' WHERE id = 1"
        postgres.execute(seen, database.rpartition("/")[2])
        assert here.changes().whole
        assert [here.fold_dead_writers(), third.fold_dead_writers()] == [1, 0]
        assert {total.row: total for total in here.totals()} == before
        assert here.changes().totals == tuple(before[row] for row in sorted(before))
        assert third.check() == []
        away.commit([poll(second, node("call-session:t", "1.5"), 1.0)])
        assert net(here)["call-session", "USD"] == Decimal("1.5")
        assert here.check() == []


MOMENTS: tuple[Moment, ...] = ("before", "after")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_commit_without_an_answer_books_once(postgres: Postgres, database: str, moment: Moment) -> None:
    """The connection breaks during COMMIT: the same polls are committed again, whether or not the server did it."""
    with fault_proxy(postgres.port) as proxy, closing(opened(database)) as other:
        ledger = opened(database.replace(str(postgres.port), str(proxy.port)))
        ledger.follow([ref("s")], "file", 0.0)
        (claim,) = ledger.claim(0.0, ALL)
        polls = [poll(claim, CALL, 0.0)]
        proxy.cut(moment)
        with pytest.raises(LedgerAway, match="may or may not be committed"):
            ledger.commit(polls)
        assert proxy.cuts == 1
        ledger.commit(polls)
        ledger.commit(polls)
        assert sum(net(other).values()) == Decimal("0.1852")
        assert {total.row: total for total in other.totals()} == {total.row: total for total in ledger.totals()}
        assert values(other, "telnyx_polls_total") == {}
        assert other.check() == []
        ledger.close()


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_changes_of_a_reading_without_an_answer_are_read_again(
    postgres: Postgres, database: str, moment: Moment, *, anew: bool
) -> None:
    """The connection breaks at the end of a reading: the next one has its changes."""
    with fault_proxy(postgres.port) as proxy, closing(opened(database)) as other:
        ledger = opened(database.replace(str(postgres.port), str(proxy.port)))
        ledger.changes()
        other.follow([ref("s")], "file", 0.0)
        other.commit([poll(claim, CALL, 0.0) for claim in other.claim(0.0, ALL)])
        proxy.cut(moment)
        seen = {total.row: total for total in ledger.changes(anew=anew).totals}
        assert proxy.cuts == 1
        assert seen == {total.row: total for total in other.totals()}
        ledger.close()


def test_writers_whose_connections_break_lose_nothing(postgres: Postgres, database: str) -> None:
    """Connections are cut before and after commits: polls are committed again until they are booked, once."""
    world = SharedEvents(2, 30, 20)
    with fault_proxy(postgres.port) as proxy:

        def cut() -> None:
            with closing(opened(database)) as ledger:
                ledger.follow(world.refs, "file", 0.0)
                before = counters(ledger)
                for number, moment in enumerate(MOMENTS * 20, start=1):
                    proxy.cut(moment)
                    until(lambda number=number: proxy.cuts == number)  # type: ignore[misc]
                    after = counters(ledger)
                    assert {row: value for row, value in before.items() if after[row] < value} == {}
                    before = after

        polling = run_writers(world, database.replace(str(postgres.port), str(proxy.port)), cut, 20)
        assert sum(writer.refused for writer in polling) >= 30
    check_final_state(postgres, world, database)


@pytest.mark.slow
def test_writers_outlive_their_server(database_apart: tuple[Postgres, str]) -> None:
    """PostgreSQL is restarted, shut down hard and killed under load: writers continue when it is up."""
    postgres, url = database_apart
    world = SharedEvents(3, 30, 40)

    def disturb() -> None:
        with closing(opened(url)) as ledger:
            ledger.follow(world.refs, "file", 0.0)
        stops: tuple[Callable[[], None], ...] = (
            lambda: postgres.stop("fast"),
            lambda: postgres.stop("immediate"),
            postgres.kill,
        )
        for stop in stops:
            before = polled(postgres, url)
            until(lambda before=before: polled(postgres, url) > before + 20)  # type: ignore[misc]
            stop()
            postgres.start()
        before = polled(postgres, url)
        until(lambda: polled(postgres, url) > before + 20)

    polling = run_writers(world, url, disturb, 30)
    assert sum(writer.refused for writer in polling) > 0
    check_final_state(postgres, world, url)


def polled(postgres: Postgres, url: str) -> int:
    """Return the last claim's number."""
    found: int = postgres.execute("SELECT last_value FROM claims", url.rpartition("/")[2])[0][0]
    return found


@pytest.fixture
def database_apart() -> Iterator[tuple[Postgres, str]]:
    """A server that a test may stop: it writes commits to disk."""
    with running(fsync=True) as server:
        yield server, server.url(server.create_database())


WATCHED = replace(SETTINGS, budgets=(Budget(name="all", amount=Decimal(100), currency="USD", window="day"),))
NOON = 1_700_049_600.0


def test_what_a_budget_has_spent_is_what_all_writers_booked(database: str) -> None:
    """All writers refresh the budgets at the same time while others book; windows advance for all."""

    def spent(ledger: Ledger) -> Decimal:
        return values(ledger, "telnyx_budget_spent", "budget")["all",]

    with ExitStack() as stack:
        ledgers = [stack.enter_context(closing(opened(database, WATCHED))) for _ in range(3)]
        ledgers[0].follow([ref(str(number)) for number in range(30)], "file", NOON)
        for place in range(10):
            claims = [claim for ledger in ledgers for claim in ledger.claim(NOON, ONE)]
            polls = [poll(claim, node(f"call-session:{claim.ref.event_id}", "0.5"), NOON) for claim in claims]
            together(*[partial(ledger.commit, [one]) for ledger, one in zip(ledgers, polls, strict=True)])
            together(*[partial(ledger.refresh_budgets, NOON + place) for ledger in ledgers])
            assert spent(ledgers[place % 3]) == Decimal("1.5") * (place + 1)
        ledgers[0].refresh_budgets(NOON + 86_400)
        ledgers[1].refresh_budgets(NOON + 86_400)
        assert spent(ledgers[2]) == 0


def test_two_writers_may_follow_the_same_sessions_at_once(database: str) -> None:
    """In opposite orders, so that they deadlock: one is retried, and each session is inserted once."""
    refs = [ref(str(number)) for number in range(300)]
    with writers(database, 2) as ledgers:
        for _ in range(3):
            works = [
                partial(ledgers[0].follow, refs, "file", 0.0),
                partial(ledgers[1].follow, refs[::-1], "webhook", 0.0),
            ]
            together(*works)
        assert state(ledgers[0]) == {"discovered": 300}
        assert sum(values(ledgers[1], "telnyx_discovered_sessions_total", "source").values()) == 300


def test_series_of_other_writers_count_towards_series_max(database: str) -> None:
    """A writer loads them, and folds a label set beyond the bound into `other`."""
    tight = replace(SETTINGS, series_max=60)
    with closing(opened(database, tight)) as first, closing(opened(database, tight)) as second:
        first.follow([ref("a"), ref("b")], "file", 0.0)
        one, other = first.claim(0.0, ALL)
        first.commit([poll(one, node("call-session:a", "0", *[node(f"type{n}:{n}", "0.1") for n in range(20)]), 0.0)])
        second.load_new_series()
        second.commit([poll(other, node("call-session:b", "0", node("another:1", "0.1")), 0.0)])
        assert ("another", "USD") not in net(second)
        assert sum(net(second).values()) == Decimal("2.1")
        assert second.check() == []


def test_a_detail_record_is_counted_once_by_two_writers(database: str) -> None:
    """Both list the same records at once: each cost is counted once, its session followed once."""
    rounds = 20
    with writers(database, 2) as ledgers:
        for number in range(rounds):
            named = SessionNotice(ref(f"s{number}"), "listed")
            cost = Decimal("0.25")
            records = [DetailRecord(f"r{number}", "call-control", 5.0, cost, "USD", named)]
            together(*[partial(ledger.ingest_records, "main", records, 10.0) for ledger in ledgers])
        counted = values(ledgers[0], "telnyx_detail_record_cost_total", "currency")
        assert counted == {("USD",): Decimal("0.25") * rounds}
        assert state(ledgers[1]) == {"discovered": rounds}


def test_two_writers_that_prune_at_once_forget_no_event(database: str) -> None:
    """Both remember their events in the same rows; each event that is reported again is recognised."""
    names = [f"{number}" for number in range(400)]
    trees = {name: node(f"call-session:{name}", "1", node(f"call-control:{name}", "2")) for name in names}
    with writers(database, 2) as ledgers:
        ledgers[0].follow(map(ref, names), "file", 0.0)
        for now in (0.0, 4000.0):
            claims = ledgers[0].claim(now, {"main": len(names)})
            ledgers[0].commit([poll(each, trees[each.ref.event_id], now) for each in claims])
        for _ in range(5):
            pruned = together(*[partial(ledger.prune, 1.9e9, 40) for ledger in ledgers])
            assert [count for count, _ in pruned] == [40, 40]
        before = values(ledgers[0], "telnyx_cost_total", "record_type")
        assert sum(values(ledgers[0], "telnyx_ledger_pruned_events").values()) == 2 * len(names)
        ledgers[1].follow(map(ref, names), "file", 5000.0)
        claims = ledgers[1].claim(5000.0, {"main": len(names)})
        ledgers[1].commit([poll(each, trees[each.ref.event_id], 5000.0) for each in claims])
        assert values(ledgers[0], "telnyx_cost_total", "record_type") == before
        assert state(ledgers[0]) == {"settled": len(names)}
        assert ledgers[0].check() == []
