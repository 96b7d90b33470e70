"""Reload the configuration while the exporter runs, one reload at a time, and report the result.

A configuration that can't be applied changes nothing, not even in part; the previous one stays in use.
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
    """Where the configuration comes from, and what may reload it."""

    read: Callable[[], Config]
    """Raises ConfigError."""
    file: Callable[[], Path | None] = lambda: None
    """Returns None if there is no file now."""
    lifecycle: bool = False
    """Whether POST /-/reload may."""
    check_seconds: float = 0.0
    """How often the file is checked for changes; 0: never."""


class ReloadResult(Struct, frozen=True):
    """The settings that a reload changed, and those that need a restart."""

    changed: tuple[str, ...]
    restart: tuple[str, ...]
    """They stay as they were until a restart."""

    def __str__(self) -> str:
        changed = f"in effect: {', '.join(self.changed)}" if self.changed else "nothing has changed"
        return changed + (f"; needs a restart: {', '.join(self.restart)}" if self.restart else "")


class Reloader:
    """Reloads; but for `reload_from_thread`, called on the main loop."""

    def __init__(
        self,
        origin: Origin,
        running: Callable[[], Config],
        apply: Callable[[Config], Awaitable[None]],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Reload from `origin`.

        `running` returns the effective configuration; `apply` applies one, or raises and leaves all as it was.
        """
        self._origin = origin
        self._running = running
        self._apply = apply
        self._metrics = metrics
        self._clock = clock
        self._reloading = asyncio.Lock()
        self._started = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._digest: bytes | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Allow reloads: the first configuration is in effect."""
        self._loop = asyncio.get_running_loop()
        self._digest = await self._file_digest()
        self._succeeded()
        self._started.set()

    async def reload(self) -> ReloadResult:
        """Apply the configuration as it is now; raises ConfigError or LedgerError."""
        await self._started.wait()
        async with self._reloading:
            digest = await self._file_digest()
            try:
                wanted = await asyncio.to_thread(self._origin.read)
                running = self._running()
                applied = in_effect(running, wanted)
                await self._apply(applied)
            except Exception as error:
                self._metrics.set(SUCCESSFUL, (), 0)
                self._metrics.inc(FAILURES, ())
                if isinstance(error, (ConfigError, LedgerError)):
                    log.error(  # noqa: TRY400 - the message says all
                        "configuration not reloaded; the previous one stays in use", extra=fields(error=str(error))
                    )
                else:
                    log.exception("configuration not reloaded because of a defect in the exporter")
                raise
            # After the success, so that `check` retries a file that can't be applied, as when a key file is missing.
            self._digest = digest
            self._succeeded()
            result = ReloadResult(differences(running, applied), differences(applied, wanted))
            changes = fields(changed=", ".join(result.changed), needs_restart=", ".join(result.restart) or None)
            log.info("configuration reloaded", extra=changes)
            return result

    def reload_from_thread(self) -> Future[str]:
        """Reload, called on another thread; the result is its text. Raises LedgerError until the ledger is open."""

        async def reload() -> str:
            return str(await self.reload())

        if self._loop is None:
            raise LedgerError("the exporter is starting, see /-/ready; a change of ledger.url needs a restart")
        return asyncio.run_coroutine_threadsafe(reload(), self._loop)

    def reload_soon(self) -> None:
        """Start a reload; its result is in the log and the metrics."""
        task = asyncio.get_running_loop().create_task(self._reload_quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def check(self) -> None:
        """Reload if the file has changed; retried at the next check while it can't be applied."""
        if await self._file_digest() != self._digest:
            await self._reload_quietly()

    def stop(self) -> None:
        for task in self._background:
            task.cancel()

    async def _reload_quietly(self) -> None:
        with suppress(Exception):  # `reload` has logged and counted it
            await self.reload()

    def _succeeded(self) -> None:
        self._metrics.set(SUCCESSFUL, (), 1)
        self._metrics.set(SUCCESS_TIME, (), self._clock.now())

    async def _file_digest(self) -> bytes | None:
        return await asyncio.to_thread(_digest, self._origin.file())


def _digest(file: Path | None) -> bytes | None:
    """Return None if there is no readable file."""
    if file is None:
        return None
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None
