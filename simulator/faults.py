"""Inject faults: errors, throttling and broken connections instead of answers.

Only paths of the API are affected, never the control endpoints. The random choice depends on the number of the request,
so the same seed makes the same requests fail, whatever they ask for.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from msgspec import Struct
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.errors import FORBIDDEN, NOT_FOUND, SERVER_ERROR, TOO_MANY_REQUESTS, ApiError, ErrorKind
from simulator.settings import FaultKind, Faults
from simulator.tree import BASE_PATH

WIRE = "simulator.wire"
"""The ASGI extension with the connection's transport, so that a fault can break the connection."""

_SLOW_PARTS = 10
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends a reset."""


class FaultInjector:
    """The current faults, and counts of the injected ones."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.requests = 0
        self.counts: Counter[FaultKind] = Counter()
        self._seed = seed

    def draw(self) -> tuple[float, FaultKind | None]:
        """Return the extra latency of the next request, and its fault if it has one."""
        self.requests += 1
        rng = random.Random(f"{self._seed}/fault/{self.requests}")  # noqa: S311 - repeatable random numbers, no secrets
        late, wrong, kind = rng.random(), rng.random() < self.faults.error_share, rng.choice(self.faults.kinds)
        if wrong:
            self.counts[kind] += 1
        return late * self.faults.latency_seconds, kind if wrong else None


class FaultMiddleware:
    """ASGI middleware that injects faults; those that break a connection need a server with the extension WIRE."""

    def __init__(self, app: ASGIApp, fault_injector: FaultInjector) -> None:
        self._app = app
        self._fault_injector = fault_injector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{BASE_PATH}/"):
            await self._app(scope, receive, send)
            return
        late_seconds, kind = self._fault_injector.draw()
        if late_seconds:
            await asyncio.sleep(late_seconds)
        if kind is None:
            await self._app(scope, receive, send)
        else:
            exchange = _Exchange(self._app, scope, receive, send, self._fault_injector.faults)
            await _FAULTS[kind](exchange)


class _Exchange(Struct, frozen=True):
    """One request with a fault."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    faults: Faults

    async def answer(self, response: Response) -> None:
        await response(self.scope, self.receive, self.send)

    async def right(self, *, plain: bool = False) -> tuple[int, MutableHeaders, bytes]:
        """Return status, headers and body of the correct answer; `plain`: not compressed."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        kept = Headers(scope=self.scope).items()
        sent = {name: value for name, value in kept if not (plain and name == "accept-encoding")}
        await self.app({**self.scope, "headers": Headers(sent).raw}, self.receive, keep)
        start, *parts = messages
        return start["status"], MutableHeaders(raw=list(start["headers"])), b"".join(part["body"] for part in parts)

    async def begin(self, status: int, headers: MutableHeaders) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers.raw})

    async def part(self, body: bytes, *, last: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})

    @property
    def transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.scope["extensions"][WIRE]
        return transport

    async def ended(self) -> None:
        """Wait until the server has noticed that the connection is closed, since it expects an answer before."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


_Fault = Callable[[_Exchange], Awaitable[None]]


async def _error(kind: ErrorKind, exchange: _Exchange) -> None:
    error = ApiError(kind, "the simulator was asked to fail")
    await exchange.answer(Response(error.body, error.status, media_type="application/json"))


async def _gateway_error(status: int, exchange: _Exchange) -> None:
    """Answer in HTML, as a proxy before the API would."""
    await exchange.answer(Response(f"<html><h1>{status}</h1></html>", status, media_type="text/html"))


async def _throttled(exchange: _Exchange) -> None:
    error = ApiError(TOO_MANY_REQUESTS, "the simulator was asked to throttle")
    headers = {"retry-after": str(exchange.faults.retry_after_seconds)}
    await exchange.answer(Response(error.body, error.status, headers, media_type="application/json"))


async def _reset(exchange: _Exchange) -> None:
    """Reset the connection without an answer."""
    connection: socket.socket = exchange.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    exchange.transport.abort()
    await exchange.ended()


async def _truncated(exchange: _Exchange) -> None:
    """Send half of the body that content-length announces, then close."""
    status, headers, body = await exchange.right()
    await exchange.begin(status, headers)
    await exchange.part(body[: len(body) // 2])
    exchange.transport.close()
    await exchange.ended()


async def _corrupt_json(exchange: _Exchange) -> None:
    """Send as many bytes as announced, of which the second half is no JSON."""
    status, headers, body = await exchange.right(plain=True)
    half = body[: len(body) // 2]
    await exchange.begin(status, headers)
    await exchange.part(half + b"\x00" * (len(body) - len(half)), last=True)


async def _slow_body(exchange: _Exchange) -> None:
    """Send the correct answer slowly."""
    status, headers, body = await exchange.right()
    await exchange.begin(status, headers)
    size = -(-len(body) // _SLOW_PARTS)
    for place in range(_SLOW_PARTS):
        await exchange.part(body[place * size : (place + 1) * size])
        await asyncio.sleep(exchange.faults.slow_body_seconds / _SLOW_PARTS)
    await exchange.part(b"", last=True)


async def _content_type(exchange: _Exchange) -> None:
    """Send the correct answer with a wrong content type."""
    status, headers, body = await exchange.right()
    headers["content-type"] = "text/html; charset=utf-8"
    await exchange.begin(status, headers)
    await exchange.part(body, last=True)


async def _empty_body(exchange: _Exchange) -> None:
    await exchange.answer(Response(b"", media_type="application/json"))


async def _redirect(exchange: _Exchange) -> None:
    """Redirect to the same path, so a client that follows never ends."""
    await exchange.answer(Response(b"", 302, {"location": exchange.scope["path"]}))


_FAULTS: Mapping[FaultKind, _Fault] = {
    "500": partial(_error, SERVER_ERROR),
    "502": partial(_gateway_error, 502),
    "503": partial(_gateway_error, 503),
    "429": _throttled,
    "reset": _reset,
    "truncated": _truncated,
    "corrupt_json": _corrupt_json,
    "slow_body": _slow_body,
    "content_type": _content_type,
    "empty_body": _empty_body,
    "redirect": _redirect,
    "403": partial(_error, FORBIDDEN),
    "404": partial(_error, NOT_FOUND),
}
