"""Whether the exporter works, and whether it may be asked.

Owns both verdicts; the telling is the web surface's. Called from the web thread: it reads references and changes
nothing. The surprising fact: the API has no say in it, since an outage there must restart nothing here.
"""

from exporter.config import Config
from exporter.core.clock import Clock
from exporter.ledger import on_server
from exporter.ledger.worker import LedgerWorker
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.poller import Poller
from exporter.web import HealthStatus

LATE_TICKS, LATE_SECONDS = 10, 30.0
"""A scheduler that has not ticked for so many of its intervals and seconds is stuck; a busy ledger takes 5 s."""
SERVER_SECONDS = 90.0
"""So much longer it may take where the ledger is on a server: a restart of the exporter makes none faster."""


class Health:
    """The verdicts, and what the app tells of its start and end."""

    def __init__(self, ledger: LedgerWorker, commit_queue: CommitQueue, clock: Clock, poller: Poller) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._clock = clock
        self._poller = poller
        self._late_seconds = LATE_SECONDS
        self._begun_at: float | None = None
        self.recovered = False
        """The ledger is open, and memory is what it says."""
        self.shown = False
        """What was before the ledger is booked."""
        self.stopping = False

    def adopt(self, config: Config) -> None:
        self._late_seconds = LATE_TICKS * config.polling.scheduler_interval_seconds + LATE_SECONDS
        if on_server(config.ledger.url):
            self._late_seconds += SERVER_SECONDS

    def begin(self) -> None:
        """From now on the scheduler should tick."""
        self._begun_at = self._clock.monotonic()

    def status(self) -> HealthStatus:
        return HealthStatus(self._unhealthy(), self._unready())

    def _unhealthy(self) -> str | None:
        """What only a new process would mend."""
        if self._begun_at is None:
            return None
        since = self._begun_at if self._poller.ticked_at is None else self._poller.ticked_at
        if self._clock.monotonic() - since > self._late_seconds:
            return "the scheduler has not ticked for long"
        return None if self._ledger.alive else "the ledger's thread has ended"

    def _unready(self) -> str | None:
        if self.stopping:
            return "stopping"
        if not self.recovered and self._commit_queue.failing:
            return f"starting: ledger: {self._commit_queue.failing}"
        if not self.recovered or not self._poller.claimed_once:
            return "starting: the first sessions were not claimed yet"
        if not self.shown:
            return "starting: looking back at what was before the ledger"
        return f"ledger: {self._commit_queue.failing}" if self._commit_queue.failing else None
