"""`POST /api/v1/sessions`: lists of sessions that programs hand over, on the same machine or with credentials.

Owns who may, what is answered, and that nothing is answered with 200 before it is in the ledger. What a list may be
stands in `sources.entries`; who follows it is the main thread's business. The surprising fact: a caller on the same
machine is not trusted for that alone, since a browser there sends what any page on the internet tells it to, and a
proxy there lends its address to everybody.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.core.errors import ConfigError, LedgerError
from exporter.core.model import SessionRef
from exporter.sources.entries import json_entries
from exporter.web.guard import is_authenticated
from exporter.web.routes import HealthStatus

PATH = "/api/v1/sessions"

FOLLOW_SECONDS = 30.0
"""The ledger takes the longest list in a second; past this it is stuck, and the caller shall come again."""
RETRY_SECONDS = "5"
"""When to come again."""

Follow = Callable[[Sequence[SessionRef]], Future[None]]
"""Has sessions followed; done when that is durable, LedgerError if it is not."""

_LOCAL_NAME = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)

_BY_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class _Refused(Exception):
    """The answer is this status, with this problem."""

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.headers = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else None


class SessionsRoute:
    """The route and what it needs; lives on the web thread."""

    def __init__(
        self, accounts: Sequence[str], status: Callable[[], HealthStatus], follow: Follow, failed: Callable[[], None]
    ) -> None:
        """`status`, `follow` and `failed` are called on the web thread and must be cheap."""
        self._accounts: Sequence[str] | None = accounts
        self._status = status
        self._follow = follow
        self._failed = failed
        self._reading = asyncio.Lock()
        """One list is read at a time, beside the loop: the longest takes a tenth of a second, and scrapes go on."""

    def route(self) -> Route:
        return Route(PATH, self.post, methods=["POST"])

    def adopt(self, accounts: Sequence[str] | None) -> None:
        """Take sessions of these accounts from now on, or none at all; from any thread."""
        self._accounts = accounts

    async def post(self, request: Request) -> Response:
        accounts = self._accounts
        if accounts is None:
            return Response("Not Found", HTTPStatus.NOT_FOUND, media_type="text/plain")
        try:
            _check_caller(request)
            self._check_ready()
            refs = await self._read(await self._body(request), accounts)
            self._check_ready()  # it may be stopping by now
            await self._take(refs)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status, refused.headers)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        return JSONResponse({"sessions": len(refs)})

    def _check_ready(self) -> None:
        problem = self._status().ready
        if problem is not None:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, problem)

    async def _body(self, request: Request) -> bytes:
        try:
            return await request.body()
        except HTTPException:  # its only reason is the size
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the list is too large; send it in parts")

    async def _read(self, body: bytes, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
        try:
            async with self._reading:
                return await asyncio.to_thread(json_entries, body, "body", accounts)
        except ConfigError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))

    async def _take(self, refs: Sequence[SessionRef]) -> None:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await asyncio.wrap_future(self._follow(refs))
        except LedgerError as error:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, f"ledger: {error}")
        except TimeoutError:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, "the ledger takes too long; send the list again")

    def _fail(self, status: HTTPStatus, problem: str) -> NoReturn:
        """Refuse what a source rightly sent; strangers' requests are no failures of a source."""
        self._failed()
        raise _Refused(status, problem)


def _check_caller(request: Request) -> None:
    """That it is no browser, and a program on this machine unless it has shown who it is."""
    forbidden, headers = HTTPStatus.FORBIDDEN, request.headers
    if "origin" in headers:  # a browser sends along the password that its user once gave
        raise _Refused(forbidden, "not for browsers: a request with the header origin is refused")
    if not is_authenticated(request):
        _check_local(request)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected the header content-type: application/json")


def _check_local(request: Request) -> None:
    """That it is a program on this machine, and no proxy."""
    forbidden, headers = HTTPStatus.FORBIDDEN, request.headers
    if not _is_loopback(request.client.host if request.client is not None else ""):
        raise _Refused(
            forbidden,
            "only for callers on the same machine or in the same pod; use http://localhost, "
            "or basic authentication or client certificates (--web.config.file)",
        )
    for name in _BY_PROXIES:
        if name in headers:
            raise _Refused(forbidden, f"not through a proxy: a request with the header {name} is refused")
    if not _LOCAL_NAME.fullmatch(headers.get("host", "")):
        raise _Refused(forbidden, "the header host names another machine; use http://localhost or http://127.0.0.1")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback  # IPv4 on a socket that takes both
    return address.is_loopback
