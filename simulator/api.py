"""The three Session Analysis endpoints of the simulated API.

An answer changes only when a step of a bill is reached, so between two steps every poll of a session is answered from
the cache.
"""

import uuid
from functools import partial

from starlette.requests import Request
from starlette.routing import Route

from simulator import errors, metadata, query
from simulator.errors import ApiError
from simulator.events import TYPES
from simulator.gateway import ApiAnswer, ApiGateway
from simulator.settings import SimulatorSettings
from simulator.tree import BASE_PATH, tree
from simulator.world import World


class SessionAnalysis:
    """The endpoints over one world."""

    def __init__(self, world: World, gateway: ApiGateway, settings: SimulatorSettings) -> None:
        self._world = world
        self._gateway = gateway
        self._record_types = _names()
        self._too_early = errors.CONFLICT if settings.api.tree_too_early == errors.CONFLICT.status else errors.NOT_FOUND

    def routes(self) -> list[Route]:
        path = f"{BASE_PATH}/session_analysis"
        protected = partial(self._gateway.protected, with_title=False)
        return [
            Route(f"{path}/metadata", protected("metadata", self._metadata)),
            Route(f"{path}/metadata/{{record_type}}", protected("metadata", self._type_metadata)),
            Route(f"{path}/{{record_type}}/{{event_id}}", protected("session", self._session)),
        ]

    def _metadata(self, _: Request) -> ApiAnswer:
        return ApiAnswer("metadata", metadata.overview)

    def _type_metadata(self, request: Request) -> ApiAnswer:
        known = TYPES.get(request.path_params["record_type"])
        if known is None:
            raise ApiError(errors.NOT_FOUND, "no such record type")
        return ApiAnswer(("metadata", known.name), lambda: metadata.details(known))

    def _session(self, request: Request) -> ApiAnswer:
        asked = query.read(request.query_params.multi_items())
        word = request.path_params["record_type"]
        record_types = self._record_types.get(word)
        if record_types is None:
            raise ApiError(errors.BAD_RECORD_TYPE, f"{word!r} is no record type")
        found = self._world.find(record_types, _event_id(request))
        if found is None:
            early = self._world.expect(record_types, _event_id(request)) is not None
            raise ApiError(self._too_early if early else errors.NOT_FOUND, "no such event")
        session, index, now = found.session, found.index, found.now
        query.check_day(asked, session.begun)
        event = session.events[index]
        key = (event.record_type, event.id, session.version(index, now), asked.view)
        return ApiAnswer(key, lambda: tree(session, index, now, asked.view))


def _event_id(request: Request) -> uuid.UUID:
    text = request.path_params["event_id"]
    try:
        event_id = uuid.UUID(text)
    except ValueError as error:
        raise ApiError(errors.BAD_EVENT_ID, f"{text!r} is no UUID") from error
    if str(event_id) != text.lower():  # a UUID in braces or without hyphens
        raise ApiError(errors.BAD_EVENT_ID, f"{text!r} is no UUID")
    return event_id


def _names() -> dict[str, tuple[str, ...]]:
    """Return the record types that each name in a path may mean: names, aliases, products and unlisted types.

    Products are included because `links.self` may contain one; several types may share a product.
    """
    names: dict[str, tuple[str, ...]] = {}
    for each in TYPES:
        names[each.product] = (*names.get(each.product, ()), each.name)
    for each in TYPES:
        names |= {edge.child: (edge.child,) for edge in each.children}
    for each in TYPES:
        names |= dict.fromkeys((each.name, *each.aliases), (each.name,))
    return names
