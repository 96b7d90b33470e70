"""The last tree of each session, kept without its records, for whoever asks what a session was when it was last seen.

Owns the form in which it is kept, within the caller's transaction. The surprising fact: it is rewritten only when
something changed, so it is as old as the session's last change, and still true.
"""

import zlib
from decimal import Decimal

from msgspec import Struct
from msgspec.json import decode, encode

from exporter.core.model import Event, Session
from exporter.core.money import amount_text
from exporter.ledger.database import Connection


class StoredNode(Struct, frozen=True):
    """One event of a tree; amounts are None where the API said none."""

    id: str
    parent: int
    """Place of the event above it; -1 at the root."""
    record_type: str
    cost: Decimal | None
    cumulative: Decimal | None
    currency: str


def write_tree(connection: Connection, session: int, tree: Session) -> None:
    """Keep the tree in place of the one before."""
    nodes = encode([_written(event) for event in tree.events])
    connection.write(
        "INSERT INTO trees (session, body) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET body = excluded.body",
        (session, zlib.compress(nodes, 1)),
    )


def read_tree(connection: Connection, session: int) -> tuple[StoredNode, ...]:
    """Root first; empty if none was seen."""
    row = connection.execute("SELECT body FROM trees WHERE session = ?", (session,)).fetchone()
    return () if row is None else tuple(map(_node, decode(zlib.decompress(row[0]))))


def _written(event: Event) -> tuple[str | int | None, ...]:
    amounts = (_text(event.cost), _text(event.cumulative))
    return (event.id, event.parent, event.record_type, *amounts, event.currency)


def _node(written: list[str]) -> StoredNode:
    event_id, parent, record_type, cost, cumulative, currency = written
    return StoredNode(event_id, int(parent), record_type, _amount(cost), _amount(cumulative), currency)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else amount_text(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
