"""The metric state: everything that /metrics shows, handed out as finished pages.

There is one block per family of the catalogue. Totals of the ledger reach their block through a projection, and the
process's own counts go straight into theirs. A page shows exactly what was committed: money that is booked but not yet
exposed is in `telnyx_pending_cost`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import chain

from msgspec import structs

from exporter.config import MetricsSettings
from exporter.core.catalog import BY_NAME, FAMILIES, Kind, labels_of
from exporter.core.model import UNKNOWN, Receipt, SessionGauges, Total
from exporter.core.money import ZERO, add
from exporter.metrics.block import FamilyBlock, HistogramCells, Value
from exporter.metrics.exposition import MetricsPage
from exporter.metrics.lines import Values
from exporter.metrics.pending_cost import PendingCost
from exporter.metrics.projection import Projection, is_shown
from exporter.metrics.top_sessions import TopSessions
from exporter.metrics.zero_start import ZeroStart

SERIES, PENDING_COST = "telnyx_series", "telnyx_pending_cost"
SESSION_COST = "telnyx_followed_session_cost"
SESSION_FIELDS = {
    "telnyx_followed_session_events": "events",
    "telnyx_followed_session_inference_turns": "inference_turns",
    "telnyx_followed_session_last_change_timestamp_seconds": "changed_at",
}
"""Per-session families that show one field of `SessionGauges`."""

NO_LABELS: Values = ()


class Metrics:
    """The metric state of one process; all calls except `scraped` come from one thread."""

    def __init__(self, settings: MetricsSettings) -> None:
        extra = tuple(label.name for label in settings.labels)
        buckets = structs.asdict(settings.buckets)
        bounds = {f"telnyx_{name}": tuple(map(float, values)) for name, values in buckets.items()}
        self._blocks = {
            family.name: FamilyBlock(family, labels_of(family, extra), bounds.get(family.name, family.buckets))
            for family in FAMILIES
        }
        self._rows: dict[int, Total] = {}
        self._projections = {
            family.name: Projection(self._blocks[family.name], self._rows)
            for family in FAMILIES
            if family.home == "ledger"
        }
        self._zero_start = ZeroStart(settings.new_series_zero_seconds)
        self._pending_cost = PendingCost()
        self._top_sessions = TopSessions(settings.session_series_max)
        self._version = 0
        self._page_wanted = False
        for family in FAMILIES:
            if family.home == "process" and not family.labels:
                # Counters and histograms exist from the start, gauges only once there is a measurement.
                if family.kind == "counter":
                    self._blocks[family.name].set(NO_LABELS, 0)
                elif family.kind == "histogram":
                    self._blocks[family.name].set(NO_LABELS, HistogramCells.empty(family.buckets))

    def apply_config(self, settings: MetricsSettings) -> None:
        """Work by other settings from now on; labels and buckets only change with a restart."""
        self._zero_start.new_series_zero_seconds = settings.new_series_zero_seconds
        self._top_sessions.resize(settings.session_series_max)

    # Kept by the ledger

    def load(self, totals: Iterable[Total]) -> None:
        """Replace all totals of the ledger: at start, after a ledger error, at a handover."""
        found = {row.row: row for row in totals}
        changed = [row for number, row in found.items() if self._rows.get(number) != row]
        for number in self._rows.keys() - found.keys():
            self._projections[self._rows[number].family].drop(number)
        self._zero_start.retain(set(found))
        self._pending_cost.retain(set(found))
        for row in changed:
            self._update(row)

    def apply(self, receipt: Receipt) -> None:
        """Set the totals that a commit changed."""
        for row in receipt.totals:
            self._update(row)

    def _update(self, row: Total) -> None:
        known = self._rows.get(row.row)
        # The ledger may give the number of a series that ended, or was never committed, to another one.
        if known is not None and (row.family, row.labels) != (known.family, known.labels):
            self._projections[known.family].drop(row.row)
            self._zero_start.drop(row.row)
        self._projections[row.family].update(row)
        exposed = is_shown(row, BY_NAME[row.family])
        self._zero_start.update(row.row, exposed=exposed)
        self._pending_cost.update(row, exposed=exposed)

    def update_sessions(self, sessions: Iterable[SessionGauges], now: float) -> None:
        """Record sessions as they are now; `now` is session time."""
        self._top_sessions.update(sessions, now)

    def reload_sessions(self, sessions: Iterable[SessionGauges], now: float) -> None:
        """Replace all recorded sessions by those of the ledger."""
        self._top_sessions.clear()
        self.update_sessions(sessions, now)

    # Kept by the process

    def inc(self, family: str, labels: Values, amount: float = 1) -> None:
        """Add to a counter; an amount of 0 creates the series."""
        if amount < 0:
            raise ValueError(f"{family} is a counter and can't go down by {-amount}")
        self._block(family, "counter").add(labels, amount)

    def set(self, family: str, labels: Values, value: Decimal | float) -> None:
        """Set the absolute value of a gauge, or of a counter that another part of the exporter counts."""
        self._block(family, "gauge", "counter").set(labels, value)

    def swap(self, family: str, account: str, series: Mapping[Values, Value]) -> None:
        """Replace all series of a gauge whose first label is this account."""
        self._block(family, "gauge").replace(series, among=(account,))

    def observe(self, family: str, labels: Values, value: float) -> None:
        """Count one observation of a histogram."""
        self._block(family, "histogram").observe(labels, value)

    def _block(self, name: str, *kinds: Kind) -> FamilyBlock:
        block = self._blocks[name]
        if block.family.kind not in kinds:
            raise ValueError(f"{name} is a {block.family.kind}, not a {' or '.join(kinds)}")
        return block

    # Zero start

    def scraped(self, now: float) -> None:
        """Record that Prometheus got a page; any thread may call it; `now` is monotonic."""
        self._zero_start.scraped(now)

    def exposable(self, now: float) -> list[int]:
        """Return the totals to mark as exposed in the ledger, which then shows their values; `now` is monotonic."""
        return self._zero_start.exposable(now)

    def restart_zero_start(self) -> None:
        """Start all waits over, because another process has exposed the ledger until now."""
        self._zero_start.restart()

    # The page

    def next_page(self) -> int:
        """Return the version of the next page, and make sure that there is one even if nothing changes."""
        self._page_wanted = True
        return self._version + 1

    def render(self, series_max: int) -> bool:
        """Render at most so many changed series ahead of the page; return whether those were all.

        Called in portions, it keeps the loop free. The page still shows one moment: a series that changes again is
        rendered again.
        """
        for projection in self._projections.values():
            series_max -= projection.refresh(series_max)
        for block in self._blocks.values():
            series_max -= block.render(series_max)
        return series_max > 0

    def page(self) -> MetricsPage | None:
        """Return the whole exposition, or None if nothing changed since the last one."""
        for projection in self._projections.values():
            projection.refresh()
        for pair, amount in self._pending_cost.sums().items():
            self._blocks[PENDING_COST].set(pair, amount)
        if self._top_sessions.due:
            self._show_sessions(self._top_sessions.choose())
        self._blocks[SERIES].set(NO_LABELS, sum(self._blocks[name].sample_lines for name in self._projections))
        changed = self._page_wanted or any(block.changed for block in self._blocks.values())
        self._zero_start.page_finished()
        if not changed:
            return None
        self._version += 1
        self._page_wanted = False
        # Negative, so that a page without the ledger's families never has the version of one with them.
        own = _joined(-self._version, (self._blocks[family.name] for family in FAMILIES if family.home == "process"))
        return _joined(self._version, self._blocks.values(), own)

    def _show_sessions(self, sessions: Iterable[SessionGauges]) -> None:
        gauges: dict[str, dict[Values, Value]] = {name: {} for name in SESSION_FIELDS}
        costs: dict[Values, Decimal] = {}
        for each in sessions:
            session = (each.ref.account, each.ref.record_type, each.ref.event_id)
            for name, field in SESSION_FIELDS.items():
                gauges[name][session] = getattr(each, field)
            for product, currency, amount in each.costs:
                labels = (*session, product or UNKNOWN, currency)
                costs[labels] = add(costs.get(labels, ZERO), amount)
        for name, series in gauges.items():
            self._blocks[name].replace(series)
        self._blocks[SESSION_COST].replace(costs)


def _joined(version: int, blocks: Iterable[FamilyBlock], own: MetricsPage | None = None) -> MetricsPage:
    text, openmetrics = zip(*(block.parts() for block in blocks), strict=True)
    return MetricsPage(version, tuple(chain.from_iterable(text)), tuple(chain.from_iterable(openmetrics)), own)
