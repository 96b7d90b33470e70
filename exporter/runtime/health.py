"""Whether the exporter is healthy and whether it is ready, for the web surface.

The verdicts are read on the web thread. The Telnyx API has no part in them: an outage there must not restart anything.
"""

from exporter.config import Config
from exporter.core.clock import Clock
from exporter.ledger import on_server
from exporter.ledger.worker import LedgerWorker
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.poller import Poller
from exporter.sources.discovery import Discovery
from exporter.web import HealthStatus

LATE_TICKS, LATE_SECONDS = 10, 30.0
"""A scheduler that has not ticked for this many intervals plus these seconds is stuck; a busy ledger takes 5 s."""
SERVER_SECONDS = 90.0
"""A ledger on a server may take this much longer, since restarting the exporter doesn't make the server faster."""


class Health:
    """The verdicts; the app sets `recovered` and `stopping`."""

    def __init__(self, ledger: LedgerWorker, commit_queue: CommitQueue, clock: Clock) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._clock = clock
        self._poller: Poller | None = None
        self._discovery: Discovery | None = None
        self._late_seconds = LATE_SECONDS
        self._started_at: float | None = None
        self.recovered = False
        """The ledger is open, and its totals are loaded."""
        self.stopping = False

    def watch(self, poller: Poller, discovery: Discovery) -> None:
        """Judge this poller's scheduler, and tell the progress of the backfill; called once, when all parts exist."""
        self._poller, self._discovery = poller, discovery

    def apply_config(self, config: Config) -> None:
        self._late_seconds = LATE_TICKS * config.polling.scheduler_interval_seconds + LATE_SECONDS
        if on_server(config.ledger.url):
            self._late_seconds += SERVER_SECONDS

    def start(self) -> None:
        """Expect ticks of the scheduler from now on."""
        self._started_at = self._clock.monotonic()

    def status(self) -> HealthStatus:
        # The backfill decides nothing: it waits for the API, which must not keep webhooks from an exporter.
        note = None if self._discovery is None else self._discovery.note()
        return HealthStatus(self._unhealthy(), self._unready(), note)

    def _unhealthy(self) -> str | None:
        """Return the problem that only a new process can cure, if there is one."""
        if self._started_at is None or self._poller is None:
            return None
        since = self._started_at if self._poller.ticked_at is None else self._poller.ticked_at
        if self._clock.monotonic() - since > self._late_seconds:
            return "the scheduler has not ticked for too long"
        return None if self._ledger.alive else "the ledger's thread has ended"

    def _unready(self) -> str | None:
        failing = self._commit_queue.failing
        if self.stopping:
            return "stopping"
        if not self.recovered and failing:
            return f"starting: ledger: {failing}"
        if not self.recovered or self._poller is None or not self._poller.claimed_once:
            return "starting: the first sessions are not claimed yet"
        return f"ledger: {failing}" if failing else None
