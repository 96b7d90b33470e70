"""The words in which detail records are listed, and what a record leads to.

Owns the table of types and the reading of one record; pure. The list calls some record types otherwise than Session
Analysis does, and orders each by a time field of its own. The surprising fact: not every type's time field is
documented, so what isn't is tried in turn, until one is not answered with 400.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from exporter.config import CustomType, DetailRecordSettings
from exporter.core.attributes import read_time
from exporter.core.model import UNKNOWN, DetailRecord, SessionNotice, SessionRef
from exporter.core.money import read_amount

TIME_FIELDS = ("created_at", "started_at", "invoked_at", "joined_at")
SESSION_FIELDS = ("call_session_id", "telnyx_session_id")
"""In records that belong to a call: the id of its call-session."""
CALL_SESSION = "call-session"
ID_CHARS_MAX = 200


class RecordKind(Struct, frozen=True):
    """A type of detail record."""

    name: str
    """As `filter[record_type]` calls it."""
    record_type: str
    """As Session Analysis calls it."""
    time_fields: tuple[str, ...] = TIME_FIELDS
    """Those it may be listed by, the likeliest first."""
    id_fields: tuple[str, ...] = ("id",)
    session_fields: tuple[str, ...] = SESSION_FIELDS

    def time(self, record: Mapping[str, object], field: str) -> str | None:
        """The time as it is written, if it is one."""
        written = record.get(field)
        return written if isinstance(written, str) and read_time(written) is not None else None

    def read(self, account: str, record: Mapping[str, object], field: str) -> DetailRecord | None:
        """None if the record has no id to follow it by."""
        own = _id(record, self.id_fields)
        if own is None:
            return None
        itself = SessionRef(account, self.record_type, own)
        call = _id(record, self.session_fields)
        currency = record.get("currency")
        return DetailRecord(
            own,
            self.record_type,
            read_time(record.get(field)),
            read_amount(record.get("cost")),
            currency if isinstance(currency, str) and currency.isalpha() and currency.isascii() else UNKNOWN,
            SessionNotice(itself, "rated")
            if call is None
            else SessionNotice(SessionRef(account, CALL_SESSION, call), "listed", itself),
        )


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
"""Types that are called the same here and there, by their time field."""

KINDS: Mapping[str, RecordKind] = {
    kind.name: kind
    for kind in (
        *(RecordKind(name, name, _by(field)) for field, names in _ALIKE.items() for name in names),
        RecordKind(
            "conference", "conference", _by("started_at"), session_fields=()
        ),  # a session of its own, of many calls
        RecordKind("fax", "fax-api"),
        RecordKind("messaging", "message", id_fields=("uuid", "id")),
        RecordKind("stt", "speech-to-text"),
        RecordKind("tts", "text-to-speech"),
        RecordKind("wireless", "sim_card_usage"),
    )
}


def kinds(settings: DetailRecordSettings) -> tuple[RecordKind, ...]:
    """The configured types, read as the configuration says where it says something."""
    differing = {custom_types.name: _kind(custom_types) for custom_types in settings.custom_types}
    return tuple(differing.get(name) or KINDS.get(name) or RecordKind(name, name) for name in settings.record_types)


def _kind(custom_types: CustomType) -> RecordKind:
    known = KINDS.get(custom_types.name) or RecordKind(custom_types.name, custom_types.name)
    return replace(
        known,
        record_type=custom_types.record_type or known.record_type,
        time_fields=known.time_fields if custom_types.time_field is None else (custom_types.time_field,),
        id_fields=known.id_fields if custom_types.id_field is None else (custom_types.id_field,),
        session_fields=known.session_fields if custom_types.session_field is None else (custom_types.session_field,),
    )
