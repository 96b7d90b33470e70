"""How requests travel: an `httpx.AsyncBaseTransport` carried by aiohttp.

Owns connections, certificates and the translation of aiohttp's errors into httpx's; knows no key and no status. The
surprising fact: httpx's own transport looks at every connection on every request, and with 50 in flight takes more than
ten times the CPU of this one (docs/dependencies.md has the figures).
"""

import ssl
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Self, TypeVar

import aiohttp
import httpx
from yarl import URL

from exporter.errors import ConfigError

KEEPALIVE_SECONDS = 60.0
"""Idle connections outlive the usual pause between two ticks: a TLS handshake costs more than the request behind it."""

AIOHTTP_ERRORS: Mapping[type[Exception], type[httpx.TransportError]] = {
    aiohttp.ClientConnectorError: httpx.ConnectError,
    aiohttp.ClientConnectionError: httpx.ReadError,
    aiohttp.ClientPayloadError: httpx.ReadError,
    aiohttp.ClientError: httpx.RemoteProtocolError,
    OSError: httpx.ReadError,
}
"""What aiohttp's errors are called in httpx's words; the nearest base counts."""

_T = TypeVar("_T")


async def _translated(step: Awaitable[_T]) -> _T:
    try:
        return await step
    except (aiohttp.ClientError, OSError) as error:
        failure = next(AIOHTTP_ERRORS[kind] for kind in type(error).__mro__ if kind in AIOHTTP_ERRORS)
        raise failure(str(error)) from error


class _AiohttpStream(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await _translated(self._answer.content.readany())
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection back; one that isn't read to its end is closed instead of drained."""
        self._answer.release()


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries requests as they are: no cookies, no redirects, no requoted URLs, no time-outs of its own.

    Nor bodies: all that is asked is a GET.
    """

    def __init__(self, context: ssl.SSLContext, max_connections: int) -> None:
        self._context = context
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._session = self._session or self._open()
        url = self._located(request)
        headers = request.headers.multi_items()
        answer = await _translated(self._session.request(request.method, url, headers=headers, allow_redirects=False))
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_AiohttpStream(answer))

    def _located(self, request: httpx.Request) -> URL:
        """A `target` replaces path and query, as with httpx's own transport."""
        target = request.extensions.get("target")
        if target is None:
            return URL(str(request.url), encoded=True)
        origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
        return URL(origin + target.decode("ascii"), encoded=True)

    def _open(self) -> aiohttp.ClientSession:  # not in __init__: it binds to the running loop
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._context, limit=self._max_connections, keepalive_timeout=KEEPALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()


def open_transport(ca_file: Path | None, max_connections: int) -> httpx.AsyncBaseTransport:
    """The transport for one account.

    `ca_file` (PEM) replaces the public roots, as curl's --cacert and requests' verify do: whoever names a file trusts
    that and nothing else. Without it SSL_CERT_FILE or SSL_CERT_DIR counts, else certifi. Verification cannot be
    switched off. Raises ConfigError when the file cannot be used.
    """
    if ca_file is None:
        return AiohttpTransport(httpx.create_ssl_context(), max_connections)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        problem = f"cannot read certificates from {ca_file}: {error}; expected a file with PEM certificates"
        raise ConfigError("accounts[].ca_file", problem) from error
    # Python 3.13 began to demand extensions that many corporate roots lack, and to accept an intermediate as an anchor:
    # with a file that the operator vouches for, every Python does what suits it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return AiohttpTransport(context, max_connections)
