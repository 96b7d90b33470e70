"""A session's tree as booking needs it: each distinct event under its key."""

import hashlib

from msgspec import Struct

from exporter.core.model import Event, EventAttributes, Poll, Session, SessionAttributes
from exporter.core.tree import identity

Events = dict[bytes, tuple[Event, EventAttributes]]


class KeyedTree(Struct, frozen=True):
    """What one poll has read of a session."""

    session: Session
    attributes: SessionAttributes
    root: bytes
    """The key of the root event, which is not among the events if it has no id."""
    events: Events
    """The distinct events by key, in the order of the tree. The first of several nodes of one event counts."""


def event_key(seed: str, event: Event) -> bytes:
    """Return the 16 bytes that identify an event of an account, in however many trees it appears."""
    product, event_name, event_id = identity(event.record_type, event.product, event.event_name, event.id)
    name = f"{seed}\0{product}\0{event_name}\0{event_id}\0{event.ordinal}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keyed_tree(poll: Poll, seed: str) -> KeyedTree | None:
    """Return the tree of a poll; None if it has none. `seed` is the account's, see `account_seeds`."""
    if poll.session is None or poll.session_attributes is None:
        return None
    events: Events = {}
    for event, attributes in zip(poll.session.events, poll.attributes, strict=True):
        if event.id:
            events.setdefault(event_key(seed, event), (event, attributes))
    root = event_key(seed, poll.session.events[0])
    return KeyedTree(poll.session, poll.session_attributes, root, events)
