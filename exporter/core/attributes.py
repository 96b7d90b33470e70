"""What the detail records say: label values, usage and times of events, and what a session is as a whole.

Owns the names under which records carry such facts, the user's own labels with their allow-lists, and what a label
value may look like. Folding by budget is not decided here but at booking. The surprising fact: records vary by record
type and nothing in them is promised, so every fact is looked up by several names, and one that can't be read is absent,
never an error.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Protocol, TypeVar

from msgspec import Struct

from exporter.core.costs import INFERENCE
from exporter.core.model import NONE, OTHER, UNKNOWN, Event, EventAttributes, Labels, Session, SessionAttributes
from exporter.core.money import amount_text, read_amount
from exporter.core.tree import identity

VALUE_MAX = 128
"""Longest label value, in characters; ids and names are shorter, and what is longer is somebody's prose."""

TIME_MIN = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
"""What claims to be older is a placeholder, such as Go's year 1; believed, it would make the event too old to book."""

TOKENS_MAX = SECONDS_MAX = 10**12
"""No event has so many; a larger number is something else."""

_NUMBER_LIMIT = 10**40
"""A UUID written as a number stays below it; Python refuses to print what is much longer."""


class FieldNames(Struct, frozen=True):
    """Field names by what they mean; the first that is present and readable holds.

    Names without a unit are left out: a `duration` may be milliseconds.
    """

    model: tuple[str, ...] = ("model", "llm_model", "model_name")
    input_tokens: tuple[str, ...] = ("input_tokens", "prompt_tokens", "tokens_in")
    output_tokens: tuple[str, ...] = ("output_tokens", "completion_tokens", "tokens_out")
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
        *("completed_at", "finished_at", "ended_at", "end_time"),
    )

    def all(self) -> frozenset[str]:
        return frozenset(name for names in self._lists() for name in names)

    def present_in(self, record: Iterable[str]) -> "FieldNames":
        """The names that occur in a record."""
        present = set(record)
        return FieldNames(*(tuple(name for name in names if name in present) for names in self._lists()))

    def _lists(self) -> Iterator[tuple[str, ...]]:
        return (getattr(self, meaning) for meaning in self.__struct_fields__)


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
"""The kind of a session by its root's record type; the rest are `other`."""

AI_RECORD_TYPES = frozenset({"ai-voice-assistant", "ai-messaging-assistant", INFERENCE})
"""One such event makes any session `ai`."""


class LabelSource(Protocol):
    """One configured label (`metrics.labels`): its name, and the record field that its value comes from."""

    @property
    def name(self) -> str: ...

    @property
    def field(self) -> str: ...

    @property
    def from_(self) -> str:
        """Return whose record has the field: `event`, `nearest` or `session`."""

    @property
    def values(self) -> tuple[str, ...] | None:
        """Return the values to show; None if any."""


class AttributeReader:
    """Reads records under one configuration."""

    def __init__(self, labels: Iterable[LabelSource] = ()) -> None:
        self._extra = tuple(labels)
        self._allowed = tuple(None if label.values is None else frozenset(label.values) for label in self._extra)
        self.record_fields = NAMES.all() | {label.field for label in self._extra}
        """Every field that anything here reads."""

    def event_attributes(self, session: Session) -> tuple[EventAttributes, ...]:
        """What the records say of each event, in the order of the session's events."""
        account = (("account", session.ref.account),)
        extras = self._extras(session.events)
        return tuple(_facts(account, event, extra) for event, extra in zip(session.events, extras, strict=True))

    def session_attributes(self, session: Session, facts: tuple[EventAttributes, ...]) -> SessionAttributes:
        """The session as a whole; an event without an id can't be told from others and isn't counted."""
        distinct: dict[tuple[str | int, ...], str] = {}
        for event, found in zip(session.events, facts, strict=True):
            if event.id:
                key = (*identity(event.record_type, event.product, event.event_name, event.id), event.ordinal)
                distinct.setdefault(key, found.labels[1][1])
        record_types = list(distinct.values())
        root = facts[0].labels[1][1]
        return SessionAttributes(
            root_record_type=root,
            session_kind=_kind(root, session.events),
            events=len(record_types),
            inference_turns=record_types.count(INFERENCE),
            duration_seconds=_duration(session.events),
        )

    def _extras(self, events: tuple[Event, ...]) -> list[Labels]:
        """The user's own labels of each event; parents stand before their children."""
        if not self._extra:
            return [()] * len(events)
        columns = [self._column(label, events) for label in self._extra]
        names = [label.name for label in self._extra]
        return [
            tuple(
                (name, _allow(value, allowed)) for name, value, allowed in zip(names, row, self._allowed, strict=True)
            )
            for row in zip(*columns, strict=True)
        ]

    def _column(self, label: LabelSource, events: tuple[Event, ...]) -> list[str]:
        own = [_text(event.record.get(label.field)) for event in events]
        if label.from_ == "session":
            return [own[0]] * len(events)
        if label.from_ == "nearest":
            for index, event in enumerate(events):
                if own[index] == NONE and event.parent >= 0:
                    own[index] = own[event.parent]
        return own


