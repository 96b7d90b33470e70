"""What became of a bill after its first price: each change of an event's cost, the newest kept longest.

Owns the writing of that table, within the caller's transaction; it is no part of the accounting.
"""

from decimal import Decimal

from exporter.core.model import Event
from exporter.core.money import amount_text
from exporter.ledger.database import Connection

AMENDMENTS_KEPT = 100
"""Amendments kept per session; a bill that moves more often is one to look at from its newest end."""


def record_amendment(connection: Connection, session: int, at: float, event: Event, before: Decimal) -> None:
    """The event's cost was `before` until now."""
    texts = [amount_text(amount) if amount is not None else None for amount in (before, event.cost)]
    connection.write(
        "INSERT INTO amendments (session, at, record_type, event_id, before, after, currency)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session, at, event.record_type, event.id, *texts, event.currency),
    )
    connection.write(
        "DELETE FROM amendments WHERE session = ? AND id <="
        " (SELECT id FROM amendments WHERE session = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (session, session, AMENDMENTS_KEPT),
    )
