"""Looking through an account's detail records, again and again.

Owns when a look is due, how far back it goes, and the cursors that the ledger keeps; asks with the account's client,
so within its pace. Records appear late, so a look begins before the cursor: usually a little, once in a while by the
whole look-back. The surprising fact: how late a record may appear is nowhere stated; what appears later than the
look-back is found by no other means than webhooks.
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

DEEP_EVERY, SHALLOW = 1 / 12, 1 / 48
"""Shares of the look-back: how often a look goes back by all of it, and how far the looks between go."""


class RecordCursor(Struct):
    """How far one type was read; times of records, in seconds since the epoch."""

    since: float
    """Nothing before is asked for: the exporter began there."""
    reached: float


class DetailRecordSource:
    """The records of one account."""

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
        self._account = account
        self.client = client
        """Asked from the next page on; a reload may swap it."""
        self._kinds = kinds
        self._fields = {kind.name: kind.time_fields for kind in kinds}
        self._settings = settings
        self._ledger = ledger
        self._show = show
        self._metrics = metrics
        self._clock = clock
        self._key = f"cursors:{account}"
        self._cursors: dict[str, RecordCursor] = {}
        self._deep_at: float | None = None
        self._looked_at: float | None = None
        self._begun = False

    @property
    def due(self) -> bool:
        """Whether it is time to look, also after a clock that was set back."""
        if not self._kinds:
            return False
        looked_at = self._looked_at
        return looked_at is None or not 0 <= self._clock.now() - looked_at < self._settings.interval_seconds

    def forget(self) -> None:
        """Somebody else reads: how far is in the ledger."""
        self._begun = False

    async def begin(self, now: float) -> None:
        """Remember where a first look begins, before there was one; raises LedgerError."""
        kept = await self._ledger.run(Ledger.get_meta, self._key)
        self._cursors = {} if kept is None else msgspec.json.decode(kept, type=dict[str, RecordCursor])
        first = now - self._settings.first_lookback_seconds
        for kind in self._kinds:
            self._cursors.setdefault(kind.name, RecordCursor(first, first))
        await self._keep()
        self._begun = True

    async def look(self) -> bool:
        """Read what is new of every type, and say whether all could be read; raises LedgerError."""
        now = self._clock.now()
        if not self._begun:  # it came with a reload
            await self.begin(now)
        self._looked_at = now
        back = self._back(now)
        read = [await self._look_through(kind, now, back) for kind in self._kinds]
        if all(read) and self._kinds:
            self._show(await self._ledger.run(Ledger.mark_success, DETAIL_RECORDS, [self._account], now))
            reached = min(self._cursors[kind.name].reached for kind in self._kinds)
            oldest = reached - self._settings.lookback_seconds
            await self._ledger.run(Ledger.forget_records, self._account, oldest)
        return all(read)

    def _back(self, now: float) -> float:
        """How far this look goes back before the cursors."""
        whole = self._settings.lookback_seconds
        if self._deep_at is not None and 0 <= now - self._deep_at < DEEP_EVERY * whole:
            return SHALLOW * whole
        self._deep_at = now
        return whole

    async def _look_through(self, kind: RecordKind, now: float, back: float) -> bool:
        """One type, up to now; whether that went well."""
        cursor = self._cursors[kind.name]
        since = max(cursor.since, min(cursor.reached, now) - back)
        try:
            cursor.reached = await self._read(kind, since, now)
        except (ConfigError, PollError) as error:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))
            log.warning(
                "detail records not read", extra=fields(account=self._account, type=kind.name, error=str(error))
            )
            return False
        await self._keep()
        return True

    async def _keep(self) -> None:
        await self._ledger.run(Ledger.put_meta, self._key, msgspec.json.encode(self._cursors).decode())

    async def _read(self, kind: RecordKind, since: float, until: float) -> float:
        """All pages, by the first time field that the API takes; the time up to which records were read."""
        fields = self._fields[kind.name]
        for field in fields:
            try:
                reached = await self._read_by(field, kind, since, until)
            except Denied as error:
                if error.reason != "bad_request" or field == fields[-1]:
                    raise
            else:
                self._fields[kind.name] = (field, *(other for other in fields if other != field))
                return reached
        raise AssertionError("a kind has at least one time field")

    async def _read_by(self, field: str, kind: RecordKind, since: float, until: float) -> float:
        listing = RecordPages(self._account, kind, field, since, until)
        while not listing.ended:
            records = listing.take(await self.client.detail_records(listing.params()))
            self._show(await self._ledger.run(Ledger.ingest_records, self._account, records, until))
        if listing.unreadable:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, DETAIL_RECORDS))
            told = fields(account=self._account, type=kind.name, records=listing.unreadable)
            log.warning("detail records without a readable id are left out", extra=told)
        return listing.reached
