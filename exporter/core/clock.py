"""Time as an argument: what the exporter asks of a clock.

The system's own clock is `runtime.app.SystemClock`; the simulator and the tests have others.
"""

from typing import Protocol


class Clock(Protocol):
    """A clock with two hands: session time, which may step, and real time, which only runs forward."""

    def now(self) -> float:
        """Return session time in seconds since the epoch (UTC); it may be simulated, and may step back."""

    def monotonic(self) -> float:
        """Return real time in seconds; only differences mean something."""
