"""The webhooks of a world that are still to be sent, and the counts of the others.

It decides when each is due, and at random which are lost, late or sent twice; it sends nothing. Safe to use from any
thread. While there is no address webhooks wait, and none is dropped.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from simulator.behaviour import ApiBehaviour
from simulator.events import SimulatedSession
from simulator.settings import SimulatedWebhooks
from simulator.webhook_events import webhook_events


class Delivery(Struct, frozen=True, gc=False, order=True):
    """A webhook to send: the one with this index among those of the session."""

    time: float
    """Session time at which it is due."""
    id: str
    number: int
    index: int
    attempt: int = 1
    not_before: float = 0.0
    """Real time."""
    again: bool = False
    """A duplicate of a delivered webhook."""


class WebhookCounts(Struct, frozen=True):
    """The webhooks so far, by what happened to them."""

    due: int
    """Due and not yet delivered, lost or given up."""
    delivered: int
    lost: int
    duplicated: int
    """Delivered twice."""
    failed: int
    """Given up after the last attempt."""


class WebhookQueue:
    """`chance` gives a number in [0, 1) that belongs to a name."""

    def __init__(self, webhooks: SimulatedWebhooks, api: ApiBehaviour, chance: Callable[[str], float]) -> None:
        self.webhooks = webhooks
        self._api = api
        self._chance = chance
        self._lock = threading.Lock()
        self._scheduled: list[Delivery] = []
        """A heap."""
        self._ready: deque[Delivery] = deque()
        self._in_flight = 0
        self._delivered = self._lost = self._duplicated = self._failed = 0

    def add(self, number: int, session: SimulatedSession) -> None:
        """Schedule the webhooks of a session that has started."""
        with self._lock:
            for index, event in enumerate(webhook_events(session, self._api)):
                late = self._chance(f"late/{event.id}") * self.webhooks.delay_seconds
                heapq.heappush(self._scheduled, Delivery(event.time + late, event.id, number, index))

    def take_due(self, now: float, monotonic: float) -> list[Delivery]:
        """Return the deliveries that are due, at most `in_flight_max`; call `done` for each of them."""
        with self._lock:
            self._move_due(now)
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
            self._in_flight += len(taken)
            return taken

    def done(self, delivery: Delivery, monotonic: float, *, accepted: bool) -> None:
        """Note the result of a delivery; one that failed is retried, except a duplicate."""
        with self._lock:
            self._in_flight -= 1
            if accepted and delivery.again:
                self._duplicated += 1
            elif accepted:
                self._delivered += 1
                self._maybe_duplicate(delivery)
            elif delivery.attempt < self.webhooks.attempts_max and not delivery.again:
                wait = self.webhooks.retry_seconds * 2 ** (delivery.attempt - 1)
                self._ready.append(replace(delivery, attempt=delivery.attempt + 1, not_before=monotonic + wait))
            elif not delivery.again:
                self._failed += 1

    def counts(self, now: float) -> WebhookCounts:
        with self._lock:
            self._move_due(now)
            due = len(self._ready) + self._in_flight
            return WebhookCounts(due, self._delivered, self._lost, self._duplicated, self._failed)

    def _move_due(self, now: float) -> None:
        while self._scheduled and self._scheduled[0].time <= now:
            self._ready.append(heapq.heappop(self._scheduled))

    def _is_lost(self, delivery: Delivery) -> bool:
        first = delivery.attempt == 1 and not delivery.again
        return first and self._chance(f"lost/{delivery.id}") < self.webhooks.lost_share

    def _maybe_duplicate(self, delivery: Delivery) -> None:
        """Schedule a duplicate for some of the webhooks, late by up to `delay_seconds`."""
        if self._chance(f"again/{delivery.id}") < self.webhooks.duplicated_share:
            late = self._chance(f"again late/{delivery.id}") * self.webhooks.delay_seconds
            heapq.heappush(self._scheduled, replace(delivery, time=delivery.time + late, attempt=1, again=True))