def _facts(account: Labels, event: Event, extra: Labels) -> EventAttributes:
    record = event.record
    names = _names_in(tuple(record))
    turn = event.record_type == INFERENCE
    model = (_first(record, names.model, _readable) or UNKNOWN) if turn else NONE
    return EventAttributes(
        account + _own_labels(event.record_type, event.product, model) + extra,
        _first(record, names.input_tokens, _tokens) if turn else None,
        _first(record, names.output_tokens, _tokens) if turn else None,
        _first(record, names.billed_seconds, _seconds),
        _first(record, names.at, read_time),
    )


@lru_cache(maxsize=4096)  # few exist, and every event of every poll has some
def _own_labels(record_type: str, product: str, model: str) -> Labels:
    return (
        ("record_type", _clean(record_type) or UNKNOWN),
        ("product", _clean(product) or UNKNOWN),
        ("model", model),
    )


def _kind(root_record_type: str, events: tuple[Event, ...]) -> str:
    if any(event.record_type in AI_RECORD_TYPES for event in events):
        return "ai"
    return SESSION_KINDS.get(root_record_type, OTHER)


def _duration(events: tuple[Event, ...]) -> float | None:
    """What the root says, else the longest that any event says: a call lasts at least as long as its legs."""
    own = _stated_duration(events[0])
    if own is None:
        own = max((found for event in events if (found := _stated_duration(event)) is not None), default=None)
    return None if own is None else float(own)


def _stated_duration(event: Event) -> Decimal | None:
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


@lru_cache(maxsize=4096)  # records of one record type have the same fields
def _names_in(record: tuple[str, ...]) -> FieldNames:
    return NAMES.present_in(record)


def _tokens(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value < TOKENS_MAX else None
    count = read_amount(value)
    return int(count) if count is not None and count >= 0 and count == count.to_integral_value() else None


def _seconds(value: object) -> Decimal | None:
    if type(value) is int and 0 <= value < SECONDS_MAX:  # the usual case, and the quick one
        return Decimal(value)
    seconds = read_amount(value)
    return seconds if seconds is not None and seconds >= 0 else None


def read_time(value: object) -> float | None:
    """An ISO 8601 date or date-time in seconds since the epoch; without an offset it is UTC."""
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


def _text(value: object) -> str:
    return _readable(value) or NONE


def _readable(value: object) -> str | None:
    """A label value; None if there is nothing to show. A list's order and repetitions must not make new series."""
    if isinstance(value, list):
        return _clean(",".join(sorted({text for item in value if (text := _scalar(item))}))) or None
    return _scalar(value) or None


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _clean(value) if len(value) <= VALUE_MAX else _clean(value.lstrip()[:VALUE_MAX])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < _NUMBER_LIMIT else ""
    if isinstance(value, Decimal):
        amount = read_amount(value)  # refuses what would be too long to print
        return "" if amount is None else amount_text(amount)
    return ""


# Control characters, line separators, and halves of surrogate pairs, which no encoding can carry.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@lru_cache(maxsize=65536)  # label values are few, or the series budget is
def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()[:VALUE_MAX].rstrip()
