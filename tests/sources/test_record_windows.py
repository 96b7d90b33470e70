"""Lists of detail records: no record is missed without a word, whatever the API's lists do while they are read."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from exporter.core.errors import IncompleteList, TreeError
from exporter.core.model import DetailRecord
from exporter.sources.record_kinds import KINDS
from exporter.sources.record_windows import RecordList, RecordWindow, planned, read_page

CALLS = KINDS["call-control"]
NOON = 1_773_748_800
FIELD = "finished_at"


def written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class Behaviour(Struct, frozen=True):
    """How a list treats its readers."""

    order: str = "newest"
    """newest, oldest, or shuffled anew in every answer."""
    page_size: int = 50
    stated: Callable[[int], int | None] = int
    """The total that the list states, by the true one."""
    filters: bool = True


HONEST = Behaviour()


class Listed:
    """A list like the API's; `change` is called after every answer, and may add and remove records."""

    def __init__(self, times: Sequence[float], behaviour: Behaviour = HONEST) -> None:
        self.records = {f"c{number}": at for number, at in enumerate(times)}
        self.behaviour = behaviour
        self.asked: list[Mapping[str, str]] = []
        self.change: Callable[[], None] = lambda: None
        self.random = random.Random(1)

    async def answer(self, params: Mapping[str, str]) -> bytes:
        self.asked.append(params)
        bounds = [params.get(f"filter[{FIELD}][{bound}]") for bound in ("gte", "lt")]
        since, until = (datetime.fromisoformat(bound).timestamp() if bound else None for bound in bounds)
        found = [
            (at, name)
            for name, at in self.records.items()
            if not self.behaviour.filters or ((since is None or since <= at) and (until is None or at < until))
        ]
        found.sort(reverse=self.behaviour.order == "newest")
        if self.behaviour.order == "shuffled":
            self.random.shuffle(found)
        size = min(int(params["page[size]"]), self.behaviour.page_size)
        first = (int(params["page[number]"]) - 1) * size
        data = [{"id": name, FIELD: written(at), "cost": "0.1", "currency": "USD"} for at, name in found]
        total = self.behaviour.stated(len(found))
        meta = {"page_size": size} | ({} if total is None else {"total_results": total})
        body = json.dumps({"data": data[first : first + size], "meta": meta}).encode()
        self.change()
        return body


class Reading(Struct):
    """What a reader got of a list."""

    found: set[str]
    proven: list[RecordWindow]
    failed: IncompleteList | None = None


def read(listed: Listed, windows: Sequence[RecordWindow]) -> Reading:
    result = Reading(set(), [])

    async def ingest(records: Sequence[DetailRecord]) -> None:
        result.found |= {record.id for record in records}

    async def play() -> None:
        try:
            async for part, _ in RecordList("main", CALLS, listed.answer, ingest).prove(FIELD, windows):
                result.proven.append(part)
        except IncompleteList as error:
            result.failed = error

    asyncio.run(play())
    return result


def is_proven(result: Reading, at: float) -> bool:
    return any(part.since <= at < part.until for part in result.proven)


TIMES = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 5000)).map(lambda offset: NOON + offset), max_size=260)
ORDERS = st.sampled_from(["newest", "oldest", "shuffled"])


@given(TIMES, ORDERS, st.sampled_from([50, 20]), st.randoms(use_true_random=False))
def test_every_lasting_record_of_a_proven_window_was_read(
    times: list[int], order: str, page_size: int, random: Any
) -> None:
    """Records appear and vanish between any two answers, and several have one time."""
    listed = Listed(times, Behaviour(order, page_size))
    staying = dict(list(listed.records.items())[::2])

    def change() -> None:
        for _ in range(random.randint(0, 2)):
            listed.records[f"new{random.random()}"] = NOON + random.choice([0, 1, random.randint(0, 5000)])
            going = [name for name in listed.records if name not in staying]
            if random.random() < 0.5 and going:
                del listed.records[random.choice(going)]

    listed.change = change
    result = read(listed, [RecordWindow(NOON, NOON + 5001)])
    assert {name for name, at in staying.items() if is_proven(result, at)} <= result.found
    assert result.failed is not None or sum(part.until - part.since for part in result.proven) == 5001


@given(TIMES, ORDERS, st.integers(0, 300))
def test_a_lie_about_the_total_is_no_proof(times: list[int], order: str, stated: int) -> None:
    """Whatever total the API states: either all records were read, or the reading fails."""
    listed = Listed(times, Behaviour(order, stated=lambda _: stated))
    result = read(listed, [RecordWindow(NOON, NOON + 5001)])
    assert result.failed is not None or set(listed.records) <= result.found
    assert result.failed is None or len(listed.asked) < 1000


