"""Wait for events in other threads and processes; never for time to pass."""

import time
from collections.abc import Callable

from tests.support.exporting import PATIENCE_SECONDS

POLL_SECONDS = 0.01
"""Seconds between two checks of a condition: the most that a test waits too long."""


def until(
    condition: Callable[[], bool],
    describe: Callable[[], object] = lambda: "the condition did not become true in time",
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until the condition holds; after so many seconds fail with what `describe` returns.

    The condition may fail earlier by an assertion of its own.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(POLL_SECONDS)
