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

TIME_FIELDS = ("created_at", "started_at", "invoked_at", "joined_at", "start_time")
SESSION_FIELDS = ("call_session_id", "telnyx_session_id")
"""The fields with the id of the call-session, in records that belong to a call."""
CALL_SESSION = "call-session"
ID_CHARS_MAX = 200


class RecordKind(Struct, frozen=True):
    """A type of detail record."""

    name: str
    """In `filter[record_type]`."""
    record_type: str
    """In Session Analysis."""
    time_fields: tuple[str, ...] = TIME_FIELDS
    """The fields by which the API may sort it, the most probable first: not every type's field is documented."""
    id_fields: tuple[str, ...] = ("id",)
    session_fields: tuple[str, ...] = SESSION_FIELDS

    def time(self, record: Mapping[str, object], field: str) -> str | None:
        """Return the record's time as written, or None if it is no time."""
        written = record.get(field)
        return written if isinstance(written, str) and read_time(written) is not None else None

    def read(self, account: str, record: Mapping[str, object], field: str) -> DetailRecord | None:
        """Return the record with the session to follow, if any is; None if it has no readable id."""
        record_id = _id(record, self.id_fields)
        if record_id is None:
            return None
        itself = SessionRef(account, self.record_type, record_id)
        currency = record.get("currency")
        return DetailRecord(
            record_id,
            self.record_type,
            read_time(record.get(field)),
            read_amount(record.get("cost")),
            currency if isinstance(currency, str) and currency.isalpha() and currency.isascii() else UNKNOWN,
            self._notice(itself, _id(record, self.session_fields)),
        )

    def _notice(self, itself: SessionRef, call: str | None) -> SessionNotice | None:
        if call is not None:
            return SessionNotice(SessionRef(itself.account, CALL_SESSION, call), "listed", itself)
        return None if self.record_type in INNER else SessionNotice(itself, "rated")


def _id(record: Mapping[str, object], fields: tuple[str, ...]) -> str | None:
    for field in fields:
        found = record.get(field)
        if isinstance(found, str) and 0 < len(found) <= ID_CHARS_MAX and found.isprintable():
            return found
    return None


def _by(field: str) -> tuple[str, ...]:
    return (field, *(other for other in TIME_FIELDS if other != field))


_ALIKE = {
    "created_at": ("embedding", "inference", "media_storage", "verify"),
    "started_at": (
        *("ai-voice-assistant", "call-control", "inference-speech-to-text", "media-streaming", "recording"),
        *("sip-trunking", "siprec-client", "webrtc"),
    ),
    "invoked_at": ("amd", "noise-suppression"),
    "joined_at": ("conference-participant",),
}
"""Types with the same name in both APIs, by their time field."""

KINDS: Mapping[str, RecordKind] = {
    kind.name: kind
    for kind in (
        *(RecordKind(name, name, _by(field)) for field, names in _ALIKE.items() for name in names),
        # A conference has many calls, so it is a session of its own.
        RecordKind("conference", "conference", _by("started_at"), session_fields=()),
        RecordKind("fax", "fax-api"),
        RecordKind("messaging", "message", id_fields=("uuid", "id")),
        RecordKind("stt", "speech-to-text"),
        RecordKind("tts", "text-to-speech"),
        RecordKind("wireless", "sim_card_usage"),
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
