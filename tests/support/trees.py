"""Build answers of the Session Analysis API for tests by hand, without the simulator."""

import json
from collections.abc import Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

from exporter.core.model import Session, SessionRef
from exporter.core.record_types import RecordTypes
from exporter.core.tree import Subtree, TreeLimits, TreeReader

RECORD_TYPES = RecordTypes.documented()
REF = SessionRef("main", "call-session", "root")


def node(
    name: str, cost: object, *children: dict[str, Any], cumulative: object = None, **fields: Any
) -> dict[str, Any]:
    """Return a node such as `call-control:c1`; its cumulative cost is rolled up from the children unless given."""
    record_type, _, event_id = name.partition(":")
    known = RECORD_TYPES.get(record_type)
    product, event = (known.product, known.event) if known is not None else (record_type, record_type)
    if cumulative is None:
        below = [Decimal(c["cost"]["cumulative_cost"]) for c in children if RECORD_TYPES.rolls_up(record_type, kind(c))]
        cumulative = str(sum(below, Decimal(str(cost or 0))))
    return {
        "id": event_id,
        "product": product,
        "event_name": event,
        "relationship": None,
        "cost": {"event_cost": cost, "cumulative_cost": cumulative, "currency": "USD"},
        "links": {"self": f"/v2/session_analysis/{record_type}/{event_id}", "records": ""},
        "record": {},
        "children": list(children),
    } | fields


def kind(tree: dict[str, Any]) -> str:
    return str(tree["links"]["self"].split("/")[3])


def count(tree: dict[str, Any]) -> int:
    return 1 + sum(map(count, tree["children"]))


def answer(root: dict[str, Any], *, total: object = None, event_count: int | None = None) -> dict[str, Any]:
    return {
        "session_id": "s",
        "cost": {"total": root["cost"]["cumulative_cost"] if total is None else total, "currency": "USD"},
        "root": root,
        "meta": {"event_count": count(root) if event_count is None else event_count, "products": []},
    }


def cut(tree: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return the tree as the API shows it at this depth: nodes at the cut keep their sums, not their children."""
    children = [cut(child, depth - 1) for child in tree["children"]] if depth > 1 else []
    return tree | {"children": children}


def find(tree: dict[str, Any], event_id: str) -> dict[str, Any] | None:
    if tree["id"] == event_id:
        return tree
    found = (find(child, event_id) for child in tree["children"])
    return next((hit for hit in found if hit is not None), None)


def api(tree: dict[str, Any]) -> Callable[[Subtree], bytes | None]:
    """Return a function that answers subtree requests from a complete tree."""

    def ask(subtree: Subtree) -> bytes | None:
        found = find(tree, subtree.event_id)
        return None if found is None else body(answer(cut(found, subtree.max_depth), event_count=count(found)))

    return ask


def body(content: object) -> bytes:
    return json.dumps(content).encode()


def read(
    content: object,
    ask: Callable[[Subtree], bytes | None] = lambda _: None,
    *,
    max_depth: int = 5,
    limits: TreeLimits | None = None,
    fields: tuple[str, ...] = (),
) -> Session:
    """Return the session in an answer; `ask` replaces the API for subtrees that were cut."""
    data = content if isinstance(content, bytes) else body(content)
    stitching: Generator[Subtree, bytes | None, Session] = TreeReader(
        fields, RECORD_TYPES, limits or TreeLimits()
    ).session(REF, data, max_depth)
    try:
        subtree = next(stitching)
        while True:
            subtree = stitching.send(ask(subtree))
    except StopIteration as done:
        session: Session = done.value
        return session


def documented() -> bytes:
    """Return the example of Telnyx's guide: an AI call of 11 events that costs $0.2128."""
    return (Path(__file__).parents[1] / "data" / "documented-example.json").read_bytes()
