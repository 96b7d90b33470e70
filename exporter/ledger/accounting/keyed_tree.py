"""A session's tree as booking needs it: each distinct event under its key."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.attributes import ASSISTANTS
from exporter.core.model import Event, EventAttributes, Poll, Session, SessionAttributes
from exporter.core.money import ZERO
from exporter.ledger.queue.event_keys import event_key

_VOICES = frozenset({"text-to-speech", "speech-to-text"})
"""Of a conversation, too, though they stand beside its assistant."""

Events = dict[bytes, tuple[Event, EventAttributes]]


class KeyedTree(Struct, frozen=True):
    """What one poll has read of a session."""

    session: Session
    attributes: SessionAttributes
    root: bytes
    """The key of the root event, which is not among the events if it has no id."""
    events: Events
    """The distinct events by key, in the order of the tree.

    Of several nodes of one event the dearest counts, so the booked cost doesn't hang on the order of the answer.
    """
    seed: str
    """That of the account, with which the keys are made."""
    further_twins: Mapping[bytes, int]
    """The highest ordinal of each key that has twins, by the key of the ordinal 0."""
    free_repeats: Mapping[bytes, list[tuple[Event, EventAttributes]]]
    """Further nodes that are free, and below the same parent as the first: no sum says whether they are twins."""
    twins: Mapping[bytes, tuple[int, list[bytes]]] = {}
    """The highest ordinal, and the keys of those that are shown, by the key of the ordinal 0; once they are matched."""
    repeats: Events = {}
    """Booked twins that the API had listed by mistake: they cost nothing, and count as shown."""


def keyed_tree(poll: Poll, seed: str) -> KeyedTree | None:
    """Return the tree of a poll; None if it has none. `seed` is the account's, see `account_seeds`."""
    if poll.session is None or poll.session_attributes is None:
        return None
    events: Events = {}
    further_twins: dict[bytes, int] = {}
    free_repeats: dict[bytes, list[tuple[Event, EventAttributes]]] = {}
    for event, attributes in zip(poll.session.events, poll.attributes, strict=True):
        if event.id:
            key = event_key(seed, event)
            known, _ = events.setdefault(key, (event, attributes))
            if known is not event and _is_dearer(event, known):
                events[key] = event, attributes
            elif known is not event and event.cost == known.cost == ZERO and event.parent == known.parent:
                free_repeats.setdefault(key, []).append((event, attributes))
            if event.ordinal:
                first = twin_key(seed, event, 0)
                further_twins[first] = max(event.ordinal, further_twins.get(first, 0))
    root = event_key(seed, poll.session.events[0])
    return KeyedTree(poll.session, poll.session_attributes, root, events, seed, further_twins, free_repeats)


def _is_dearer(event: Event, other: Event) -> bool:
    return event.cost is not None and (other.cost is None or event.cost > other.cost)


def twin_key(seed: str, event: Event, ordinal: int) -> bytes:
    """Return the key of the event's twin with this ordinal."""
    return event_key(seed, replace(event, ordinal=ordinal))


# Example: a call of 0.05 USD with an assistant. Its cost.total is 0.05, and every stated sum fits.
#
#     call-session          0
#       call-control        0
#         ai-voice-assistant  0.05
#           inference         none     bundled: the assistant's price covers it
#         text-to-speech      none     bundled: a voice of the conversation
#       recording           none     not bundled: a recording has a price of its own, so it is late or missing


def bundled_events(tree: KeyedTree) -> set[bytes]:
    """Return the unpriced events of an AI conversation whose priced events are all that the API bills for it."""
    events = tree.session.events
    if not tree.session.adds_up or all(event.record_type not in ASSISTANTS for event in events):
        return set()

    def in_conversation(event: Event) -> bool:
        if event.record_type in _VOICES:
            return True
        while event.parent >= 0:
            event = events[event.parent]
            if event.record_type in ASSISTANTS:
                return True
        return False

    return {key for key, (event, _) in tree.events.items() if event.cost is None and in_conversation(event)}
