"""Run jobs repeatedly, each in a task of its own, so that a slow job delays no other.

A job that fails is counted and logged, and runs again at its next time.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from exporter.log import fields
from exporter.metrics import Metrics

log = logging.getLogger(__name__)

Job = Callable[[], Coroutine[None, None, None]]


class Jobs:
    """The jobs of one event loop, by the names of their tasks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # By default APScheduler drops a run that is a second late, without a word.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        self._seconds: dict[str, float] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def every(self, seconds: float, task: str, job: Job) -> None:
        """Start the job at this interval; a job that has this interval already keeps its next time."""
        if self._seconds.get(task) == seconds:
            return
        self._seconds[task] = seconds
        self._scheduler.add_job(self.start, "interval", (task, job), seconds=seconds, id=task, replace_existing=True)

    def start_scheduler(self) -> None:
        self._scheduler.start()

    async def start(self, task: str, job: Job, account: str = "") -> "asyncio.Task[None]":
        """Start a job and return its run, or the previous run if that isn't finished."""
        running = self._running.get((task, account))
        if running is None or running.done():
            running = self._running[task, account] = asyncio.get_running_loop().create_task(job())
            running.add_done_callback(partial(self._ended, task))
        return running

    @property
    def running(self) -> set["asyncio.Task[None]"]:
        return {running for running in self._running.values() if not running.done()}

    def pause(self) -> None:
        """Start no more jobs by schedule."""
        self._scheduler.pause()

    async def stop(self) -> None:
        """Cancel the running jobs."""
        for running in self._running.values():
            running.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        # Last, because it cancels the runs that it has just started, before they are in `_running`.
        self._scheduler.shutdown(wait=False)

    def _ended(self, task: str, ended: "asyncio.Task[None]") -> None:
        if not ended.cancelled() and ended.exception() is not None:
            log.error("job failed; it runs again at its next time", exc_info=ended.exception(), extra=fields(task=task))
            self.count_failure(task)

    def count_failure(self, task: str) -> None:
        self._metrics.inc("telnyx_exporter_task_failures_total", (task,))
