"""The real clock; all other code gets a clock as an argument."""

import asyncio
import time


class SystemClock:
    """The real clock, as a `core.clock.Clock`."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
