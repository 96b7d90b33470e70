"""What stands before every answer: the rate limit, the users, and the headers of the web config file.

Owns who is let through to the routes, and what others are told. Which paths are open is said here and nowhere else. The
surprising fact: a connection that came in before TLS changed is served on under the rules of its time, and told to
close with its next answer, so that no request is cut off.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus

from msgspec import Struct
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.core.errors import Rejected
from exporter.web import passwords
from exporter.web.config import RateLimit, WebConfig
from exporter.web.passwords import CROWDED, UNAUTHORIZED, Passwords
from exporter.web.rate import TokenBucket
from exporter.web.tls import Tls
from exporter.web.webhooks import PATH as WEBHOOKS

HEALTH = ("/-/healthy", "/-/ready")
"""A probe has no credentials, and its failure restarts the exporter: it is never refused."""

RATE_LIMITED = "rate_limited"
CLIENT_CERTIFICATE = "client_certificate"
"""The one refusal that is not answered: the connection is closed."""

REASONS = (UNAUTHORIZED, CROWDED, RATE_LIMITED, CLIENT_CERTIFICATE)
"""Why a request or a connection is refused, as it is counted."""

REALM = "telnyx-session-exporter"

_ANSWERS: Mapping[str, tuple[HTTPStatus, Mapping[str, str]]] = {
    UNAUTHORIZED: (HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": f'Basic realm="{REALM}", charset="UTF-8"'}),
    CROWDED: (HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "5"}),
    RATE_LIMITED: (HTTPStatus.TOO_MANY_REQUESTS, {}),
}

DOOR = "door"
KNOWN = "known"
_AUTHENTICATED = "authenticated"
"""Keys of a request's state: its Door, whether its client has a certificate to be known by, and what comes of it."""


class Door(Struct):
    """By which connections come in, from one change of TLS to the next."""

    tls: Tls | None
    """None: plain HTTP."""
    refused: Callable[[str], None]
    """Told why a client is not let in."""
    shut: bool = False

    def admits(self, certificate: bytes | None) -> bool:
        """Whether a client with this verified certificate (DER), or none, may come in."""
        admitted = self.tls is None or self.tls.admits(certificate)
        if not admitted:
            self.refused(CLIENT_CERTIFICATE)
        return admitted

    def knows(self, certificate: bytes | None) -> bool:
        """Whether somebody who was chosen for it vouches for the client."""
        return certificate is not None and self.tls is not None and self.tls.vouches


def is_authenticated(request: Request) -> bool:
    """Whether the client has shown who it is, by a password or a certificate that somebody vouches for."""
    return bool(request.scope.get("state", {}).get(_AUTHENTICATED))


class Guard:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._passwords = Passwords()
        self._bucket = TokenBucket(RateLimit())
        self._headers: tuple[tuple[str, str], ...] = ()
        self.refusals = Counter[str]()
        """By reason; other threads may read it."""

    def refused(self, reason: str) -> None:
        """Count it."""
        self.refusals[reason] += 1

    def follow(self, config: WebConfig) -> None:
        """These rules from the next request on; what has not changed keeps its state."""
        self._passwords.follow({name: hashed.reveal() for name, hashed in config.basic_auth_users})
        self._headers = tuple(config.http_server_config.headers.pairs())
        if config.rate_limit != self._bucket.limit:
            self._bucket = TokenBucket(config.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._admit(scope)
        except Rejected as error:
            self.refused(error.reason)
            answer: ASGIApp = _answer(error.reason)
        else:
            answer = self._app
        await answer(scope, receive, self._sending(scope, send))

    async def _admit(self, scope: Scope) -> None:
        path, state = scope["path"], scope["state"]
        state[_AUTHENTICATED] = state[KNOWN]
        if path in HEALTH:
            return
        if not self._bucket.take(asyncio.get_running_loop().time()):
            raise Rejected(RATE_LIMITED)
        if not self._passwords.required or path == WEBHOOKS or path.startswith(f"{WEBHOOKS}/"):
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        credentials = passwords.read(given[0] if len(given) == 1 else None)
        await self._passwords.check(credentials, scope["client"][0] if scope["client"] else "")
        state[_AUTHENTICATED] = True

    def _sending(self, scope: Scope, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers:
                    headers.setdefault(name, value)
                if scope["state"][DOOR].shut:
                    headers["Connection"] = "close"
            await send(message)

        return sending


def _answer(reason: str) -> Response:
    status, headers = _ANSWERS[reason]
    return PlainTextResponse(f"{status.phrase}\n", status, headers)
