"""One of several exporters that share a ledger: what this one does for all of them, and what part of the work is its.

Owns the leases that this process holds, the exposition of the ledger, and its share of each account's request rate. An
exporter alone with its file holds everything, always. The surprising fact: whether the ledger may be exposed is decided
at each scrape by the clock, so an exporter that was stopped for a while, or sees the server no more, exposes nothing
that another may be exposing by then.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress

from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import LedgerAway, LedgerError
from exporter.core.model import Claim, Receipt
from exporter.ledger import Ledger, on_server
from exporter.ledger.sharing.leases import BACKFILL, BALANCE, EXPOSITION, PRUNING, Lease, account_lease
from exporter.ledger.totals.aggregate import TotalsReading
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.runtime.jobs import Job
from exporter.runtime.plan import Plan

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0
"""How often it is tried whether a server is back."""
EXPOSE_SECONDS = 1.0
"""How often the totals of all writers are read, so how old a page may be."""
BEAT_SECONDS = 5.0
LEARN_SECONDS = 60.0
"""How often the series that others have begun are taken note of; a budget may be overrun by as many meanwhile."""
LEASE_SECONDS = 20.0
"""Of what only one does; a holder that dies is missed for so long."""
FOLLOWED_SECONDS, FOLLOWED_MAX = 6 * 3600.0, 1000
FOLLOWED_OVERLAP_SECONDS = 60.0
"""Sessions that changed lately are read again, for replicas' clocks differ, and commits take their time."""


async def patiently(
    step: Callable[[], Coroutine[None, None, None]], failed: Callable[[LedgerError], None], stopping: asyncio.Event
) -> bool:
    """Begin again as long as the ledger's server is away; whether it was done before somebody said to stop."""
    while not stopping.is_set():
        try:
            await step()
        except LedgerAway as error:
            failed(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), AWAY_SECONDS)
        else:
            return True
    return False


class Replicas:
    """This process's place among those that share the ledger."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        under_way: Callable[[], Iterable[Claim]],
    ) -> None:
        """`under_way` gives the claims of the polls that aren't booked yet."""
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._under_way = under_way
        self._plan: Plan | None = None
        self._leases: dict[str, Lease] = {}
        self._exposition = Lease(LEASE_SECONDS)
        self._page: int | None = None
        """The first page that has all that the ledger had when this process began to expose it."""
        self._followed_at = 0.0
        self._learnt_at = -math.inf
        self.shared = False
        self.replicas = 1

    def adopt(self, plan: Plan) -> None:
        self._plan = plan
        self._pace()

    def jobs(self) -> tuple[tuple[float, str, Job], ...]:
        """Those that come again and again, by how often they do, in seconds, and the name of their task."""
        if self._plan is None or on_server(self._plan.config.ledger.url):
            return ((EXPOSE_SECONDS, "expose", self.expose), (BEAT_SECONDS, "beat", self.beat))
        return ()

    async def begin(self) -> None:
        """Once the ledger is open; raises LedgerError."""
        self.shared = await self._ledger.run(lambda ledger: ledger.shared)
        await self._beat()
        await self._expose()

    # What only one does

    def holds(self, name: str) -> bool:
        """Whether this process does what only one may do."""
        lease = self._leases.get(name)
        return not self.shared or (lease is not None and lease.held(self._clock.monotonic()))

    def exposes(self, page: int) -> bool:
        """Whether the page may be shown with what the ledger has, now; from any thread."""
        if not self.shared:
            return True
        first = self._page  # once: the main thread may set it to None meanwhile
        return first is not None and page >= first and self._exposition.held(self._clock.monotonic())

    @property
    def exposing(self) -> bool:
        """Whether this process exposes the ledger, or will with its next page."""
        return self.exposes(self._page or 0)

    async def beat(self) -> None:
        """Show to be alive: the leases go on, and the claims of polls under way; the work is shared anew."""
        try:
            await self._beat()
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _beat(self) -> None:
        if not self.shared:
            return
        self.replicas = await self._ledger.run(Ledger.count_replicas)
        self._pace()
        await self._ledger.run(Ledger.renew_claims, list(self._under_way()))
        for name in (PRUNING, BACKFILL, *self._of_accounts()):
            await self._take(self._leases.setdefault(name, Lease(LEASE_SECONDS)), name)
        now = self._clock.monotonic()
        if now >= self._learnt_at + LEARN_SECONDS:
            self._learnt_at = now
            await self._ledger.run(Ledger.load_new_series)
        if self.holds(PRUNING):
            gone = await self._ledger.run(Ledger.fold_dead_writers)
            if gone:
                log.info("totals of exporters that are gone were taken over", extra=fields(exporters=gone))

    def _of_accounts(self) -> Iterable[str]:
        assert self._plan is not None, "adopted before anything runs"
        for account in self._plan.config.accounts:
            yield account_lease(account.name, DETAIL_RECORDS)
            yield account_lease(account.name, BALANCE)

    async def _take(self, lease: Lease, name: str) -> None:
        asked_at = self._clock.monotonic()
        answer = await self._ledger.run(Ledger.acquire_lease, name, lease.seconds)
        if answer is not None:
            lease.answered(asked_at, self._clock.monotonic(), answer)

    def _pace(self) -> None:
        """Each has its part of the rate; what the API says of the quota, each hears for itself."""
        if self._plan is not None:
            for account in self._plan.config.accounts:
                self._plan.pacers[account.name].set_rate(account.requests_per_second / self.replicas)

    # The exposition

    async def expose(self) -> None:
        """Show what all writers' totals add up to, if it is this process that shows them."""
        try:
            await self._expose()
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _expose(self) -> None:
        if not self.shared:
            return
        if self._page is not None and not self._exposition.held(self._clock.monotonic()):
            self._page = None  # before the lease may go on: what the page has is old
            log.info("this exporter exposes the ledger no more")
        await self._take(self._exposition, EXPOSITION)
        now = self._clock.monotonic()
        if not self._exposition.held(now):
            return
        if self._page is not None:
            self._show(await self._ledger.run(Ledger.changes))
            since, self._followed_at = self._followed_at, self._clock.now()
            changed = await self._ledger.run(Ledger.recent_sessions, since - FOLLOWED_OVERLAP_SECONDS, FOLLOWED_MAX)
            self._metrics.update_sessions(changed, self._followed_at)
        elif self._exposition.first or now >= self._exposition.since + self._takeover_seconds:
            reading = await self._ledger.run(Ledger.changes, anew=True)
            self._followed_at = self._clock.now()
            known = await self._ledger.run(Ledger.recent_sessions, self._followed_at - FOLLOWED_SECONDS, FOLLOWED_MAX)
            self._metrics.restart_zero_start()
            self._show(reading)
            self._metrics.reload_sessions(known, self._followed_at)
            self._page = self._metrics.next_page()
            log.info("this exporter exposes the ledger", extra=fields(writers=self.replicas))

    def _show(self, reading: TotalsReading) -> None:
        if reading.whole:
            self._metrics.load(reading.totals)
        else:
            self._metrics.apply(Receipt(reading.totals))

    @property
    def _takeover_seconds(self) -> float:
        assert self._plan is not None, "adopted before anything runs"
        return self._plan.config.ledger.exposition_handover_seconds
