"""Detail records: the names of record types in `/detail_records`, and the record of an event there.

The list has its own names: a message is `messaging` with a `uuid` there, and `message` with an `id` everywhere else.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from simulator.events import SimulatedEvent, SimulatedSession, Step
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
    id_field: str = "id"

    def has(self, field: str) -> bool:
        """Return whether records of this type may have the field."""
        return field in self.times or not field.endswith(("_at", "_time"))

    def times_of(self, event: SimulatedEvent) -> tuple[float, ...]:
        """Return the event's times as its record says them, NaN for an absent one."""
        said = (event.record.get(field) for field in self.times)
        return tuple(math.nan if text is None else datetime.fromisoformat(str(text)).timestamp() for text in said)

    def record(self, event: SimulatedEvent, step: Step) -> dict[str, Any]:
        """Return the detail record of an event at this step of its bill."""
        shown = {name: value for name, value in event.record_at(step).items() if name != "id"}
        return shown | {
            "record_type": self.name,
            self.id_field: event.id,
            "cost": None if step.cost is None else format(step.cost, "f"),
            "currency": step.currency,
        }


def _listable(name: str, record_type: str | None = None, **differs: str) -> Listable:
    record_type = record_type or name
    return Listable(name, record_type, TARIFFS[record_type].times, **differs)


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
        _listable("messaging", "message", id_field="uuid"),
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
            call = event.record.get("call_session_id")
            yield (event.record_type, event.id) if call is None else (CALL_SESSION, str(call))
