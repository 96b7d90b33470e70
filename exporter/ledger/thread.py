"""The thread that owns the ledger.

Owns who may touch it: every call runs there, one after the other, in the order they were made. A batch of polls is
bounded, so whoever comes next waits for one commit at most.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from exporter.ledger.sqlite import SqliteLedger

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class LedgerThread:
    """Runs the ledger's methods on its own thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._ledger: SqliteLedger | None = None

    async def open(self, opener: Callable[[], SqliteLedger]) -> None:
        self._ledger = await asyncio.get_running_loop().run_in_executor(self._executor, opener)

    async def run(
        self,
        method: Callable[Concatenate[SqliteLedger, _Arguments], _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """`await thread.run(SqliteLedger.claim, now, limits)`."""
        ledger = self._ledger
        assert ledger is not None, "opened before anything runs"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: method(ledger, *args, **kwargs))

    async def close(self) -> None:
        if self._ledger is not None:
            await self.run(SqliteLedger.close)
        self._executor.shutdown()