@given(TIMES, ORDERS)
def test_a_list_that_stands_still_is_read_whole(times: list[int], order: str) -> None:
    """However many records there are, and in whatever order."""
    listed = Listed(times, Behaviour(order))
    result = read(listed, [RecordWindow(NOON, NOON + 5001)])
    if order == "shuffled" and max(map(times.count, times), default=0) >= 50:
        return  # a page of one second may repeat another one; then the reading may fail
    assert result.failed is None
    assert result.found == set(listed.records)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(stated=lambda _: None), "meta.total_results is missing"),
        (Behaviour(stated=lambda total: total + 3), "10 records, meta.total_results is 13"),
        (Behaviour(stated=lambda total: total - 3), "10 records, meta.total_results is 7"),
        (Behaviour(filters=False), "the filter by finished_at has no effect"),
    ],
)
def test_a_contradiction_is_read_again_and_then_fails(behaviour: Behaviour, expected: str) -> None:
    """The message names the account, the type, the window and the numbers."""
    listed = Listed([NOON + second for second in range(10)], behaviour)
    result = read(listed, [RecordWindow(NOON, NOON + 10) if behaviour.filters else RecordWindow(NOON, NOON + 5)])
    assert expected in str(result.failed)
    assert str(result.failed).startswith("main: detail records call-control, 2026-03-17T12:00:00Z to 2026-03-17T12:00:")
    assert len(listed.asked) == 3
    assert result.proven == []


def test_a_full_page_proves_nothing() -> None:
    """Even if the API states just as many records: it may state no more than a page holds."""
    listed = Listed([NOON + second for second in range(80)], Behaviour(stated=lambda total: min(total, 50)))
    assert read(listed, [RecordWindow(NOON, NOON + 80)]).found == set(listed.records)


def test_one_pass_over_the_pages_of_a_second_proves_nothing() -> None:
    """A record that vanishes and one that appears between two pages hide a third one, and the number is right."""
    listed = Listed([NOON] * 60, Behaviour("oldest"))
    staying = set(listed.records) - {"c0"}

    def change() -> None:
        if len(listed.asked) == 2:  # the first page of the first pass
            del listed.records["c0"]
            listed.records["later"] = NOON

    listed.change = change
    result = read(listed, [RecordWindow(NOON, NOON + 1)])
    assert result.failed is None
    assert staying <= result.found


def test_records_outside_the_window_are_not_ingested() -> None:
    """A filter without effect lists history, which must not count."""
    listed = Listed([NOON - 100, NOON + 1], Behaviour(filters=False))
    assert read(listed, [RecordWindow(NOON, NOON + 5)]).found == {"c1"}


def test_parts_that_were_proven_before_a_failure_stay_proven() -> None:
    """The reading resumes after them."""
    listed = Listed([NOON + 60 * minute for minute in range(120)])

    def lie() -> None:
        if len(listed.asked) == 3:
            listed.behaviour = Behaviour(stated=lambda total: total + 1)

    listed.change = lie
    result = read(listed, [RecordWindow(NOON, NOON + 7200)])
    assert result.failed is not None
    assert [part.since for part in result.proven] == [NOON, NOON + 2400]


def test_known_times_plan_the_windows() -> None:
    """A second reading of a busy day costs about a request for every forty records."""
    times = [NOON + 10 * number for number in range(1200)]
    listed = Listed(times)
    result = read(listed, planned(NOON, NOON + 86_400, times))
    assert result.found == set(listed.records)
    assert len(listed.asked) == 30


def test_planned_windows_cover_the_time() -> None:
    """Without gaps, even if more records than a page have one time."""
    windows = planned(NOON + 0.5, NOON + 99.5, [NOON + 1.5] * 200 + [NOON + 50.0] * 90)
    assert windows == [
        RecordWindow(NOON, NOON + 1),
        RecordWindow(NOON + 1, NOON + 50),
        RecordWindow(NOON + 50, NOON + 100),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": [', b"\xff", b"[" * 100_000])
def test_a_malformed_page_is_an_error(body: bytes) -> None:
    """Any other body of a 200 is an error, not an empty list."""
    with pytest.raises(TreeError):
        read_page(body)


def test_a_bad_row_costs_only_itself() -> None:
    """Rows without a readable id count as rows, so the window is proven, and are counted as unreadable."""
    at = written(NOON)
    odd: list[object] = [1, None, [], {FIELD: at}, *({FIELD: at, "id": bad} for bad in (5, "", "x" * 500, "a\nb"))]
    rows = [*odd, {"id": "ok", FIELD: at, "cost": "NaN"}]
    found: list[DetailRecord] = []

    async def ask(_: Mapping[str, str]) -> bytes:
        return json.dumps({"data": rows, "meta": {"total_results": len(rows)}}).encode()

    async def ingest(records: Sequence[DetailRecord]) -> None:
        found.extend(records)

    async def play() -> RecordList:
        records = RecordList("main", CALLS, ask, ingest)
        assert [part async for part, _ in records.prove(FIELD, [RecordWindow(NOON, NOON + 1)])] == [
            RecordWindow(NOON, NOON + 1)
        ]
        return records

    assert asyncio.run(play()).unreadable == len(odd)
    assert [(record.id, record.cost, record.currency) for record in found] == [("ok", None, "unknown")]
