"""The result of a probe, and the metric samples that its session leads to.

Nothing here computes an amount: the session is booked by the real accounting into a ledger that is thrown away.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

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

LEDGER_FAMILIES = (
    *("telnyx_sessions", "telnyx_ledger_events", "telnyx_ledger_pruned_events"),
    *("telnyx_discovered_sessions_total", "telnyx_discovery_last_success_timestamp_seconds"),
)
"""Families that describe the ledger rather than the session; they are left out."""


class ProbeResult(Struct, frozen=True):
    """The requests of a probe, and the session that they returned or the problem."""

    ref: SessionRef
    at: float
    """Session time, in seconds since the epoch."""
    seconds: float
    requests: tuple[Exchange, ...]
    session: Session | None = None
    attributes: tuple[EventAttributes, ...] = ()
    session_attributes: SessionAttributes | None = None
    problem: str = ""
    """Why there is no session: what failed, where, and the cure."""

    @property
    def succeeded(self) -> bool:
        return self.session is not None and self.session.complete


class Explanation(Struct, frozen=True):
    """A probe's result, and what it would add to /metrics once the session has settled as it is now."""

    result: ProbeResult
    totals: tuple[Total, ...]
    configured_labels: tuple[str, ...]
    sanitiser: Sanitiser

    @classmethod
    def of(cls, result: ProbeResult, config: Config, policy: PollPolicy) -> "Explanation":
        redactor = Redactor(config.web.redact_fields)
        labels = config.metrics.labels
        personal = {label.name: label.field for label in labels if redactor.hides(label.field)}
        totals = _totals(result, policy, TotalsSettings.of(config)) if result.session is not None else ()
        return cls(result, totals, tuple(label.name for label in labels), Sanitiser(redactor, personal))

    def blocks(self) -> list[FamilyBlock]:
        """Return the families as /metrics would show them."""
        return self._blocks(self.totals)

    def sanitised_blocks(self) -> list[FamilyBlock]:
        """Return the families for people: label values masked and printable, series that are 0 left out."""
        nonzero = [total for total in self.totals if total.value or any(total.counts)]
        return self._blocks([replace(total, labels=self.sanitiser.labels(total.labels)) for total in nonzero])

    def rules(self) -> dict[str, str]:
        """Return the accounting rule behind each family that `sanitised_blocks` shows."""
        rules = {}
        for block in self.sanitised_blocks():
            labels = [label for label in block.labels if label != "account"]
            rules[block.family.name] = block.family.rule + (f"; by {', '.join(labels)}" if labels else "")
        return rules

    def _blocks(self, totals: Iterable[Total]) -> list[FamilyBlock]:
        by_family: dict[str, list[Total]] = {}
        for total in totals:
            by_family.setdefault(total.family, []).append(total)
        blocks = []
        for name in filter(by_family.__contains__, BY_NAME):  # in the order of /metrics
            family, rows = BY_NAME[name], by_family[name]
            block = FamilyBlock(family, labels_of(family, self.configured_labels), rows[0].bounds)
            projection = Projection(block, {})
            for row in rows:
                projection.update(row)
            projection.refresh()
            blocks.append(block)
        return blocks


def _totals(result: ProbeResult, policy: PollPolicy, settings: TotalsSettings) -> tuple[Total, ...]:
    """Book the session into a temporary ledger and return its totals."""
    assert result.session is not None
    ref, now = result.session.ref, result.at
    ledger = open_scratch(policy, settings)
    try:
        # A session settles when it is polled again after `settle_after` without a change, and only then do the
        # histograms count it. So it is booked twice: once as long ago as that takes, and once now.
        for at in (now - policy.settle_after, now):
            ledger.follow([ref], "config", at)
            for claim in ledger.claim(at + policy.max_interval, {ref.account: 1}):
                poll = Poll(claim, at, "tree", "", result.session, result.attributes, result.session_attributes)
                ledger.commit([poll])
        ledger.refresh_budgets(now)
        return tuple(replace(total, exposed=True) for total in ledger.totals() if total.family not in LEDGER_FAMILIES)
    finally:
        ledger.close()


def with_depths(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    """Yield each event with its depth in the tree; the root's is 0."""
    depths: list[int] = []
    for event in events:
        depths.append(depths[event.parent] + 1 if event.parent >= 0 else 0)
        yield event, depths[-1]


def exact(amount: Decimal | None) -> str | None:
    """Return an amount with all its digits and no exponent; None if it is unpriced."""
    return None if amount is None else format(amount, "f")
