"""What comes back from the API: what a status or a broken exchange means, and a body, as far as it may be read.

Owns the tables that turn either into an error, and the limit on what is unpacked; asks nobody. The surprising fact: a
body is given up as soon as it is longer than it may be, so what a server sends costs no more than what was allowed.
"""

import ssl
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import httpx
import msgspec

from exporter.core.errors import Denied, NotFound, PollError, Transient, Unauthorized

ERROR_BODY_BYTES_MAX = 16_384
"""Telnyx's error bodies have a few hundred bytes; of a longer one nothing is quoted."""


class Verdict(NamedTuple):
    """What a status means: our error, its reason, whether to ask again at once, and the cure where there is one."""

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
    TimeoutError: "timeout",  # ours, over the whole attempt
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
    OSError: "read",  # a transport that doesn't translate
    zlib.error: "decode",
}
"""What a broken exchange is called; one whose chain holds an `ssl.SSLError` is `tls`."""

REASONS = tuple(
    sorted(
        {verdict.reason for verdict in (*STATUSES.values(), *STATUS_CLASSES.values(), UNEXPECTED_STATUS)}
        | {*BREAKS.values(), "tls", "body_too_large", "not_json"}
    )
)
"""Every `PollError.reason` that is born here."""


def verdict_on(status: int) -> Verdict:
    """What a status other than 200 means."""
    return STATUSES.get(status) or STATUS_CLASSES.get(status // 100, UNEXPECTED_STATUS)


def broken(error: BaseException) -> str:
    """What the break is called."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return "tls"
        link = link.__cause__ or link.__context__
    return next(BREAKS[kind] for kind in type(error).__mro__ if kind in BREAKS)


def plain(response: httpx.Response) -> dict[str, str]:
    """The headers by lower-case name, the last of each: httpx looks through all of them at every look."""
    return {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw}


def stream(response: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return response.stream


async def read(response: httpx.Response, headers: Mapping[str, str], bytes_max: int) -> bytes | None:
    """The body, unpacked; None as soon as it is longer than `bytes_max`, without reading on."""
    body = bytearray()
    gzip = _unpacker(headers.get("content-encoding", "").lower())
    async for chunk in stream(response):
        body += gzip.decompress(chunk, bytes_max + 1 - len(body)) if gzip else chunk
        if len(body) > bytes_max:
            return None
        if gzip and gzip.unused_data:
            raise zlib.error("data behind the end of the gzip stream")
    if gzip and not gzip.eof:
        raise zlib.error("the gzip stream is cut off")
    return bytes(body)


def _unpacker(encoding: str) -> "zlib._Decompress | None":
    if encoding in {"", "identity"}:
        return None
    if encoding not in {"gzip", "x-gzip"}:
        raise zlib.error(f"content-encoding {encoding} was not asked for")
    return zlib.decompressobj(wbits=31)  # a gzip header is demanded


async def read_quietly(response: httpx.Response, headers: Mapping[str, str]) -> bytes:
    """A body that only explains a status already known: how reading it fails is of no interest."""
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


def said(body: bytes) -> str:
    """What an error body says: Session Analysis has `message` where the rest of the API has `title`."""
    try:
        errors = msgspec.json.decode(body, type=_TelnyxErrors).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    texts = [(error.code, error.title or error.message, error.detail) for error in errors]
    return "; ".join(" ".join(str(part) for part in text if part) for text in texts)
