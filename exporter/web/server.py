"""The web server's thread: start, stop, limits of connections, and changes of the web config file.

Knows nothing about the routes. Sockets listen before the thread exists, so a port that is in use is an error of
`start` and not a dead thread.
"""

import asyncio
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from msgspec import Struct
from starlette.routing import BaseRoute

from exporter.core.errors import ConfigError
from exporter.log import fields
from exporter.metrics.exposition import MetricsPage
from exporter.web.address import listen
from exporter.web.config import LoadedWebConfig, WebConfig, WebConfigFile
from exporter.web.guard import REASONS, Guard, Listener
from exporter.web.routes import HealthStatus, OnScrape, WebApp
from exporter.web.uvicorn_server import GuardedConnection, ReloadableServer

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 16_384
"""A request's line and headers; Prometheus sends about 600 bytes."""

HEADERS = [
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
"""In every answer, errors included."""

CHECK_SECONDS = 0.5
"""How often the web config file is read; a change is applied when two reads in a row found it."""

STOP_SLACK_SECONDS = 2.0
"""uvicorn checks whether to stop ten times a second, and closing connections takes a moment too."""


class ConnectionLimits(Struct, frozen=True):
    connections_max: int = 512
    """More get 503. Scrapers and health checks hold a few, senders of webhooks some dozens, each takes some kB; half of
    the files that a process may usually open."""
    idle_seconds: int = 75
    """Longer than a scrape interval of a minute, so that a scraper can reuse its connection."""


DEFAULT_LIMITS = ConnectionLimits()


class WebServer:
    """Serves on all the given addresses until it is stopped."""

    def __init__(
        self,
        *addresses: str,
        status: Callable[[], HealthStatus],
        on_scrape: OnScrape,
        on_crash: Callable[[BaseException], None],
        exposes: Callable[[int], bool] = lambda _: True,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        extra_routes: Sequence[BaseRoute] = (),
        web_config: Path | None = None,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """Callables run on the web thread; all but `on_crash` must be cheap. Raise ConfigError on a bad web config."""
        self._addresses = addresses
        self._app = WebApp(status=status, on_scrape=on_scrape, exposes=exposes, extra_routes=extra_routes)
        self._on_crash = on_crash
        self.port = 0
        """The port of the first address, once started."""
        self._sockets = list[socket.socket]()
        self._guard = Guard(self._app.app)
        self._uvicorn_config = uvicorn.Config(
            self._guard,
            http=GuardedConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            server_header=False,
            proxy_headers=False,
            log_config=None,
            log_level="error",
            access_log=False,
            limit_concurrency=limits.connections_max,
            timeout_keep_alive=limits.idle_seconds,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        self._uvicorn_config.load()
        self._file = None if web_config is None else WebConfigFile(web_config)
        self._check_seconds = check_seconds
        self._failures = 0
        self._loaded = LoadedWebConfig(WebConfig(), None, ()) if self._file is None else self._file.load()
        self._apply(self._loaded)
        self._server = ReloadableServer(self._uvicorn_config, Listener(self._loaded.tls, self._guard.count_refusal))
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def publish(self, page: MetricsPage) -> None:
        """Serve this page of metrics from now on."""
        self._app.page = page

    def counts(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        """Yield family, labels and value of each of the web server's counters; from any thread."""
        for reason in REASONS:
            yield "telnyx_exporter_web_refusals_total", (reason,), self._guard.refusals[reason]
        yield "telnyx_exporter_web_config_failures_total", (), self._failures

    def start(self) -> None:
        """Listen, then serve; raise ConfigError if an address can't be listened on."""
        with ExitStack() as stack:
            self._sockets = [stack.enter_context(listen(address)) for address in self._addresses]
            stack.pop_all()
        self.port = int(self._sockets[0].getsockname()[1])
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Accept no more requests, finish those in progress, and cut off the rest after the timeout."""
        if self._thread.is_alive():
            self._server.config.timeout_graceful_shutdown = math.ceil(timeout_seconds)
            self._server.should_exit = True
            self._thread.join(math.ceil(timeout_seconds) + STOP_SLACK_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - a thread's exception, SystemExit too, would go unnoticed
            self._on_crash(error)

    async def _serve(self) -> None:
        watching = asyncio.create_task(self._watch_file())
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            watching.cancel()
            self._server.close()
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            for listening in self._sockets:
                listening.close()

    # The web config file

    async def _watch_file(self) -> None:
        while self._file is not None:
            await asyncio.sleep(self._check_seconds)
            try:
                loaded = await asyncio.to_thread(self._file.changed)
                if loaded is not None:
                    await self._change(loaded)
            except ConfigError as error:
                self._failures += 1
                log.error("web config rejected; the previous one stays in effect", extra=fields(error=str(error)))  # noqa: TRY400 - the text says it all
            except Exception:
                self._failures += 1
                self._file.retry()
                log.exception("web config not applied; retrying")

    async def _change(self, loaded: LoadedWebConfig) -> None:
        if loaded.tls != self._loaded.tls:
            await self._server.switch(Listener(loaded.tls, self._guard.count_refusal))
        self._loaded = loaded
        self._apply(loaded)
        log.info(
            "web config changed",
            extra=fields(tls="on" if loaded.tls else "off", users=len(loaded.config.basic_auth_users)),
        )

    def _apply(self, loaded: LoadedWebConfig) -> None:
        for remark in loaded.remarks:
            log.warning("web config", extra=fields(remark=remark))
        self._guard.apply_config(loaded.config)
        # uvicorn adds these to every answer, also to its own errors; it copies them once a second.
        configured = {name.lower() for name, _ in loaded.config.http_server_config.headers.pairs()}
        self._uvicorn_config.encoded_headers = [
            (name.lower().encode(), value.encode()) for name, value in HEADERS if name.lower() not in configured
        ]
