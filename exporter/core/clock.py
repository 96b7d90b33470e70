"""The clock that the exporter takes as an argument; `runtime.clock.SystemClock` is the real one."""

from typing import Protocol


class Clock(Protocol):
    """Session time, which may step back, and monotonic time, which never does."""

    def now(self) -> float:
        """Return session time in seconds since the epoch (UTC); it may be simulated."""

    def monotonic(self) -> float:
        """Return monotonic time in seconds; only differences have a meaning."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so much monotonic time."""
