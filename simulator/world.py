"""The simulated world: which sessions have started, what they cost by now, and the exact sums.

Safe to use from any thread. Sessions are not stored. Session n starts in the n-th slot of time and is generated from
(seed, n) when it is needed; only references, running totals and future steps of bills stay in memory.
"""

import heapq
import itertools
import random
import threading
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import attrgetter
from typing import Protocol

from msgspec import Struct

from simulator import bills, shapes
from simulator.behaviour import ApiBehaviour
from simulator.events import SimulatedSession
from simulator.identity import Ids
from simulator.records import referenced_sessions
from simulator.session_builder import SessionBuilder, iso
from simulator.settings import SimulatorSettings
from simulator.truth import Truth, TruthChange, TruthTotal, changes, kinds
from simulator.voice import documented_call
from simulator.webhook_events import NAMED

SESSIONS_CACHED_MAX = 1024
"""Sessions generated most recently; each takes 10 to 100 kB."""

DOCUMENTED_ID = "a1b2c3d4-5e6f-7a8b-9c0d-1e2f3a4b5c6d"
"""The call-session of the documented example."""

DOCUMENTED_NUMBER = -1
"""The number of its session, which has no slot."""

_DOCUMENTED_BEGUN = 1_773_741_600.0  # 2026-03-17T10:00:00Z, the time in the guide
_HOUR_SECONDS = 3600.0


class WorldClock(Protocol):
    """Session time, which never goes back."""

    def now(self) -> float: ...


Watcher = Callable[[int, SimulatedSession], None]
"""Called with the number of every session that starts and the session; in order of time, under the world's lock."""


class Ref(Struct, frozen=True, gc=False):
    """A session that has started, named by its root; or an inner event that is listed as a session too."""

    begun: float
    record_type: str
    event_id: str
    date_time: str
    outermost: bool
    """It is a root, not an event in another tree."""
    webhooks: bool
    """Webhooks name it."""
    detail_records: bool
    """A detail record refers to it."""


class Found(Struct, frozen=True):
    """An event that exists at the time `now`."""

    session: SimulatedSession
    index: int
    now: float


