"""Run an HTTP server on loopback that misbehaves on request, and a client of the real transport for it.

Each request gets the next answer of a script. The server writes to raw sockets, because no HTTP library sends a body
that is too short. The client's clock moves only while it sleeps. The root certificate lacks the key usage extension on
purpose, as many corporate roots do: Python 3.13 rejects it in strict mode.
"""

import asyncio
import gzip
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from exporter.core.errors import PollError
from exporter.telnyx.client import Answered, RequestLimits, TelnyxClient
from exporter.telnyx.pacing import AccountPacers, Pacer
from exporter.telnyx.transport import CurlTransport

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Bytes are sent as they are and the connection stays open; after a function the connection is closed."""

# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 36500 (basicConstraints only), then
# openssl x509 -req with that root and subjectAltName=DNS:localhost,IP:127.0.0.1. Good for loopback, until 2126.
ROOT_PEM = """
-----BEGIN CERTIFICATE-----
MIIBcTCCARagAwIBAgIUDOcb3vt1szlKbF+m8B58uGi11H4wCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSTG9vcGJhY2sgdGVzdCByb290MCAXDTI2MTEyMzExMDg1N1oY
DzIxMjYxMDMwMTEwODU3WjAdMRswGQYDVQQDDBJMb29wYmFjayB0ZXN0IHJvb3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATVp96v5f7EVFBNaVb+sAGVBqJNVy4y
UO6GqzPys4WDLHMY4S0CN6lj9hACo0DUx53LGkq0WLorevE2T2zHL1PfozIwMDAP
BgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBQRUo2USgtmYJKgLZD7mP+0GVorPjAK
BggqhkjOPQQDAgNJADBGAiEA+ir7inLARcOlC9zNdjZ1r2MM29KmHGIO3/LyObMg
s7ACIQDgaMFfUvxv2NHsREcaQnenCHARMOMXFSSCtWMzPKQRGA==
-----END CERTIFICATE-----
"""
SERVER_PEM = """
-----BEGIN CERTIFICATE-----
MIIBgDCCASagAwIBAgIBATAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJMb29wYmFj
ayB0ZXN0IHJvb3QwIBcNMjYxMTIzMTEwODU3WhgPMjEyNjEwMzAxMTA4NTdaMBQx
EjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHqh
b57hGiXPIqMzHomBbvFrdrgocXPtmr9/C27WLTrR+PeNxQLY/vuWXxjIPx6O2bL/
83TDnGDRADo6pUqVQm6jXjBcMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAd
BgNVHQ4EFgQUetUQmGOrAuMdChgLnK0Mm40PBZEwHwYDVR0jBBgwFoAUEVKNlEoL
ZmCSoC2Q+5j/tBlaKz4wCgYIKoZIzj0EAwIDSAAwRQIhAL4c7Kq3N7Mfirk8G4nm
/zRd5QzgoQDK/fioadqTlwhZAiAn+/MdYeOCchEzB+1gVLIGDtkRnogXuuqQc/rB
Y7ReSQ==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXXLH2HxKbMYcPpnW
kMOPr1JgVZ5KD0XQyqpd1gNNezmhRANCAAR6oW+e4RolzyKjMx6JgW7xa3a4KHFz
7Zq/fwtu1i060fj3jcUC2P77ll8YyD8ejtmy//N0w5xg0QA6OqVKlUJu
-----END PRIVATE KEY-----
"""


@dataclass
class FaultyServer:
    """The script of answers, and the requests so far."""

    answers: list[Answer]
    by_id: Mapping[str, Answer] = field(default_factory=dict)
    """Answers by event id, which take precedence over the script."""
    port: int = 0
    heads: list[str] = field(default_factory=list)
    """The heads of all requests, in order of arrival."""
    connections: int = 0
    in_flight_most: int = 0
    _in_flight: int = 0

    @property
    def lines(self) -> list[str]:
        """Return the request lines."""
        return [head.partition("\r\n")[0] for head in self.heads]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("ascii"), writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> bool:
        self.heads.append(head)
        self._in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self._in_flight)
        answer = self._next(head)
        try:
            if not isinstance(answer, bytes):
                await answer(writer)
                return False
            writer.write(answer)
            await writer.drain()
            return True
        finally:
            self._in_flight -= 1

    def _next(self, head: str) -> Answer:
        for event_id, answer in self.by_id.items():
            if f"/{event_id}?" in head:
                return answer
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def serving(
    *answers: Answer, tls_directory: Path | None = None, by_id: Mapping[str, Answer] | None = None
) -> AsyncIterator[FaultyServer]:
    """Serve the answers in turn and repeat the last one; with `tls_directory`, over TLS with its certificate there."""
    server = FaultyServer(list(answers), by_id or {})
    context = None
    if tls_directory is not None:
        chain = tls_directory / "server.pem"
        chain.write_text(SERVER_PEM)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[asyncio.ensure_future(server.connected(reader, writer))] = writer

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)


def answer(status: int, body: bytes = b"{}", headers: Mapping[str, str | None] | None = None) -> bytes:
    """Return a well-formed answer; a header of None leaves out the default one."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def gzipped(body: bytes) -> bytes:
    return answer(200, gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"})


def together(answered: bytes, barrier: asyncio.Barrier) -> Answer:
    """Answer only when as many requests are waiting as the barrier has parties."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        await barrier.wait()
        writer.write(answered)
        await writer.drain()

    return behave


def then_close(sent: bytes) -> Answer:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    return behave


def then_reset(sent: bytes) -> Answer:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(0.05)  # the bytes arrive before the reset does
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return behave


def then_silence(sent: bytes) -> Answer:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        await asyncio.Event().wait()

    return behave


KEY = "KEY018F-distinctive_0xC0FFEE"

LIMITS = RequestLimits(max_body_bytes=100_000, timeout_seconds=10.0)


@dataclass
class Bench:
    """A client with its inputs (keys, clock) and its outputs (sleeps, answers)."""

    server: FaultyServer
    pacer: Pacer = field(default_factory=lambda: Pacer(1e6, 10))
    keys: list[str] = field(default_factory=lambda: [KEY])
    """The current key; further ones are for the next requests."""
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    observed: list[Answered] = field(default_factory=list)

    def client(
        self, *, limits: RequestLimits = LIMITS, transport: httpx.AsyncBaseTransport | None = None, scheme: str = "http"
    ) -> TelnyxClient:
        return TelnyxClient(
            name="main",
            base_url=f"{scheme}://127.0.0.1:{self.server.port}/v2/",
            api_key=lambda: self.keys.pop(0) if len(self.keys) > 1 else self.keys[0],
            pacers=AccountPacers(self.pacer),
            limits=limits,
            transport=transport or CurlTransport({}, self.pacer.max_in_flight),
            monotonic=lambda: self.now,
            sleep=self.sleep,
            random=random.Random(7),
            observe=self.observed.append,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def codes(self) -> list[str]:
        return [answered.code for answered in self.observed]


async def ask(client: TelnyxClient, event_id: str = "call-123") -> bytes:
    """Request one tree, then close the client."""
    try:
        return await client.tree("call-session", event_id, max_depth=5, expand=True, date_time=None)
    finally:
        await client.aclose()


def asked(
    *answers: Answer, event_id: str = "call-123", pacer: Pacer | None = None, limits: RequestLimits = LIMITS
) -> tuple[Bench, bytes | PollError]:
    """Request one tree; return the bench, and the body or the error."""

    async def run() -> tuple[Bench, bytes | PollError]:
        async with serving(*answers) as server:
            bench = Bench(server, pacer=pacer or Pacer(1e6, 10))
            try:
                return bench, await ask(bench.client(limits=limits), event_id)
            except PollError as error:
                return bench, error

    return asyncio.run(run())
