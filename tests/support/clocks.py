"""The clocks of tests."""

import asyncio
import time


class RealSleep:
    """For clocks that are moved by hand: what sleeps by them waits for other tasks, not for time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScaledClock:
    """All time runs `factor` times as fast, so that a wait for the next minute takes a fraction of a second."""

    def __init__(self, factor: float, start: float) -> None:
        """`start` is the time now, in seconds since the epoch."""
        self._factor, self._start, self._since = factor, start, time.monotonic()

    def now(self) -> float:
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        return self._factor * (time.monotonic() - self._since)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._factor)
