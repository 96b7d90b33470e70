"""The exact sums over the simulated world, and how each step of a bill changes them.

A step replaces the one before it, so the sums are kept by adding and subtracting, and never counted again.
"""

import math
from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct

from exporter.core.money import ZERO, add, subtract
from simulator.events import SimulatedEvent, Step, usage


class TruthTotal(Struct, frozen=True, gc=False):
    """The sums over the distinct events of one record type and currency."""

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
    vanished: int
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
        more, sign = self.more, 1 if self.added else -1
        return TruthTotal(
            *self.key,
            cost=(add if self.added else subtract)(before.cost, more.cost),
            events=before.events + sign * more.events,
            awaiting_price=before.awaiting_price + sign * more.awaiting_price,
            input_tokens=before.input_tokens + sign * more.input_tokens,
            output_tokens=before.output_tokens + sign * more.output_tokens,
            billed_seconds=before.billed_seconds + sign * more.billed_seconds,
            vanished=before.vanished + sign * more.vanished,
        )


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
    tokens_in, tokens_out, billed_seconds = usage(event.record_at(step))
    turn = event.record_type == "inference"
    return TruthTotal(
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
