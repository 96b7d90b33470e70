"""The tree below an event at a given time, as the API returns it.

A tree that is cut at `max_depth` is not marked: the last node has no children, while its cumulative cost and the event
count are still those of the whole. An unpriced event adds nothing to any sum, and amounts in two currencies are added
up as if they were in one.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.core.money import ZERO, add
from exporter.core.record_types import Relationship
from simulator.events import TYPES, SimulatedEvent, SimulatedSession, Step, UnpricedAs
from simulator.record_shapes import amount_text

BASE_PATH = "/v2"

LINKED_BY_PRODUCT = frozenset({"recording", "webrtc"})
"""Types whose `links.self` carries the product, as in Telnyx's own example; the others' the record type."""


class View(Struct, frozen=True):
    """The part of a tree that a request asks for."""

    max_depth: int = 2
    expand: bool = True
    include_children: bool = True

    @property
    def levels(self) -> int:
        return self.max_depth if self.include_children else 1


def tree(session: SimulatedSession, root: int, now: float, view: View) -> dict[str, Any]:
    """Return the answer for an event that exists at `now`."""
    at_time = _TreeAtTime(session, now)
    at_time.sum_costs(root)
    event = session.events[root]
    return {
        "session_id": event.id,
        "cost": {"total": format(at_time.billed[root].cumulative, "f"), "currency": session.currency},
        "root": at_time.node(root, None, view.levels, view),
        "meta": {
            "event_count": len(at_time.billed),
            "products": list(dict.fromkeys(session.events[index].product for index in at_time.billed)),
        },
    }


class _Billed(Struct):
    step: Step
    cumulative: Decimal


class _TreeAtTime:
    """A session at one time: the costs at and below each existing event, by index in pre-order."""

    def __init__(self, session: SimulatedSession, now: float) -> None:
        self._session = session
        self._now = now
        self.billed: dict[int, _Billed] = {}

    def sum_costs(self, index: int) -> None:
        event = self._session.events[index]
        step = event.step_at(self._now)
        if step is None:
            return
        billed = self.billed[index] = _Billed(step, ZERO if step.cost is None else step.cost)
        for child in self._session.children[index]:
            self.sum_costs(child)
            below = self.billed.get(child)
            if below and TYPES.rolls_up(event.record_type, self._session.events[child].record_type):
                billed.cumulative = add(billed.cumulative, below.cumulative)

    def node(self, index: int, parent: int | None, levels: int, view: View) -> dict[str, Any]:
        event = self._session.events[index]
        billed = self.billed[index]
        word = event.product if event.record_type in LINKED_BY_PRODUCT else event.record_type
        existing = [child for child in self._session.children[index] if child in self.billed] if levels > 1 else ()
        return {
            "id": event.id,
            "product": event.product,
            "event_name": event.event_name,
            "relationship": None if parent is None else self._relationship(index, parent),
            "cost": _cost(event, billed),
            "links": {
                "self": f"{BASE_PATH}/session_analysis/{word}/{event.id}",
                "records": f"{BASE_PATH}/detail_records?record_type={event.record_type}&id={event.id}",
            },
            "record": event.record_at(billed.step) if view.expand else {},
            "children": [self.node(child, index, levels - 1, view) for child in existing],
        }

    def _relationship(self, index: int, parent: int) -> dict[str, Any]:
        above, below = self._session.events[parent], self._session.events[index]
        edge = _edge(above.record_type, below.record_type)
        return {
            "type": edge.relationship_type,
            "via": {"local_field": edge.local_field, "parent_field": edge.parent_field},
            "parent_id": above.id,
        }


def _cost(event: SimulatedEvent, billed: _Billed) -> dict[str, Any] | None:
    cumulative = amount_text(event.record_type, billed.cumulative)
    sums = {"cumulative_cost": cumulative, "currency": billed.step.currency}
    if billed.step.cost is None:
        return _UNPRICED[event.unpriced_as](sums)
    return {"event_cost": amount_text(event.record_type, billed.step.cost), **sums}


_UNPRICED: Mapping[UnpricedAs, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "null": lambda sums: {"event_cost": None, **sums},
    "missing": lambda sums: sums,
    "text": lambda sums: {"event_cost": "pending", **sums},
    "no cost": lambda _: None,
}

_BY_CONVERSATION = Relationship("", "child_of", "conversation_id", "conversation_id", True, True, "")


def _edge(parent: str, child: str) -> Relationship:
    """Return the documented relationship; undocumented ones are those of AI products, which link by conversation."""
    known = TYPES.get(parent)
    edges = (edge for edge in known.children if edge.child == child) if known else iter(())
    return next(edges, _BY_CONVERSATION)
