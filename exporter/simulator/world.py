"""The simulated world: which sessions have begun, what each costs by now, and what all of it must add up to.

Owns session time's progress and the truth. Serves no one and encodes nothing. Safe to use from any thread. The
surprising fact: sessions are not kept. Session n begins in the n-th slot of time and is drawn from (seed, n) whenever
somebody asks; only references, running totals and the steps still to come stay in memory.
"""

import heapq
import itertools
import math
import random
import threading
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache, partial
from operator import attrgetter
from typing import Protocol

from msgspec import Struct

from exporter.money import ZERO, add, subtract
from exporter.simulator import bills, shapes
from exporter.simulator.drafting import Draft, iso
from exporter.simulator.events import Event, Session, Step, usage
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
    """A session that has begun, by the name of its root; or an inner event that is listed besides."""

    begun: float
    record_type: str
    event_id: str
    date_time: str


class Found(Struct, frozen=True):
    """An event that exists at the time `now`."""

    session: Session
    index: int
    now: float


class Total(Struct, frozen=True, gc=False):
    """What the distinct events of one record type and currency come to together."""

    record_type: str
    product: str
    currency: str
    cost: Decimal
    events: int
    awaiting_price: int = 0
    """Of the events: those shown without a price."""
    input_tokens: int = 0
    output_tokens: int = 0
    """What the LLM turns among them have used."""
    billed_seconds: int = 0
    vanished: int = 0
    """Of the events: those that no tree shows any more."""


class Truth(Struct, frozen=True):
    """What anybody must have counted who has seen the latest state of every event that there ever was at `now`.

    A vanished event counts as it was last shown: no tree says why it is gone, and nobody refunds what nobody refunded.
    It stays unchanged for days before (`bills.VANISHES_AFTER_SECONDS`), so whoever looks at least daily has seen that
    last state. An event without a price costs nothing and is counted apart; one whose currency changed costs its full
    amount in the new one and nothing in the old.
    """

    now: float
    sessions: int
    """References, inner events that are listed besides included."""
    events: int
    inference_turns: int
    awaiting_price: int
    vanished: int
    totals: tuple[Total, ...]


class _Change(Struct, frozen=True, gc=False):
    """Something still to come: `more` is added to the totals, or taken from them."""

    more: Total
    added: bool


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
        self._coming: list[tuple[float, int, _Change]] = []
        """In order of time; the number makes every place distinct."""
        self._numbers = itertools.count()
        self._totals: dict[tuple[str, str, str], Total] = {}
        if self._documented:
            self._begin(self._documented, min(self._documented.begun, self._origin))

    def truth(self) -> Truth:
        """The exact sums over all distinct events that exist now, or did, in sessions that have begun."""
        with self._lock:
            now = self._advance()
            totals = tuple(total for _, total in sorted(self._totals.items()))
            return Truth(
                now=now,
                sessions=len(self._refs),
                events=sum(total.events for total in totals),
                inference_turns=sum(total.events for total in totals if total.record_type == "inference"),
                awaiting_price=sum(total.awaiting_price for total in totals),
                vanished=sum(total.vanished for total in totals),
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
            if index is not None and session.events[index].step_at(now) is not None:
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
        while self._coming and self._coming[0][0] <= now:
            self._apply(heapq.heappop(self._coming)[-1])
        return now

    def _more(self) -> bool:
        return self._settings.sessions_max is None or self._begun < self._settings.sessions_max

    def _begins(self, number: int) -> float:
        """One session begins in each slot, somewhere in it."""
        return self._origin + (number + self._ids.chance(number)) * self._slot_seconds

    def _begin(self, session: Session, begun: float) -> None:
        """Let it begin; `begun` is its place among the references, which are in order of time."""
        for index in (*session.roots, *session.listed):
            root = session.events[index]
            self._refs.append(Ref(begun, root.record_type, root.id, iso(session.begun)))
        for event in session.events:
            for time, change in _changes(event):
                heapq.heappush(self._coming, (time, next(self._numbers), change))

    def _apply(self, change: _Change) -> None:
        more = change.more
        key = (more.record_type, more.product, more.currency)
        before = self._totals.get(key) or Total(*key, cost=ZERO, events=0)
        sign = 1 if change.added else -1
        self._totals[key] = Total(
            *key,
            cost=(add if change.added else subtract)(before.cost, more.cost),
            events=before.events + sign * more.events,
            awaiting_price=before.awaiting_price + sign * more.awaiting_price,
            input_tokens=before.input_tokens + sign * more.input_tokens,
            output_tokens=before.output_tokens + sign * more.output_tokens,
            billed_seconds=before.billed_seconds + sign * more.billed_seconds,
            vanished=before.vanished + sign * more.vanished,
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
        later = random.Random(f"{self._settings.seed}/{number}/later")  # noqa: S311 - as above
        return bills.revised(draft.finish(), self._settings.bills, later)


def _changes(event: Event) -> Iterator[tuple[float, _Change]]:
    """Each step replaces what the one before it stood for."""
    before: Total | None = None
    for step in event.bill:
        if before is not None:
            yield step.time, _Change(before, added=False)
        before = _counted(event, step)
        yield step.time, _Change(before, added=True)
    if event.vanishes_at < math.inf:
        gone = Total(event.record_type, event.product, event.bill[-1].currency, ZERO, events=0, vanished=1)
        yield event.vanishes_at, _Change(gone, added=True)


def _counted(event: Event, step: Step) -> Total:
    """One event at one step of its bill."""
    tokens_in, tokens_out, billed_seconds = usage(event.record_at(step))
    turn = event.record_type == "inference"
    return Total(
        event.record_type,
        event.product,
        step.currency,
        cost=ZERO if step.cost is None else step.cost,
        events=1,
        awaiting_price=int(step.cost is None),
        input_tokens=tokens_in if turn else 0,
        output_tokens=tokens_out if turn else 0,
        billed_seconds=billed_seconds,
    )


def _documented_session() -> Session:
    """The guide's call; every event of it exists as soon as it has ended."""
    rng = random.Random(0)  # noqa: S311 - always the same numbers
    draft = Draft(_DOCUMENTED_BEGUN, lambda index: f"{DOCUMENTED_ID[:-12]}{index:012x}", rng, delay_scale=0.0)
    documented_call(draft, DOCUMENTED_ID)
    return draft.finish()
