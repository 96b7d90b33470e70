"""Events with their bills, grouped into sessions, and their state at a given time.

Nothing here is random, and nothing is encoded. A session is not a tree: a conference's participant is below the
conference and below the call that joined it, so a session can have several roots.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import Struct

from exporter.core.record_types import RecordTypes
from simulator.record_shapes import money

TYPES = RecordTypes.documented()
"""The simulated API's own record types."""

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = "user_prompt_tokens", "cached_user_prompt_tokens", "completion_tokens"
CHARACTERS, BILLED_SECONDS = "number_of_characters", "billed_sec"
USAGE = (INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, CHARACTERS, BILLED_SECONDS)
"""The fields of records that state what an event has used. Input includes the cached tokens."""

UnpricedAs = Literal["null", "missing", "text", "no cost"]
"""How an unpriced event is shown: its cost is null, left out, or a word; or it has no costs at all."""


class Step(Struct, frozen=True, gc=False):
    """The cost and usage of an event from this time on."""

    time: float
    cost: Decimal | None
    """None: it has no price yet."""
    currency: str
    usage_percent: int = 100
    """The part of its tokens and billed seconds that is shown."""


class SimulatedEvent(Struct, frozen=True):
    """A billed event. It exists from the first step of its bill, which a later one amends, until it vanishes."""

    id: str
    record_type: str
    product: str
    event_name: str
    bill: tuple[Step, ...]
    record: Mapping[str, object]
    """Its final state, without its cost."""
    facts: Mapping[str, object]
    """All that is known of it, of which the record shows a part."""
    began: float
    ended: float
    bundled: bool = False
    """Its price is part of another event's, so it never has one of its own."""
    vanishes_at: float = math.inf
    unpriced_as: UnpricedAs = "null"

    @property
    def exists_from(self) -> float:
        return self.bill[0].time

    def step_at(self, now: float) -> Step | None:
        """None while the event doesn't exist."""
        place = bisect_right(self.bill, now, key=lambda step: step.time) if now < self.vanishes_at else 0
        return self.bill[place - 1] if place else None

    def record_at(self, step: Step) -> Mapping[str, object]:
        shown = self.record
        if step.usage_percent < 100:  # noqa: PLR2004 - not all of it
            parts = {name: _whole(shown[name]) * step.usage_percent // 100 for name in USAGE if name in shown}
            shown = {**shown, **parts}
        return {**shown, **money(self.record_type, step.cost, step.currency, bundled=self.bundled)}

    @property
    def times(self) -> Iterator[float]:
        """When it changes."""
        yield from (step.time for step in self.bill)
        if self.vanishes_at < math.inf:
            yield self.vanishes_at


class SimulatedSession(Struct, dict=True):
    """Events that hang together; `children[i]` are the indexes of those below `events[i]`."""

    begun: float
    currency: str
    events: tuple[SimulatedEvent, ...]
    children: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    listed: tuple[int, ...] = ()
    """Inner events that are listed as sessions of their own as well."""

    def __post_init__(self) -> None:
        self._indexes = {(event.record_type, event.id): index for index, event in enumerate(self.events)}
        self._times: dict[int, list[float]] = {}

    def index_of(self, record_type: str, event_id: str) -> int | None:
        return self._indexes.get((record_type, event_id))

    def below(self, root: int) -> Iterator[int]:
        """Yield the indexes of `root` and everything below it, parents first."""
        waiting = [root]
        while waiting:
            index = waiting.pop()
            yield index
            waiting += reversed(self.children[index])

    def version(self, root: int, now: float) -> int:
        """How many changes at and below `root` have been made: the same number, the same tree."""
        if root not in self._times:
            self._times[root] = sorted(time for index in self.below(root) for time in self.events[index].times)
        return bisect_right(self._times[root], now)


def naming(record_type: str) -> tuple[str, str]:
    """Product and event name of a record type; a type that the metadata doesn't list is its own product."""
    known = TYPES.get(record_type)
    return (known.product, known.event) if known else (record_type, record_type)


class Usage(NamedTuple):
    """What a record states as used."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    characters: int
    billed_seconds: int


def usage(record: Mapping[str, object]) -> Usage:
    return Usage(*(_whole(record.get(name)) for name in USAGE))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
