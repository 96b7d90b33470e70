"""The web surface's thread: sockets, event loop, server, and their end.

Owns starting and stopping, following the web config file, and what a client may cost (connections, time, size). Knows
nothing of what is served. The surprising fact: sockets listen before the thread exists, so a taken port is the caller's
error and not a dead thread.
"""

import asyncio
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import h11
import uvicorn
from msgspec import Struct
from starlette.routing import BaseRoute
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.core.errors import ConfigError
from exporter.log import fields
from exporter.metrics.exposition import MetricsPage
from exporter.web.address import listen
from exporter.web.config import Loaded, WebConfig, WebConfigFile
from exporter.web.guard import DOOR, KNOWN, REASONS, Door, Guard
from exporter.web.routes import HealthStatus, Scraped, Surface
from exporter.web.tls_server import ReloadableServer

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
"""On every answer, errors included."""

LOOK_SECONDS = 0.5
"""How often the web config file is looked at; a change is followed at the second look that finds it."""

STOP_SLACK_SECONDS = 2.0
"""The server looks for its end ten times a second, and closing takes a moment too."""


class ConnectionLimits(Struct, frozen=True):
    """What clients may take."""

    connections_max: int = 512
    """More get 503. Scrapers and probes hold a few, senders of webhooks some dozens, each costs some kB; half of what
    a process may usually open."""
    idle_seconds: int = 75
    """Longer than a scrape interval of a minute, so that a scraper's connection lives on from one to the next."""


DEFAULT_LIMITS = ConnectionLimits()

RECEIVE_SECONDS = 15
"""From a request's first byte to its last, and from connecting to the first; whoever takes longer is cut off, so that a
place can't be held by sending slowly. Handlers that read a body have shorter limits, and say so."""


GOODBYE_SECONDS = 1.0
"""TLS ends a connection when both sides have said so, and a client that keeps it for later says nothing meanwhile."""


class WebServer:
    """Serves the surface on all the given addresses until stopped."""

    def __init__(
        self,
        *addresses: str,
        status: Callable[[], HealthStatus],
        scraped: Scraped,
        died: Callable[[BaseException], None],
        exposes: Callable[[int], bool] = lambda _: True,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        further: Sequence[BaseRoute] = (),
        web_config: Path | None = None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`status`, `scraped`, `exposes` and `died` are called on the web thread; all but the last must be cheap.

        Raises ConfigError if the web config file is wrong.
        """
        self._addresses = addresses
        self._surface = Surface(status=status, scraped=scraped, exposes=exposes, further=further)
        self._died = died
        self.port = 0
        """That of the first address, once started."""
        self._sockets = list[socket.socket]()
        self._guard = Guard(self._surface.app())
        self._config = _settings(self._guard, limits)
        self._file = None if web_config is None else WebConfigFile(web_config)
        self._look_seconds = look_seconds
        self._failures = 0
        self._loaded = Loaded(WebConfig(), None, ()) if self._file is None else self._file.load()
        self._follow(self._loaded)
        self._server = ReloadableServer(self._config, Door(self._loaded.tls, self._guard.refused))
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def publish(self, page: MetricsPage) -> None:
        """Serve this page from now on."""
        self._surface.page = page

    def counts(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        """Families, labels and values of what was refused so far; from any thread."""
        for reason in REASONS:
            yield "telnyx_exporter_web_refusals_total", (reason,), self._guard.refusals[reason]
        yield "telnyx_exporter_web_config_failures_total", (), self._failures

    def start(self) -> None:
        """Listen, then serve; raises ConfigError if an address can't be listened on."""
        with ExitStack() as opened:
            self._sockets = [opened.enter_context(listen(address)) for address in self._addresses]
            opened.pop_all()
        self.port = int(self._sockets[0].getsockname()[1])
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Take no more requests, finish those under way, and cut off what is not done by then."""
        if self._thread.is_alive():
            self._server.config.timeout_graceful_shutdown = math.ceil(timeout_seconds)
            self._server.should_exit = True
            self._thread.join(math.ceil(timeout_seconds) + STOP_SLACK_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - nobody else would hear of it, not even of a SystemExit
            self._died(error)

    async def _serve(self) -> None:
        watching = asyncio.create_task(self._watch())
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            watching.cancel()
            self._server.close()
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            for opened in self._sockets:
                opened.close()

    # The web config file

    async def _watch(self) -> None:
        """Look at the web config file, if there is one, as long as anything is served."""
        while self._file is not None:
            await asyncio.sleep(self._look_seconds)
            try:
                found = await asyncio.to_thread(self._file.changed)
                if found is not None:
                    await self._change(found)
            except ConfigError as error:
                self._failures += 1
                log.error("web config not taken; the one before stays", extra=fields(error=str(error)))  # noqa: TRY400 - it says it all
            except Exception:
                self._failures += 1
                self._file.forget()
                log.exception("web config not followed; tried again")

    async def _change(self, found: Loaded) -> None:
        if found.tls != self._loaded.tls:
            await self._server.switch(Door(found.tls, self._guard.refused))
        self._loaded = found
        self._follow(found)
        log.info(
            "web config changed",
            extra=fields(tls="on" if found.tls else "off", users=len(found.config.basic_auth_users)),
        )

    def _follow(self, loaded: Loaded) -> None:
        for remark in loaded.remarks:
            log.warning("web config", extra=fields(remark=remark))
        self._guard.follow(loaded.config)
        # uvicorn sets these on every answer, also on those that it makes itself; it takes them over once a second.
        configured = {name.lower() for name, _ in loaded.config.http_server_config.headers.pairs()}
        plain = [(name.lower(), value) for name, value in HEADERS if name.lower() not in configured]
        self._config.encoded_headers = [(name.encode(), value.encode()) for name, value in plain]


class _Connection(H11Protocol):
    """uvicorn's own, whose clock for idle connections stands still before a first request and during each."""

    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        super().connection_made(transport)
        self._admit(transport)
        # asyncio does so only for sockets that say they are TCP; else a body waits 40 ms behind its head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect()

    def _admit(self, transport: asyncio.Transport) -> None:
        """Note what the handshake showed, and end the connection if its client's certificate has a wrong name."""
        secured = transport.get_extra_info("ssl_object")
        certificate = None if secured is None else secured.getpeercert(binary_form=True)
        door: Door = self.app_state[DOOR]
        self.app_state[KNOWN] = door.knows(certificate)  # one that can't be verified has ended the handshake
        if not door.admits(certificate):
            self._refused = True
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._expect()
        else:
            self._expect_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_more()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.scheme == "https":
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def _expect(self) -> None:
        if self._deadline is None:
            seconds = min(RECEIVE_SECONDS, self.timeout_keep_alive)
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _expect_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _settings(guard: Guard, limits: ConnectionLimits) -> uvicorn.Config:
    config = uvicorn.Config(
        guard,
        http=_Connection,
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
    config.load()
    return config
