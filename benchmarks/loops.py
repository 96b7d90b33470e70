"""Run the exporter and measure its event loops: `python -m benchmarks.loops FILE run ...`.

It measures the longest callback of each thread, and the longest garbage collection. A callback is charged with its own
thread's CPU time, without waiting for the interpreter or a core. The result is written to FILE at the end. Every task,
timer and socket of asyncio runs through one method of `asyncio.Handle`, which is wrapped.
"""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from exporter.cli.main import main as exporter


class Longest(Struct):
    """The callbacks of one thread; the longest by CPU time and by real time may be two different callbacks."""

    callbacks: int = 0
    cpu_seconds: float = 0.0
    what: str = ""
    """The name of the callback with the longest CPU time."""
    seconds: float = 0.0
    """Longest real time, including waits for the interpreter and for a core."""


class Watch:
    """Record the longest callbacks of each thread."""

    def __init__(self) -> None:
        self.found: dict[str, Longest] = defaultdict(Longest)
        self._collecting = 0.0, 0.0

    def install(self) -> None:
        """Start to record; SIGUSR1 clears the record, so that slow callbacks of the start don't count."""
        run = asyncio.Handle._run  # noqa: SLF001 - the only method that runs every callback

        def watched(handle: asyncio.Handle) -> None:
            began = _times()
            run(handle)
            self._note(threading.current_thread().name, began, handle)

        asyncio.Handle._run = watched  # type: ignore[assignment, method-assign]  # noqa: SLF001
        gc.callbacks.append(self._collected)
        signal.signal(signal.SIGUSR1, lambda *_: self.found.clear())

    def _note(self, thread: str, began: tuple[float, float], what: object) -> None:
        cpu_seconds, seconds = (end - begin for end, begin in zip(_times(), began, strict=True))
        longest = self.found[thread]
        longest.callbacks += 1
        longest.seconds = max(longest.seconds, seconds)
        if cpu_seconds > longest.cpu_seconds:
            longest.cpu_seconds, longest.what = cpu_seconds, _name(what)

    def _collected(self, phase: str, found: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting = _times()
        else:
            self._note("garbage", self._collecting, f"generation {found['generation']}")


def _times() -> tuple[float, float]:
    return time.thread_time(), time.monotonic()


def _name(what: object) -> str:
    """Return the name of the task's coroutine, or of the plain callback."""
    callback = getattr(what, "_callback", what)
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return str(getattr(task.get_coro(), "__qualname__", task))
    return str(getattr(callback, "__qualname__", callback))


def main() -> None:
    file, *arguments = sys.argv[1:]
    watch = Watch()
    watch.install()
    try:
        code = exporter(arguments)
    finally:
        Path(file).write_bytes(msgspec.json.encode(watch.found))
    sys.exit(code)


if __name__ == "__main__":
    main()
