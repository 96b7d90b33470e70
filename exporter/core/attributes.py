"""Read labels, usage and times from detail records.

Detail records vary by record type and no field is guaranteed. So each attribute is looked up under several field names,
and one that can't be read is absent, never an error. Folding of label values by the series limit happens at booking.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import astuple

from exporter.core.costs import INFERENCE
from exporter.core.model import NONE, OTHER, UNKNOWN, Event, EventAttributes, Labels, Session, SessionAttributes
from exporter.core.money import amount_text, read_amount
from exporter.core.tree import identity

VALUE_MAX = 128
"""Longest label value in characters; ids and names are shorter."""

TAGS_MAX = 4096
"""Characters of tags that are sorted; the label shows `VALUE_MAX` of them."""

TIME_MIN = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
"""An older time is a placeholder, such as Go's year 1. Taken as real, it would make the event too old to book."""

COUNT_MAX = SECONDS_MAX = 10**12
"""A field with a larger number means something else."""

_NUMBER_LIMIT = 10**40
"""A UUID written as a number stays below it; Python refuses to print numbers of some thousand digits."""


class FieldNames(Struct, frozen=True):
    """Field names by attribute; the first that is present and readable counts.

    Names without a unit are left out: a `duration` may be in milliseconds.
    """

    model: tuple[str, ...] = ("model", "llm_model", "model_name")
    input_tokens: tuple[str, ...] = ("user_prompt_tokens", "input_tokens", "prompt_tokens", "tokens_in")
    cached_input_tokens: tuple[str, ...] = ("cached_user_prompt_tokens", "cached_input_tokens", "cached_prompt_tokens")
    output_tokens: tuple[str, ...] = ("completion_tokens", "output_tokens", "tokens_out")
    characters: tuple[str, ...] = ("number_of_characters", "characters")
    billed_seconds: tuple[str, ...] = (
        *("billed_sec", "billed_secs", "billed_seconds"),
        *("billed_duration_sec", "billed_duration_secs", "billed_duration_seconds"),
    )
    duration_seconds: tuple[str, ...] = (
        *("duration_sec", "duration_secs", "duration_seconds", "call_sec", "call_secs"),
        *("call_duration_sec", "call_duration_secs", "call_duration_seconds", "audio_sec"),
    )
    at: tuple[str, ...] = (
        *("started_at", "start_time", "invoked_at", "joined_at", "sent_at", "created_at", "occurred_at"),
        *("completed_at", "finished_at", "ended_at", "end_time", "closed_at", "left_at"),
    )
    """Times of beginnings come first, so that an event counts for the budget window in which it began."""

    def all(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(astuple(self)))

    def present_in(self, record: Iterable[str]) -> "FieldNames":
        """Return the names that occur in a record."""
        present = set(record)
        return FieldNames(*(tuple(name for name in names if name in present) for names in astuple(self)))


NAMES = FieldNames()

SESSION_KINDS = {
    "message": "messaging",
    "conference": "conference",
    "conference-participant": "conference",
    "room-session-event": "video",
    "room-session-participant-event": "video",
    "room-session-recording-event": "video",
    "room-session-composition-event": "video",
    **dict.fromkeys(
        (
            *("call-session", "call-control", "sip-trunking", "webrtc"),
            *("recording", "media-streaming", "forking", "siprec-client"),
            *("amd", "noise-suppression", "speech-to-text", "text-to-speech"),
        ),
        "voice",
    ),
}
"""`session_kind` by the root's record type; all others are `other`."""

ASSISTANTS = frozenset({"ai-voice-assistant", "ai-messaging-assistant"})
AI_RECORD_TYPES = ASSISTANTS | {INFERENCE}
"""A session with one event of these is of the kind `ai`, unless it is an LLM turn alone: that is an `inference`."""


class LabelSource(Protocol):
    """One label of `metrics.labels`: its name, and the record field with its value."""

    @property
    def name(self) -> str: ...

    @property
    def field(self) -> str: ...

    @property
    def from_(self) -> str:
        """Return the record that has the field: `event`, `nearest` or `session`."""

    @property
    def values(self) -> tuple[str, ...] | None:
        """Return the allowed values; None allows all."""


class AttributeReader:
    """Reads records under one configuration of labels."""

    def __init__(self, labels: Iterable[LabelSource] = ()) -> None:
        self._extra = tuple(labels)
        self._read = tuple(_tags if _has_tags(label.field) else _readable for label in self._extra)
        self._allowed = tuple(
            None if label.values is None else frozenset(filter(None, map(read, label.values)))
            for label, read in zip(self._extra, self._read, strict=True)
        )
        self.record_fields = NAMES.all() | {label.field for label in self._extra}
        """Every field that this reader reads."""

    def event_attributes(self, session: Session) -> tuple[EventAttributes, ...]:
        """Return the attributes of each event, in the order of the session's events."""
        account = (("account", session.ref.account),)
        extras = self._extra_labels(session.events) if self._extra else [()] * len(session.events)
        return tuple(_attributes(account, event, extra) for event, extra in zip(session.events, extras, strict=True))

    def session_attributes(self, session: Session, attributes: tuple[EventAttributes, ...]) -> SessionAttributes:
        """Return the attributes of the session as a whole.

        Events without an id can't be told apart, so they aren't counted.
        """
        record_types: dict[tuple[str | int, ...], str] = {}
        for event, found in zip(session.events, attributes, strict=True):
            if event.id:
                key = (*identity(event.record_type, event.product, event.event_name, event.id), event.ordinal)
                record_types.setdefault(key, found.labels[1][1])
        root = attributes[0].labels[1][1]
        is_ai = any(event.record_type in AI_RECORD_TYPES for event in session.events)
        # The root's own duration, else the longest of any event: a call lasts at least as long as each leg.
        duration = _duration(session.events[0])
        if duration is None:
            durations = map(_duration, session.events)
            duration = max((found for found in durations if found is not None), default=None)
        return SessionAttributes(
            root_record_type=root,
            session_kind=_session_kind(root, is_ai=is_ai),
            events=len(record_types),
            inference_turns=list(record_types.values()).count(INFERENCE),
            duration_seconds=None if duration is None else float(duration),
        )

    def _extra_labels(self, events: tuple[Event, ...]) -> list[Labels]:
        """Return the configured labels of each event."""
        columns: list[list[tuple[str, str]]] = []
        for label, read, allowed in zip(self._extra, self._read, self._allowed, strict=True):
            values = [read(event.record.get(label.field)) or NONE for event in events]
            if label.from_ == "session":
                values = [values[0]] * len(events)
            elif label.from_ == "nearest":
                for index, event in enumerate(events):  # parents come first, so theirs is already inherited
                    if values[index] == NONE and event.parent >= 0:
                        values[index] = values[event.parent]
            columns.append([(label.name, _allow(value, allowed)) for value in values])
        return list(zip(*columns, strict=True))


