"""The exporter with a watch on its event loops: `python -m benchmarks.loops FILE run ...`.

Owns how long one callback keeps a loop from all others, by thread, and how long the garbage collector stops them all. A
callback is charged with the CPU time of its own thread: what it waits for the interpreter, or for a core, is not what
it did. At the end the longest are written to FILE. The surprising fact: every task, timer and socket of asyncio runs
through one method of `asyncio.Handle`.
"""

import asyncio
import gc
import json
import signal
import sys
import threading
import time
from collections import defaultdict
from heapq import heappush, heapreplace
from pathlib import Path
from typing import Any

from exporter.cli import main as exporter

LONGEST = 5


class Watch:
    """The longest callbacks of each thread, in CPU seconds."""

    def __init__(self) -> None:
        self._longest: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
        self._count = 0
        self._collecting = 0.0

    def install(self) -> None:
        """From now on; SIGUSR1 has what was seen so far forgotten: starting is allowed to take its time."""
        run = asyncio.Handle._run  # noqa: SLF001 - there is no other place through which all callbacks go

        def watched(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self._note(threading.current_thread().name, time.thread_time() - began, handle)

        asyncio.Handle._run = watched  # type: ignore[assignment, method-assign]  # noqa: SLF001
        gc.callbacks.append(self._collected)
        signal.signal(signal.SIGUSR1, lambda *_: self._longest.clear())

    def _note(self, thread: str, seconds: float, what: object) -> None:
        longest = self._longest[thread]
        self._count += 1
        if len(longest) < LONGEST:
            heappush(longest, (seconds, self._count, _name(what)))
        elif seconds > longest[0][0]:
            heapreplace(longest, (seconds, self._count, _name(what)))

    def _collected(self, phase: str, found: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._note("garbage", time.thread_time() - self._collecting, f"generation {found['generation']}")

    def found(self) -> dict[str, list[tuple[float, str]]]:
        return {
            thread: [(seconds, what) for seconds, _, what in sorted(longest, reverse=True)]
            for thread, longest in self._longest.items()
        }


def _name(what: object) -> str:
    """The coroutine whose step it was, else the callback."""
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
        Path(file).write_text(json.dumps(watch.found()))
    sys.exit(code)


if __name__ == "__main__":
    main()
