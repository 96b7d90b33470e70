"""The thread that owns the ledger: all its methods run there, one after the other.

Callers are coroutines of any event loop. Notices go before everything else that waits (`run_next`), since a webhook is
answered only when its session is stored. They can't starve polls: all notices that arrive during one commit share the
next one, and between two of those other calls have a turn.
"""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, TypeVar

from exporter.core.errors import LedgerAway
from exporter.ledger.ledger import Ledger

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NEXT, _IN_TURN, _END = range(3)  # priorities

_Call = tuple["Future[Any]", Callable[[], Any]]


class LedgerWorker:
    """Runs the ledger's methods on its own thread."""

    def __init__(self) -> None:
        self._waiting: queue.PriorityQueue[tuple[int, int, _Call | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)
        self._ledger: Ledger | None = None
        self._opener: asyncio.AbstractEventLoop | None = None

    async def open(self, opener: Callable[[], Ledger]) -> None:
        """Open the ledger on the thread; may be tried again if it fails."""
        self._opener = asyncio.get_running_loop()
        if not self._thread.is_alive():
            self._thread.start()
        self._ledger = await self._submit(_IN_TURN, opener)

    async def run(
        self,
        method: Callable[Concatenate[Ledger, _Arguments], _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """Run a method in turn: `await worker.run(Ledger.claim, now, limits)`."""
        ledger = self._ledger
        assert ledger is not None, "opened before anything runs, closed after all"
        return await self._submit(_IN_TURN, lambda: method(ledger, *args, **kwargs))

    async def run_next(
        self,
        method: Callable[Concatenate[Ledger, _Arguments], _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """Run a method before all that waits; raise LedgerAway if the ledger isn't open."""
        ledger = self._ledger
        if ledger is None:
            raise LedgerAway("the ledger is not open")
        return await self._submit(_NEXT, lambda: method(ledger, *args, **kwargs))

    def publish(self, show: Callable[[_Result], None], result: _Result) -> None:
        """Call `show(result)` on the loop that opened the ledger, in the order of commits; called within a method."""
        opener = self._opener
        assert opener is not None, "opened before anything runs"
        # A coroutine that awaits `run` also continues two steps of the loop later. With one step only, the result of a
        # later commit could be shown first, and an older absolute value would replace a newer one.
        opener.call_soon_threadsafe(opener.call_soon, show, result)

    @property
    def alive(self) -> bool:
        """Whether the ledger is open and its thread runs; from any thread."""
        return self._ledger is not None and self._thread.is_alive()

    async def close(self) -> None:
        """Finish the calls that wait, then close the ledger and end the thread."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await self._submit(_IN_TURN, ledger.close)
        if self._thread.is_alive():
            self._waiting.put((_END, next(self._numbers), None))
            self._thread.join()

    def _submit(self, priority: int, work: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        done: Future[_Result] = Future()
        self._waiting.put((priority, next(self._numbers), (done, work)))
        return asyncio.wrap_future(done)

    def _serve(self) -> None:
        while (call := self._waiting.get()[2]) is not None:
            done, work = call
            if not done.set_running_or_notify_cancel():
                continue  # the caller was cancelled before its turn
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - the caller gets it, and the thread lives on
                done.set_exception(error)
            else:
                done.set_result(result)
