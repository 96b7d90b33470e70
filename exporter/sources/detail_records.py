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

from exporter.booker import Clock
from exporter.client import Client
from exporter.config import DetailRecords
from exporter.errors import ConfigError, Denied, PollError
from exporter.ledger import SqliteLedger
from exporter.ledger.thread import LedgerThread
from exporter.log import facts
from exporter.metrics import Metrics
from exporter.model import Receipt
from exporter.sources.dialect import Kind
from exporter.sources.listing import Listing

log = logging.getLogger(__name__)

SOURCE = "detail_records"
DEEP_EVERY = 12
"""So many looks go back a twelfth of the look-back for one that goes back by all of it."""


class Cursor(Struct):
    """How far one type was read; times of records, in seconds since the epoch."""

    since: float
    """Nothing before is asked for: the exporter began there."""
    reached: float


class DetailRecordSource:
    """The records of one account."""

    def __init__(
        self,
        account: str,
        client: Client,
        kinds: Sequence[Kind],
        settings: DetailRecords,
        *,
        ledger: LedgerThread,
        show: Callable[[Receipt], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._account = account
        self._client = client
        self._kinds = kinds
        self._fields = {kind.name: list(kind.time_fields) for kind in kinds}
        self._settings = settings
        self._ledger = ledger
        self._show = show
        self._metrics = metrics
        self._clock = clock
        self._looks = 0
        self._looked_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether it is time to look, also after a clock that was set back."""
        if not self._kinds:
            return False
        looked_at = self._looked_at
        return looked_at is None or not 0 <= self._clock.now() - looked_at < self._settings.interval_seconds

    async def look(self) -> None:
        """Read what is new of every type; raises LedgerError when that can't be kept."""
        now = self._looked_at = self._clock.now()
        deep = self._looks % DEEP_EVERY == 0
        self._looks += 1
        read = [await self._look_through(kind, now, deep=deep) for kind in self._kinds]
        reached = [cursor.reached for cursor in read if cursor is not None]
        if len(reached) == len(self._kinds):
            self._show(await self._ledger.run(SqliteLedger.succeeded, SOURCE, [self._account], now))
            oldest = min(reached) - self._settings.lookback_seconds
            await self._ledger.run(SqliteLedger.forget_records, self._account, oldest)

    async def _look_through(self, kind: Kind, now: float, *, deep: bool) -> Cursor | None:
        """One type, up to now; None if that failed."""
        key = f"cursor:{self._account}:{kind.name}"
        kept = await self._ledger.run(SqliteLedger.kept, key)
        first = now - self._settings.first_lookback_seconds
        cursor = Cursor(first, first) if kept is None else msgspec.json.decode(kept, type=Cursor)
        back = self._settings.lookback_seconds / (1 if deep else DEEP_EVERY)
        since = max(cursor.since, min(cursor.reached, now) - back)
        try:
            cursor.reached = await self._read(kind, since, now)
        except (ConfigError, PollError) as error:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, SOURCE))
            log.warning("detail records not read", extra=facts(account=self._account, type=kind.name, error=str(error)))
            return None
        await self._ledger.run(SqliteLedger.keep, key, msgspec.json.encode(cursor).decode())
        return cursor

    async def _read(self, kind: Kind, since: float, until: float) -> float:
        """All pages; the time up to which records were read."""
        listing = Listing(self._account, kind, self._fields[kind.name][0], since, until)
        while not listing.ended:
            try:
                body = await self._client.detail_records(listing.params())
            except Denied as error:
                if error.reason != "bad_request" or not self._try_another_field(kind):
                    raise
                listing = Listing(self._account, kind, self._fields[kind.name][0], since, until)
                continue
            records = listing.take(body)
            self._show(await self._ledger.run(SqliteLedger.list_records, self._account, records, until))
        if listing.unreadable:
            self._metrics.inc("telnyx_discovery_failures_total", (self._account, SOURCE))
            told = facts(account=self._account, type=kind.name, records=listing.unreadable)
            log.warning("detail records without a readable id are left out", extra=told)
        return listing.reached

    def _try_another_field(self, kind: Kind) -> bool:
        """The API refuses to list the type by this field: the next one, if there is one; the last stays."""
        fields = self._fields[kind.name]
        if len(fields) > 1:
            refused = fields.pop(0)
            told = facts(account=self._account, type=kind.name, refused=refused, now=fields[0])
            log.info("the time field of detail records is another", extra=told)
        return len(fields) >= 1