class World:
    """The world of these settings, up to the clock's time."""

    def __init__(self, settings: SimulatorSettings, clock: WorldClock, watchers: Sequence[Watcher] = ()) -> None:
        self._settings = settings
        self._clock = clock
        self._watchers = watchers
        self._ids = Ids(settings.seed)
        self._origin = settings.start - settings.history_seconds
        self._slot_seconds = _HOUR_SECONDS / settings.sessions_per_hour
        self._session = lru_cache(maxsize=SESSIONS_CACHED_MAX)(self._draw)
        self._documented = _documented_session(settings.api) if settings.documented_example else None
        self._lock = threading.Lock()
        self._begun = 0
        self._refs: list[Ref] = []
        self._outermost = 0
        self._coming: list[tuple[float, int, TruthChange | tuple[str, int]]] = []
        """A heap in order of time: changes of totals, and of the number of sessions of a kind.

        The number makes entries comparable.
        """
        self._kinds: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._totals: dict[tuple[str, str, str], TruthTotal] = {}
        if self._documented:
            self._begin(DOCUMENTED_NUMBER, self._documented, min(self._documented.begun, self._origin))

    def truth(self) -> Truth:
        """Return the exact sums over all events that exist or existed in sessions that have started."""
        with self._lock:
            now = self._advance()
            totals = tuple(total for _, total in sorted(self._totals.items()))
            return Truth(
                now=now,
                sessions=len(self._refs),
                outermost_sessions=self._outermost,
                events=sum(total.events for total in totals),
                inference_turns=sum(total.events for total in totals if total.record_type == "inference"),
                awaiting_price=sum(total.awaiting_price for total in totals),
                bundled=sum(total.bundled for total in totals),
                vanished=sum(total.vanished for total in totals),
                sessions_by_kind={kind: count for kind, count in sorted(self._kinds.items()) if count},
                totals=totals,
            )

    def now(self) -> float:
        """Return session time, after starting every session that is due by then."""
        with self._lock:
            return self._advance()

    def refs(self, since: float = 0.0) -> list[Ref]:
        """Return the sessions that started after `since`, in that order."""
        with self._lock:
            self._advance()
            return self._refs[bisect_right(self._refs, since, key=attrgetter("begun")) :]

    def find(self, record_types: tuple[str, ...], event_id: uuid.UUID) -> Found | None:
        """Return the event with this id and one of these record types, if it exists now."""
        found = self.expect(record_types, event_id)
        exists = found is not None and found.session.events[found.index].step_at(found.now) is not None
        return found if exists else None

    def expect(self, record_types: tuple[str, ...], event_id: uuid.UUID) -> Found | None:
        """Return the event, even if it doesn't exist yet."""
        with self._lock:
            now = self._advance()
            number = self.number_of(event_id)
            begun = number < self._begun
        if not begun:
            return None
        session = self.session(number)
        for record_type in record_types:
            index = session.index_of(record_type, str(event_id))
            if index is not None:
                return Found(session, index, now)
        return None

    def number_of(self, event_id: uuid.UUID) -> int:
        """Return the number of the session to which the event belongs if it exists."""
        documented = self._documented
        if documented and any(event.id == str(event_id) for event in documented.events):
            return DOCUMENTED_NUMBER
        return self._ids.session_of(event_id)

    def session(self, number: int) -> SimulatedSession:
        """Return a session that has started."""
        if number == DOCUMENTED_NUMBER:
            assert self._documented is not None
            return self._documented
        return self._session(number)

    def _advance(self) -> float:
        now = self._clock.now()
        while self._more() and self._begins(self._begun) <= now:
            session = self._session(self._begun)
            self._begin(self._begun, session, session.begun)
            self._begun += 1
        while self._coming and self._coming[0][0] <= now:
            self._apply(heapq.heappop(self._coming)[-1])
        return now

    def _more(self) -> bool:
        return self._settings.sessions_max is None or self._begun < self._settings.sessions_max

    def _begins(self, number: int) -> float:
        """Return when session `number` starts: at a random time in its slot."""
        return self._origin + (number + self._ids.chance(number)) * self._slot_seconds

    def _begin(self, number: int, session: SimulatedSession, begun: float) -> None:
        """Start a session; `begun` is its time among the references, which are in order of time."""
        referenced = set(referenced_sessions(session))
        for index in (*session.roots, *session.listed):
            name = (session.events[index].record_type, session.events[index].id)
            webhooks = index in session.roots and name[0] in NAMED
            self._refs.append(
                Ref(
                    begun,
                    *name,
                    iso(session.begun),
                    index in session.roots,
                    webhooks,
                    detail_records=name in referenced,
                )
            )
        self._outermost += len(session.roots)
        for event in session.events:
            for time, change in changes(event):
                heapq.heappush(self._coming, (time, next(self._numbers), change))
        for time, kind, more in kinds(session):
            heapq.heappush(self._coming, (time, next(self._numbers), (kind, more)))
        for watch in self._watchers:
            watch(number, session)

    def _apply(self, change: TruthChange | tuple[str, int]) -> None:
        if isinstance(change, tuple):
            self._kinds[change[0]] += change[1]
            return
        self._totals[change.key] = change.applied_to(self._totals.get(change.key))

    def _draw(self, number: int) -> SimulatedSession:
        rng = random.Random(f"{self._settings.seed}/{number}")  # noqa: S311 - repeatable random numbers, no secrets
        builder = SessionBuilder(
            self._begins(number),
            partial(self._ids.make, number),
            rng,
            currency=rng.choice(self._settings.currencies),
            delay_scale=self._settings.rating_delay_scale,
            api=self._settings.api,
        )
        shapes.draw(builder)
        reviser = random.Random(f"{self._settings.seed}/{number}/later")  # noqa: S311 - as above
        return bills.revise_bills(builder.finish(), self._settings.bills, reviser)


def _documented_session(api: ApiBehaviour) -> SimulatedSession:
    """Return the call of Telnyx's guide; each of its events exists as soon as it has ended."""
    rng = random.Random(0)  # noqa: S311 - always the same numbers
    builder = SessionBuilder(
        _DOCUMENTED_BEGUN, lambda index: f"{DOCUMENTED_ID[:-12]}{index:012x}", rng, delay_scale=0.0, api=api
    )
    documented_call(builder, DOCUMENTED_ID)
    return builder.finish()
