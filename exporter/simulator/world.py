"""The simulated world: which sessions have begun, what each costs by now, and what all of it must add up to.

Owns session time's progress and the truth. Serves no one and encodes nothing. Safe to use from any thread. The
surprising fact: sessions are not kept. Session n begins in the n-th slot of time and is drawn from (seed, n) whenever
somebody asks; only references, running totals and the steps still to come stay in memory.
"""

import heapq
import random
import threading
import uuid
from bisect import bisect_right
from decimal import Decimal
from functools import lru_cache, partial
from operator import attrgetter
from typing import Protocol

from msgspec import Struct

from exporter.money import ZERO, add, subtract
from exporter.simulator import shapes
from exporter.simulator.drafting import Draft, iso
from exporter.simulator.events import Event, Session
from exporter.simulator.identity import Ids
from exporter.simulator.settings import Settings
from exporter.simulator.voice import documented_call

SESSIONS_CACHED_MAX = 1024
"""Sessions drawn most recently; each takes 10 to 100 kB."""

DOCUMENTED_ID = "a1b2c3d4-5e6f-7a8b-9c0d-1e2f3a4b5c6d"
"""The call-session of the documented example."""

_DOCUMENTED_BEGUN = 1_773_741_600.0  # 2026-03-17T10:00:00Z, the time in the guide
_HOUR_SECONDS = 3600.0


class Clock(Protocol):
    """Session time, which never goes back."""

    def now(self) -> float: ...


class Ref(Struct, frozen=True, gc=False):
    """A session that has begun, by the name of its root."""

    begun: float
    record_type: str
    event_id: str
    date_time: str


class Found(Struct, frozen=True):
    """An event that exists at the time `now`."""

    session: Session
    index: int
    now: float


class Total(Struct, frozen=True):
    """What the distinct events of one record type cost together."""

    record_type: str
    product: str
    currency: str
    cost: Decimal
    events: int


class Truth(Struct, frozen=True):
    """What anybody who followed all sessions must have counted at the time `now`."""

    now: float
    sessions: int
    events: int
    inference_turns: int
    totals: tuple[Total, ...]


class _Change(Struct, frozen=True, order=True, gc=False):
    """A step of a bill that is still to come."""

    time: float
    key: tuple[str, str, str]
    difference: Decimal
    new_events: int


class World:
    """All that happens from `settings`, as far as `clock` has come."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._ids = Ids(settings.seed)
        self._origin = settings.start - settings.history_seconds
        self._slot_seconds = _HOUR_SECONDS / settings.sessions_per_hour
        self._session = lru_cache(maxsize=SESSIONS_CACHED_MAX)(self._draw)
        self._documented = _documented_session() if settings.documented_example else None
        self._lock = threading.Lock()
        self._begun = 0
        self._refs: list[Ref] = []
        self._coming: list[_Change] = []
        self._totals: dict[tuple[str, str, str], Total] = {}
        if self._documented:
            self._begin(self._documented, min(self._documented.begun, self._origin))

    def truth(self) -> Truth:
        """The exact sums over all distinct events that exist now in sessions that have begun."""
        with self._lock:
            now = self._advance()
            totals = tuple(total for _, total in sorted(self._totals.items()))
            return Truth(
                now=now,
                sessions=len(self._refs),
                events=sum(total.events for total in totals),
                inference_turns=sum(total.events for total in totals if total.record_type == "inference"),
                totals=totals,
            )

    def refs(self, since: float = 0.0) -> list[Ref]:
        """The sessions that have begun after `since`, in the order in which they began."""
        with self._lock:
            self._advance()
            return self._refs[bisect_right(self._refs, since, key=attrgetter("begun")) :]

    def find(self, record_types: tuple[str, ...], event_id: uuid.UUID) -> Found | None:
        """The event of this id that has one of these record types, if it exists by now."""
        with self._lock:
            now = self._advance()
            session = self._holder(event_id)
        if session is None:
            return None
        for record_type in record_types:
            index = session.index_of(record_type, str(event_id))
            if index is not None and session.events[index].exists_from <= now:
                return Found(session, index, now)
        return None

    def _holder(self, event_id: uuid.UUID) -> Session | None:
        """The session that the event must belong to, if it exists at all."""
        documented = self._documented
        if documented and any(event.id == str(event_id) for event in documented.events):
            return documented
        number = self._ids.session_of(event_id)
        return self._session(number) if number < self._begun else None

    def _advance(self) -> float:
        now = self._clock.now()
        while self._more() and self._begins(self._begun) <= now:
            session = self._session(self._begun)
            self._begin(session, session.begun)
            self._begun += 1
        while self._coming and self._coming[0].time <= now:
            self._apply(heapq.heappop(self._coming))
        return now

    def _more(self) -> bool:
        return self._settings.sessions_max is None or self._begun < self._settings.sessions_max

    def _begins(self, number: int) -> float:
        """One session begins in each slot, somewhere in it."""
        return self._origin + (number + self._ids.chance(number)) * self._slot_seconds

    def _begin(self, session: Session, begun: float) -> None:
        """Let it begin; `begun` is its place among the references, which are in order of time."""
        for index in session.roots:
            root = session.events[index]
            self._refs.append(Ref(begun, root.record_type, root.id, iso(session.begun)))
        for event in session.events:
            for change in _changes(event, session.currency):
                heapq.heappush(self._coming, change)

    def _apply(self, change: _Change) -> None:
        before = self._totals.get(change.key) or Total(*change.key, cost=ZERO, events=0)
        self._totals[change.key] = Total(
            *change.key,
            cost=add(before.cost, change.difference),
            events=before.events + change.new_events,
        )

    def _draw(self, number: int) -> Session:
        rng = random.Random(f"{self._settings.seed}/{number}")  # noqa: S311 - a game of chance that can be repeated
        draft = Draft(
            self._begins(number),
            partial(self._ids.make, number),
            rng,
            currency=rng.choice(self._settings.currencies),
            delay_scale=self._settings.rating_delay_scale,
        )
        shapes.draw(draft)
        return draft.finish()


def _changes(event: Event, currency: str) -> list[_Change]:
    costs = [ZERO, *(step.cost for step in event.bill)]
    key = (event.record_type, event.product, currency)
    return [
        _Change(step.time, key, subtract(step.cost, before), int(place == 0))
        for place, (step, before) in enumerate(zip(event.bill, costs, strict=False))
    ]


def _documented_session() -> Session:
    """The guide's call; every event of it exists as soon as it has ended."""
    rng = random.Random(0)  # noqa: S311 - always the same numbers
    draft = Draft(_DOCUMENTED_BEGUN, lambda index: f"{DOCUMENTED_ID[:-12]}{index:012x}", rng, delay_scale=0.0)
    documented_call(draft, DOCUMENTED_ID)
    return draft.finish()
