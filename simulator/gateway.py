"""Authentication, quotas, answer cache and compression before every endpoint of the simulated API.

Errors have the format of the endpoint that was asked for.
"""

import gzip
import hmac
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from simulator import errors
from simulator.errors import ApiError
from simulator.limits import AnswerCache, SimulatedQuota
from simulator.settings import QUOTAS, SimulatorSettings

ANSWER_CACHE_BYTES_MAX = 64 * 2**20
"""A tree with records takes 2 to 100 kB; this is some thousands of sessions, each plain and compressed."""

COMPRESSED_FROM_BYTES = 1024
_GZIP_LEVEL = 1  # the fastest; what a tree has to repeat is found all the same

_encode = msgspec.json.Encoder(decimal_format="number").encode


class ApiAnswer(NamedTuple):
    """An answer that is made only if it is not in the cache."""

    key: Hashable | None
    """The same key means the same bytes; None: not cached."""
    make: Callable[[], Any]


Endpoint = Callable[[Request], ApiAnswer]


class ApiGateway:
    """Protects endpoints; `wall` is the time of their quotas, seconds since the epoch."""

    def __init__(self, settings: SimulatorSettings, wall: Callable[[], float]) -> None:
        self._authorization = f"Bearer {settings.api_key}".encode()
        self.quotas = {name: SimulatedQuota(limit, wall) for name, limit in {**QUOTAS, **settings.quotas}.items()}
        """By endpoint."""
        self._answers = AnswerCache(ANSWER_CACHE_BYTES_MAX)

    def protected(
        self, quota: str, endpoint: Endpoint, *, with_title: bool = True
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint with its quota and authentication; an ApiError becomes its answer."""
        counted = self.quotas[quota]

        async def protected(request: Request) -> Response:
            headers: Mapping[str, str] = {}
            try:
                headers = counted.take()
                self._authorize(request)
                return self._response(request, endpoint(request), headers)
            except ApiError as error:
                return error_response(error.with_title() if with_title else error, headers)

        return protected

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._authorization):
            raise ApiError(errors.UNAUTHORIZED, "the bearer token is missing or wrong")

    def _response(self, request: Request, answer: ApiAnswer, headers: Mapping[str, str]) -> Response:
        body = self._cached(answer.key, lambda: _encode(answer.make()))
        sent = {**headers, "vary": "accept-encoding"}
        if len(body) > COMPRESSED_FROM_BYTES and _accepts_gzip(request):
            plain, key = body, answer.key and (answer.key, "gzip")
            body = self._cached(key, lambda: gzip.compress(plain, _GZIP_LEVEL, mtime=0))
            sent["content-encoding"] = "gzip"
        return Response(body, headers=sent, media_type="application/json")

    def _cached(self, key: Hashable | None, make: Callable[[], bytes]) -> bytes:
        return make() if key is None else self._answers.get(key, make)


def error_response(error: ApiError, headers: Mapping[str, str]) -> Response:
    return Response(error.body, error.status, {**headers, **error.headers}, media_type="application/json")


def _accepts_gzip(request: Request) -> bool:
    offers = (offer.replace(" ", "") for offer in request.headers.get("accept-encoding", "").split(","))
    return any(offer.partition(";")[0] == "gzip" and not offer.endswith((";q=0", ";q=0.0")) for offer in offers)
