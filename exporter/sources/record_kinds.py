"""The types of detail records: their names, their fields, and the session that a record belongs to.

The detail records API and Session Analysis have different names for some types, and each type has its own time field.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from exporter.config import CustomType, DetailRecordSettings
from exporter.core.attributes import read_time
from exporter.core.model import UNKNOWN, DetailRecord, SessionNotice, SessionRef
from exporter.core.money import read_amount
from exporter.core.record_types import INNER

ENDS = ("finished_at", "completed_at", "ended_at", "end_time", "left_at", "closed_at")
BEGINNINGS = ("started_at", "start_time", "created_at", "joined_at", "invoked_at", "sent_at")
"""Names of times in records. A call is listed by its end, since its record appears only then."""
SESSION_FIELDS = ("call_session_id", "telnyx_session_id")
"""The fields with the id of the call-session, in records that belong to a call."""
CALL_SESSION = "call-session"
ID_CHARS_MAX, TIME_CHARS_MAX = 200, 40


class RecordKind(Struct, frozen=True):
    """A type of detail record."""

    name: str
    """In `filter[record_type]`."""
    record_type: str
    """In Session Analysis."""
    time_fields: tuple[str, ...] = ENDS + BEGINNINGS
    """The fields by which its list may be filtered, the best first. `TypeReader` proves which of them works."""
    id_fields: tuple[str, ...] = ("id",)
    session_fields: tuple[str, ...] = SESSION_FIELDS
    cost_field: str = "cost"

    def id(self, record: Mapping[str, object]) -> str | None:
        """Return the record's id, None if it has no readable one."""
        return _id(record, self.id_fields)

    def times_in(self, record: Mapping[str, object]) -> list[str]:
        """Return the fields of a record by which its list may be filtered, the best first."""
        times = [name for name, value in record.items() if read_time(value) is not None]
        return [*(name for name in self.time_fields if name in times), *self._others(times)]

    def _others(self, times: list[str]) -> list[str]:
        """Return the times of a record that this version doesn't know; none if the configuration names one."""
        return sorted(set(times) - set(self.time_fields)) if len(self.time_fields) > 1 else []

    def read(self, account: str, record: Mapping[str, object], field: str) -> DetailRecord | None:
        """Return the record with the session to follow, if any is; None if it has no readable id."""
        record_id = self.id(record)
        if record_id is None:
            return None
        began = next(filter(None, (_time(record.get(name)) for name in BEGINNINGS)), None)
        itself = SessionRef(account, self.record_type, record_id, began)
        currency = record.get("currency")
        return DetailRecord(
            record_id,
            self.record_type,
            read_time(record.get(field)),
            read_amount(record.get(self.cost_field)),
            currency if isinstance(currency, str) and currency.isalpha() and currency.isascii() else UNKNOWN,
            self._notice(itself, _id(record, self.session_fields)),
        )

    def _notice(self, itself: SessionRef, call: str | None) -> SessionNotice | None:
        if call is not None:
            return SessionNotice(SessionRef(itself.account, CALL_SESSION, call, itself.date_time), "listed", itself)
        return None if self.record_type in INNER else SessionNotice(itself, "rated")


def _id(record: Mapping[str, object], fields: tuple[str, ...]) -> str | None:
    for field in fields:
        found = record.get(field)
        if isinstance(found, str) and 0 < len(found) <= ID_CHARS_MAX and found.isprintable():
            return found
    return None


def _time(value: object) -> str | None:
    """Return a readable time as written."""
    return value.strip() if isinstance(value, str) and len(value) <= TIME_CHARS_MAX and read_time(value) else None


def _first(*fields: str) -> tuple[str, ...]:
    return (*fields, *(other for other in ENDS + BEGINNINGS if other not in fields))


_ALIKE: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("finished_at", "started_at"): ("call-control", "recording", "sip-trunking", "webrtc"),
    ("completed_at", "created_at"): ("ai-voice-assistant",),
    ("left_at", "joined_at"): ("conference-participant",),
    ("created_at",): ("inference", "media_storage"),
    ("invoked_at",): ("amd",),
}
"""Types with the same name in both APIs, by the fields that are known of them; the general ones follow."""

KINDS: Mapping[str, RecordKind] = {
    kind.name: kind
    for kind in (
        *(RecordKind(name, name, _first(*fields)) for fields, names in _ALIKE.items() for name in names),
        # A conference has many calls, so it is a session of its own.
        RecordKind("conference", "conference", _first("ended_at", "started_at"), session_fields=()),
        RecordKind("fax", "fax-api"),
        # An undelivered message has no end.
        RecordKind("messaging", "message", _first("created_at"), id_fields=("uuid", "id")),
        RecordKind("stt", "speech-to-text", _first("end_time", "start_time")),
        RecordKind("tts", "text-to-speech", _first("created_at")),
        RecordKind("verify", "verify", _first("created_at"), cost_field="verify_usage_fee"),
        RecordKind("wireless", "sim_card_usage", _first("created_at"), cost_field="data_cost"),
    )
}


def kinds(settings: DetailRecordSettings) -> tuple[RecordKind, ...]:
    """Return the configured types; `custom_types` override what this version knows."""
    custom = {custom_type.name: _kind(custom_type) for custom_type in settings.custom_types}
    return tuple(custom.get(name) or KINDS.get(name) or RecordKind(name, name) for name in settings.record_types)


def _kind(custom_type: CustomType) -> RecordKind:
    known = KINDS.get(custom_type.name) or RecordKind(custom_type.name, custom_type.name)
    return replace(
        known,
        record_type=custom_type.record_type or known.record_type,
        time_fields=known.time_fields if custom_type.time_field is None else (custom_type.time_field,),
        id_fields=known.id_fields if custom_type.id_field is None else (custom_type.id_field,),
        session_fields=known.session_fields if custom_type.session_field is None else (custom_type.session_field,),
    )
