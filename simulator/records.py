"""Detail records: the names of record types in `/detail_records`, and their fields.

The list has its own names: a message is `messaging` there and `message` in Session Analysis.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from simulator.events import SimulatedEvent, SimulatedSession
from simulator.record_shapes import fields_of
from simulator.tariffs import TARIFFS

CALL_SESSION = "call-session"


class Listable(Struct, frozen=True):
    """A record type of which there are detail records."""

    name: str
    """Its name in the list."""
    record_type: str
    """Its name everywhere else."""
    times: tuple[str, ...]
    """Its fields of time: when the event began first, then when it ended, if the record says it."""
    fields: frozenset[str] | None
    """None: nobody has witnessed them."""

    def has(self, field: str) -> bool:
        """Return whether records of this type may have the field."""
        return field in self.times or (field in self.fields if self.fields else not field.endswith(("_at", "_time")))

    def times_of(self, event: SimulatedEvent) -> tuple[float, ...]:
        """Return the event's times as its record says them, NaN for an absent one."""
        said = (event.record.get(field) for field in self.times)
        return tuple(math.nan if text is None else datetime.fromisoformat(str(text)).timestamp() for text in said)


def _listable(name: str, record_type: str | None = None) -> Listable:
    record_type = record_type or name
    fields = fields_of(record_type)
    answered = ("answered_at",) if fields and "answered_at" in fields else ()
    return Listable(name, record_type, TARIFFS[record_type].times + answered, fields)


LISTABLE_TYPES: Mapping[str, Listable] = {
    each.name: each
    for each in (
        _listable("ai-voice-assistant"),
        _listable("amd"),
        _listable("call-control"),
        _listable("conference"),
        _listable("conference-participant"),
        _listable("embedding"),
        _listable("fax", "fax-api"),
        _listable("inference"),
        _listable("inference-speech-to-text"),
        _listable("media_storage"),
        _listable("media-streaming"),
        _listable("messaging", "message"),
        _listable("noise-suppression"),
        _listable("recording"),
        _listable("sip-trunking"),
        _listable("siprec-client"),
        _listable("stt", "speech-to-text"),
        _listable("tts", "text-to-speech"),
        _listable("verify"),
        _listable("webrtc"),
        _listable("wireless", "sim_card_usage"),
    )
}
"""By the name in the list. A call-session has no record of its own; the records of its events name it."""

BY_RECORD_TYPE = {each.record_type: each for each in LISTABLE_TYPES.values()}


def referenced_sessions(session: SimulatedSession) -> Iterator[tuple[str, str]]:
    """Yield record type and id of the sessions that the events' detail records refer to.

    A record that names a call refers to the call; any other to its own event.
    """
    for event in session.events:
        if event.record_type in BY_RECORD_TYPE:
            call = event.record.get("call_session_id") or event.record.get("telnyx_session_id")
            yield (event.record_type, event.id) if call is None else (CALL_SESSION, str(call))
