"""Polls while the ledger fails."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from exporter.config import Config
from exporter.core.errors import LedgerError
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.runtime.clock import SystemClock
from tests.ledger.test_ledger import ALL, CALL, net, opened, poll, ref
from tests.support.exporting import PATIENCE_SECONDS


class Unlucky(LedgerWorker):
    """Another call fails once while a commit is running, as on a broken connection."""

    commit_queue: CommitQueue | None = None

    async def run(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        if method is Ledger.commit and self.commit_queue is not None:
            self.commit_queue.report_failure(LedgerError("a lease could not be taken"))
            self.commit_queue = None
        return await super().run(method, *args, **kwargs)


async def recovered(commit_queue: CommitQueue) -> None:
    """Return when the ledger has recovered, after it was reported to have failed."""
    assert commit_queue.failing == "a lease could not be taken"
    while commit_queue.failing is not None:  # noqa: ASYNC110 - it has no event, only a state that is shown
        await asyncio.sleep(0.01)


def test_a_failure_beside_a_commit_that_succeeds_is_got_over(tmp_path: Path) -> None:
    """No further failure or poll is needed: the queue probes the ledger by itself."""

    async def play() -> None:
        thread = Unlucky()
        await thread.open(lambda: opened(tmp_path / "l.sqlite"))
        commit_queue = CommitQueue(thread, Metrics(Config().metrics), SystemClock())
        running = asyncio.create_task(commit_queue.run())
        try:
            await thread.run(Ledger.follow, [ref("s")], "file", 0.0)
            (claim,) = await thread.run(Ledger.claim, 0.0, ALL)
            thread.commit_queue = commit_queue
            await commit_queue.commit(poll(claim, CALL, 0.0))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await recovered(commit_queue)
            assert sum((await thread.run(net)).values()) == Decimal("0.1852")
        finally:
            running.cancel()
            await thread.close()

    asyncio.run(play())
