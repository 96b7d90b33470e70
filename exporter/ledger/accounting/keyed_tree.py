"""A session's tree as booking needs it: each distinct event under its key."""

from msgspec import Struct

from exporter.core.model import Event, EventAttributes, Poll, Session, SessionAttributes
from exporter.ledger.queue.event_keys import event_key

Events = dict[bytes, tuple[Event, EventAttributes]]


class KeyedTree(Struct, frozen=True):
    """What one poll has read of a session."""

    session: Session
    attributes: SessionAttributes
    root: bytes
    """The key of the root event, which is not among the events if it has no id."""
    events: Events
    """The distinct events by key, in the order of the tree. The first of several nodes of one event counts."""


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
