"""Carry requests by libcurl, as an `httpx.AsyncBaseTransport`.

Handles connections, certificates and the translation of curl's errors into httpx's. httpx's own transport examines
every connection on every request, and with 50 in flight takes more than ten times the CPU (docs/dependencies.md).
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import certifi
import httpx
import pycurl

from exporter.core.errors import ConfigError

KEEPALIVE_SECONDS = 60
"""Idle connections outlive the usual pause between two ticks, because a TLS handshake costs more than a request."""
PART_BYTES = 262_144
"""A longer body is passed on in parts while it arrives, so that its reader can give it up."""

CURL_ERRORS: Mapping[int, type[httpx.TransportError]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: httpx.ConnectError,
    pycurl.E_COULDNT_CONNECT: httpx.ConnectError,
    pycurl.E_OPERATION_TIMEDOUT: httpx.ConnectTimeout,
    pycurl.E_SEND_ERROR: httpx.WriteError,
    pycurl.E_UNSUPPORTED_PROTOCOL: httpx.RemoteProtocolError,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: httpx.RemoteProtocolError,  # curl's code for a malformed HTTP answer too
}
"""curl's errors as httpx's; all others become a ReadError."""

TLS_ERRORS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_INVALIDCERTSTATUS,
        pycurl.E_SSL_ISSUER_ERROR,
    }
)
"""The server can't be trusted: these become a ConnectError with an `ssl.SSLError` as its cause."""


class _CurlStream(httpx.AsyncByteStream):
    """A running request, and the part of its answer that has arrived."""

    def __init__(self, handle: pycurl.Curl, multi: pycurl.AsyncCurlMulti, idle: list[pycurl.Curl]) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self._head_ended = False
        self._parts: list[bytes] = []
        self._size = 0
        self._handle, self._multi, self._idle = handle, multi, idle
        self._ended = False
        self._arrived = asyncio.get_running_loop().create_future()
        """Done when the answer is complete or more than PART_BYTES have arrived."""
        handle.setopt(pycurl.HEADERFUNCTION, self._head)
        handle.setopt(pycurl.WRITEFUNCTION, self._body)
        self._transfer = multi.add_handle(handle)
        self._transfer.add_done_callback(self._notify)

    async def status(self) -> int:
        """Return the status once the answer, or a first part of its body, is there; raise if it broke before that."""
        try:
            await self._arrived
        except asyncio.CancelledError:
            self._end()
            raise
        if not self._head_ended:
            self._end()
            self._check()
            raise httpx.RemoteProtocolError("the connection was closed within the head of the answer")
        return int(self._handle.getinfo(pycurl.RESPONSE_CODE))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._transfer.done():
                self._check()
                raise StopAsyncIteration
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        parts, self._parts, self._size = self._parts, [], 0
        return b"".join(parts)

    async def aclose(self) -> None:
        """Give up the rest of the body."""
        self._end()

    def _end(self) -> None:
        """Give the handle back; if the transfer is unfinished, its connection is closed."""
        if self._ended:
            return
        self._ended = True
        if self._transfer.done():
            # By a callback, so that it comes after pycurl's own, which would otherwise end the handle's next transfer.
            self._transfer.add_done_callback(lambda _: self._idle.append(self._handle))
        else:
            self._multi.remove_handle(self._handle)

    def _check(self) -> None:
        if self._transfer.cancelled():
            raise httpx.ReadError("the exporter closed the connection")
        error = self._transfer.exception()
        if error is not None:
            raise _translated(*error.args)

    # Called by curl

    def _head(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):  # a status line; an earlier one was that of an interim answer (1xx)
            self.headers.clear()
            self._head_ended = False
        elif not self._head_ended:  # else the line belongs to a trailer
            name, colon, value = line.partition(b":")
            if colon:
                self.headers.append((name, value.strip()))
            self._head_ended = not line.strip()

    def _body(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > PART_BYTES:
            self._notify()

    def _notify(self, _: object = None) -> None:
        if not self._arrived.done():
            self._arrived.set_result(None)


def _translated(code: int, message: str) -> httpx.TransportError:
    if code not in TLS_ERRORS:
        return CURL_ERRORS.get(code, httpx.ReadError)(message)
    failure = httpx.ConnectError(message)
    failure.__cause__ = ssl.SSLError(code, message)
    return failure


class CurlTransport(httpx.AsyncBaseTransport):
    """Sends GET requests as they are: no cookies, redirects, proxy, rewritten URLs or timeouts of its own."""

    def __init__(self, trusted: Mapping[int, str], max_connections: int) -> None:
        """`trusted` has curl's options that name the certificate authorities."""
        self._trusted = trusted
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, max_connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)
        self._idle: list[pycurl.Curl] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        handle = self._idle.pop() if self._idle else self._opened()
        handle.setopt(pycurl.URL, _url(request))
        handle.setopt(pycurl.HTTPHEADER, [b"%b: %b" % header for header in request.headers.raw])
        answer = _CurlStream(handle, self._multi, self._idle)
        status = await answer.status()
        return httpx.Response(status, headers=answer.headers, stream=answer)

    def _opened(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        for option, value in OPTIONS.items():
            handle.setopt(option, value)
        for option in (pycurl.CAINFO, pycurl.CAPATH):
            if option in self._trusted:
                handle.setopt(option, self._trusted[option])
            else:
                handle.unsetopt(option)  # else curl's built-in authorities would be trusted too
        return handle

    async def aclose(self) -> None:
        await self._multi.aclose()


OPTIONS: Mapping[int, object] = {
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.MAXAGE_CONN: KEEPALIVE_SECONDS,
    pycurl.NOSIGNAL: 1,
    pycurl.PATH_AS_IS: 1,
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.PROXY: "",
}
"""Options that differ from curl's defaults."""


def _url(request: httpx.Request) -> bytes:
    """Return the URL; the extension `target` replaces its path and query, as in httpx's own transport."""
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return b"%b://%b%b" % (request.url.raw_scheme, request.url.netloc, target)


def open_transport(ca_file: Path | None, max_connections: int) -> httpx.AsyncBaseTransport:
    """Return the transport for one account; certificates are always verified.

    `ca_file` (PEM) replaces the public authorities, as curl's --cacert does. Without it SSL_CERT_FILE or SSL_CERT_DIR
    counts, else certifi. Raises ConfigError if the file can't be used.
    """
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            problem = f"cannot read certificates from {ca_file}: {error}; expected a file with PEM certificates"
            raise ConfigError("accounts[].ca_file", problem) from error
        return CurlTransport({pycurl.CAINFO: str(ca_file)}, max_connections)
    for variable, option in (("SSL_CERT_FILE", pycurl.CAINFO), ("SSL_CERT_DIR", pycurl.CAPATH)):
        if os.environ.get(variable):
            return CurlTransport({option: os.environ[variable]}, max_connections)
    return CurlTransport({pycurl.CAINFO: certifi.where()}, max_connections)
