"""What a look leads to: the totals that its session would leave in a ledger of its own, and how to show them.

Owns the booking that is thrown away, and the choice of what of it belongs to the session. The surprising fact: nothing
here computes an amount; a second way to the same numbers would be a second opinion.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from exporter.config import Config
from exporter.core.catalog import BY_NAME, labels_of
from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Event, EventAttributes, Poll, Session, SessionAttributes, SessionRef, Total
from exporter.core.privacy import Redactor
from exporter.explain.sanitise import Sanitiser
from exporter.ledger import TotalsSettings, open_scratch
from exporter.metrics.block import FamilyBlock
from exporter.metrics.projection import Projection
from exporter.telnyx.client import Exchange

BOOKKEEPING = (
    *("telnyx_sessions", "telnyx_ledger_events"),
    *("telnyx_discovered_sessions_total", "telnyx_discovery_last_success_timestamp_seconds"),
)
"""Families that speak of the ledger rather than of the session."""


class ProbeResult(Struct, frozen=True):
    """What was asked and what came of it."""

    ref: SessionRef
    at: float
    """Session time."""
    seconds: float
    asked: tuple[Exchange, ...]
    session: Session | None = None
    facts: tuple[EventAttributes, ...] = ()
    session_attributes: SessionAttributes | None = None
    problem: str = ""
    """Why there is no session: what, where, and the cure."""

    @property
    def succeeded(self) -> bool:
        """Whether the whole session could be had."""
        return self.session is not None and self.session.complete


class Explanation(Struct, frozen=True):
    """A look and what it leads to on /metrics, once the session has settled as it is now."""

    look: ProbeResult
    totals: tuple[Total, ...]
    extra: tuple[str, ...]
    """Names of the configured labels."""
    wording: Sanitiser

    @classmethod
    def of(cls, look: ProbeResult, config: Config, policy: PollPolicy) -> "Explanation":
        redactor = Redactor(config.web.redact_fields)
        labels = config.metrics.labels
        personal = {label.name: label.field for label in labels if redactor.hides(label.field)}
        totals = _totals(look, policy, TotalsSettings.of(config)) if look.session is not None else ()
        return cls(look, totals, tuple(label.name for label in labels), Sanitiser(redactor, personal))

    def blocks(self) -> list[FamilyBlock]:
        """The families as /metrics would show them, with their lines."""
        return _blocks(self.totals, self.extra)

    def shown_blocks(self) -> list[FamilyBlock]:
        """The families as a person may see them: label values masked and harmless, series at 0 left out."""
        told = [total for total in self.totals if total.value or any(total.counts)]
        wording = self.wording
        return _blocks([replace(total, labels=wording.labels(total.labels)) for total in told], self.extra)


def _totals(look: ProbeResult, policy: PollPolicy, settings: TotalsSettings) -> tuple[Total, ...]:
    assert look.session is not None
    ref, now = look.session.ref, look.at
    ledger = open_scratch(policy, settings)
    try:
        for at in (now - policy.settle_after, now):
            ledger.follow([ref], "config", at)
            for claim in ledger.claim(at + policy.max_interval, {ref.account: 1}):
                ledger.commit([Poll(claim, at, "tree", "", look.session, look.facts, look.session_attributes)])
        ledger.refresh_budgets(now)
        return tuple(replace(each, exposed=True) for each in ledger.totals() if each.family not in BOOKKEEPING)
    finally:
        ledger.close()


def _blocks(totals: "tuple[Total, ...] | list[Total]", extra: tuple[str, ...]) -> list[FamilyBlock]:
    by_family: dict[str, list[Total]] = {}
    for total in totals:
        by_family.setdefault(total.family, []).append(total)
    return [_block(name, by_family[name], extra) for name in BY_NAME if name in by_family]


def _block(name: str, totals: list[Total], extra: tuple[str, ...]) -> FamilyBlock:
    block = FamilyBlock(BY_NAME[name], labels_of(BY_NAME[name], extra), totals[0].bounds)
    projection = Projection(block, {})
    for total in totals:
        projection.update(total)
    projection.refresh()
    return block


def with_depths(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    """Each event with its depth in the tree; the root's is 0."""
    depths: list[int] = []
    for event in events:
        depths.append(depths[event.parent] + 1 if event.parent >= 0 else 0)
        yield event, depths[-1]


def rules(story: Explanation) -> Mapping[str, str]:
    """The accounting rule behind each family that the story shows."""
    found = {}
    for block in story.shown_blocks():
        by = [label for label in block.labels if label != "account"]
        found[block.family.name] = block.family.rule + (f"; by {', '.join(by)}" if by else "")
    return found
