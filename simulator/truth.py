"""The exact sums over the simulated world, and how each step of a bill changes them.

A step replaces the one before it, so the sums are kept by adding and subtracting, and never counted again.
"""

import math
from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct

from exporter.core.money import ZERO, add, subtract
from simulator.events import SimulatedEvent, SimulatedSession, Step, usage


class TruthTotal(Struct, frozen=True, gc=False):
    """The sums over the distinct events of one record type and currency."""

    record_type: str
    product: str
    currency: str
    cost: Decimal
    events: int
    awaiting_price: int = 0
    """Of the events: those shown without a price that are not bundled."""
    bundled: int = 0
    """Of the events: those that have no price of their own for ever."""
    input_tokens: int = 0
    """Those of LLM turns, cached ones included."""
    cached_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    billed_seconds: int = 0
    vanished: int = 0
    """Of the events: those that no tree shows any more."""


COUNTS = TruthTotal.__struct_fields__[4:]
"""The fields behind the cost."""


class Truth(Struct, frozen=True):
    """The sums that an exporter must have counted if it has seen the last state of every event up to `now`.

    A vanished event counts with its last state, since no tree tells why it is gone. It stays unchanged for days before
    it vanishes (`bills.VANISHES_AFTER_SECONDS`), so an exporter that polls at least daily has seen that state. An
    unpriced event costs nothing and is counted separately. An event whose currency changed costs its full amount in the
    new currency and nothing in the old one.
    """

    now: float
    sessions: int
    """References, inner events that are listed besides included."""
    outermost_sessions: int
    """References without them."""
    events: int
    inference_turns: int
    awaiting_price: int
    bundled: int
    vanished: int
    sessions_by_kind: dict[str, int]
    """Outermost sessions that have a tree; a call is of the kind `ai` once the tree has an event of an assistant."""
    totals: tuple[TruthTotal, ...]


class TruthChange(Struct, frozen=True, gc=False):
    """A future change: `more` is added to the totals or subtracted from them."""

    more: TruthTotal
    added: bool

    @property
    def key(self) -> tuple[str, str, str]:
        return self.more.record_type, self.more.product, self.more.currency

    def applied_to(self, before: TruthTotal | None) -> TruthTotal:
        before = before or TruthTotal(*self.key, cost=ZERO, events=0)
        sign = 1 if self.added else -1
        counts = {name: getattr(before, name) + sign * getattr(self.more, name) for name in COUNTS}
        return TruthTotal(*self.key, cost=(add if self.added else subtract)(before.cost, self.more.cost), **counts)


def changes(event: SimulatedEvent) -> Iterator[tuple[float, TruthChange]]:
    """Yield the changes of an event with their times; each step replaces the one before it."""
    before: TruthTotal | None = None
    for step in event.bill:
        if before is not None:
            yield step.time, TruthChange(before, added=False)
        before = _counted(event, step)
        yield step.time, TruthChange(before, added=True)
    if event.vanishes_at < math.inf:
        gone = TruthTotal(event.record_type, event.product, event.bill[-1].currency, ZERO, events=0, vanished=1)
        yield event.vanishes_at, TruthChange(gone, added=True)


def _counted(event: SimulatedEvent, step: Step) -> TruthTotal:
    """One event at one step of its bill."""
    used = usage(event.record_at(step))
    return TruthTotal(
        event.record_type,
        event.product,
        step.currency,
        cost=ZERO if step.cost is None else step.cost,
        events=1,
        awaiting_price=int(step.cost is None and not event.bundled),
        bundled=int(event.bundled),
        **used._asdict(),
    )


AI = frozenset({"ai-voice-assistant", "ai-messaging-assistant", "inference"})
KINDS = {
    "inference": "inference",
    "message": "messaging",
    **dict.fromkeys(("conference", "conference-participant"), "conference"),
    "room-session-event": "video",
    **dict.fromkeys(("call-session", "speech-to-text"), "voice"),
}
"""The kind of a session by the type of its root; all others are `other`."""


def kinds(session: SimulatedSession) -> Iterator[tuple[float, str, int]]:
    """Yield when the number of sessions of a kind changes, the kind, and by how many."""
    for root in session.roots:
        event = session.events[root]
        kind = KINDS.get(event.record_type, "other")
        yield event.exists_from, kind, 1
        below = [session.events[index] for index in session.below(root) if index != root]
        ai = min((each.exists_from for each in below if each.record_type in AI), default=math.inf)
        if ai < math.inf:
            yield ai, kind, -1
            yield ai, "ai", 1
