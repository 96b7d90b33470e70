"""Labels, usage and times of events, and the attributes of a whole session, as read from detail records."""

import string
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Label
from exporter.core.attributes import NAMES, VALUE_MAX, AttributeReader, read_time
from exporter.core.model import Event, EventAttributes, Session, SessionRef

REF = SessionRef("main", "call-session", "root")
NOON = "2026-03-17T12:00:00Z"
NOON_SECONDS = datetime(2026, 3, 17, 12, tzinfo=UTC).timestamp()

SCALARS = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text()
FIELD_VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def event(
    record_type: str = "inference",
    record: Mapping[str, Any] | None = None,
    parent: int = -1,
    *,
    product: str = "p",
    id: str = "e",  # noqa: A002 - the event's own word
    ordinal: int = 0,
) -> Event:
    return Event(product, record_type, id, ordinal, record_type, parent, None, None, "USD", record or {})


def session(*events: Event) -> Session:
    return Session(REF, events, complete=True, mismatches=(), cuts=0, cuts_unresolved=0)


def facts(record: Mapping[str, Any], record_type: str = "inference") -> EventAttributes:
    return AttributeReader().event_attributes(session(event(record_type, record)))[0]


def tagged(value: object, **how: Any) -> str:
    """Return the value of a label `tag` that is read from this field."""
    attribute_reader = AttributeReader([Label(name="tag", field="tag", **how)])
    return dict(attribute_reader.event_attributes(session(event(record={"tag": value})))[0].labels)["tag"]


def test_label_order() -> None:
    """Labels are the account, the record type, the product, the model, then the configured labels, in this order."""
    attribute_reader = AttributeReader([Label(name="z", field="zf"), Label(name="a", field="af")])
    found = attribute_reader.event_attributes(session(event(record={"model": "m1", "zf": "1", "af": "2"})))
    assert found[0].labels == (
        ("account", "main"),
        ("record_type", "inference"),
        ("product", "p"),
        ("model", "m1"),
        ("z", "1"),
        ("a", "2"),
    )


@pytest.mark.parametrize(
    ("record_type", "record", "model"),
    [
        ("inference", {"model": "a"}, "a"),
        ("inference", {"llm_model": "b"}, "b"),
        ("inference", {"model_name": "c"}, "c"),
        ("inference", {"model": "", "model_name": "c"}, "c"),
        ("inference", {"model": {"name": "c"}}, "unknown"),
        ("inference", {}, "unknown"),
        ("ai-voice-assistant", {"model": "a"}, "none"),
        ("inference-text-to-speech", {"model": "a"}, "none"),
    ],
)
def test_model(record_type: str, record: Mapping[str, Any], model: str) -> None:
    """Only an LLM turn has a model; it is `unknown` if the record doesn't name it."""
    assert dict(facts(record, record_type).labels)["model"] == model


def test_nameless_event() -> None:
    """An event without a product or record type has the label value `unknown`, as a label is never empty."""
    found = AttributeReader().event_attributes(session(event("", product=" ")))[0]
    assert dict(found.labels) == {"account": "main", "record_type": "unknown", "product": "unknown", "model": "none"}


@pytest.mark.parametrize(
    ("record", "tokens"),
    [
        ({"prompt_tokens": 300, "completion_tokens": 25}, (300, 25)),
        ({"input_tokens": "300", "output_tokens": Decimal("25.0")}, (300, 25)),
        ({"input_tokens": None, "prompt_tokens": 7}, (7, None)),
        ({"input_tokens": -1, "output_tokens": "-1"}, (None, None)),
        ({"input_tokens": 1.5, "output_tokens": Decimal("1.5")}, (None, None)),
        ({"input_tokens": True, "output_tokens": "many"}, (None, None)),
        ({"input_tokens": 10**30, "output_tokens": [1]}, (None, None)),
        ({"input_tokens": 0}, (0, None)),
    ],
)
def test_tokens(record: Mapping[str, Any], tokens: tuple[int | None, int | None]) -> None:
    """Tokens are whole numbers of at least 0, under either pair of names; any other value is absent."""
    found = facts(record)
    assert (found.input_tokens, found.output_tokens) == tokens


