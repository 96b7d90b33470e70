"""A simulator at work: a world, its clock and its API, put together and served.

Owns the assembly and the server, in the foreground or in a thread. The surprising facts: nobody waits for the server to
start, for the socket listens before the thread runs and the first request simply lies there until it is read; and the
app is handed the connection itself, since some faults can't be said in ASGI.
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
from simulator.errors import METHOD_NOT_ALLOWED, NOT_FOUND, Refusal
from simulator.faults import WIRE, Faulty, Misbehaving
from simulator.gate import Gate, refused
from simulator.identity import Ids
from simulator.outbox import Outbox
from simulator.record_index import RecordIndex
from simulator.settings import SimulatorSettings
from simulator.tree import BASE_PATH
from simulator.webhooks import Courier
from simulator.world import World

LOOPBACK = "127.0.0.1"
_BACKLOG = 1024
_CLOSING_SECONDS = 2

Wall = Callable[[], float]
"""Seconds since the epoch, in real time."""


class Simulator:
    """A world and the ASGI app that shows it.

    `monotonic` is the only clock it is given, unless it is to send webhooks: those are signed by `wall`.
    """

    def __init__(self, settings: SimulatorSettings, monotonic: Callable[[], float], wall: Wall | None = None) -> None:
        self.settings = settings
        self.clock = AcceleratedClock(settings.start, settings.speed, monotonic)
        chance = Ids(settings.seed).chance_of
        records = RecordIndex(settings.detail_records_late_seconds, chance)
        outbox = Outbox(settings.webhooks, chance)
        self.world = World(settings, self.clock, watchers=(records.add, outbox.add))
        self.courier = Courier(self.world, outbox, settings, monotonic, wall)
        gate = Gate(settings, monotonic)
        self.misbehaving = misbehaving = Misbehaving(settings.faults, settings.seed)
        self.app = Starlette(
            routes=[
                *SessionAnalysis(self.world, gate).routes(),
                *DetailRecordList(self.world, records, gate).routes(),
                *Balance(self.world, settings, gate).routes(),
                *Control(self.world, self.clock, misbehaving, self.courier).routes(),
            ],
            middleware=[Middleware(Faulty, misbehaving=misbehaving)],
            exception_handlers={Refusal: _refused, HTTPException: _no_such_route},
            lifespan=self.courier.delivering,
        )


class Running:
    """A simulator that is being served at `url`, the base URL of its API."""

    def __init__(self, simulator: Simulator, origin: str) -> None:
        self.origin = origin
        """Where the control plane is."""
        self.url = origin + BASE_PATH
        self.api_key = simulator.settings.api_key
        self.world = simulator.world
        self.clock = simulator.clock
        self.public_key = simulator.courier.public_key
        """Base64; verifies the webhooks."""
        self._misbehaving = simulator.misbehaving

    @property
    def requests(self) -> int:
        """How often the API was asked so far, whatever and by whomever."""
        return self._misbehaving.requests


def serve(
    settings: SimulatorSettings,
    host: str,
    port: int,
    monotonic: Callable[[], float],
    wall: Wall | None = None,
    *,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `begun` is called when both would end it. Raises OSError when the address can't be
    had.
    """
    with _listening(host, port) as listener:
        _server(Simulator(settings, monotonic, wall), begun).run([listener])


@contextmanager
def running(
    settings: SimulatorSettings, monotonic: Callable[[], float], port: int = 0, wall: Wall | None = None
) -> Iterator[Running]:
    """Serve in a thread on the loopback for as long as the block lasts; port 0 is any free one."""
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
    """A listening socket that says it is TCP: of any other kind asyncio doesn't switch off Nagle's algorithm.

    That costs 40 ms per answer; socket.create_server leaves the protocol open.
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
    """uvicorn's, but the app may take hold of the connection and break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self.app = partial(_with_wire, self.app, transport)


async def _with_wire(app: ASGIApp, transport: asyncio.Transport, scope: Scope, receive: Receive, send: Send) -> None:
    await app({**scope, "extensions": {**scope.get("extensions", {}), WIRE: transport}}, receive, send)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error, {})


async def _no_such_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = METHOD_NOT_ALLOWED if error.status_code == METHOD_NOT_ALLOWED.status else NOT_FOUND
    return refused(Refusal(kind, error.detail), error.headers or {})
