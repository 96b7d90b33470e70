"""All that /metrics shows, kept by one thread and handed out as finished pages.

Owns one block per family of the catalogue and sees to it that a page is what was committed: totals of the ledger come
through projections, what the process counts goes straight into its block. Reads no clock. The surprising fact: money
that is booked but held back by a birth is itself a metric, so the page always says how much it does not show yet.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import chain

from msgspec import structs

from exporter.config import MetricsSettings
from exporter.core.catalog import BY_NAME, FAMILIES, Family, Kind, labels_of
from exporter.core.model import UNKNOWN, Receipt, SessionGauges, Total
from exporter.core.money import ZERO, add
from exporter.metrics.block import FamilyBlock, HistogramCells, Value
from exporter.metrics.exposition import MetricsPage
from exporter.metrics.lines import Values
from exporter.metrics.pending_cost import PendingCost
from exporter.metrics.projection import Projection, may_show
from exporter.metrics.top_sessions import TopSessions
from exporter.metrics.zero_start import ZeroStart

SERIES, UNRELEASED = "telnyx_series", "telnyx_pending_cost"
_FOLLOWED_COST = "telnyx_followed_session_cost"
_FOLLOWED_COUNTS = (
    ("telnyx_followed_session_events", "events"),
    ("telnyx_followed_session_inference_turns", "inference_turns"),
    ("telnyx_followed_session_last_change_timestamp_seconds", "changed_at"),
)

NO_LABELS: Values = ()


class Metrics:
    """The metric state of one process; all calls but `scraped` come from one thread."""

    def __init__(self, settings: MetricsSettings) -> None:
        extra = tuple(label.name for label in settings.labels)
        bounds = _bounds(settings)
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
        self._wanted = False
        for family in FAMILIES:
            if family.home == "process" and not family.labels:
                self._zero(family)

    def _zero(self, family: Family) -> None:
        """A counter or histogram without labels exists from the start; a gauge only once something was measured."""
        if family.kind == "counter":
            self._blocks[family.name].put(NO_LABELS, 0)
        elif family.kind == "histogram":
            self._blocks[family.name].put(NO_LABELS, HistogramCells.empty(family.buckets))

    def apply_config(self, settings: MetricsSettings) -> None:
        """Go on under other settings; labels and buckets stay as they were at the start."""
        self._zero_start.new_series_zero_seconds = settings.new_series_zero_seconds
        self._top_sessions.resize(settings.session_series_max)

    # What the ledger keeps

    def load(self, totals: Iterable[Total]) -> None:
        """Swap in all totals of the ledger: at start, and after a ledger error."""
        found = {row.row: row for row in totals}
        # Most are the very objects that are known; to compare those would take longer than all else here.
        moved = [row for number, row in found.items() if (known := self._rows.get(number)) is not row and known != row]
        for number in self._rows.keys() - found.keys():
            self._projections[self._rows[number].family].forget(number)
        self._zero_start.keep(set(found))
        self._pending_cost.keep(set(found))
        for row in moved:
            self._put(row)

    def restart_zero_start(self) -> None:
        """Nothing has been scraped at 0 yet: the series are on a page of this process for the first time, or again."""
        self._zero_start.begin_anew()

    def next_page(self) -> int:
        """The version of the next page, which there will be even if nothing changes."""
        self._wanted = True
        return self._version + 1

    def apply(self, receipt: Receipt) -> None:
        """Swap in the totals that a commit changed."""
        for row in receipt.totals:
            self._put(row)

    def _put(self, row: Total) -> None:
        known = self._rows.get(row.row)
        if known is not None and not _same_series(row, known):  # one that has ended, or was never committed
            self._projections[known.family].forget(row.row)
            self._zero_start.forget(row.row)
        self._projections[row.family].put(row)
        released = may_show(row, BY_NAME[row.family])
        self._zero_start.put(row.row, released=released)
        self._pending_cost.put(row, released=released)

    def update_sessions(self, followed: Iterable[SessionGauges], now: float) -> None:
        """Take note of sessions as they are now; `now` is session time."""
        self._top_sessions.update(followed, now)

    def reload_sessions(self, followed: Iterable[SessionGauges], now: float) -> None:
        """Take note of sessions as the ledger knows them, and forget all others."""
        self._top_sessions.forget()
        self.update_sessions(followed, now)

    # What the process counts

    def inc(self, family: str, labels: Values, amount: float = 1) -> None:
        """Count; an amount of 0 makes the series exist."""
        if amount < 0:
            raise ValueError(f"{family} is a counter and can't go down by {-amount}")
        self._block(family, "counter").add(labels, amount)

    def set(self, family: str, labels: Values, value: Decimal | float) -> None:
        """Set to an absolute value: a gauge, or a counter that another room keeps."""
        self._block(family, "gauge", "counter").put(labels, value)

    def swap(self, family: str, account: str, series: Mapping[Values, Value]) -> None:
        """Set all series that a gauge has of an account; those that are not among them end."""
        block = self._block(family, "gauge")
        for labels in [labels for labels in block.values() if labels[0] == account and labels not in series]:
            block.drop(labels)
        for labels, value in series.items():
            block.put(labels, value)

    def observe(self, family: str, labels: Values, value: float) -> None:
        """Count one observation of a histogram."""
        self._block(family, "histogram").observe(labels, value)

    def _block(self, name: str, *kinds: Kind) -> FamilyBlock:
        block = self._blocks[name]
        if block.family.kind not in kinds:
            raise ValueError(f"{name} is a {block.family.kind}, not a {' or '.join(kinds)}")
        return block

    # Births

    def scraped(self, now: float) -> None:
        """Prometheus was served a page; from any thread, monotonic time."""
        self._zero_start.scraped(now)

    def exposable(self, now: float) -> list[int]:
        """Totals whose value may be shown once the ledger has them as released; monotonic time."""
        return self._zero_start.exposable(now)

    # The page

    def render(self, series_max: int) -> bool:
        """Render so many changed series ahead of the page; whether that was all that had changed.

        The page stays one moment's: what changes again is rendered again.
        """
        for projection in self._projections.values():
            series_max -= projection.refresh(series_max)
        for block in self._blocks.values():
            series_max -= block.render(series_max)
        return series_max > 0

    def page(self) -> MetricsPage | None:
        """The whole exposition; None if nothing has changed since the last one."""
        for projection in self._projections.values():
            projection.refresh()
        for place, amount in self._pending_cost.sums().items():
            self._blocks[UNRELEASED].put(place, amount)
        if self._top_sessions.due:
            self._show_followed(self._top_sessions.choose())
        self._blocks[SERIES].put(NO_LABELS, sum(self._blocks[name].sample_lines for name in self._projections))
        changed = self._wanted or any(block.changed for block in self._blocks.values())
        self._zero_start.exposed()
        if not changed:
            return None
        self._version += 1
        self._wanted = False
        own = _joined(-self._version, (self._blocks[family.name] for family in FAMILIES if family.home == "process"))
        return _joined(self._version, self._blocks.values(), own)

    def _show_followed(self, followed: Iterable[SessionGauges]) -> None:
        shown: dict[str, dict[Values, Value]] = {name: {} for name, _ in _FOLLOWED_COUNTS}
        costs: dict[Values, Decimal] = {}
        for each in followed:
            session = (each.ref.account, each.ref.record_type, each.ref.event_id)
            for name, field in _FOLLOWED_COUNTS:
                shown[name][session] = getattr(each, field)
            for product, currency, amount in each.costs:
                labels = (*session, product or UNKNOWN, currency)
                costs[labels] = add(costs.get(labels, ZERO), amount)
        for name, series in shown.items():
            self._replace(name, series)
        self._replace(_FOLLOWED_COST, costs)

    def _replace(self, name: str, series: Mapping[Values, Value]) -> None:
        block = self._blocks[name]
        for labels in [labels for labels in block.values() if labels not in series]:
            block.drop(labels)
        for labels, value in series.items():
            block.put(labels, value)


def _joined(version: int, blocks: Iterable[FamilyBlock], own: MetricsPage | None = None) -> MetricsPage:
    text, openmetrics = zip(*(block.parts() for block in blocks), strict=True)
    return MetricsPage(version, tuple(chain.from_iterable(text)), tuple(chain.from_iterable(openmetrics)), own)


def _bounds(settings: MetricsSettings) -> dict[str, tuple[float, ...]]:
    """The configured bucket bounds by family."""
    buckets = structs.asdict(settings.buckets)
    return {f"telnyx_{name}": tuple(map(float, bounds)) for name, bounds in buckets.items()}


def _same_series(row: Total, other: Total) -> bool:
    return (row.family, row.labels) == (other.family, other.labels)
