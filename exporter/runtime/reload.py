"""Reading the configuration again while the exporter runs.

Owns the order of a reload, that there is one at a time, and what is said of it: gauges, log, answer. Who takes the
configuration up is the caller's business. The surprising fact: a configuration that can't be taken up changes nothing,
not even in part, and the one before stays in effect until the file is mended.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from exporter.config import Config, differences, in_effect
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, LedgerError
from exporter.log import fields
from exporter.metrics import Metrics

log = logging.getLogger(__name__)

SUCCESSFUL = "telnyx_exporter_config_last_reload_successful"
SUCCESS_TIME = "telnyx_exporter_config_last_reload_success_timestamp_seconds"
FAILURES = "telnyx_exporter_config_reload_failures_total"


class Origin(Struct, frozen=True):
    """Where the configuration comes from, and who may have it read again."""

    read: Callable[[], Config]
    """Raises ConfigError."""
    file: Callable[[], Path | None] = lambda: None
    """None: there is no file now."""
    lifecycle: bool = False
    """Whether clients of the web surface may."""
    look_seconds: float = 0.0
    """How often it is looked whether the file has changed; 0: never."""


class Reloaded(Struct, frozen=True):
    """What a reload did."""

    changed: tuple[str, ...]
    restart: tuple[str, ...]
    """Settings that differ from those in effect until a restart."""

    def __str__(self) -> str:
        changed = f"in effect: {', '.join(self.changed)}" if self.changed else "nothing has changed"
        return changed + (f"; needs a restart: {', '.join(self.restart)}" if self.restart else "")


class Reloader:
    """Reloads, one after the other; all calls come from the main loop."""

    def __init__(
        self,
        origin: Origin,
        *,
        running: Callable[[], Config],
        enter: Callable[[Config], Awaitable[None]],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`enter` takes a configuration up, or raises ConfigError or LedgerError and leaves all as it was."""
        self._origin = origin
        self._running = running
        self._enter = enter
        self._metrics = metrics
        self._clock = clock
        self._one = asyncio.Lock()
        self._begun = asyncio.Event()
        self._soon: set[asyncio.Task[None]] = set()
        self._digest: bytes | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def begin(self) -> None:
        """The configuration of the start is in effect; from now on another can be."""
        self._loop = asyncio.get_running_loop()
        self._digest = await self._look()
        self._succeeded()
        self._begun.set()

    async def reload(self) -> Reloaded:
        """Take up what the origin says now; raises ConfigError or LedgerError."""
        await self._begun.wait()
        async with self._one:
            digest = await self._look()
            try:
                done = await self._reload()
            except Exception as error:
                self._metrics.set(SUCCESSFUL, (), 0)
                self._metrics.inc(FAILURES, ())
                _tell(error)
                raise
            self._digest = digest
            self._succeeded()
            told = fields(changed=", ".join(done.changed), needs_restart=", ".join(done.restart) or None)
            log.info("configuration reloaded", extra=told)
            return done

    def from_outside(self) -> Future[str]:
        """A reload for another thread, and what it did in words; fails as long as the start waits for the ledger."""

        async def reload() -> str:
            return str(await self.reload())

        if self._loop is None:
            raise LedgerError("the exporter is starting, see /-/ready; another ledger needs a restart")
        return asyncio.run_coroutine_threadsafe(reload(), self._loop)

    def soon(self) -> None:
        """Have it reloaded; how that went is in log and metrics."""
        task = asyncio.get_running_loop().create_task(self._quietly())
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def look(self) -> None:
        """Reload if the file has changed, and again while it can't be taken up."""
        if await self._look() != self._digest:
            await self._quietly()

    def end(self) -> None:
        for task in self._soon:
            task.cancel()

    async def _quietly(self) -> None:
        with suppress(Exception):  # said by `reload`
            await self.reload()

    async def _reload(self) -> Reloaded:
        wanted = await asyncio.to_thread(self._origin.read)
        running = self._running()
        taken = in_effect(running, wanted)
        await self._enter(taken)
        return Reloaded(differences(running, taken), differences(taken, wanted))

    def _succeeded(self) -> None:
        self._metrics.set(SUCCESSFUL, (), 1)
        self._metrics.set(SUCCESS_TIME, (), self._clock.now())

    async def _look(self) -> bytes | None:
        return await asyncio.to_thread(_digest, self._origin.file())


def _tell(error: Exception) -> None:
    if isinstance(error, (ConfigError, LedgerError)):
        log.error("configuration not reloaded; the one before stays in effect", extra=fields(error=str(error)))
    else:
        log.error("configuration not reloaded by a defect of the exporter", exc_info=error)


def _digest(file: Path | None) -> bytes | None:
    """None if there is no file, or none that can be read."""
    if file is None:
        return None
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None
