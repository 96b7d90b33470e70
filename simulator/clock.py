"""Session time that runs faster than real time, stands still, or jumps forward.

It reads no real clock: the caller passes monotonic seconds. With speed 0 it moves only when it is stepped, as tests
need it.
"""

import asyncio
import math
import threading
from collections.abc import Callable

from msgspec import Struct


class _Pace(Struct, frozen=True):
    """`then` was the session time at the real time `since`; since then it runs at `speed`."""

    then: float
    since: float
    speed: float

    def at(self, monotonic: float) -> float:
        return self.then + (monotonic - self.since) * self.speed


class AcceleratedClock:
    """Two clocks: `now` is session time, seconds since the epoch; `monotonic` is real.

    Safe to use from any thread: the pace is one immutable value, read at once and replaced under a lock.
    """

    def __init__(self, start: float, speed: float, monotonic: Callable[[], float]) -> None:
        _check("start", start)
        _check("speed", speed)
        self._monotonic = monotonic
        self._speed = speed
        self._changing = threading.Lock()
        self._pace = _Pace(start, monotonic(), speed)

    def now(self) -> float:
        return self._pace.at(self._monotonic())

    def monotonic(self) -> float:
        return self._monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds of real time."""
        await asyncio.sleep(seconds)

    @property
    def speed(self) -> float:
        """Session seconds per real second at present; 0 while it is paused."""
        return self._pace.speed

    def pause(self) -> None:
        self._go_on(0.0, 0.0)

    def resume(self) -> None:
        self._go_on(self._speed, 0.0)

    def step(self, seconds: float) -> None:
        """Jump forward; the truth of a simulated world never goes back."""
        _check("seconds", seconds)
        self._go_on(None, seconds)

    def _go_on(self, speed: float | None, seconds: float) -> None:
        with self._changing:
            real = self._monotonic()
            self._pace = _Pace(self._pace.at(real) + seconds, real, self._pace.speed if speed is None else speed)


def _check(name: str, value: float) -> None:
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
