"""What happened in the simulated world: events with their bills, grouped into sessions.

Owns the shape of it and what follows from the shape: which events exist at a time, what they cost then, which lie
below which. Draws nothing at random and encodes nothing. The surprising fact: a session is no tree. A conference's
participant lies below the conference and below the call that joined it, so one session can have many roots.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from decimal import Decimal

from msgspec import Struct

from exporter.record_types import RecordTypes

TYPES = RecordTypes.documented()
"""The simulated API's own record types."""


class Step(Struct, frozen=True, gc=False):
    """From this time on an event costs so much."""

    time: float
    cost: Decimal


class Event(Struct, frozen=True):
    """A billed event. It exists from the first step of its bill; a later step amends the cost."""

    id: str
    record_type: str
    product: str
    event_name: str
    bill: tuple[Step, ...]
    record: Mapping[str, object]

    @property
    def exists_from(self) -> float:
        return self.bill[0].time

    def cost_at(self, now: float) -> Decimal | None:
        """None while the event doesn't exist."""
        place = bisect_right(self.bill, now, key=lambda step: step.time)
        return self.bill[place - 1].cost if place else None


class Session(Struct, dict=True):
    """Events that hang together; `children[i]` are the indexes of those below `events[i]`."""

    begun: float
    currency: str
    events: tuple[Event, ...]
    children: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]

    def __post_init__(self) -> None:
        self._indexes = {(event.record_type, event.id): index for index, event in enumerate(self.events)}
        self._times: dict[int, list[float]] = {}

    def index_of(self, record_type: str, event_id: str) -> int | None:
        return self._indexes.get((record_type, event_id))

    def below(self, root: int) -> Iterator[int]:
        """The indexes of `root` and all below it, parents first."""
        waiting = [root]
        while waiting:
            index = waiting.pop()
            yield index
            waiting += reversed(self.children[index])

    def version(self, root: int, now: float) -> int:
        """How many steps of the bills at and below `root` have been made: the same number, the same tree."""
        if root not in self._times:
            self._times[root] = sorted(step.time for index in self.below(root) for step in self.events[index].bill)
        return bisect_right(self._times[root], now)


def naming(record_type: str) -> tuple[str, str]:
    """Product and event name of a record type; a type that the metadata doesn't list is its own product."""
    known = TYPES.get(record_type)
    return (known.product, known.event) if known else (record_type, record_type)
