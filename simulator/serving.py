"""Put a world, its clock and its API together, and serve them, in the foreground or in a thread.

The socket listens before the thread runs, so a caller needn't wait for the server: the first request waits in the
socket. Some faults break the connection, which ASGI can't express, so the app gets the transport itself.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.api import SessionAnalysis
from simulator.balance import Balance
from simulator.clock import AcceleratedClock
from simulator.control import Control
from simulator.detail_records import DetailRecordList
from simulator.errors import METHOD_NOT_ALLOWED, NOT_FOUND, ApiError
from simulator.faults import WIRE, FaultInjector, FaultMiddleware
from simulator.gateway import ApiGateway, error_response
from simulator.identity import Ids
from simulator.record_index import RecordIndex
from simulator.settings import SimulatorSettings
from simulator.tree import BASE_PATH
from simulator.webhook_queue import WebhookQueue
from simulator.webhooks import WebhookSender
from simulator.world import World

LOOPBACK = "127.0.0.1"
_BACKLOG = 1024
_CLOSING_SECONDS = 2

Wall = Callable[[], float]
"""Seconds since the epoch, in real time."""


class Simulator:
    """A world and the ASGI app that shows it.

    `monotonic` is the only clock it is given, unless it is to send webhooks: those are signed by `wall`. Quotas are
    counted per minute of `wall`, or of `monotonic` if there is none.
    """

    def __init__(self, settings: SimulatorSettings, monotonic: Callable[[], float], wall: Wall | None = None) -> None:
        self.settings = settings
        self.clock = AcceleratedClock(settings.start, settings.speed, monotonic)
        chance = Ids(settings.seed).chance_of
        records = RecordIndex(settings.detail_records_late_seconds, chance)
        webhook_queue = WebhookQueue(settings.webhooks, settings.api, chance)
        self.world = World(settings, self.clock, watchers=(records.add, webhook_queue.add))
        self.webhook_sender = WebhookSender(self.world, webhook_queue, settings, monotonic, wall)
        gateway = ApiGateway(settings, wall or monotonic)
        self.quotas = gateway.quotas
        self.fault_injector = fault_injector = FaultInjector(settings.faults, settings.seed)
        self.app = Starlette(
            routes=[
                *SessionAnalysis(self.world, gateway, settings).routes(),
                *DetailRecordList(self.world, records, gateway, settings).routes(),
                *Balance(self.world, settings, gateway).routes(),
                *Control(
                    world=self.world,
                    records=records,
                    clock=self.clock,
                    fault_injector=fault_injector,
                    quotas=self.quotas,
                    webhook_sender=self.webhook_sender,
                ).routes(),
            ],
            middleware=[Middleware(FaultMiddleware, fault_injector=fault_injector)],
            exception_handlers={ApiError: _refused, HTTPException: _no_such_route},
            lifespan=self.webhook_sender.run_while_serving,
        )


class Running:
    """A running simulator; `url` is the base URL of its API."""

    def __init__(self, simulator: Simulator, origin: str) -> None:
        self.origin = origin
        """Where the control plane is."""
        self.url = origin + BASE_PATH
        self.api_key = simulator.settings.api_key
        self.world = simulator.world
        self.clock = simulator.clock
        self.public_key = simulator.webhook_sender.public_key
        """Base64; verifies the webhooks."""
        self.quotas = simulator.quotas
        """By endpoint."""
        self._fault_injector = simulator.fault_injector

    @property
    def requests(self) -> int:
        """The number of requests to the API so far."""
        return self._fault_injector.requests


def serve(
    settings: SimulatorSettings,
    host: str,
    port: int,
    monotonic: Callable[[], float],
    wall: Wall | None = None,
    *,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; raise OSError if the address can't be listened on.

    `begun` is called once both signals are handled.
    """
    with _listening(host, port) as listener:
        _server(Simulator(settings, monotonic, wall), begun).run([listener])


@contextmanager
def running(
    settings: SimulatorSettings, monotonic: Callable[[], float], port: int = 0, wall: Wall | None = None
) -> Iterator[Running]:
    """Serve in a thread on the loopback while the block runs; port 0 means any free one."""
    simulator = Simulator(settings, monotonic, wall)
    with _listening(LOOPBACK, port) as listener:
        server = _server(simulator)
        thread = threading.Thread(target=server.run, args=([listener],), name="simulator", daemon=True)
        thread.start()
        try:
            yield Running(simulator, f"http://{LOOPBACK}:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()


def _listening(host: str, port: int) -> socket.socket:
    """Return a listening socket whose protocol is set to TCP.

    socket.create_server leaves the protocol open, and asyncio then doesn't switch off Nagle's algorithm, which costs
    40 ms per answer.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun()


def _server(simulator: Simulator, begun: Callable[[], None] = lambda: None) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            simulator.app,
            http=_Protocol,
            lifespan="on",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_CLOSING_SECONDS,
        ),
        begun,
    )


class _Protocol(H11Protocol):
    """uvicorn's connection, which passes its transport to the app."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self.app = partial(_with_wire, self.app, transport)


async def _with_wire(app: ASGIApp, transport: asyncio.Transport, scope: Scope, receive: Receive, send: Send) -> None:
    await app({**scope, "extensions": {**scope.get("extensions", {}), WIRE: transport}}, receive, send)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error, {})


async def _no_such_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = METHOD_NOT_ALLOWED if error.status_code == METHOD_NOT_ALLOWED.status else NOT_FOUND
    return error_response(ApiError(kind, error.detail), error.headers or {})
