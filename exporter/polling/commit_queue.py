"""Finished polls on their way into the ledger, and what a commit changed on its way onto the page.

Owns the group commit, and what happens while the ledger fails: nothing is lost, nothing more is claimed, and something
is written every second until it works again. The surprising fact: waiting a few milliseconds for company makes a commit
many times cheaper per poll, and a failed poll is booked like any other.
"""

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
"""A commit holds no more: it stays short, some 15 ms, and a webhook waits for at most one."""
BATCH_SECONDS = 0.005
"""How long the first finished poll waits for company; a commit costs about as much."""
RETRY_SECONDS = 1.0
"""After the ledger failed: how long until the same batch is tried again."""


class CommitQueue:
    """Commits finished polls in groups, and shows a commit only after it is durable."""

    def __init__(self, ledger: LedgerWorker, metrics: Metrics, clock: Clock) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._waiting: list[tuple[Poll, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self.failing: str | None = None
        """What is wrong with the ledger, while something is."""

    async def commit(self, poll: Poll) -> None:
        """Returns when the poll is durable and shown."""
        booked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((poll, booked))
        self._arrived.set()
        await booked

    async def run(self) -> None:
        """Book until cancelled."""
        while True:
            await self._arrived.wait()
            if self.failing is not None:
                await asyncio.sleep(RETRY_SECONDS)
                await self._probe()
                continue
            await asyncio.sleep(BATCH_SECONDS)
            batch = self._take()
            try:
                await self._commit([poll for poll, _ in batch])
            except LedgerError as error:
                self.report_failure(error)
                self._waiting = batch + self._waiting
                continue
            for _, booked in batch:
                if not booked.done():
                    booked.set_result(None)
            if not self._waiting and self.failing is None:  # another's failure meanwhile is to be looked into
                self._arrived.clear()

    async def _probe(self) -> None:
        """Write something for its own sake; if that works, memory becomes what the ledger says."""
        try:
            await self._ledger.run(Ledger.write_probe, self._clock.monotonic())
            self._metrics.load(await self._ledger.run(Ledger.totals))
        except LedgerError as error:
            self.report_failure(error)
            return
        log.info("ledger works again")
        self.failing = None

    def _take(self) -> list[tuple[Poll, asyncio.Future[None]]]:
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
        except Exception:  # noqa: BLE001 - a defect in one poll; the next step finds which
            await self._commit_one_by_one(polls)
            return
        self._metrics.observe("telnyx_ledger_commit_duration_seconds", (), self._clock.monotonic() - started)
        self.show(receipt)

    async def _commit_one_by_one(self, polls: list[Poll]) -> None:
        """Something in the batch can't be booked: book the others, and that one as a failed poll."""
        for poll in polls:
            try:
                self.show(await self._ledger.run(Ledger.commit, [poll]))
            except LedgerError:
                raise
            except Exception:
                log.exception("poll could not be booked", extra=fields(**session_fields(poll.claim.ref)))
                self._metrics.inc("telnyx_ledger_commit_failures_total", ())
                self._metrics.inc("telnyx_poll_failures_total", (poll.claim.ref.account, "internal"))
                await self._put_off(poll)

    async def _put_off(self, poll: Poll) -> None:
        """Not even the failure can be booked as usual: the session waits, so that the others can go on."""
        try:
            await self._ledger.run(Ledger.defer, poll.claim, poll.at)
        except LedgerError as error:
            self.report_failure(error)

    def show(self, receipt: Receipt) -> None:
        """Swap in what a commit changed, and say what it noticed."""
        self._metrics.apply(receipt)
        self._metrics.update_sessions(receipt.sessions, self._clock.now())
        for failed_check in receipt.failed_checks:
            log.warning(
                "check failed",
                extra=fields(**session_fields(failed_check.ref), check=failed_check.what, detail=failed_check.detail),
            )
        for move in receipt.state_changes:
            _tell(move)

    def report_failure(self, error: LedgerError) -> None:
        """Say that the ledger can't be written; nothing is lost, polls wait."""
        self._metrics.inc("telnyx_ledger_commit_failures_total", ())
        if self.failing is None:
            log.error("ledger failed; polling waits until it can be written", extra=fields(error=str(error)))
        self.failing = str(error)
        self._arrived.set()  # whoever failed, the booker finds out when the ledger works again


def _tell(move: StateChange) -> None:
    """What became of a session, in words: what many do is told at debug, what one should look at as a warning."""
    told = fields(**session_fields(move.ref), before=move.before or None, why=move.why or None)
    if move.after == "denied":
        log.warning("session denied: it is asked for again at its rechecks and after a reload", extra=told)
    elif move.after == "missing":
        log.info("session missing: the API has not known it for long", extra=told)
    elif move.after == "settled":
        log.info("session settled", extra=told)
    elif move.after == "discovered":
        log.debug("session discovered", extra=told)
    elif move.before == "discovered":
        log.debug("session found", extra=told)
    else:
        log.info("session moves again", extra=told)


def session_fields(ref: SessionRef) -> dict[str, str]:
    """The session as facts of a log line."""
    return {"account": ref.account, "record_type": ref.record_type, "event_id": ref.event_id}
