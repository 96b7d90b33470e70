"""This process's share of the work among the replicas that use one ledger: leases, exposition, request rate.

With a ledger of its own (SQLite) the process holds every lease. On PostgreSQL one replica at a time exposes the ledger,
prunes, backfills, and polls an account's detail records and balance; each gets its part of an account's request rate.

Example of a handover: replica A exposes the ledger, and its machine stalls at 12:00:00. A's lease of 20 s ends at
12:00:20 at the latest. From then on A's page has no ledger families, even if A wakes up with an old page, because
`exposes` checks the clock at every scrape. B gets the lease at 12:00:20 and exposes from 12:01:20 on, after
`exposition_handover_seconds` (60): every scraper has seen A's series end before it sees B's, so none counts twice.
"""

import logging
import math
from collections.abc import Iterable

from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import Receipt
from exporter.ledger import Ledger, on_server
from exporter.ledger.sharing.leases import BACKFILL, BALANCE, EXPOSITION, PRUNING, Lease, account_lease
from exporter.ledger.totals.aggregate import TotalsReading
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.poller import Poller
from exporter.runtime.jobs import Job
from exporter.runtime.plan import Plan

log = logging.getLogger(__name__)

EXPOSE_SECONDS = 1.0
"""How often the exposing replica reads the totals of all writers, and so the age of its page."""
HEARTBEAT_SECONDS = 5.0
NEW_SERIES_SECONDS = 60.0
"""How often other replicas' new series are loaded; meanwhile they may exceed `series_max`."""
LEASE_SECONDS = 20.0
"""How long the work of a replica that died waits for another."""
RECENT_SECONDS, RECENT_SESSIONS_MAX = 6 * 3600.0, 1000
"""Sessions that changed this recently may have series of their own."""
RECENT_OVERLAP_SECONDS = 60.0
"""Recent changes are read again, since replicas' clocks differ and commits take time."""