def _attributes(account: Labels, event: Event, extra: Labels) -> EventAttributes:
    record = event.record
    names = _names_in(tuple(record))
    is_turn = event.record_type == INFERENCE
    model = (_first(record, names.model, _readable) or UNKNOWN) if is_turn else NONE
    return EventAttributes(
        account + _own_labels(event.record_type, event.product, model) + extra,
        _first(record, names.input_tokens, _count) if is_turn else None,
        _first(record, names.cached_input_tokens, _count) if is_turn else None,
        _first(record, names.output_tokens, _count) if is_turn else None,
        _first(record, names.characters, _count) if names.characters else None,  # most records have none
        _first(record, names.billed_seconds, _seconds) if names.billed_seconds else None,
        _first(record, names.at, read_time),
    )


@lru_cache(maxsize=4096)  # few exist; without it attributes take 15 % longer, and the tuples aren't shared
def _own_labels(record_type: str, product: str, model: str) -> Labels:
    return (
        ("record_type", _clean(record_type) or UNKNOWN),
        ("product", _clean(product) or UNKNOWN),
        ("model", model),
    )


def _session_kind(root: str, *, is_ai: bool) -> str:
    # A turn that is in no call's tree is a session of its own, and would spoil each figure per AI session.
    if root == INFERENCE:
        return INFERENCE
    return "ai" if is_ai else SESSION_KINDS.get(root, OTHER)


def _duration(event: Event) -> Decimal | None:
    return _first(event.record, _names_in(tuple(event.record)).duration_seconds, _seconds)


# Values

_Read = TypeVar("_Read")


def _first(
    record: Mapping[str, object], names: tuple[str, ...], read: Callable[[object], _Read | None]
) -> _Read | None:
    for name in names:
        value = read(record[name])
        if value is not None:
            return value
    return None


@lru_cache(maxsize=4096)  # records of one type have the same fields; without it reading a tree takes 45 % longer
def _names_in(record: tuple[str, ...]) -> FieldNames:
    return NAMES.present_in(record)


def _count(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value < COUNT_MAX else None
    count = read_amount(value)
    return int(count) if count is not None and count >= 0 and count == count.to_integral_value() else None


def _seconds(value: object) -> Decimal | None:
    if type(value) is int and 0 <= value < SECONDS_MAX:
        return Decimal(value)
    seconds = read_amount(value)
    return seconds if seconds is not None and seconds >= 0 else None


def read_time(value: object) -> float | None:
    """Return an ISO 8601 date or date-time in seconds since the epoch; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    at = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    return at if at >= TIME_MIN else None


def _allow(value: str, allowed: frozenset[str] | None) -> str:
    return value if allowed is None or value in allowed or value == NONE else OTHER


def _readable(value: object) -> str | None:
    """Return a label value; None if it can't be shown."""
    if isinstance(value, list):  # sorted and distinct, so that the order of a list makes no new series
        return _clean(",".join(sorted({text for item in value if (text := _scalar(item))}))) or None
    return _scalar(value) or None


def _has_tags(field: str) -> bool:
    return field == "tags" or field.endswith("_tags")


def _tags(value: object) -> str | None:
    """Return a label value for tags, which records list as text with commas, in any order and sometimes twice."""
    text = ",".join(map(_scalar, value)) if isinstance(value, list) else value
    return _sorted_tags(text[:TAGS_MAX]) or None if isinstance(text, str) else _readable(text)


@lru_cache(maxsize=4096)  # without it a label of tags takes 30 % longer than another label
def _sorted_tags(text: str) -> str:
    return _clean(",".join(sorted({tag for part in text.split(",") if (tag := _scalar(part))})))


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _clean(value) if len(value) <= VALUE_MAX else _clean(value.lstrip()[:VALUE_MAX])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < _NUMBER_LIMIT else ""
    if isinstance(value, Decimal):
        amount = read_amount(value)  # None if it is too long to print
        return "" if amount is None else amount_text(amount)
    return ""


# Control characters, line separators, and halves of surrogate pairs, which UTF-8 can't encode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@lru_cache(maxsize=65536)  # label values are few; without it reading a tree takes some 5 % longer
def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()[:VALUE_MAX].rstrip()
