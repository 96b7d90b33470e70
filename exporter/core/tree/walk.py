"""Nodes -> a flat list in pre-order, with what the roll-up and the accounting need of each.

Owns the limits of depth and size, and the canonical naming of nodes. Walks with a list, not by recursion, so that a
deep tree is an error of that tree and never of the process.
"""

import re
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.core.errors import TreeError
from exporter.core.model import UNKNOWN
from exporter.core.money import read_amount
from exporter.core.record_types import RecordTypes
from exporter.core.tree.decode import NodeCost, ResponseNode

ID_MAX = 500
"""Longest id that is booked; Telnyx's are UUIDs, and an id is kept with every event."""

NAME_MAX = 100
"""Longest product, event name or currency that is believed."""

CALL_SESSION = "call-session"

_UNPRICED = NodeCost()
_SURROGATE = re.compile("[\ud800-\udfff]")


class TreeLimits(Struct, frozen=True):
    """Bounds of one session; reaching one fails that poll or leaves a cut unresolved."""

    max_nodes: int = 20_000
    max_subtree_requests: int = 200
    max_levels: int = 64

    def check(self, nodes: int, depth: int = 0) -> None:
        if depth > self.max_levels:
            raise TreeError("too_deep", f"the tree is deeper than tree.max_levels ({self.max_levels})")
        if nodes > self.max_nodes:
            raise TreeError("too_many_nodes", f"the tree has more nodes than tree.max_nodes ({self.max_nodes})")


class Flat(Struct, frozen=True, gc=False):
    """One node of the flat tree."""

    node: ResponseNode[Any]
    product: str
    event_name: str
    id: str
    record_type: str
    parent: int
    depth: int
    cost: Decimal | None
    cumulative: Decimal | None
    currency: str
    edge_rolls_up: bool
    """The metadata says that the parent's cumulative cost includes this node's."""
    rolled_up: bool
    """Every edge up to the root rolls up."""
    key: tuple[str, str, str]
    """As `identity`."""


def identity(record_type: str, product: str, event_name: str, id: str) -> tuple[str, str, str]:  # noqa: A002  # API's word
    """What makes an event the same in every tree: its product, event name and id.

    Except for a `call-session`: it has no product of its own and borrows that of a leg, so it and the leg may state
    the same three. Then the leg would be the first of its name on its own root and the second below the session's,
    and be booked twice. Its record type therefore stands where its product would.
    """
    return (CALL_SESSION if record_type == CALL_SESSION else product, event_name, id)


def flatten(root: ResponseNode[Any], record_types: RecordTypes, limits: TreeLimits) -> list[Flat]:
    """All nodes below `root`, parents before children; `parent` is an index into the list, -1 at the root."""
    rows: list[Flat] = []
    waiting = [(root, -1)]
    while waiting:
        node, parent = waiting.pop()
        row = _flat(node, parent, rows[parent] if parent >= 0 else None, record_types)
        limits.check(len(rows) + 1, row.depth)
        if node.children:
            place = len(rows)
            waiting += [(child, place) for child in reversed(node.children)]
        rows.append(row)
    return rows


def _flat(node: ResponseNode[Any], parent: int, above: Flat | None, record_types: RecordTypes) -> Flat:
    cost = node.cost or _UNPRICED
    product, event_name, identifier = _name(node.product), _name(node.event_name), _identifier(node.id)
    record_type = record_types.canonical(product, event_name, _link(node))
    edge_rolls_up = above is None or record_types.rolls_up(above.record_type, record_type)
    return Flat(  # by place: it is made for each event of each poll, and keywords cost as much as all the rest
        node,
        product,
        event_name,
        identifier,
        record_type,
        parent,
        1 if above is None else above.depth + 1,
        read_amount(cost.event_cost),
        read_amount(cost.cumulative_cost),
        _name(cost.currency) or UNKNOWN,
        edge_rolls_up,
        edge_rolls_up and (above is None or above.rolled_up),
        identity(record_type, product, event_name, identifier),
    )


def _name(value: object) -> str:
    return value if isinstance(value, str) and _is_text(value, NAME_MAX) else ""


def _identifier(value: object) -> str:
    """The id as text; empty if there is none that could be booked."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _is_text(value, ID_MAX) else ""


def _is_text(value: str, longest: int) -> bool:
    """Not too long, and without half a surrogate pair, which neither a ledger nor an exposition can hold."""
    return len(value) <= longest and (value.isascii() or not _SURROGATE.search(value))


def _link(node: ResponseNode[Any]) -> str | None:
    link = node.links.own if node.links is not None else None
    return link if isinstance(link, str) else None
