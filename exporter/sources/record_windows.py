"""Read the detail records of a window of time, and prove that none is missing.

A list moves while it is paged through, and its order can't be relied on. So no window is paged through: one answer
proves a window if it holds as many records as the API says that there are. A window that no single answer holds is
split, and each part is proven by itself. The ledger counts a record once, however often it is read.
"""

# Worked example: 120 records of one day, 50 to a page.
#
#   window        total_results   rows   verdict
#   00:00-24:00   120             50     a full page proves nothing: split into 120 / 40 = 3 parts
#   00:00-08:00   10              10     proven
#   08:00-16:00   75              50     split into 2 parts
#   08:00-12:00   40              40     proven
#   12:00-16:00   36              36     proven; one record has appeared since the last answer, and counts
#   16:00-24:00   35              35     proven
#
# Only a window of one second can't be split. If it has more records than a page, two passes over all of its pages must
# find the same records, as many as every answer says.

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Raw, Struct

from exporter.core.attributes import read_time
from exporter.core.errors import IncompleteList, TreeError
from exporter.core.model import DetailRecord
from exporter.core.money import read_decimal
from exporter.sources.record_kinds import RecordKind

PAGE_SIZE = 50
"""The API's maximum: it answers with 50 records to a query for more."""
ROWS_PLANNED = 40
"""Records per window when a window is split; some parts have more than the average, and 50 would be a full page."""
PARTS_MAX = 64
READINGS_MAX = 3
"""How often a window is read before its answers count as contradictory."""
PASSES_MAX = 4
"""How often the pages of one second are read before they count as contradictory."""
EARLIEST = 946_684_800
"""The year 2000: no record is older."""


