"""The webhooks of a world that are still to be sent, and what became of the others.

Owns which is due when, and by chance lost, late or sent twice. Posts nothing. Safe to use from any thread, for sessions
begin in whichever thread asks for the time. The surprising fact: nothing is dropped for want of an address; what came
due before there was one is sent as soon as there is.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from simulator.events import SimulatedSession
from simulator.hooks import hooks
from simulator.settings import SimulatedWebhooks


class Delivery(Struct, frozen=True, gc=False, order=True):
    """A webhook to send: the one at this place among those of the session."""

    time: float
    """SimulatedSession time at which it is due."""
    id: str
    number: int
    place: int
    attempt: int = 1
    not_before: float = 0.0
    """Real time."""
    again: bool = False
    """It is the duplicate of one that was delivered."""


class Counts(Struct, frozen=True):
    """What became of the webhooks so far."""

    due: int
    """Neither delivered, lost nor given up."""
    delivered: int
    lost: int
    duplicated: int
    """Delivered a second time."""
    failed: int
    """Given up after the last attempt."""


class Outbox:
    """`chance` gives a number in [0, 1) that belongs to a name."""

    def __init__(self, webhooks: SimulatedWebhooks, chance: Callable[[str], float]) -> None:
        self.webhooks = webhooks
        self._chance = chance
        self._lock = threading.Lock()
        self._coming: list[Delivery] = []
        """A heap."""
        self._ready: deque[Delivery] = deque()
        self._under_way = 0
        self._delivered = self._lost = self._duplicated = self._failed = 0

    def add(self, number: int, session: SimulatedSession) -> None:
        """Take in the webhooks of a session that has begun."""
        with self._lock:
            for place, hook in enumerate(hooks(session)):
                late = self._chance(f"late/{hook.id}") * self.webhooks.delay_seconds
                heapq.heappush(self._coming, Delivery(hook.time + late, hook.id, number, place))

    def take(self, now: float, monotonic: float) -> list[Delivery]:
        """Deliveries to make now, as many as may be under way at once; each must be `done`."""
        with self._lock:
            self._ripen(now)
            taken: list[Delivery] = []
            for _ in range(len(self._ready)):
                if len(taken) == self.webhooks.in_flight_max:
                    break
                delivery = self._ready.popleft()
                if delivery.not_before > monotonic:
                    self._ready.append(delivery)
                elif self._is_lost(delivery):
                    self._lost += 1
                else:
                    taken.append(delivery)
            self._under_way += len(taken)
            return taken

    def done(self, delivery: Delivery, monotonic: float, *, accepted: bool) -> None:
        """It was accepted, or is to be tried again; a duplicate is tried once."""
        with self._lock:
            self._under_way -= 1
            if accepted and delivery.again:
                self._duplicated += 1
            elif accepted:
                self._delivered += 1
                self._repeat(delivery)
            elif delivery.attempt < self.webhooks.attempts_max and not delivery.again:
                wait = self.webhooks.retry_seconds * 2 ** (delivery.attempt - 1)
                self._ready.append(replace(delivery, attempt=delivery.attempt + 1, not_before=monotonic + wait))
            elif not delivery.again:
                self._failed += 1

    def counts(self, now: float) -> Counts:
        with self._lock:
            self._ripen(now)
            due = len(self._ready) + self._under_way
            return Counts(due, self._delivered, self._lost, self._duplicated, self._failed)

    def _ripen(self, now: float) -> None:
        while self._coming and self._coming[0].time <= now:
            self._ready.append(heapq.heappop(self._coming))

    def _is_lost(self, delivery: Delivery) -> bool:
        first = delivery.attempt == 1 and not delivery.again
        return first and self._chance(f"lost/{delivery.id}") < self.webhooks.lost_share

    def _repeat(self, delivery: Delivery) -> None:
        """Perhaps deliver it once more, up to the whole delay later."""
        if self._chance(f"again/{delivery.id}") < self.webhooks.duplicated_share:
            late = self._chance(f"again late/{delivery.id}") * self.webhooks.delay_seconds
            heapq.heappush(self._coming, replace(delivery, time=delivery.time + late, attempt=1, again=True))