def test_tokens_of_turns_only() -> None:
    """Tokens of an embedding don't count as tokens of LLM turns."""
    assert facts({"input_tokens": 3}, "embedding").input_tokens is None


@pytest.mark.parametrize(
    ("record", "seconds"),
    [
        ({"billed_sec": 60}, "60"),
        ({"billed_duration_secs": "61.5"}, "61.5"),
        ({"billed_duration_sec": Decimal(6)}, "6"),
        ({"billed_sec": "", "billed_seconds": 1}, "1"),
        ({"billed_sec": -60}, None),
        ({"billed_sec": "NaN"}, None),
        ({"duration_sec": 60}, None),
    ],
)
def test_billed_seconds(record: Mapping[str, Any], seconds: str | None) -> None:
    """The billed duration is read under each of its names; a negative or unreadable one is absent."""
    assert facts(record).billed_seconds == (None if seconds is None else Decimal(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (NOON, NOON_SECONDS),
        ("2026-03-17T12:00:00", NOON_SECONDS),
        ("2026-03-17T12:00:00.000Z", NOON_SECONDS),
        ("2026-03-17T14:00:00+02:00", NOON_SECONDS),
        ("2026-03-17T12:00:00.25+00:00", NOON_SECONDS + 0.25),
        ("2026-03-17 12:00:00 ", NOON_SECONDS),
        ("2026-03-17", NOON_SECONDS - 43_200),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", 253402351199.0),
        ("1970-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (1_773_748_800, None),
        (None, None),
    ],
)
def test_time(text: object, seconds: float | None) -> None:
    """A time is ISO 8601 and UTC by default; placeholders such as year 1, and unreadable texts, are absent."""
    assert read_time(text) == seconds


def test_time_of_event() -> None:
    """The time of an event is its start, else the creation of its record."""
    assert facts({"created_at": "2026-03-18", "started_at": NOON}).at == NOON_SECONDS
    assert facts({"created_at": NOON, "started_at": "soon"}).at == NOON_SECONDS


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("support", "support"),
        ("  support\n", "support"),
        ("a\tb\x00c\u2028d\ud800e", "a b c d e"),
        ("", "none"),
        (" \n", "none"),
        (None, "none"),
        (5, "5"),
        (Decimal("5.50"), "5.5"),
        (Decimal("1E+999999"), "none"),
        (1494404757140276705, "1494404757140276705"),
        (10**100, "none"),
        (True, "true"),
        (False, "false"),
        (["b", "a", "b", " "], "a,b"),
        ([], "none"),
        ([[1], None], "none"),
        ({"a": 1}, "none"),
        ("x" * 200, "x" * VALUE_MAX),
        (" " * 500 + "y" * 200, "y" * VALUE_MAX),
    ],
)
def test_value(value: object, shown: str) -> None:
    """A label value is short, printable text; an empty or unreadable field gives `none`."""
    assert tagged(value) == shown


@given(FIELD_VALUES)
def test_value_law(value: object) -> None:
    """For any record a label value is not empty, not too long, printable, and valid UTF-8."""
    shown = tagged(value)
    assert 1 <= len(shown) <= VALUE_MAX
    assert shown == shown.strip()
    assert not set(shown) & set(string.whitespace.replace(" ", ""))
    assert shown.encode("utf-8")


@pytest.mark.parametrize(("value", "shown"), [("a", "a"), (" a ", "a"), ("c", "other"), ("", "none"), (None, "none")])
def test_allow_list(value: object, shown: str) -> None:
    """Values that aren't allowed are `other`; an absent value stays `none`."""
    assert tagged(value, values=("a", "b")) == shown


