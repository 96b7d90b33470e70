"""The three Session Analysis endpoints of the simulated API.

Owns what is wrong with a request for a tree, and which answers are the same. Knows sessions only through the world.
The surprising fact: an answer depends on time only through the number of bill steps made so far, so that between two
steps every poll of a session is one look-up.
"""

import uuid

from starlette.requests import Request
from starlette.routing import Route

from simulator import errors, metadata, query
from simulator.errors import Refusal
from simulator.events import TYPES
from simulator.gate import ApiAnswer, Gate
from simulator.tree import BASE_PATH, tree
from simulator.world import World


class SessionAnalysis:
    """The endpoints over one world."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world = world
        self._gate = gate
        self._record_types = _names()

    def routes(self) -> list[Route]:
        path = f"{BASE_PATH}/session_analysis"
        guarded = self._gate.guarded
        return [
            Route(f"{path}/metadata", guarded(self._metadata)),
            Route(f"{path}/metadata/{{record_type}}", guarded(self._type_metadata)),
            Route(f"{path}/{{record_type}}/{{event_id}}", guarded(self._session)),
        ]

    def _metadata(self, _: Request) -> ApiAnswer:
        return ApiAnswer("metadata", metadata.overview)

    def _type_metadata(self, request: Request) -> ApiAnswer:
        known = TYPES.get(request.path_params["record_type"])
        if known is None:
            raise Refusal(errors.NOT_FOUND, "no such record type")
        return ApiAnswer(("metadata", known.name), lambda: metadata.details(known))

    def _session(self, request: Request) -> ApiAnswer:
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
        return ApiAnswer(key, lambda: tree(session, index, now, asked.view))


def _event_id(request: Request) -> uuid.UUID:
    text = request.path_params["event_id"]
    try:
        event_id = uuid.UUID(text)
    except ValueError as error:
        raise Refusal(errors.BAD_EVENT_ID, f"{text!r} is no UUID") from error
    if str(event_id) != text.lower():  # a UUID in braces or without hyphens
        raise Refusal(errors.BAD_EVENT_ID, f"{text!r} is no UUID")
    return event_id


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
