"""The index of all detail records with their times.

It keeps some numbers per record and no record itself. Safe to use from any thread. A record appears later than its
event, and not in the order of events, so a client that continues from the last time it has seen misses some.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import eq, ge, gt, le, lt
from typing import NamedTuple

from simulator.events import SimulatedSession
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


class RecordIndex:
    """`chance` gives a number in [0, 1) that belongs to a name."""

    def __init__(self, late_seconds: float, chance: Callable[[str], float]) -> None:
        self._late_seconds = late_seconds
        self._chance = chance
        self._entries: dict[str, list[IndexedRecord]] = defaultdict(list)
        self._lock = threading.Lock()

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

    def knows(self, listable: Listable, now: float) -> bool:
        """Return whether a record of this type has ever appeared."""
        with self._lock:
            return any(entry.appears_at <= now for entry in self._entries[listable.record_type])