class RecordWindow(Struct, frozen=True, order=True):
    """The time from `since` up to but not including `until`, in whole seconds since the epoch."""

    since: int
    until: int

    def contains(self, record: Mapping[str, object], field: str) -> bool:
        """Return whether the record's time in this field is within the window."""
        at = read_time(record.get(field))
        return at is not None and self.since <= at < self.until

    def parts(self, count: int) -> "list[RecordWindow]":
        """Return the window in `count` parts, fewer if it is shorter than that many seconds."""
        count = min(count, self.until - self.since)
        cuts = [self.since + (self.until - self.since) * part // count for part in range(count + 1)]
        return [RecordWindow(since, until) for since, until in pairwise(cuts)]


def planned(since: float, until: float, known: Iterable[float]) -> list[RecordWindow]:
    """Return the time as windows, oldest first, each with about ROWS_PLANNED of the `known` records' times."""
    first, last = max(math.floor(since), EARLIEST), math.ceil(until)
    cuts, rows = [first], 0
    for at in sorted(known):
        rows += 1
        if rows > ROWS_PLANNED and cuts[-1] < math.floor(at) < last:
            cuts.append(math.floor(at))
            rows = 1
    return [RecordWindow(start, end) for start, end in zip(cuts, [*cuts[1:], last], strict=True) if start < end]


class ListAnswer(Struct, frozen=True):
    """One page of a list."""

    records: Sequence[Mapping[str, Any]]
    """Rows that are no JSON object are left out."""
    rows: int
    total: int | None
    """`meta.total_results`; None if there is no readable one."""
    page_size: int

    @property
    def full(self) -> bool:
        """Whether there may be another page."""
        return self.rows >= self.page_size


class _Meta(Struct):
    total_results: object = None
    page_size: object = None


class _Page(Struct):
    data: tuple[Raw, ...]
    meta: _Meta | None = None


_PAGES = msgspec.json.Decoder(_Page)
_RECORDS = msgspec.json.Decoder(dict[str, Any], float_hook=read_decimal)


def read_page(body: bytes) -> ListAnswer:
    """Return the page in an answer; raises TreeError if it is none."""
    try:
        page = _PAGES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TreeError("malformed", f"the answer is no page of detail records: {error}") from None
    meta = page.meta or _Meta()
    size = meta.page_size if type(meta.page_size) is int and meta.page_size > 0 else PAGE_SIZE
    total = meta.total_results if type(meta.total_results) is int and meta.total_results >= 0 else None
    return ListAnswer(list(_readable(page.data)), len(page.data), total, size)


def _readable(rows: tuple[Raw, ...]) -> Iterator[dict[str, Any]]:
    for row in rows:
        try:
            yield _RECORDS.decode(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


class RecordList:
    """The list of one type."""

    def __init__(
        self,
        account: str,
        kind: RecordKind,
        ask: Callable[[Mapping[str, str]], Awaitable[bytes]],
        ingest: Callable[[Sequence[DetailRecord]], Awaitable[None]],
    ) -> None:
        """`ask` sends a query and returns the body of its answer; `ingest` gets what `prove` has read."""
        self._account = account
        self._kind = kind
        self._ask = ask
        self._ingest = ingest
        self.unreadable = 0
        """The number of rows without a readable id."""

    async def sample(self) -> ListAnswer:
        """Return at most one record, of any time, and how many there are."""
        return await self._page({"page[number]": "1", "page[size]": "1"})

    async def query(self, field: str, window: RecordWindow, page: int = 1, size: int = PAGE_SIZE) -> ListAnswer:
        """Return one page of a window."""
        bounds = {f"filter[{field}][gte]": _written(window.since), f"filter[{field}][lt]": _written(window.until)}
        return await self._page(bounds | {"page[number]": str(page), "page[size]": str(size)})

    async def _page(self, params: Mapping[str, str]) -> ListAnswer:
        return read_page(await self._ask({"filter[record_type]": self._kind.name, **params}))

    async def _read(self, field: str, window: RecordWindow, page: int = 1) -> ListAnswer:
        """Return one page of a window, after its records are ingested, whether or not it proves anything.

        A record outside the window isn't ingested: it may be older than anything that the exporter should count.
        """
        answer = await self.query(field, window, page)
        inside = [record for record in answer.records if window.contains(record, field)]
        found = [self._kind.read(self._account, record, field) for record in inside]
        self.unreadable += answer.rows - len(answer.records) + sum(record is None for record in found)
        await self._ingest([record for record in found if record is not None])
        return answer

    async def prove(self, field: str, windows: Collection[RecordWindow]) -> AsyncIterator[tuple[RecordWindow, int]]:
        """Read windows, oldest first; yield each part, with its number of records, when it is proven to be read whole.

        Raises IncompleteList as soon as the answers for a part contradict each other.
        """
        waiting = sorted(windows, reverse=True)
        while waiting:
            window = waiting.pop()
            answer = await self._consistent(field, window)
            if not answer.full:
                yield window, answer.rows
            elif window.until - window.since > 1:
                parts = -(-(answer.total or 0) // ROWS_PLANNED)
                waiting += reversed(window.parts(min(max(parts, 2), PARTS_MAX)))
            else:
                await self._prove_second(field, window)
                yield window, answer.rows

    async def _consistent(self, field: str, window: RecordWindow) -> ListAnswer:
        """Return an answer that doesn't contradict itself."""
        problem = None
        for _ in range(READINGS_MAX):
            answer = await self._read(field, window)
            problem = self._contradiction(answer, field, window)
            if problem is None:
                return answer
        assert problem is not None
        raise problem

    def _contradiction(self, answer: ListAnswer, field: str, window: RecordWindow) -> IncompleteList | None:
        """Return what is wrong with an answer; None if nothing is."""
        rows, total = answer.rows, answer.total
        if not all(window.contains(record, field) for record in answer.records):
            return self._incomplete(f"a record is outside the window: the filter by {field} has no effect", window)
        if total is None:
            return self._incomplete("meta.total_results is missing, so nothing shows whether records are", window)
        if rows > total or (not answer.full and rows < total):
            return self._incomplete(f"{rows} records, meta.total_results is {total}", window, abs(total - rows))
        if len(self._ids(answer)) < rows:
            return self._incomplete("a record is listed twice in one answer", window)
        return None

    def _ids(self, answer: ListAnswer) -> set[object]:
        """Return what tells the rows apart; a row without a readable id is itself."""
        ids: set[object] = {self._kind.id(record) or number for number, record in enumerate(answer.records)}
        return ids | {-1 - number for number in range(answer.rows - len(answer.records))}

    async def _prove_second(self, field: str, window: RecordWindow) -> None:
        """Read all pages of a window that can't be split, until two passes agree."""
        before: set[object] = set()
        for _ in range(PASSES_MAX):
            ids, totals = await self._pass(field, window)
            if ids == before and totals == {len(ids)}:
                return
            before = ids
        stated = max(totals, default=0)
        problem = f"{len(before)} records of one second, meta.total_results is {stated}"
        raise self._incomplete(problem, window, abs(stated - len(before)))

    async def _pass(self, field: str, window: RecordWindow) -> tuple[set[object], set[int]]:
        """Read all pages of a window once; return the ids, and all totals that the API stated."""
        ids: set[object] = set()
        totals: set[int] = set()
        page, ended = 0, False
        while not ended:
            page += 1
            answer = await self._read(field, window, page)
            found = {self._kind.id(record) or (page, number) for number, record in enumerate(answer.records)}
            ids |= found
            totals.add(-1 if answer.total is None else answer.total)
            ended = not answer.full or len(ids) > (answer.total or 0)
        return ids, totals

    def _incomplete(self, problem: str, window: RecordWindow, missing: int = 0) -> IncompleteList:
        span = f"{_written(window.since)} to {_written(window.until)}"
        return IncompleteList(f"{self._account}: detail records {self._kind.name}, {span}: {problem}", missing)


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
