"""The index of all detail records with their times.

It keeps some numbers per record and no record itself. Safe to use from any thread. A record appears later than its
event, and not in the order of events, so a client that continues from the last time it has seen misses some.
"""

import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from operator import eq, ge, gt, le, lt
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.money import ZERO, add, subtract
from simulator.events import SimulatedEvent, SimulatedSession
from simulator.records import BY_RECORD_TYPE, Listable

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {"gte": ge, "gt": gt, "lte": le, "lt": lt, "eq": eq}
"""Those for times."""


class IndexedRecord(NamedTuple):
    """The record of one event."""

    times: tuple[float, ...]
    """In the order of `Listable.times`; a time that the record doesn't have is NaN, for which no comparison holds."""
    appears_at: float
    vanishes_at: float
    number: int
    """Of its session."""
    event_index: int
    """Among the events of its session."""


class Bound(NamedTuple):
    """A filter on a field of time."""

    field: str
    comparison: str
    time: float


class RecordCost(Struct, frozen=True):
    """What the records of one type cost in one currency: each counts once, at its highest cost so far."""

    name: str
    """In the list."""
    record_type: str
    """Everywhere else."""
    currency: str
    cost: Decimal
    records: int


class _CostChange(Struct, frozen=True):
    time: float
    more: RecordCost


class RecordIndex:
    """`chance` gives a number in [0, 1) that belongs to a name."""

    def __init__(self, late_seconds: float, chance: Callable[[str], float]) -> None:
        self._late_seconds = late_seconds
        self._chance = chance
        self._entries: dict[str, list[IndexedRecord]] = defaultdict(list)
        self._lock = threading.Lock()
        self._coming: list[tuple[float, int, _CostChange]] = []
        """A heap in order of time; the number makes entries comparable."""
        self._numbers = itertools.count()
        self._costs: dict[tuple[str, str], RecordCost] = {}

    def add(self, number: int, session: SimulatedSession) -> None:
        """Add a session that has started, with all events that it will have."""
        with self._lock:
            for index, event in enumerate(session.events):
                listable = BY_RECORD_TYPE.get(event.record_type)
                if listable is not None:
                    late = self._chance(f"record/{event.id}") * self._late_seconds
                    times, appears_at = listable.times_of(event), event.exists_from + late
                    entry = IndexedRecord(times, appears_at, event.vanishes_at, number, index)
                    self._entries[event.record_type].append(entry)
                    for change in _costs(listable, event, appears_at):
                        heapq.heappush(self._coming, (change.time, next(self._numbers), change))

    def matching(self, listable: Listable, bounds: Iterable[Bound], now: float) -> list[IndexedRecord]:
        """Return the records that are listed now and within the bounds, in no order."""
        holds = [(listable.times.index(each.field), COMPARISONS[each.comparison], each.time) for each in bounds]
        with self._lock:
            entries = list(self._entries[listable.record_type])
        return [
            entry
            for entry in entries
            if entry.appears_at <= now < entry.vanishes_at
            and all(compare(entry.times[place], time) for place, compare, time in holds)
        ]

    def costs(self, now: float) -> list[RecordCost]:
        """Return the exact costs of all records that were ever listed, by type and currency."""
        with self._lock:
            while self._coming and self._coming[0][0] <= now:
                change = heapq.heappop(self._coming)[-1]
                key = (change.more.name, change.more.currency)
                before = self._costs.get(key, replace(change.more, cost=ZERO, records=0))
                cost, records = add(before.cost, change.more.cost), before.records + change.more.records
                self._costs[key] = replace(before, cost=cost, records=records)
            return [cost for _, cost in sorted(self._costs.items())]

    def knows(self, listable: Listable, now: float) -> bool:
        """Return whether a record of this type has ever appeared."""
        with self._lock:
            return any(entry.appears_at <= now for entry in self._entries[listable.record_type])


def _costs(listable: Listable, event: SimulatedEvent, appears_at: float) -> Iterator[_CostChange]:
    """Yield how the costs of listed records grow by this one, from when it is listed until it vanishes."""
    highest: dict[str, Decimal] = {}
    for step, until in zip(event.bill, (*(step.time for step in event.bill[1:]), event.vanishes_at), strict=True):
        time = max(step.time, appears_at)
        cost = ZERO if step.cost is None else step.cost
        if time >= min(until, event.vanishes_at):
            continue  # replaced before it was listed
        more = subtract(max(cost, highest.get(step.currency, ZERO)), highest.get(step.currency, ZERO))
        new = RecordCost(listable.name, listable.record_type, step.currency, more, int(step.currency not in highest))
        highest[step.currency] = max(cost, highest.get(step.currency, ZERO))
        yield _CostChange(time, new)
