"""The last tree of each session without its records, for its page and for detail records that are listed again.

A tree is written only when something changed, so a stored one may be older than the last poll, and is still right.
"""

import zlib
from decimal import Decimal

from msgspec import Struct
from msgspec.json import decode, encode

from exporter.core.model import Session
from exporter.core.money import amount_text
from exporter.ledger.database import Connection


class StoredNode(Struct, frozen=True):
    """One event of a tree; an amount is None where the API had none."""

    id: str
    parent: int
    """Index of the event above it; -1 at the root."""
    record_type: str
    cost: Decimal | None
    cumulative: Decimal | None
    currency: str


def write_tree(connection: Connection, session: int, tree: Session) -> None:
    """Store the tree in place of the one before."""
    nodes = []
    for event in tree.events:
        cost = None if event.cost is None else amount_text(event.cost)
        cumulative = None if event.cumulative is None else amount_text(event.cumulative)
        nodes.append((event.id, event.parent, event.record_type, cost, cumulative, event.currency))
    connection.write(
        "INSERT INTO trees (session, body) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET body = excluded.body",
        (session, zlib.compress(encode(nodes), 1)),
    )


def read_tree(connection: Connection, session: int) -> tuple[StoredNode, ...]:
    """Return the nodes, root first; none if the session never had a tree."""
    row = connection.execute("SELECT body FROM trees WHERE session = ?", (session,)).fetchone()
    nodes = []
    for event_id, parent, record_type, own, cumulative, currency in decode(zlib.decompress(row[0])) if row else ():
        amounts = None if own is None else Decimal(own), None if cumulative is None else Decimal(cumulative)
        nodes.append(StoredNode(event_id, parent, record_type, *amounts, currency))
    return tuple(nodes)
