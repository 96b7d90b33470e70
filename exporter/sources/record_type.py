"""Read one type of an account's detail records: prove its time field, then read what is new.

An empty answer proves nothing, because a filter by a field that the type doesn't have may be answered with no records.
So the field is chosen from a record that the API lists without any filter, and must find that record again.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from exporter.core.attributes import read_time
from exporter.core.errors import Denied, IncompleteList
from exporter.sources.record_kinds import RecordKind
from exporter.sources.record_windows import EARLIEST, ListAnswer, RecordList, RecordWindow

DAY_SECONDS = 86_400.0
DEEP_INTERVAL, SHALLOW_LOOKBACK = 1 / 12, 1 / 48
"""Shares of the look-back: how often a poll goes back by all of it, and how far the polls in between go back."""
NO_SUCH_TYPE = "no matching record type"
"""In the API's answer for a type of which the account has no record; other accounts get an empty list."""

State = Literal["", "proven", "empty", "unproven", "refused"]
STATES: tuple[State, ...] = ("proven", "empty", "unproven", "refused")
FAILED_STATES = frozenset({"unproven", "refused"})


class TypeState(Struct):
    """What is known of one type, kept in the ledger; times in seconds since the epoch."""

    since: float
    """The start of the first poll; nothing earlier is requested."""
    started_at: float
    """The time of the first poll; what is before it is history."""
    reached: float
    """Everything before was read and proven."""
    state: State = ""
    field: str | None = None
    """The time field by which the list is filtered."""
    proven_at: float | None = None
    """When the field last found a record."""
    tried_at: float | None = None
    """When an unproven or refused type was last tried."""
    deep_at: float | None = None
    last_success: float | None = None
    without_time: int = 0
    """Records that the API lists without a filter, but not by the time field."""

    def lookback(self, now: float, seconds: float) -> float:
        """Return how far this poll goes back; all of `seconds` every twelfth of it."""
        shallow = self.deep_at is not None and 0 <= now - self.deep_at < DEEP_INTERVAL * seconds
        return seconds * (SHALLOW_LOOKBACK if shallow else 1.0)

    def waits(self, now: float) -> bool:
        """Return whether the type failed less than a day ago, so that trying again would find the same."""
        tried = self.tried_at
        return self.state in FAILED_STATES and tried is not None and 0 <= now - tried < DAY_SECONDS

    def progress(self) -> float:
        """Return the share of the time before the first poll that was read."""
        span = self.started_at - self.since
        return 1.0 if span <= 0 else min(1.0, max(0.0, (self.reached - self.since) / span))


class TypeReader:
    """Reads one type in one poll."""

    def __init__(self, kind: RecordKind, records: RecordList, listed_fields: Sequence[str]) -> None:
        """`listed_fields` are those that the API says its list can be filtered by; empty if it says nothing."""
        self._kind = kind
        self._records = records
        self._listed_fields = frozenset(listed_fields)

    async def time_field(self, state: TypeState, now: float, *, anew: bool = False) -> str | None:
        """Return the time field, proven within a day; None if the account has no record of the type.

        Raises IncompleteList if no field of a record finds it again, and what the client raises.
        """
        known = state.field if state.proven_at is not None and 0 <= now - state.proven_at < DAY_SECONDS else None
        if known is not None and not anew:
            return known
        try:
            sample = await self._records.sample()
        except Denied as error:
            if NO_SUCH_TYPE not in str(error).lower() or state.field is not None:
                raise
            sample = ListAnswer((), 0, 0, 1)
        if not sample.rows:
            state.state, state.field, state.proven_at, state.without_time = "empty", None, None, 0
            return None
        state.proven_at = None
        field, state.without_time = await self._prove_field(sample, now)
        state.state, state.field, state.proven_at = "proven", field, now
        return field

    async def _prove_field(self, sample: ListAnswer, now: float) -> tuple[str, int]:
        """Return the best field that finds the sample again, and how many records have no such time."""
        record: Mapping[str, object] = next(iter(sample.records), {})
        stated = sample.total or 0
        best: tuple[int, str] | None = None
        for field in self._candidates(record):
            if not await self._finds(field, record):
                continue
            found = (
                await self._records.query(field, RecordWindow(EARLIEST, math.ceil(now + DAY_SECONDS)), size=1)
            ).total
            if found is None or found >= stated:
                return field, 0
            if best is None or found > best[0]:
                best = found, field
        if best is None:
            tried = ", ".join(self._candidates(record)) or "none"
            problem = f"no time field is proven to filter its list (tried: {tried}); set custom_types[].time_field"
            raise IncompleteList(f"detail records {self._kind.name}: {problem}", stated)
        return best[1], stated - best[0]

    def _candidates(self, record: Mapping[str, object]) -> list[str]:
        times = self._kind.times_in(record)
        return [name for name in times if name in self._listed_fields] or times

    async def _finds(self, field: str, record: Mapping[str, object]) -> bool:
        """Return whether a filter by the field, for the second of this record, finds records of that second alone."""
        at = read_time(record[field])
        assert at is not None, "only readable times are candidates"
        second = RecordWindow(math.floor(at), math.floor(at) + 1)
        try:
            answer = await self._records.query(field, second)
        except Denied as error:
            if error.reason != "bad_request":
                raise
            return False
        return bool(answer.records) and all(second.contains(each, field) for each in answer.records)

    async def read(
        self, state: TypeState, now: float, windows: Sequence[RecordWindow], store: Callable[[], Awaitable[None]]
    ) -> None:
        """Read windows by the proven field, oldest first; `store` is called after each part that is proven.

        Raises IncompleteList at the first part that can't be proven.
        """
        assert state.field is not None, "the field is proven first"
        async for part, rows in self._records.prove(state.field, windows):
            state.reached = max(state.reached, float(part.until))
            if rows:
                state.proven_at = now
            await store()
