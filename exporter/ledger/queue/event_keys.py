"""The keys of events, and the names that they are made with.

A detail record has the record type and the id of its event, but not the product and the event name, which are part of
the key. So the ledger remembers under which names events of each record type were booked.
"""

import hashlib
from collections.abc import Iterable

from exporter.core.model import UNKNOWN, Event
from exporter.core.record_types import INNER, RecordTypes
from exporter.core.tree import identity
from exporter.ledger.database import Connection, Engine

EventName = tuple[str, str, str]
"""Record type, product and event name."""

NAMES_MAX = 100
"""The API may invent names without end."""

_DOCUMENTED = frozenset((each.name, each.product, each.event) for each in RecordTypes.documented())


def event_key(seed: str, event: Event) -> bytes:
    """Return the 16 bytes that identify an event of an account, in however many trees it appears."""
    product, event_name, event_id = identity(event.record_type, event.product, event.event_name, event.id)
    name = f"{seed}\0{product}\0{event_name}\0{event_id}\0{event.ordinal}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def possible_keys(names: Iterable[EventName], seed: str, record_type: str, event_id: str) -> list[bytes]:
    """Return the keys under which the event of a record may be booked, one for each name; of twins the first."""
    return [
        event_key(seed, Event(product, event_name, event_id, 0, record_type, -1, None, None, UNKNOWN, {}))
        for known, product, event_name in names
        if known == record_type
    ]


def all_names(connection: Connection) -> frozenset[EventName]:
    """Return every name under which a writer has booked an event, and the documented ones."""
    found = connection.execute("SELECT record_type, product, event_name FROM event_names").fetchall()
    return _DOCUMENTED.union((record_type, product, event_name) for record_type, product, event_name in found)


class EventNames:
    """The names under which events were booked; the documented ones need no row."""

    def __init__(self, engine: Engine) -> None:
        """Read the names, so that booking an event costs no query."""
        self._engine = engine
        self._known = set(all_names(engine.connection))

    def learn(self, event: Event) -> None:
        """Store the names of an event that is booked for the first time."""
        name = (event.record_type, event.product, event.event_name)
        if name not in self._known and event.record_type in INNER and len(self._known) < NAMES_MAX:
            # Outside the transaction: two writers may learn one name, and neither waits for the other to commit.
            self._engine.side_connection.execute(
                "INSERT INTO event_names VALUES (?, ?, ?) ON CONFLICT DO NOTHING", name
            )
            self._known.add(name)
