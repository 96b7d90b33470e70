"""Jobs that run again and again, each by itself: a slow one keeps no other waiting.

Owns the scheduler, what is under way, and the end of it. Knows no job. The surprising fact: a job that fails is counted
and logged, and runs again at its next time; the library's own defaults drop a run that is a second late, without a
word.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from exporter.log import fields

log = logging.getLogger(__name__)

Job = Callable[[], Coroutine[None, None, None]]


class Jobs:
    """The jobs of one loop."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        """`failed` is told the task of each run that failed by a defect."""
        self._failed = failed
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        self._seconds: dict[str, float] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def every(self, seconds: float, task: str, job: Job) -> None:
        """Start the job each so many seconds; one that comes as often already keeps its next time."""
        if self._seconds.get(task) == seconds:
            return
        self._seconds[task] = seconds
        self._scheduler.add_job(self.start, "interval", (task, job), seconds=seconds, id=task, replace_existing=True)

    def begin(self) -> None:
        self._scheduler.start()

    async def start(self, task: str, job: Job, account: str = "") -> "asyncio.Task[None]":
        """Start a job unless its last run is still under way; the run."""
        running = self._running.get((task, account))
        if running is None or running.done():
            running = self._running[task, account] = asyncio.get_running_loop().create_task(job())
            running.add_done_callback(partial(self._ended, task))
        return running

    @property
    def under_way(self) -> set["asyncio.Task[None]"]:
        return {running for running in self._running.values() if not running.done()}

    def pause(self) -> None:
        """Start nothing more by time."""
        self._scheduler.pause()

    async def end(self) -> None:
        """Cancel what is under way."""
        for running in self._running.values():
            running.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._scheduler.shutdown(wait=False)  # it cancels what it has just started, so it comes last

    def _ended(self, task: str, ended: "asyncio.Task[None]") -> None:
        if not ended.cancelled() and ended.exception() is not None:
            log.error(
                "a job failed; it runs again at its next time", exc_info=ended.exception(), extra=fields(task=task)
            )
            self._failed(task)