TREE = session(
    event("call-session", {"tag": "root"}, id="r"),
    event("call-control", {}, 0, id="c"),
    event("ai-voice-assistant", {"tag": "assistant"}, 1, id="a"),
    event("inference", {"tag": " "}, 2, id="i"),
    event("recording", {}, 0, id="x"),
)


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("event", ["root", "none", "assistant", "none", "none"]),
        ("nearest", ["root", "root", "assistant", "assistant", "root"]),
        ("session", ["root", "root", "root", "root", "root"]),
    ],
)
def test_origin(origin: str, shown: list[str]) -> None:
    """A label comes from the event's own record, the nearest ancestor with a value, or the root's record."""
    attribute_reader = AttributeReader([Label(name="tag", field="tag", from_=origin)])  # type: ignore[arg-type]  # a parameter's type is not narrowed to the literal
    assert [dict(found.labels)["tag"] for found in attribute_reader.event_attributes(TREE)] == shown


def test_allow_list_after_inheritance() -> None:
    """A value that isn't allowed is `other` and isn't replaced by an ancestor's."""
    attribute_reader = AttributeReader([Label(name="tag", field="tag", values=("root",))])
    shown = [dict(found.labels)["tag"] for found in attribute_reader.event_attributes(TREE)]
    assert shown == ["root", "root", "other", "other", "root"]


def test_record_fields() -> None:
    """The fields to decode are the known names and those of the configured labels."""
    assert AttributeReader([Label(name="tag", field="my field")]).record_fields == NAMES.all() | {"my field"}


@given(st.dictionaries(st.sampled_from(sorted(NAMES.all())), FIELD_VALUES), st.sampled_from(["inference", "webrtc"]))
def test_any_record(record: Mapping[str, Any], record_type: str) -> None:
    """Any record can be read, and no usage is negative."""
    found = facts(record, record_type)
    assert all(used is None or used >= 0 for used in (found.input_tokens, found.output_tokens, found.billed_seconds))


# The session as a whole


def kind(*record_types: str) -> str:
    tree = session(*(event(each, id=each, parent=-1 if i == 0 else 0) for i, each in enumerate(record_types)))
    attribute_reader = AttributeReader()
    return attribute_reader.session_attributes(tree, attribute_reader.event_attributes(tree)).session_kind


@pytest.mark.parametrize(
    ("record_types", "expected"),
    [
        (("call-session", "sip-trunking"), "voice"),
        (("call-session", "call-control", "ai-voice-assistant"), "ai"),
        (("message",), "messaging"),
        (("message", "ai-messaging-assistant"), "ai"),
        (("inference",), "inference"),
        (("call-session", "inference"), "ai"),
        (("inference-text-to-speech",), "other"),
        (("conference", "conference-participant", "call-control"), "conference"),
        (("room-session-event", "room-session-recording-event"), "video"),
        (("verify",), "other"),
        (("something-new",), "other"),
    ],
)
def test_session_kind(record_types: tuple[str, ...], expected: str) -> None:
    """A session with an assistant or an LLM turn is `ai`, a turn alone is not; any other has the kind of its root."""
    assert kind(*record_types) == expected


def test_distinct_events() -> None:
    """An event in two places counts once, twins count one each, and an event without an id doesn't count."""
    tree = session(
        event("call-session", id="r"),
        event("inference", parent=0, id="i"),
        event("inference", parent=0, id="i"),
        event("inference", parent=0, id="i", ordinal=1),
        event("inference", parent=0, id=""),
    )
    attribute_reader = AttributeReader()
    session_attributes = attribute_reader.session_attributes(tree, attribute_reader.event_attributes(tree))
    assert (session_attributes.root_record_type, session_attributes.events, session_attributes.inference_turns) == (
        "call-session",
        3,
        2,
    )


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        (({"duration_sec": 152}, {"call_sec": 200}), 152.0),
        (({"duration_sec": 0}, {"call_sec": 200}), 0.0),
        (({}, {"call_sec": "150.5"}, {"duration_sec": 60}), 150.5),
        (({"duration_sec": "long"}, {"billed_sec": 60}), None),
    ],
)
def test_duration(records: tuple[Mapping[str, Any], ...], seconds: float | None) -> None:
    """A session's duration is the root's, else the longest of any event."""
    tree = session(*(event("webrtc", each, -1 if i == 0 else 0, id=str(i)) for i, each in enumerate(records)))
    attribute_reader = AttributeReader()
    assert (
        attribute_reader.session_attributes(tree, attribute_reader.event_attributes(tree)).duration_seconds == seconds
    )
