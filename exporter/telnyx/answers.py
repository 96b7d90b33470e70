"""The meaning of an answer: errors by status and by broken exchange, and the reading of bodies.

A body is given up as soon as it is longer than allowed, so a hostile server costs no more than the limit.
"""

import ssl
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import httpx
import msgspec

from exporter.core.errors import Denied, NotFound, PollError, Transient, Unauthorized

ERROR_BODY_BYTES_MAX = 16_384
"""Telnyx's error bodies have a few hundred bytes; a longer one is not quoted."""


class Verdict(NamedTuple):
    """The error for a status, its reason, whether to retry at once, and the cure if there is one."""

    error: type[PollError]
    reason: str
    again: bool
    cure: str = ""


STATUSES: Mapping[int, Verdict] = {
    400: Verdict(Denied, "bad_request", again=False),
    401: Verdict(Unauthorized, "key_refused", again=False, cure="check the API key of this account"),
    403: Verdict(Denied, "forbidden", again=False),
    404: Verdict(NotFound, "not_found", again=False),
    408: Verdict(Transient, "timeout", again=True),
    409: Verdict(Transient, "conflict", again=True),
    429: Verdict(Transient, "throttled", again=True),
}
STATUS_CLASSES: Mapping[int, Verdict] = {
    3: Verdict(Transient, "redirect", again=False, cure="redirects are not followed; check base_url"),
    5: Verdict(Transient, "server_error", again=True),
}
UNEXPECTED_STATUS = Verdict(Transient, "unexpected_status", again=True)

BREAKS: Mapping[type[Exception], str] = {
    TimeoutError: "timeout",  # the client's own, over the whole attempt
    httpx.TimeoutException: "timeout",
    httpx.ConnectTimeout: "timeout",
    httpx.ReadTimeout: "timeout",
    httpx.WriteTimeout: "timeout",
    httpx.PoolTimeout: "timeout",
    httpx.ConnectError: "connect",
    httpx.ProxyError: "connect",
    httpx.UnsupportedProtocol: "connect",
    httpx.NetworkError: "read",
    httpx.ReadError: "read",
    httpx.WriteError: "read",
    httpx.CloseError: "read",
    httpx.ProtocolError: "read",
    httpx.LocalProtocolError: "read",
    httpx.RemoteProtocolError: "read",
    httpx.TransportError: "read",
    httpx.RequestError: "read",
    httpx.DecodingError: "decode",
    OSError: "read",  # from a transport that doesn't translate its errors
    zlib.error: "decode",
}
"""The reason of a broken exchange by its exception; with an `ssl.SSLError` among its causes it is `tls`."""

REASONS = tuple(
    sorted(
        {verdict.reason for verdict in (*STATUSES.values(), *STATUS_CLASSES.values(), UNEXPECTED_STATUS)}
        | {*BREAKS.values(), "tls", "body_too_large", "not_json"}
    )
)
"""Every `PollError.reason` that the client raises."""


def verdict_on(status: int) -> Verdict:
    """Return the verdict on a status other than 200."""
    return STATUSES.get(status) or STATUS_CLASSES.get(status // 100, UNEXPECTED_STATUS)


def break_reason(error: BaseException) -> str:
    """Return the reason of a broken exchange."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return "tls"
        link = link.__cause__ or link.__context__
    return next(BREAKS[kind] for kind in type(error).__mro__ if kind in BREAKS)


def plain_headers(response: httpx.Response) -> dict[str, str]:
    """Return the headers by lower-case name, the last of each; a look-up in httpx's own walks through all of them."""
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw}


def stream(response: httpx.Response) -> httpx.AsyncByteStream:
    """Return the body that is still to be read."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return response.stream


async def read(response: httpx.Response, headers: Mapping[str, str], bytes_max: int) -> bytes | None:
    """Return the unpacked body; None as soon as it is longer than `bytes_max`, without reading the rest."""
    body = bytearray()
    encoding = headers.get("content-encoding", "").lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise zlib.error(f"content-encoding {encoding} was not asked for")
    gzip = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None  # 31: a gzip header is required
    async for chunk in stream(response):
        body += gzip.decompress(chunk, bytes_max + 1 - len(body)) if gzip else chunk
        if len(body) > bytes_max:
            return None
        if gzip and gzip.unused_data:
            raise zlib.error("data behind the end of the gzip stream")
    if gzip and not gzip.eof:
        raise zlib.error("the gzip stream is cut off")
    return bytes(body)


async def read_error_body(response: httpx.Response, headers: Mapping[str, str]) -> bytes:
    """Return the body of an error status, empty if it can't be read: the status says enough."""
    try:
        return await read(response, headers, ERROR_BODY_BYTES_MAX) or b""
    except tuple(BREAKS):
        return b""


class _TelnyxError(msgspec.Struct):
    code: object = None
    title: object = None
    message: object = None
    detail: object = None


class _TelnyxErrors(msgspec.Struct):
    errors: tuple[_TelnyxError, ...] = ()


def error_text(body: bytes) -> str:
    """Return the text of an error body; Session Analysis has `message` where the rest of the API has `title`."""
    try:
        errors = msgspec.json.decode(body, type=_TelnyxErrors).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    texts = [(error.code, error.title or error.message, error.detail) for error in errors]
    return "; ".join(" ".join(str(part) for part in text if part) for text in texts)
