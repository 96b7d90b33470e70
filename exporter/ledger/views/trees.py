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
    nodes = encode(
        [
            (event.id, event.parent, event.record_type, _text(event.cost), _text(event.cumulative), event.currency)
            for event in tree.events
        ]
    )
    connection.write(
        "INSERT INTO trees (session, body) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET body = excluded.body",
        (session, zlib.compress(nodes, 1)),
    )


def read_tree(connection: Connection, session: int) -> tuple[StoredNode, ...]:
    """Return the nodes, root first; none if the session never had a tree."""
    row = connection.execute("SELECT body FROM trees WHERE session = ?", (session,)).fetchone()
    return () if row is None else tuple(map(_node, decode(zlib.decompress(row[0]))))


def _node(written: list[str]) -> StoredNode:
    event_id, parent, record_type, cost, cumulative, currency = written
    return StoredNode(event_id, int(parent), record_type, _amount(cost), _amount(cumulative), currency)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else amount_text(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
