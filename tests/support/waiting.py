"""Waiting for other threads and processes: for what they do, never for time to pass."""

import time
from collections.abc import Callable

from tests.support.exporting import PATIENCE_SECONDS

POLL_SECONDS = 0.01
"""Between two looks; a test takes so much longer than what it waits for, at most."""


def until(
    condition: Callable[[], bool],
    describe: Callable[[], object] = lambda: "what was waited for did not come",
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Until the condition holds; fails after so many seconds, with what is told then. A condition may assert, too."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(POLL_SECONDS)
