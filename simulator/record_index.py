"""The index of all detail records, in the order of the events' times.

It keeps five numbers per record and no record itself. Safe to use from any thread. A record appears later than its
event, and not in the order of events, so a client that continues from the last time it has seen misses some.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from simulator.events import SimulatedSession
from simulator.records import BY_RECORD_TYPE


class IndexedRecord(NamedTuple):
    """The record of one event."""

    time: float
    appears_at: float
    vanishes_at: float
    number: int
    """Of its session."""
    event_index: int
    """Among the events of its session."""


Bound = tuple[str, float]
"""A comparison, such as `gte`, and the time to compare with."""


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
                    entry = IndexedRecord(
                        listable.time(event), event.exists_from + late, event.vanishes_at, number, index
                    )
                    insort(self._entries[event.record_type], entry)  # nearly always at the end

    def between(self, record_type: str, bounds: Iterable[Bound], now: float) -> list[IndexedRecord]:
        """Return the records that are listed now and whose events' times are within the bounds."""
        with self._lock:
            entries = self._entries[record_type]
            first, end = 0, len(entries)
            for comparison, time in bounds:
                from_, to = _cut(entries, comparison, time)
                first, end = max(first, from_), min(end, to)
            return [entry for entry in entries[first:end] if entry.appears_at <= now < entry.vanishes_at]


def _cut(entries: list[IndexedRecord], comparison: str, time: float) -> tuple[int, int]:
    before = bisect_left(entries, time, key=lambda entry: entry.time)
    until = bisect_right(entries, time, key=lambda entry: entry.time)
    cuts = {"gte": (before, len(entries)), "gt": (until, len(entries)), "lt": (0, before), "lte": (0, until)}
    return cuts.get(comparison, (before, until))
