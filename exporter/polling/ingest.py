"""What sources find, on its way into the ledger.

Owns the group commit of sightings: whoever comes while a transaction is under way shares the next one. Each one lives
on one loop: the main loop's takes what sources find, the web surface's what they are sent, straight to the ledger. The
surprising fact: a source is answered only when its word is durable, so a webhook that got its 2xx is never lost.
"""

import asyncio
from collections.abc import Sequence

from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import SessionNotice, SessionRef
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.polling.commit_queue import CommitQueue

PORTION_MAX = 500
"""Sightings of a long list that go into one transaction, some 10 ms: polls and webhooks don't wait for all of it."""

_Taken = tuple[Sequence[SessionNotice], "asyncio.Future[None]"]


class IngestQueue:
    """Takes sightings; all calls come from one loop."""

    def __init__(self, ledger: LedgerWorker, commit_queue: CommitQueue, clock: Clock) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._clock = clock
        self._waiting: dict[str, list[_Taken]] = {}
        self._writing: asyncio.Task[None] | None = None

    async def ingest(self, notices: Sequence[SessionNotice], source: str) -> None:
        """Returns when they are durable and shown; raises LedgerError if they are not."""
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(source, []).append((notices, taken))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        await taken

    async def ingest_refs(self, refs: Sequence[SessionRef], source: str) -> None:
        """A list of any length, in portions; after a LedgerError take it again: some may be in the ledger already."""
        for start in range(0, len(refs), PORTION_MAX):
            await self.ingest([SessionNotice(ref) for ref in refs[start : start + PORTION_MAX]], source)

    async def mark_success(self, source: str, accounts: Sequence[str]) -> None:
        """A source was read to its end, whether or not it said anything new; raises LedgerError."""
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
            together = [notice for notices, _ in batch for notice in notices]
            try:
                await self._ledger.run_next(self._sight, together, source, self._clock.now())
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                _settle(batch, error)
            else:
                _settle(batch, None)

    def _sight(self, ledger: Ledger, notices: Sequence[SessionNotice], source: str, now: float) -> None:
        """On the ledger's thread; whoever owns the metrics shows it before whoever waits here goes on."""
        try:
            receipt = ledger.report(notices, source, now)
        except LedgerError as error:
            self._ledger.publish(self._commit_queue.report_failure, error)
            raise
        self._ledger.publish(self._commit_queue.show, receipt)


def _settle(batch: Sequence[_Taken], error: Exception | None) -> None:
    for _, taken in batch:
        if taken.done():  # whoever waited has gone
            continue
        if error is None:
            taken.set_result(None)
        else:
            taken.set_exception(error)
