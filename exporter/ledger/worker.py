"""The thread that owns the ledger.

Owns who may touch it, and in which order: every call runs there, one after the other, sightings before all else that
waits and otherwise in the order they were made. A batch of polls is bounded, so a sighting waits for one commit at
most. Any event loop may call; the one that opened the ledger is told of all that was committed. The surprising fact:
sightings can't keep polls waiting for ever, since all that come during one commit share the next, and in between there
is a turn for others.
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

_NEXT, _IN_TURN, _END = range(3)

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
        """May be tried again if it fails."""
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
        """`await thread.run(Ledger.claim, now, limits)`."""
        ledger = self._ledger
        assert ledger is not None, "opened before anything runs, closed after all"
        return await self._submit(_IN_TURN, lambda: method(ledger, *args, **kwargs))

    async def run_next(
        self,
        method: Callable[Concatenate[Ledger, _Arguments], _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """As `run`, but before all that waits: for what somebody waits for an answer to, perhaps before it is open."""
        ledger = self._ledger
        if ledger is None:
            raise LedgerAway("the ledger is not open")
        return await self._submit(_NEXT, lambda: method(ledger, *args, **kwargs))

    def publish(self, show: Callable[[_Result], None], result: _Result) -> None:
        """From within a call: have the loop that opened the ledger show what was committed, in order of the commits.

        In two steps, as many as it takes until a coroutine there goes on that awaits `run`: so neither overtakes the
        other, and an absolute value is never followed by an older one.
        """
        opener = self._opener
        assert opener is not None, "opened before anything runs"
        opener.call_soon_threadsafe(opener.call_soon, show, result)

    @property
    def alive(self) -> bool:
        """Whether the ledger is open and its thread runs; from any thread."""
        return self._ledger is not None and self._thread.is_alive()

    async def close(self) -> None:
        """Finish what waits, then close the ledger and end the thread."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await self._submit(_IN_TURN, ledger.close)
        if self._thread.is_alive():
            self._waiting.put((_END, next(self._numbers), None))
            self._thread.join()

    def _submit(self, turn: int, work: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        done: Future[_Result] = Future()
        self._waiting.put((turn, next(self._numbers), (done, work)))
        return asyncio.wrap_future(done)

    def _serve(self) -> None:
        while (call := self._waiting.get()[2]) is not None:
            _perform(*call)


def _perform(done: "Future[_Result]", work: Callable[[], _Result]) -> None:
    if not done.set_running_or_notify_cancel():  # whoever called has gone before its turn
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - whoever called must hear of it, and the thread lives on
        done.set_exception(error)
    else:
        done.set_result(result)
