"""The two metadata answers of the simulated API.

They contain more than Telnyx's guide: only they have the flags and fields of relationships.
"""

from collections.abc import Iterator
from typing import Any

from exporter.core.record_types import RecordType, Relationship
from simulator.events import TYPES, naming
from simulator.tree import BASE_PATH

LAST_UPDATED = "2026-03-01T00:00:00Z"

_DEPTH_MAX = 5


def overview() -> dict[str, Any]:
    """Return the answer of GET /session_analysis/metadata."""
    types = [_described(each) | {"description": each.description} for each in TYPES]
    return {
        "record_types": types,
        "query_parameters": {
            "include_children": _parameter("boolean", "true", "Whether to include child events."),
            "max_depth": _parameter("integer", "2", "How many levels of the tree.", min=1, max=_DEPTH_MAX),
            "expand": _parameter("string", "record", "What to show of each event.", enum_values=["record", "none"]),
            "date_time": _parameter("string", "", "ISO 8601 date or date-time of the session."),
        },
        "meta": {"total_record_types": len(types), "last_updated": LAST_UPDATED},
    }


def details(record_type: RecordType) -> dict[str, Any]:
    """Return the answer of GET /session_analysis/metadata/{record_type}."""
    parents = list(_parents(record_type.name))
    siblings = {edge.child for parent, _ in parents for edge in parent.children} - {record_type.name}
    path = f"{BASE_PATH}/session_analysis/{record_type.name}"
    return _described(record_type) | {
        "examples": {"queries": [f"GET {path}/{{event_id}}?max_depth={_DEPTH_MAX}"]},
        "meta": {
            "total_children": len(record_type.children),
            "total_siblings": len(siblings),
            "total_parents": len(parents),
            "max_recommended_depth": _depth(record_type.name, _DEPTH_MAX),
        },
    }


def _described(each: RecordType) -> dict[str, Any]:
    return {
        "record_type": each.name,
        "aliases": each.aliases,
        "product": each.product,
        "event": each.event,
        "child_relationships": [_relationship(edge, "child", edge.child) for edge in each.children],
        "parent_relationships": [_relationship(edge, "parent", above.name) for above, edge in _parents(each.name)],
    }


def _relationship(edge: Relationship, side: str, record_type: str) -> dict[str, Any]:
    product, event = naming(record_type)
    return {
        "relationship_type": edge.relationship_type if side == "child" else "parent_of",
        "via": {"local_field": edge.local_field, "parent_field": edge.parent_field},
        "cost_rollup": edge.cost_rollup,
        "traversal_enabled": edge.traversal_enabled,
        "description": edge.description,
        f"{side}_product": product,
        f"{side}_event": event,
        f"{side}_record_type": record_type,
    }


def _parents(name: str) -> Iterator[tuple[RecordType, Relationship]]:
    return ((above, edge) for above in TYPES for edge in above.children if edge.child == name)


def _depth(name: str, at_most: int) -> int:
    """Return the levels down to the deepest leaf; bounded, since an assistant can be below an assistant."""
    known = TYPES.get(name)
    if at_most == 1 or known is None:
        return 1
    return 1 + max((_depth(edge.child, at_most - 1) for edge in known.children if edge.traversal_enabled), default=0)


def _parameter(kind: str, default: str, description: str, **bounds: object) -> dict[str, Any]:
    absent = {"enum_values": None, "min": None, "max": None}
    return {"type": kind, "default": default, "description": description, **absent, **bounds}
