"""Hand the notices of sources to the ledger.

Notices that arrive during a transaction share the next one. `ingest` returns only when they are durable, so a webhook
that got its 2xx is never lost. All calls of one IngestQueue come from one loop: there is one for the main loop, and one
for the web server's.
"""

import asyncio
from collections.abc import Sequence

from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import SessionNotice, SessionRef
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.polling.commit_queue import CommitQueue

NOTICES_MAX = 500
"""Notices of a long list per transaction, some 10 ms, so that polls and webhooks don't wait for the whole list."""

_Waiting = tuple[Sequence[SessionNotice], "asyncio.Future[None]"]


class IngestQueue:
    """Notices that wait for their transaction."""

    def __init__(self, ledger: LedgerWorker, commit_queue: CommitQueue, clock: Clock) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._clock = clock
        self._waiting: dict[str, list[_Waiting]] = {}
        """By source."""
        self._writing: asyncio.Task[None] | None = None

    async def ingest(self, notices: Sequence[SessionNotice], source: str) -> None:
        """Report notices to the ledger; return when they are durable and in the metrics. Raises LedgerError."""
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(source, []).append((notices, durable))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        await durable

    async def ingest_refs(self, refs: Sequence[SessionRef], source: str) -> None:
        """Report sessions, any number of them. After a LedgerError report all again: some may be in the ledger."""
        for start in range(0, len(refs), NOTICES_MAX):
            await self.ingest([SessionNotice(ref) for ref in refs[start : start + NOTICES_MAX]], source)

    async def mark_success(self, source: str, accounts: Sequence[str]) -> None:
        """Record that a source was read to its end, with or without news. Raises LedgerError."""
        try:
            receipt = await self._ledger.run(Ledger.mark_success, source, accounts, self._clock.now())
        except LedgerError as error:
            self._commit_queue.report_failure(error)
            raise
        self._commit_queue.show(receipt)

    async def _write(self) -> None:
        while self._waiting:
            source = next(iter(self._waiting))
            batch = self._waiting.pop(source)
            notices = [notice for some, _ in batch for notice in some]
            failure: Exception | None = None
            try:
                await self._ledger.run_next(self._report, notices, source, self._clock.now())
            except Exception as error:  # noqa: BLE001 - it belongs to the callers that wait
                failure = error
            for _, durable in batch:
                if durable.done():  # its caller was cancelled
                    continue
                if failure is None:
                    durable.set_result(None)
                else:
                    durable.set_exception(failure)

    def _report(self, ledger: Ledger, notices: Sequence[SessionNotice], source: str, now: float) -> None:
        """Run on the ledger's thread; the main loop gets the changes for the metrics before the callers go on."""
        try:
            receipt = ledger.report(notices, source, now)
        except LedgerError as error:
            self._ledger.publish(self._commit_queue.report_failure, error)
            raise
        self._ledger.publish(self._commit_queue.show, receipt)
