"""How bills change after the first rating: amended, priced late or never, in another currency, or gone.

The settings say how often; with all shares at 0 a session stays as it was built. An event vanishes only days after its
last change, so an exporter had the time to see its last cost, which stays in the truth.
"""

import random
from decimal import Decimal
from operator import itemgetter
from typing import Any, get_args

from msgspec.structs import replace

from simulator.events import SimulatedEvent, SimulatedSession, UnpricedAs
from simulator.settings import Bills

_HOUR_SECONDS = 3600.0
_DAY_SECONDS = 24 * _HOUR_SECONDS

LATE_SECONDS = (_HOUR_SECONDS, 2 * _DAY_SECONDS)
"""From the first appearance of an event to its price: minimum and maximum."""

AMENDED_SECONDS = (_HOUR_SECONDS, 1.5 * _DAY_SECONDS)
"""From a price to its amendment."""

AMENDMENTS = (1, 1, 1, 2, 3)
AMENDED_PERCENT = (0, 25, 50, 80, 90, 99, 101, 110, 125, 150, 300)
"""The amended price in per cent of the price; 0 refunds it."""

USAGE_SECONDS = (0.5 * _HOUR_SECONDS, 12 * _HOUR_SECONDS)
"""From one state of the usage to the next."""

VANISHES_AFTER_SECONDS = (3 * _DAY_SECONDS, 5 * _DAY_SECONDS)
"""From the last change of an event to its end."""

INNER_ROOTS = frozenset({"call-control", "ai-voice-assistant", "conference-participant"})
"""Inner events that may also be listed as sessions of their own: legs, conversations, participants."""

_UNPRICED_AS: tuple[UnpricedAs, ...] = get_args(UnpricedAs)

_Change = tuple[float, dict[str, Any]]
"""From this time on these fields of a step are new."""


def revise_bills(session: SimulatedSession, bills: Bills, rng: random.Random) -> SimulatedSession:
    """Return the session with the later changes of its bills."""
    if bills == Bills():
        return session
    inner = [index for index in range(len(session.events)) if index not in session.roots]
    leaves = {index for index in inner if not session.children[index]}
    reviser = _BillReviser(bills, rng)
    events = tuple(reviser.event(event, leaf=index in leaves) for index, event in enumerate(session.events))
    named = [index for index in inner if session.events[index].record_type in INNER_ROOTS]
    listed = tuple(index for index in named if reviser.happens(bills.overlapping_share))
    return replace(session, events=events, listed=listed)


class _BillReviser:
    """Draws the changes of one event after the other."""

    def __init__(self, bills: Bills, rng: random.Random) -> None:
        self._bills = bills
        self._rng = rng

    def happens(self, share: float) -> bool:
        return self._rng.random() < share

    def event(self, event: SimulatedEvent, *, leaf: bool) -> SimulatedEvent:
        if event.bundled:
            return event
        first = event.bill[0]
        changes: list[_Change] = []
        priced = not self.happens(self._bills.never_priced_share)
        if priced and self.happens(self._bills.late_share):
            changes.append((self._after(first.time, LATE_SECONDS), {"cost": first.cost}))
        late = bool(changes) or not priced
        if priced and first.cost:
            changes += self._amendments(changes[0][0] if changes else first.time, first.cost, first.currency)
        if self.happens(self._bills.growing_usage_share):
            shown = self._rng.randint(10, 90)
            changes += self._growth(first.time, shown)
            first = replace(first, usage_percent=shown)
        steps = [replace(first, cost=None) if late else first]
        for time, change in sorted(changes, key=itemgetter(0)):
            steps.append(replace(steps[-1], time=time, **change))
        vanishes = leaf and priced and self.happens(self._bills.vanished_share)
        return replace(
            event,
            bill=tuple(steps),
            unpriced_as=self._rng.choice(_UNPRICED_AS),
            vanishes_at=self._after(steps[-1].time, VANISHES_AFTER_SECONDS) if vanishes else event.vanishes_at,
        )

    def _amendments(self, time: float, cost: Decimal, currency: str) -> list[_Change]:
        changes: list[_Change] = []
        if self.happens(self._bills.amended_share):
            for _ in range(self._rng.choice(AMENDMENTS)):
                time = self._after(time, AMENDED_SECONDS)
                cost = _amended(cost, self._rng.choice(AMENDED_PERCENT))
                changes.append((time, {"cost": cost}))
        if self.happens(self._bills.currency_changed_share):
            other = "EUR" if currency != "EUR" else "USD"
            changes.append((self._after(time, AMENDED_SECONDS), {"currency": other}))
        return changes

    def _growth(self, time: float, percent: int) -> list[_Change]:
        between = self._after(time, USAGE_SECONDS)
        more = self._rng.randint(percent, 100)
        return [
            (between, {"usage_percent": more}),
            (self._after(between, USAGE_SECONDS), {"usage_percent": 100}),
        ]

    def _after(self, time: float, seconds: tuple[float, float]) -> float:
        return time + self._rng.uniform(*seconds)


def _amended(cost: Decimal, percent: int) -> Decimal:
    """Return so many per cent of the cost, rounded to its decimal places, and never the same cost."""
    exponent = int(cost.as_tuple().exponent)
    units = int(cost.scaleb(-exponent))
    amended = units * percent // 100
    return Decimal(amended if amended != units else units + 1).scaleb(exponent)
