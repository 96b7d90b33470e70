"""The three Session Analysis endpoints of the simulated API.

Owns HTTP: who may ask, what is wrong with a request, how an answer is encoded, kept and compressed. Knows sessions
only through the world. The surprising fact: an answer depends on time only through the number of bill steps made so
far, so that between two steps every poll of a session is one look-up.
"""

import gzip
import hmac
import uuid
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.simulator import errors, metadata, query
from exporter.simulator.errors import Refusal
from exporter.simulator.events import TYPES
from exporter.simulator.limits import AnswerCache, RateLimit
from exporter.simulator.settings import Settings
from exporter.simulator.tree import BASE_PATH, tree
from exporter.simulator.world import World

ANSWER_CACHE_BYTES_MAX = 64 * 2**20
"""A tree with records takes 2 to 100 kB; this is some thousands of sessions, each plain and compressed."""

COMPRESSED_FROM_BYTES = 1024
_GZIP_LEVEL = 1  # the fastest; what a tree has to repeat is found all the same

_encode = msgspec.json.Encoder().encode


class _Answer(NamedTuple):
    """What is to be sent: equal keys, equal bytes."""

    key: Hashable
    make: Callable[[], Any]


_Endpoint = Callable[[Request], _Answer]


class SessionAnalysis:
    """The endpoints over one world; `monotonic` is real time, by which requests are counted."""

    def __init__(self, world: World, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._world = world
        self._authorization = f"Bearer {settings.api_key}".encode()
        self._limit = RateLimit(settings.requests_per_second, monotonic)
        self._answers = AnswerCache(ANSWER_CACHE_BYTES_MAX)
        self._record_types = _names()

    def routes(self) -> list[Route]:
        path = f"{BASE_PATH}/session_analysis"
        return [
            Route(f"{path}/metadata", self._guarded(self._metadata)),
            Route(f"{path}/metadata/{{record_type}}", self._guarded(self._type_metadata)),
            Route(f"{path}/{{record_type}}/{{event_id}}", self._guarded(self._session)),
        ]

    def _metadata(self, _: Request) -> _Answer:
        return _Answer("metadata", metadata.overview)

    def _type_metadata(self, request: Request) -> _Answer:
        known = TYPES.get(request.path_params["record_type"])
        if known is None:
            raise Refusal(errors.NOT_FOUND, "no such record type")
        return _Answer(("metadata", known.name), lambda: metadata.details(known))

    def _session(self, request: Request) -> _Answer:
        asked = query.read(request.query_params.multi_items())
        word = request.path_params["record_type"]
        record_types = self._record_types.get(word)
        if record_types is None:
            raise Refusal(errors.BAD_RECORD_TYPE, f"{word!r} is no record type")
        found = self._world.find(record_types, _event_id(request))
        if found is None:
            raise Refusal(errors.NOT_FOUND, "no such event")
        session, index, now = found.session, found.index, found.now
        query.check_day(asked, session.begun)
        event = session.events[index]
        key = (event.record_type, event.id, session.version(index, now), asked.view)
        return _Answer(key, lambda: tree(session, index, now, asked.view))

    def _guarded(self, endpoint: _Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint behind the rate limit and the key; a refusal becomes its response."""

        async def guarded(request: Request) -> Response:
            headers: Mapping[str, str] = {}
            try:
                headers = self._limit.take()
                self._authorize(request)
                return self._response(request, endpoint(request), headers)
            except Refusal as refusal:
                return refused(refusal, headers)

        return guarded

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._authorization):
            raise Refusal(errors.UNAUTHORIZED, "the bearer token is missing or wrong")

    def _response(self, request: Request, answer: _Answer, headers: Mapping[str, str]) -> Response:
        body = self._answers.get(answer.key, lambda: _encode(answer.make()))
        sent = {**headers, "vary": "accept-encoding"}
        if len(body) > COMPRESSED_FROM_BYTES and _accepts_gzip(request):
            plain = body
            body = self._answers.get((answer.key, "gzip"), lambda: gzip.compress(plain, _GZIP_LEVEL, mtime=0))
            sent["content-encoding"] = "gzip"
        return Response(body, headers=sent, media_type="application/json")


def refused(refusal: Refusal, headers: Mapping[str, str]) -> Response:
    return Response(refusal.body, refusal.status, {**headers, **refusal.headers}, media_type="application/json")


def _event_id(request: Request) -> uuid.UUID:
    text = request.path_params["event_id"]
    try:
        event_id = uuid.UUID(text)
    except ValueError as error:
        raise Refusal(errors.BAD_EVENT_ID, f"{text!r} is no UUID") from error
    if str(event_id) != text.lower():  # a UUID in braces or without hyphens
        raise Refusal(errors.BAD_EVENT_ID, f"{text!r} is no UUID")
    return event_id


def _accepts_gzip(request: Request) -> bool:
    offers = (offer.replace(" ", "") for offer in request.headers.get("accept-encoding", "").split(","))
    return any(offer.partition(";")[0] == "gzip" and not offer.endswith((";q=0", ";q=0.0")) for offer in offers)


def _names() -> dict[str, tuple[str, ...]]:
    """What a path may call an event, and the record types that it may mean: names, aliases, products, unlisted types.

    Products are there since `links.self` may carry one; several types may share it.
    """
    names: dict[str, tuple[str, ...]] = {}
    for each in TYPES:
        names[each.product] = (*names.get(each.product, ()), each.name)
    for each in TYPES:
        names |= {edge.child: (edge.child,) for edge in each.children}
    for each in TYPES:
        names |= dict.fromkeys((each.name, *each.aliases), (each.name,))
    return names
