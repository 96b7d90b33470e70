"""The ledger's thread: the order of calls, the order of results, and its end."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from tests.ledger.test_ledger import opened


def noting(order: list[Any], what: Any) -> Callable[[Ledger], None]:
    """Return a call that records its turn."""
    return lambda _: order.append(what)


def with_thread(tmp_path: Path, scene: Callable[[LedgerWorker], Any]) -> None:
    async def play() -> None:
        thread = LedgerWorker()
        await thread.open(lambda: opened(tmp_path / "l.sqlite"))
        try:
            await scene(thread)
        finally:
            await thread.close()

    asyncio.run(play())


def test_sightings_go_before_whatever_waits(tmp_path: Path) -> None:
    """While one call runs others queue up: the urgent ones run first, each kind in its order."""

    async def scene(thread: LedgerWorker) -> None:
        order, hold = list[str](), threading.Event()
        held = asyncio.create_task(thread.run(lambda _: hold.wait(30)))
        calls = [
            asyncio.create_task(run(noting(order, name)))
            for run, name in ((thread.run, "a"), (thread.run_next, "A"), (thread.run, "b"), (thread.run_next, "B"))
        ]
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(held, *calls)
        assert order == ["A", "B", "a", "b"]

    with_thread(tmp_path, scene)


def test_results_are_shown_in_the_order_of_the_commits(tmp_path: Path) -> None:
    """Results that this loop awaits and those that another loop's calls publish arrive in the order of commits."""
    shown, committed = list[int](), list[int]()

    def commit(_: Ledger) -> int:
        committed.append(len(committed))
        return committed[-1]

    async def scene(thread: LedgerWorker) -> None:
        async def elsewhere() -> None:
            for _ in range(300):
                await thread.run_next(lambda ledger: thread.publish(shown.append, commit(ledger)))

        other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        while not other.done():
            shown.append(await thread.run(commit))
            if len(shown) % 7 == 0:
                await asyncio.to_thread(threading.Event().wait, 0.0)
        await other
        await asyncio.sleep(0)
        await thread.run(commit)

    with_thread(tmp_path, scene)
    assert shown == committed[:-1]


def test_a_failing_call_fails_alone(tmp_path: Path) -> None:
    """The caller gets the error, and the thread lives on; a cancelled call is skipped."""

    async def scene(thread: LedgerWorker) -> None:
        outcomes = await asyncio.gather(thread.run(lambda _: 1 // 0), thread.run(lambda _: 5), return_exceptions=True)
        assert (type(outcomes[0]), outcomes[1]) == (ZeroDivisionError, 5)
        hold, ran = threading.Event(), list[int]()
        held = asyncio.create_task(thread.run(lambda _: hold.wait(30)))
        gone = asyncio.create_task(thread.run(lambda _: ran.append(1)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        hold.set()
        await held
        await thread.run(lambda _: None)
        assert ran == []

    with_thread(tmp_path, scene)


def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    """Calls that wait are finished before the ledger is closed."""

    async def scene(thread: LedgerWorker) -> None:
        done = list[int]()
        waiting = [asyncio.create_task(thread.run(noting(done, n))) for n in range(5)]
        await asyncio.sleep(0)
        await thread.close()
        await asyncio.gather(*waiting)
        assert done == [0, 1, 2, 3, 4]

    with_thread(tmp_path, scene)


def test_closing_without_having_opened() -> None:
    """A thread that was never started needs no end."""
    asyncio.run(LedgerWorker().close())
