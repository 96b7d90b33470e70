"""Poll an account's detail records, and report the sessions that they belong to.

Records appear up to hours after their own time, so each poll starts before the last record seen. With
`lookback_seconds: 86400` a poll starts half an hour before it (1/48), and every two hours (1/12) a whole day before it.
How late a record can appear is not documented; only webhooks find the sessions of records that appear later still.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from exporter.config import DetailRecordSettings
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, Denied, PollError
from exporter.core.model import Receipt
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.sources.record_kinds import RecordKind
from exporter.sources.record_pages import RecordPages
from exporter.telnyx.client import TelnyxClient

log = logging.getLogger(__name__)

DEEP_INTERVAL, SHALLOW_LOOKBACK = 1 / 12, 1 / 48
"""Shares of the look-back: how often a poll goes back by all of it, and how far the polls in between go back."""


class RecordCursor(Struct):
    """How far one type was read; record times in seconds since the epoch."""

    since: float
    """The start of the first poll; nothing earlier is requested."""
    reached: float


class DetailRecordSource:
    """The detail records of one account."""

    def __init__(
        self,
        account: str,
        client: TelnyxClient,
        kinds: Sequence[RecordKind],
        settings: DetailRecordSettings,
        *,
        ledger: LedgerWorker,
        show: Callable[[Receipt], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`show` puts what a commit changed on the page."""
        self._account = account
        self.client = client
        """A reload may replace it; the next page is requested with the new one."""
        self._kinds = kinds
        self._time_fields = {kind.name: kind.time_fields for kind in kinds}
        self._settings = settings
        self._ledger = ledger
        self._show = show
        self._metrics = metrics
        self._clock = clock
        self._meta_key = f"cursors:{account}"
        self._cursors: dict[str, RecordCursor] | None = None
        """None: they have to be loaded from the ledger."""
        self._deep_at: float | None = None
        self._polled_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether the interval is over, or the clock was set back."""
        if not self._kinds:
            return False
        polled_at = self._polled_at
        return polled_at is None or not 0 <= self._clock.now() - polled_at < self._settings.interval_seconds

    def forget_cursors(self) -> None:
        """Load the cursors again before the next poll: another replica moves them meanwhile."""
        self._cursors = None

    async def load_cursors(self, now: float) -> dict[str, RecordCursor]:
        """Return the cursors from the ledger; a new type starts `first_lookback_seconds` ago. Raises LedgerError."""
        stored = await self._ledger.run(Ledger.get_meta, self._meta_key)
        cursors = {} if stored is None else msgspec.json.decode(stored, type=dict[str, RecordCursor])
        first = now - self._settings.first_lookback_seconds
        for kind in self._kinds:
            cursors.setdefault(kind.name, RecordCursor(first, first))
        self._cursors = cursors
        await self._store_cursors(cursors)
        return cursors

    async def _store_cursors(self, cursors: dict[str, RecordCursor]) -> None:
        await self._ledger.run(Ledger.put_meta, self._meta_key, msgspec.json.encode(cursors).decode())

    async def poll(self) -> bool:
        """Read what is new of every type; return whether all types could be read. Raises LedgerError."""
        now = self._clock.now()
        cursors = self._cursors if self._cursors is not None else await self.load_cursors(now)
        self._polled_at = now
        back = self._settings.lookback_seconds
        if self._deep_at is not None and 0 <= now - self._deep_at < DEEP_INTERVAL * back:
            back *= SHALLOW_LOOKBACK
        else:
            self._deep_at = now
        succeeded = [await self._poll_kind(kind, cursors, now, back) for kind in self._kinds]
        if all(succeeded) and self._kinds:
            self._show(await self._ledger.run(Ledger.mark_success, DETAIL_RECORDS, [self._account], now))
            reached = min(cursors[kind.name].reached for kind in self._kinds)
            oldest = reached - self._settings.lookback_seconds
            await self._ledger.run(Ledger.forget_records, self._account, oldest)
        return all(succeeded)

    async def _poll_kind(self, kind: RecordKind, cursors: dict[str, RecordCursor], now: float, back: float) -> bool:
        cursor = cursors[kind.name]
        since = max(cursor.since, min(cursor.reached, now) - back)
        try:
            cursor.reached = await self._read(kind, since, now)
        except (ConfigError, PollError) as error:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))
            log.warning(
                "detail records not read; retried at the next interval",
                extra=fields(account=self._account, type=kind.name, error=str(error)),
            )
            return False
        await self._store_cursors(cursors)
        return True

    async def _read(self, kind: RecordKind, since: float, until: float) -> float:
        """Read all pages; return the time up to which records were read."""
        # The time field of some types is not documented: the API answers 400 to a wrong one, and the next is tried.
        candidates = self._time_fields[kind.name]
        for field in candidates:
            try:
                reached = await self._read_by(field, kind, since, until)
            except Denied as error:
                if error.reason != "bad_request" or field == candidates[-1]:
                    raise
            else:
                self._time_fields[kind.name] = (field, *(other for other in candidates if other != field))
                return reached
        raise AssertionError("a kind has at least one time field")

    async def _read_by(self, field: str, kind: RecordKind, since: float, until: float) -> float:
        pages = RecordPages(self._account, kind, field, since, until)
        while not pages.ended:
            records = pages.read(await self.client.detail_records(pages.params()))
            self._show(await self._ledger.run(Ledger.ingest_records, self._account, records, until))
        if pages.unreadable:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))
            log.warning(
                "detail records without a readable id are skipped; name their id field under custom_types",
                extra=fields(account=self._account, type=kind.name, records=pages.unreadable),
            )
        return pages.reached
