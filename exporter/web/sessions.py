"""`POST /api/v1/sessions`: accept lists of sessions from programs on the same machine, or with credentials.

The answer is 200 only after the list is in the ledger. A caller on the same machine is not trusted for that alone: a
browser there sends requests of any web page, and a proxy there sends requests of any client.
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

FOLLOW_SECONDS = 30.0
"""The ledger stores the longest list in a second; after this time it is stuck, and the caller has to retry."""
RETRY_SECONDS = "5"

Follow = Callable[[Sequence[SessionRef]], Future[None]]
"""Stores sessions; done when they are durable, fails with LedgerError if they are not."""

_LOCAL_NAME = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)

_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class _Refused(Exception):
    """Answer with this status and this problem."""

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.headers = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else None


class SessionsRoute:
    """The route; lives on the web thread."""

    def __init__(
        self, accounts: Sequence[str], status: Callable[[], HealthStatus], follow: Follow, failed: Callable[[], None]
    ) -> None:
        """`status`, `follow` and `failed` are called on the web thread and must be cheap."""
        self._accounts: Sequence[str] | None = accounts
        self._status = status
        self._follow = follow
        self._failed = failed
        self._parsing = asyncio.Lock()
        """One list is parsed at a time, on a thread: the longest takes a tenth of a second."""

    def route(self) -> Route:
        return Route("/api/v1/sessions", self.post, methods=["POST"])

    def set_accounts(self, accounts: Sequence[str] | None) -> None:
        """Accept sessions of these accounts from now on; None switches the route off. From any thread."""
        self._accounts = accounts

    async def post(self, request: Request) -> Response:
        accounts = self._accounts
        if accounts is None:
            return Response("Not Found", HTTPStatus.NOT_FOUND, media_type="text/plain")
        try:
            _check_caller(request)
            self._check_ready()
            refs = await self._read(request, accounts)
            self._check_ready()  # again: the exporter may have begun to stop while the body arrived
            await self._store(refs)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status, refused.headers)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # no client is left to read it
        return JSONResponse({"sessions": len(refs)})

    def _check_ready(self) -> None:
        problem = self._status().ready
        if problem is not None:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, problem)

    async def _read(self, request: Request, accounts: Sequence[str]) -> tuple[SessionRef, ...]:
        try:
            body = await request.body()
            async with self._parsing:
                return await asyncio.to_thread(json_entries, body, "body", accounts)
        except HTTPException:  # Starlette raises it only for the size
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the list is too large; send it in parts")
        except ConfigError as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))

    async def _store(self, refs: Sequence[SessionRef]) -> None:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                await asyncio.wrap_future(self._follow(refs))
        except LedgerError as error:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, f"ledger: {error}")
        except TimeoutError:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, "the ledger takes too long; send the list again")

    def _fail(self, status: HTTPStatus, problem: str) -> NoReturn:
        """Refuse a list and count a failure of the source; a caller that may not send lists is not counted."""
        self._failed()
        raise _Refused(status, problem)


def _check_caller(request: Request) -> None:
    """Raise _Refused unless the caller is a program on this machine or authenticated, and no browser."""
    forbidden, headers = HTTPStatus.FORBIDDEN, request.headers
    if "origin" in headers:  # before the password: a browser sends a remembered one with requests of any page
        raise _Refused(forbidden, "not for browsers: a request with the header origin is refused")
    if not is_authenticated(request):
        if not _is_loopback(request.client.host if request.client is not None else ""):
            raise _Refused(
                forbidden,
                "only for callers on the same machine or in the same pod; use http://localhost, "
                "or basic authentication or client certificates (--web.config.file)",
            )
        for name in _PROXY_HEADERS:
            if name in headers:
                raise _Refused(forbidden, f"not through a proxy: a request with the header {name} is refused")
        # DNS rebinding: a page's own host name may resolve to 127.0.0.1.
        if not _LOCAL_NAME.fullmatch(headers.get("host", "")):
            raise _Refused(forbidden, "the header host names another machine; use http://localhost or http://127.0.0.1")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected the header content-type: application/json")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback  # an IPv4 client on a dual-stack socket
    return address.is_loopback
