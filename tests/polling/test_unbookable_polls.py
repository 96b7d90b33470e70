"""A poll that can't be booked costs only itself: it is logged, counted and deferred, its batch is booked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.core.errors import LedgerError
from exporter.core.model import Poll
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from tests.ledger.test_ledger import POLICY, net, poll
from tests.support.polling import Polling, polling
from tests.support.trees import node

BATCH = 200
BAD = 77


def play(folder: Path, scene: Callable[[Polling], Awaitable[None]], worker: LedgerWorker | None = None) -> None:
    async def act() -> None:
        async with polling(folder, {}, worker) as parts:
            await scene(parts)

    asyncio.run(act())


async def polled(parts: Polling, count: int) -> list[Poll]:
    """Return polls of so many sessions that cost 1 each."""
    await parts.follow(*(f"s{number}" for number in range(count)))
    claims = await parts.ledger.run(Ledger.claim, 0.0, {"main": count})
    return [poll(claim, node(f"call-session:{claim.ref.event_id}", "1"), 0.0) for claim in claims]


def unbookable(found: Poll) -> Poll:
    """Return the poll without attributes, as a defect of the attribute reader would leave it."""
    return replace(found, attributes=())


@pytest.mark.parametrize("bad", [0, BAD, BATCH - 1])
def test_one_unbookable_poll_among_200_loses_no_other(tmp_path: Path, bad: int) -> None:
    """The 199 others are booked and shown, and no caller waits for ever."""

    async def scene(parts: Polling) -> None:
        polls = await polled(parts, BATCH)
        polls[bad] = unbookable(polls[bad])
        async with asyncio.timeout(60):
            await asyncio.gather(*map(parts.commit_queue.commit, polls))
        assert sum((await parts.ledger.run(net)).values()) == BATCH - 1
        assert parts.shown("telnyx_sessions", state="active") == BATCH - 1
        assert parts.commit_queue.failing is None

    play(tmp_path, scene)


def test_an_unbookable_poll_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A failed commit and a failed poll are counted, and the log names the session."""

    async def scene(parts: Polling) -> None:
        (found,) = await polled(parts, 1)
        await parts.commit_queue.commit(unbookable(found))
        assert parts.shown("telnyx_ledger_commit_failures_total") == 1
        assert parts.shown("telnyx_poll_failures_total", account="main", reason="internal") == 1

    with caplog.at_level(logging.ERROR, "exporter"):
        play(tmp_path, scene)
    assert [record.getMessage() for record in caplog.records] == ["poll could not be committed"]


def test_an_unbookable_poll_is_deferred(tmp_path: Path) -> None:
    """Its claim is released, and its session is due after the longest interval."""

    async def scene(parts: Polling) -> None:
        (found,) = await polled(parts, 1)
        await parts.commit_queue.commit(unbookable(found))
        assert await parts.due() == 0
        assert await parts.due(POLICY.max_interval) == 1

    play(tmp_path, scene)


def test_a_deferred_session_is_booked_once_it_can_be(tmp_path: Path) -> None:
    """The failed attempt booked nothing, so the next poll books everything once."""

    async def scene(parts: Polling) -> None:
        (found,) = await polled(parts, 1)
        await parts.commit_queue.commit(unbookable(found))
        parts.clock.step(POLICY.max_interval)
        (claim,) = await parts.ledger.run(Ledger.claim, parts.clock.now(), {"main": 1})
        await parts.commit_queue.commit(poll(claim, node("call-session:s0", "1"), parts.clock.now()))
        assert sum((await parts.ledger.run(net)).values()) == Decimal(1)

    play(tmp_path, scene)


class Watched(LedgerWorker):
    """Records the polls and events of each commit; may fail the first one, as on a full disk."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.commits: list[tuple[int, int]] = []
        self._fails = fails

    async def run(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        if method is Ledger.commit:
            self.commits.append((len(args[0]), sum(len(found.attributes) for found in args[0])))
            if self._fails:
                self._fails = False
                raise LedgerError("disk full")
        return await super().run(method, *args, **kwargs)


def test_a_batch_is_booked_once_the_ledger_works_again(tmp_path: Path) -> None:
    """The same batch is committed again after the ledger failed, and every poll is booked once."""

    async def scene(parts: Polling) -> None:
        polls = await polled(parts, 3)
        async with asyncio.timeout(15):
            await asyncio.gather(*map(parts.commit_queue.commit, polls))
        assert sum((await parts.ledger.run(net)).values()) == 3
        assert parts.commit_queue.failing is None
        assert parts.shown("telnyx_ledger_commit_failures_total") == 1
        assert parts.shown("telnyx_poll_failures_total") == 0

    play(tmp_path, scene, Watched(fails=True))


@pytest.mark.parametrize("events", [1, 3])
def test_a_batch_is_bounded(tmp_path: Path, events: int) -> None:
    """A commit has at most 200 polls, and at most 500 events, so that it stays short."""
    worker = Watched()

    async def scene(parts: Polling) -> None:
        found = await polled(parts, 450)
        trees = [
            node(
                f"call-session:{each.claim.ref.event_id}",
                "1",
                *(node(f"recording:{n}", "0") for n in range(events - 1)),
            )
            for each in found
        ]
        polls = [poll(each.claim, tree, 0.0) for each, tree in zip(found, trees, strict=True)]
        await asyncio.gather(*map(parts.commit_queue.commit, polls))

    play(tmp_path, scene, worker)
    assert sum(polls for polls, _ in worker.commits) == 450
    assert max(polls for polls, _ in worker.commits) == (200 if events == 1 else 166)
    assert max(count for _, count in worker.commits) <= 500
