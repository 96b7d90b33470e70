"""The checks before every answer: rate limit, users, client certificates, and the headers of the web config file.

This is the only module that says which paths need no password. After a change of TLS, a connection accepted before is
still served under its old rules, and told to close with its next answer.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus

from msgspec import Struct
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.core.errors import Rejected
from exporter.web.config import RateLimit, WebConfig
from exporter.web.passwords import CROWDED, UNAUTHORIZED, PasswordChecker, parse_credentials
from exporter.web.tls import Tls
from exporter.web.webhooks import PATH as WEBHOOKS

HEALTH = ("/-/healthy", "/-/ready")
"""Never refused: a kubelet's probe has no credentials, and its failure restarts the exporter."""

RATE_LIMITED = "rate_limited"
CLIENT_CERTIFICATE = "client_certificate"
"""The one refusal without an answer: the connection is closed."""

REASONS = (UNAUTHORIZED, CROWDED, RATE_LIMITED, CLIENT_CERTIFICATE)
"""The values of the label `reason`."""

_ANSWERS: Mapping[str, tuple[HTTPStatus, Mapping[str, str]]] = {
    UNAUTHORIZED: (
        HTTPStatus.UNAUTHORIZED,
        {"WWW-Authenticate": 'Basic realm="telnyx-session-exporter", charset="UTF-8"'},
    ),
    CROWDED: (HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "5"}),
    RATE_LIMITED: (HTTPStatus.TOO_MANY_REQUESTS, {}),
}

# Keys of a request's state.
LISTENER = "listener"
HAS_TRUSTED_CERTIFICATE = "has_trusted_certificate"
_AUTHENTICATED = "authenticated"


class Listener(Struct):
    """The TLS settings under which connections are accepted; a change of TLS replaces it."""

    tls: Tls | None
    """None: plain HTTP."""
    count_refusal: Callable[[str], None]
    retired: bool = False
    """Replaced by another one: its connections are to be closed."""

    def admits(self, certificate: bytes | None) -> bool:
        """Tell whether a client with this verified certificate (DER), or none, may connect; count it if not."""
        admitted = self.tls is None or self.tls.admits(certificate)
        if not admitted:
            self.count_refusal(CLIENT_CERTIFICATE)
        return admitted

    def trusts(self, certificate: bytes | None) -> bool:
        """Tell whether the certificate is from an authority that the operator chose."""
        return certificate is not None and self.tls is not None and self.tls.has_chosen_authority


def is_authenticated(request: Request) -> bool:
    """Tell whether the client has given a right password or a certificate from an authority that the operator chose."""
    return bool(request.scope.get("state", {}).get(_AUTHENTICATED))


class TokenBucket:
    """The rate limit; one for all clients, as with exporter-toolkit. Full at first; an interval of 0 is no limit."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._refilled_at: float | None = None

    def try_take(self, now: float) -> bool:
        """Take a token if there is one; `now` is in seconds on a monotonic clock."""
        if self.limit.interval <= 0:
            return True
        if self._refilled_at is not None:
            self._tokens = min(self.limit.burst, self._tokens + (now - self._refilled_at) / self.limit.interval)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._passwords = PasswordChecker()
        self._bucket = TokenBucket(RateLimit())
        self._headers: tuple[tuple[str, str], ...] = ()
        self.refusals = Counter[str]()
        """By reason; other threads may read it."""

    def count_refusal(self, reason: str) -> None:
        self.refusals[reason] += 1

    def apply_config(self, config: WebConfig) -> None:
        """Use these rules from the next request on; an unchanged rate limit keeps its tokens."""
        self._passwords.set_users({name: hashed.reveal() for name, hashed in config.basic_auth_users})
        self._headers = tuple(config.http_server_config.headers.pairs())
        if config.rate_limit != self._bucket.limit:
            self._bucket = TokenBucket(config.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers:
                    headers.setdefault(name, value)
                if scope["state"][LISTENER].retired:
                    headers["Connection"] = "close"
            await send(message)

        answer = self._app
        try:
            await self._check(scope)
        except Rejected as error:
            self.count_refusal(error.reason)
            status, headers = _ANSWERS[error.reason]
            answer = PlainTextResponse(f"{status.phrase}\n", status, headers)
        await answer(scope, receive, send_with_headers)

    async def _check(self, scope: Scope) -> None:
        path, state = scope["path"], scope["state"]
        state[_AUTHENTICATED] = state[HAS_TRUSTED_CERTIFICATE]
        if path in HEALTH:
            return
        if not self._bucket.try_take(asyncio.get_running_loop().time()):
            raise Rejected(RATE_LIMITED)
        # Webhooks are signed, and Telnyx sends no password.
        if not self._passwords.required or path == WEBHOOKS or path.startswith(f"{WEBHOOKS}/"):
            return
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        # A proxy before the exporter may have checked another one of two headers.
        credentials = parse_credentials(values[0] if len(values) == 1 else None)
        await self._passwords.check(credentials, scope["client"][0] if scope["client"] else "")
        state[_AUTHENTICATED] = True
