"""The gate before every endpoint of the simulated API: who may ask, how often, and how an answer is sent.

Owns the key, the rate limit, the memory of encoded answers and their compression. Knows no session and no record. The
surprising fact: what is refused here is worded as the endpoint behind would word it.
"""

import gzip
import hmac
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from simulator import errors
from simulator.errors import Refusal
from simulator.limits import AnswerCache, SimulatedRateLimit
from simulator.settings import SimulatorSettings

ANSWER_CACHE_BYTES_MAX = 64 * 2**20
"""A tree with records takes 2 to 100 kB; this is some thousands of sessions, each plain and compressed."""

COMPRESSED_FROM_BYTES = 1024
_GZIP_LEVEL = 1  # the fastest; what a tree has to repeat is found all the same

_encode = msgspec.json.Encoder().encode


class ApiAnswer(NamedTuple):
    """What is to be sent."""

    key: Hashable | None
    """Equal keys, equal bytes; None: not to be kept."""
    make: Callable[[], Any]


Endpoint = Callable[[Request], ApiAnswer]


class Gate:
    """`monotonic` is real time, by which requests are counted."""

    def __init__(self, settings: SimulatorSettings, monotonic: Callable[[], float]) -> None:
        self._authorization = f"Bearer {settings.api_key}".encode()
        self._limit = SimulatedRateLimit(settings.requests_per_second, monotonic)
        self._answers = AnswerCache(ANSWER_CACHE_BYTES_MAX)

    def guarded(self, endpoint: Endpoint, *, titled: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint behind the rate limit and the key; a refusal becomes its response."""

        async def guarded(request: Request) -> Response:
            headers: Mapping[str, str] = {}
            try:
                headers = self._limit.take()
                self._authorize(request)
                return self._response(request, endpoint(request), headers)
            except Refusal as refusal:
                return refused(refusal.titled() if titled else refusal, headers)

        return guarded

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._authorization):
            raise Refusal(errors.UNAUTHORIZED, "the bearer token is missing or wrong")

    def _response(self, request: Request, answer: ApiAnswer, headers: Mapping[str, str]) -> Response:
        body = self._kept(answer.key, lambda: _encode(answer.make()))
        sent = {**headers, "vary": "accept-encoding"}
        if len(body) > COMPRESSED_FROM_BYTES and _accepts_gzip(request):
            plain, key = body, answer.key and (answer.key, "gzip")
            body = self._kept(key, lambda: gzip.compress(plain, _GZIP_LEVEL, mtime=0))
            sent["content-encoding"] = "gzip"
        return Response(body, headers=sent, media_type="application/json")

    def _kept(self, key: Hashable | None, make: Callable[[], bytes]) -> bytes:
        return make() if key is None else self._answers.get(key, make)


def refused(refusal: Refusal, headers: Mapping[str, str]) -> Response:
    return Response(refusal.body, refusal.status, {**headers, **refusal.headers}, media_type="application/json")


def _accepts_gzip(request: Request) -> bool:
    offers = (offer.replace(" ", "") for offer in request.headers.get("accept-encoding", "").split(","))
    return any(offer.partition(";")[0] == "gzip" and not offer.endswith((";q=0", ";q=0.0")) for offer in offers)