class Replicas:
    """The leases that this process holds, and the exposition of a shared ledger."""

    def __init__(
        self, ledger: LedgerWorker, commit_queue: CommitQueue, metrics: Metrics, clock: Clock, *, poller: Poller
    ) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._poller = poller
        self._plan: Plan | None = None
        self._leases: dict[str, Lease] = {}
        self._exposition = Lease(LEASE_SECONDS)
        self._first_page: int | None = None
        """The first page with all totals since this process began to expose; None if it doesn't."""
        self._recent_at = 0.0
        self._new_series_at = -math.inf
        self.shared = False
        """Whether the ledger is on a server."""
        self.count = 1
        """The live replicas."""

    def apply_plan(self, plan: Plan) -> None:
        self._plan = plan
        self._share_rates()

    def jobs(self) -> tuple[tuple[float, str, Job], ...]:
        """Return the jobs: interval in seconds, task, job."""
        if self._plan is None or on_server(self._plan.config.ledger.url):
            return ((EXPOSE_SECONDS, "expose", self.expose), (HEARTBEAT_SECONDS, "heartbeat", self.heartbeat))
        return ()

    async def start(self) -> None:
        """Begin once the ledger is open; raises LedgerError."""
        self.shared = await self._ledger.run(lambda ledger: ledger.shared)
        await self._heartbeat()
        await self._expose()

    # Leases

    def holds(self, name: str) -> bool:
        """Return whether this process holds the lease now."""
        lease = self._leases.get(name)
        return not self.shared or (lease is not None and lease.held(self._clock.monotonic()))

    def exposes(self, page: int) -> bool:
        """Return whether the page may be served now, with the ledger's totals; from any thread."""
        if not self.shared:
            return True
        first = self._first_page  # read once, since the main thread may set it to None meanwhile
        return first is not None and page >= first and self._exposition.held(self._clock.monotonic())

    @property
    def exposing(self) -> bool:
        """Whether this process exposes the ledger, or will with its next page."""
        return self.exposes(self._first_page or 0)

    async def heartbeat(self) -> None:
        """Renew the leases and the claims of running polls, and share the request rate."""
        try:
            await self._heartbeat()
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _heartbeat(self) -> None:
        if not self.shared:
            return
        self.count = await self._ledger.run(Ledger.count_replicas)
        self._share_rates()
        await self._ledger.run(Ledger.renew_claims, list(self._poller.claims))
        for name in (PRUNING, BACKFILL, *self._account_leases()):
            await self._acquire(self._leases.setdefault(name, Lease(LEASE_SECONDS)), name)
        now = self._clock.monotonic()
        if now >= self._new_series_at + NEW_SERIES_SECONDS:
            self._new_series_at = now
            await self._ledger.run(Ledger.load_new_series)
        if self.holds(PRUNING):
            dead = await self._ledger.run(Ledger.fold_dead_writers)
            if dead:
                log.info("totals of dead replicas added to this one's", extra=fields(replicas=dead))

    def _account_leases(self) -> Iterable[str]:
        assert self._plan is not None, "the app applies a plan before anything runs"
        for account in self._plan.config.accounts:
            yield account_lease(account.name, DETAIL_RECORDS)
            yield account_lease(account.name, BALANCE)

    async def _acquire(self, lease: Lease, name: str) -> None:
        # The clock is read before the request, so that the lease ends here before it ends on the server.
        asked_at = self._clock.monotonic()
        answer = await self._ledger.run(Ledger.acquire_lease, name, lease.seconds)
        if answer is not None:
            lease.answered(asked_at, self._clock.monotonic(), answer)

    def _share_rates(self) -> None:
        """Set each account's rate to this replica's part; the API's quota headers reach each replica by themselves."""
        if self._plan is not None:
            for account in self._plan.config.accounts:
                self._plan.pacers[account.name].session.set_rate(account.requests_per_second / self.count)

    # The exposition

    async def expose(self) -> None:
        """Show the sum of all writers' totals, if this process holds the exposition."""
        try:
            await self._expose()
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _expose(self) -> None:
        if not self.shared:
            return
        if self._first_page is not None and not self._exposition.held(self._clock.monotonic()):
            # Before the lease may be renewed: the page is too old to be served under a new lease.
            self._first_page = None
            log.info("this replica no longer exposes the ledger")
        await self._acquire(self._exposition, EXPOSITION)
        now = self._clock.monotonic()
        if not self._exposition.held(now):
            return
        if self._first_page is not None:
            self._show(await self._ledger.run(Ledger.changes))
            since, self._recent_at = self._recent_at, self._clock.now()
            changed = await self._ledger.run(
                Ledger.recent_sessions, since - RECENT_OVERLAP_SECONDS, RECENT_SESSIONS_MAX
            )
            self._metrics.update_sessions(changed, self._recent_at)
        elif self._exposition.first or now >= self._exposition.since + self._handover_seconds:
            reading = await self._ledger.run(Ledger.changes, anew=True)
            self._recent_at = self._clock.now()
            recent = await self._ledger.run(
                Ledger.recent_sessions, self._recent_at - RECENT_SECONDS, RECENT_SESSIONS_MAX
            )
            self._metrics.restart_zero_start()
            self._show(reading)
            self._metrics.reload_sessions(recent, self._recent_at)
            self._first_page = self._metrics.next_page()
            log.info("this replica exposes the ledger", extra=fields(replicas=self.count))

    async def load_metrics(self, now: float) -> None:
        """Load the totals of a ledger that this process has alone; `expose` loads a shared one. Raises LedgerError."""
        if self.shared:
            return
        self._metrics.load(await self._ledger.run(Ledger.totals))
        recent = await self._ledger.run(Ledger.recent_sessions, now - RECENT_SECONDS, RECENT_SESSIONS_MAX)
        self._metrics.reload_sessions(recent, now)

    def _show(self, reading: TotalsReading) -> None:
        if reading.whole:
            self._metrics.load(reading.totals)
        else:
            self._metrics.apply(Receipt(reading.totals))

    @property
    def _handover_seconds(self) -> float:
        assert self._plan is not None, "the app applies a plan before anything runs"
        return self._plan.config.ledger.exposition_handover_seconds
