"""The real clock; all other code gets a clock as an argument."""

import time


class SystemClock:
    """The real clock, as a `core.clock.Clock`."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()
