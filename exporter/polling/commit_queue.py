"""Commit finished polls to the ledger in groups, and show what a commit changed.

While the ledger fails nothing is lost: finished polls wait, no session is claimed, and a probe is written every second
until the ledger works again. A failed poll is committed like any other, as the session's history and due time change.
"""

# Worked example of the group commit; a commit costs some 5 ms for one poll, and little more for many.
#
#   ms   event
#    0   poll A (11 events) finishes and waits: BATCH_SECONDS begin
#    2   polls B and C finish
#    5   commit 1 begins with A, B and C: one transaction, one fsync
#    8   poll D (2,000 events) and polls E to Z finish; they wait, because one commit runs at a time
#   11   commit 1 is durable: its changes go to the metrics, then the waiters of A, B and C return
#   16   commit 2 takes D alone: with E it would have more than BATCH_EVENTS_MAX events
#   ...  commit 3 takes E to Z
#
# If commit 2 fails with a LedgerError, D goes back to the head of the queue and is committed after recovery. If a batch
# fails by a defect in one of its polls, each poll is committed alone, and the bad one is deferred.

import asyncio
import logging

from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import Poll, Receipt, SessionRef, StateChange
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics

log = logging.getLogger(__name__)

BATCH_POLLS_MAX, BATCH_EVENTS_MAX = 200, 500
"""Limits of a commit. It stays short, some 15 ms, because a webhook may have to wait for it."""
BATCH_SECONDS = 0.005
"""How long the first finished poll waits for others; about the duration of a commit."""
RETRY_SECONDS = 1.0
"""Time from a failure of the ledger to the next attempt."""


class CommitQueue:
    """Finished polls that wait for their commit."""

    def __init__(self, ledger: LedgerWorker, metrics: Metrics, clock: Clock) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._waiting: list[tuple[Poll, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        """Set while polls wait, or the ledger fails."""
        self.failing: str | None = None
        """The ledger's error message while it fails."""

    async def commit(self, poll: Poll) -> None:
        """Commit a poll; return when it is durable and in the metrics."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((poll, committed))
        self._wake.set()
        await committed

    async def run(self) -> None:
        """Commit batches until cancelled."""
        while True:
            await self._wake.wait()
            if self.failing is not None:
                await asyncio.sleep(RETRY_SECONDS)
                await self._probe()
                continue
            await asyncio.sleep(BATCH_SECONDS)
            batch = self._next_batch()
            try:
                await self._commit([poll for poll, _ in batch])
            except LedgerError as error:
                self.report_failure(error)
                self._waiting = batch + self._waiting
                continue
            for _, committed in batch:
                if not committed.done():  # the poll may have been cancelled meanwhile
                    committed.set_result(None)
            # Another call may have reported a failure during this commit: then stay awake to probe.
            if not self._waiting and self.failing is None:
                self._wake.clear()

    async def _probe(self) -> None:
        """Write to the ledger; if that works, load the metrics anew, as a failed commit may have been durable."""
        try:
            await self._ledger.run(Ledger.write_probe, self._clock.monotonic())
            self._metrics.load(await self._ledger.run(Ledger.totals))
        except LedgerError as error:
            self.report_failure(error)
            return
        log.info("ledger recovered")
        self.failing = None

    def _next_batch(self) -> list[tuple[Poll, asyncio.Future[None]]]:
        count = events = 0
        for poll, _ in self._waiting[:BATCH_POLLS_MAX]:
            events += len(poll.attributes)
            if count and events > BATCH_EVENTS_MAX:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _commit(self, polls: list[Poll]) -> None:
        started = self._clock.monotonic()
        try:
            receipt = await self._ledger.run(Ledger.commit, polls)
        except LedgerError:
            raise
        except Exception:  # noqa: BLE001 - a defect in one poll; committing them one by one finds out in which
            await self._commit_one_by_one(polls)
            return
        self._metrics.observe("telnyx_ledger_commit_duration_seconds", (), self._clock.monotonic() - started)
        self.show(receipt)

    async def _commit_one_by_one(self, polls: list[Poll]) -> None:
        for poll in polls:
            try:
                self.show(await self._ledger.run(Ledger.commit, [poll]))
            except LedgerError:
                raise
            except Exception:
                log.exception("poll could not be committed", extra=fields(**session_fields(poll.claim.ref)))
                self._metrics.inc("telnyx_ledger_commit_failures_total", ())
                self._metrics.inc("telnyx_poll_failures_total", (poll.claim.ref.account, "internal"))
                try:  # not even as a failed poll: the session is due later, so that others are polled first
                    await self._ledger.run(Ledger.defer, poll.claim, poll.at)
                except LedgerError as error:
                    self.report_failure(error)

    def show(self, receipt: Receipt) -> None:
        """Put the changes of a commit into the metrics and the log."""
        self._metrics.apply(receipt)
        self._metrics.update_sessions(receipt.sessions, self._clock.now())
        for failed_check in receipt.failed_checks:
            log.warning(
                "check failed",
                extra=fields(**session_fields(failed_check.ref), check=failed_check.what, detail=failed_check.detail),
            )
        for change in receipt.state_changes:
            _log_state_change(change)

    def report_failure(self, error: LedgerError) -> None:
        """Record that the ledger can't be written; any caller may report it, and `run` then probes for recovery."""
        self._metrics.inc("telnyx_ledger_commit_failures_total", ())
        if self.failing is None:
            log.error("ledger failed; polling waits until it can be written", extra=fields(error=str(error)))
        self.failing = str(error)
        self._wake.set()


def _log_state_change(change: StateChange) -> None:
    """Log the change: at debug if every session makes it, and as a warning what an operator should check."""
    extra = fields(**session_fields(change.ref), before=change.before or None, why=change.why or None)
    if change.after == "denied":
        log.warning("session denied: polled again at its rechecks and after a reload", extra=extra)
    elif change.after == "missing":
        log.info("session missing: the API doesn't know it; polled again at its rechecks", extra=extra)
    elif change.after == "settled":
        log.info("session settled", extra=extra)
    elif change.after == "discovered":
        log.debug("session discovered", extra=extra)
    elif change.before == "discovered":
        log.debug("session found", extra=extra)
    elif change.before == "settled":
        log.info("session reopened: its bill changed", extra=extra)
    else:
        log.info("session available again", extra=extra)


def session_fields(ref: SessionRef) -> dict[str, str]:
    """Return the session as fields of a log line."""
    return {"account": ref.account, "record_type": ref.record_type, "event_id": ref.event_id}
