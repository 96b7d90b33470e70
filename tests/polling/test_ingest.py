"""The ingest queue: notices are durable when the call returns, and long lists are written in portions."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.core.errors import LedgerError
from exporter.core.model import SessionNotice
from exporter.ledger.worker import LedgerWorker
from tests.ledger.test_ledger import ref, state, values
from tests.support.polling import Polling, polling


class Watched(LedgerWorker):
    """Records the number of notices in each transaction; fails them while `error` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[int] = []
        self.error: Exception | None = None

    async def run_next(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        self.transactions.append(len(args[0]))
        if self.error is not None:
            raise self.error
        return await super().run_next(method, *args, **kwargs)


def play(folder: Path, scene: Callable[[Polling, Watched], Awaitable[None]]) -> None:
    async def act() -> None:
        worker = Watched()
        async with polling(folder, {}, worker) as parts:
            await scene(parts, worker)

    asyncio.run(act())


def test_a_long_list_is_written_in_portions(tmp_path: Path) -> None:
    """No transaction has more than 500 notices, some 10 ms, and all sessions arrive."""

    async def scene(parts: Polling, worker: Watched) -> None:
        refs = [ref(f"s{number}") for number in range(1001)]
        await parts.ingest.ingest_refs(refs, "file")
        assert worker.transactions == [500, 500, 1]
        assert await parts.ledger.run(state) == {"discovered": 1001}

    play(tmp_path, scene)


def test_notices_that_come_together_share_a_transaction(tmp_path: Path) -> None:
    """Notices that come during a transaction share the next one."""

    async def scene(parts: Polling, worker: Watched) -> None:
        notices = [SessionNotice(ref(f"s{number}"), "ended") for number in range(50)]
        await asyncio.gather(*(parts.ingest.ingest([notice], "webhook") for notice in notices))
        assert len(worker.transactions) <= 2
        assert await parts.ledger.run(state) == {"discovered": 50}
        assert parts.shown("telnyx_sessions", state="discovered") == 50

    play(tmp_path, scene)


def test_each_session_is_counted_for_the_source_that_named_it(tmp_path: Path) -> None:
    """Notices of two sources are never mixed."""

    async def scene(parts: Polling, _: Watched) -> None:
        await asyncio.gather(
            parts.ingest.ingest([SessionNotice(ref("a"))], "webhook"),
            parts.ingest.ingest([SessionNotice(ref("b"))], "file"),
            parts.ingest.ingest([SessionNotice(ref("a"))], "file"),
        )
        counted = await parts.ledger.run(values, "telnyx_discovered_sessions_total", "source")
        assert counted == {("webhook",): Decimal(1), ("file",): Decimal(1)}

    play(tmp_path, scene)


@pytest.mark.parametrize("error", [LedgerError("disk full"), ValueError("a defect")])
def test_a_source_gets_the_error_if_its_notice_is_not_durable(tmp_path: Path, error: Exception) -> None:
    """The caller gets the error, whatever it is, and the next notice is written."""

    async def scene(parts: Polling, worker: Watched) -> None:
        worker.error = error
        with pytest.raises(type(error)):
            await parts.ingest.ingest([SessionNotice(ref("a"))], "webhook")
        worker.error = None
        await parts.ingest.ingest([SessionNotice(ref("a"))], "webhook")
        assert await parts.ledger.run(state) == {"discovered": 1}

    play(tmp_path, scene)
