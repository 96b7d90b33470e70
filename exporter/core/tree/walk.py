"""Flatten a tree of nodes into rows, parents before children.

Reads each node's identity and amounts, names its record type, and enforces the limits of depth and size.
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
"""Longest id that is booked. Telnyx's ids are UUIDs; the ledger keeps the id with every event."""

NAME_MAX = 100
"""Longest product, event name or currency that is accepted."""

CALL_SESSION = "call-session"

_UNPRICED = NodeCost()
_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGIT = re.compile("[0-9]")

Requested = tuple[str, str]
"""The record type and the event id of a request."""


class TreeLimits(Struct, frozen=True):
    """Limits on one session: `max_nodes` and `max_levels` fail the poll.

    A poll sends at most `max_subtree_requests`; the next one continues with the cuts that are left.
    """

    max_nodes: int = 20_000
    max_subtree_requests: int = 200
    max_levels: int = 64

    def check(self, nodes: int, depth: int = 0) -> None:
        """Raise TreeError if a tree of this many nodes or levels is over a limit."""
        if depth > self.max_levels:
            raise TreeError("too_deep", f"the tree is deeper than tree.max_levels ({self.max_levels})")
        if nodes > self.max_nodes:
            raise TreeError("too_many_nodes", f"the tree has more nodes than tree.max_nodes ({self.max_nodes})")


class Flat(Struct, frozen=True, gc=False):
    """One node of the flattened tree."""

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
    """By the metadata, the parent's cumulative cost includes this node's."""
    rolled_up: bool
    """Every edge from here to the root rolls up."""
    key: tuple[str, str, str]
    """As returned by `identity`."""

    @property
    def link(self) -> str | None:
        """The path at which the API has the node."""
        link = self.node.links.own if self.node.links is not None else None
        return link if isinstance(link, str) else None

    @property
    def cost_is_unreadable(self) -> bool:
        """The API states a cost, and it is no amount. A text without a digit, such as `pending`, states none."""
        stated = None if self.node.cost is None else self.node.cost.event_cost
        return self.cost is None and stated is not None and (type(stated) is not str or bool(_DIGIT.search(stated)))


def identity(record_type: str, product: str, event_name: str, id: str) -> tuple[str, str, str]:  # noqa: A002  # API's word
    """Return the key of an event, the same in every tree that shows it: product, event name and id.

    For a `call-session` the record type replaces both names. A call session has no product of its own and states that
    of one of its legs, which may be another leg in another answer. The leg may even have the same id. It would then be
    the first event of its key in its own tree and the second one in the session's tree, and its cost would be booked
    twice.
    """
    return (CALL_SESSION, CALL_SESSION, id) if record_type == CALL_SESSION else (product, event_name, id)


def flatten(
    root: ResponseNode[Any], record_types: RecordTypes, limits: TreeLimits, requested: Requested | None = None
) -> list[Flat]:
    """Return all nodes from `root` down in pre-order; `parent` is an index into this list, -1 at the root.

    The root of the answer to a request has the record type that was requested. Its link states it too, in a form that
    varies, and the key of a call session depends on it.

    Raises TreeError if the tree is too deep or too large. A stack replaces recursion, so that a deep tree fails its own
    poll and doesn't hit Python's recursion limit.
    """
    rows: list[Flat] = []
    waiting = [(root, -1)]
    while waiting:
        node, parent = waiting.pop()
        above = rows[parent] if parent >= 0 else None
        cost = node.cost or _UNPRICED
        product, event_name, identifier = _name(node.product), _name(node.event_name), _identifier(node.id)
        link = node.links.own if node.links is not None else None
        record_type = record_types.canonical(product, event_name, link if isinstance(link, str) else None)
        if above is None and requested is not None and identifier == requested[1]:
            known = record_types.get(requested[0])
            record_type = record_type if known is None else known.name
        edge_rolls_up = above is None or record_types.rolls_up(above.record_type, record_type)
        depth = 1 if above is None else above.depth + 1
        limits.check(len(rows) + 1, depth)
        if node.children:
            index = len(rows)
            waiting += [(child, index) for child in reversed(node.children)]
        rows.append(
            Flat(  # positional: this runs for every event of every poll, and keywords would double its time
                node,
                product,
                event_name,
                identifier,
                record_type,
                parent,
                depth,
                read_amount(cost.event_cost),
                read_amount(cost.cumulative_cost),
                _name(cost.currency) or UNKNOWN,
                edge_rolls_up,
                edge_rolls_up and (above is None or above.rolled_up),
                identity(record_type, product, event_name, identifier),
            )
        )
    return rows


def _name(value: object) -> str:
    return value if isinstance(value, str) and _is_text(value, NAME_MAX) else ""


def _identifier(value: object) -> str:
    """Return the id as text, or an empty text if it can't be booked."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _is_text(value, ID_MAX) else ""


def _is_text(value: str, longest: int) -> bool:
    # Half a surrogate pair fits neither into a database nor onto a page.
    return len(value) <= longest and (value.isascii() or not _SURROGATE.search(value))
