"""Personal data is masked by field name and by appearance, and everything else stays."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import config
from exporter.core.errors import ConfigError
from exporter.core.privacy import MASK, Redactor

DEFAULT = Redactor(config.REDACT_FIELDS)

PERSONAL_FIELDS = (
    *("from", "to", "cli", "cld", "From", "FROM", "caller_id_name", "callerIdName", "caller-id-name", "caller_id"),
    *("from_number", "to_number", "originating_number", "destination_number", "destination_phone_number"),
    *("phone_number", "phoneNumber", "caller_number", "callee_number", "translated_number", "callback_number"),
    *("sip_uri", "caller_sip_uri", "sip_username", "sip_user", "sipUserName", "username", "from_display_name"),
    *("caller_name", "cnam", "cnam_name", "first_name", "ip_address", "service_address", "email", "imsi", "msisdn"),
    *("custom_headers", "client_state", "transcript", "text"),
)
"""Names of fields with personal data, in Telnyx's records and similar ones."""

OPEN_FIELDS = (
    *("id", "uuid", "name", "call_session_id", "telnyx_session_id", "call_leg_id", "connection_id", "connection_name"),
    *("assistant_id", "conversation_id", "model", "llm_model", "tags", "profile_name", "direction", "started_at"),
    *("billed_sec", "cost", "rate", "currency", "record_type", "status", "country_code", "client_id", "total_tokens"),
    *("tokens_from_cache", "sip_hangup_cause", "user_id", "participant_count"),
)

SDK_PERSONAL = {
    *("cli", "cld", "originating_number", "destination_number", "destination_phone_number", "phone_number"),
    *("imsi", "ip_address"),
}
"""Fields of detail records that Telnyx's SDK knows."""

NUMBERS = {
    "+13125550123": "***23",
    "call +13125550123 now": "call ***23 now",
    "13125550123": "***23",
    "call-13125550123": "call-***23",
    "call_13125550123_b": "call_***23_b",
    "+1 (312) 555-0123": "***23",
    "+44 20 7946 0958": "***58",
    "(312) 555-0123": "***23",
    "312-555-0123": "***23",
    "%2B13125550123": "***23",
    "/session/%2b13125550123?x": "/session/***23?x",
    "+13125550123,+13125550199": "***23,***99",
    "\uff0b1312 \u0663\u0661\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663": "\uff0b1312 ***\u0662\u0663",
    "sip:alice@example.com": "sip:***",
    "<sip:+13125550123@sip.telnyx.com;transport=udp>": "<sip:***>",
    "SIPS:bob%40example.com": "SIPS:***",
    "sip%3Abob%40example.com": "sip%3A***",
    "tel:+13125550123": "tel:***",
    "alice.b+c@example.com": "***",
    "from bob@10.0.0.1:5060 to": "from *** to",
    "bob%40example.com": "***",
}
"""A text, and the same text after masking."""

HARMLESS = (
    *("5c54c3ba-2185-4a7d-9c43-1f1e4a0f8f0e", "12345678-1234-1234-1234-123456789012", "1494404757140276705"),
    *("call-123", "2026-03-17T09:30:00.123456789Z", "2026-03-17 09:30:00+00:00", "0.009800", "1234567890.5"),
    *("a1234567890123b", "deepseek-ai/DeepSeek-V3", "v3:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ", ""),
    *("call-session", "production,vip", "192.168.100.200", "100 tokens at @ 5", "sip", "1.2.3+4"),
)


@pytest.mark.parametrize("field", PERSONAL_FIELDS)
def test_personal_by_name(field: str) -> None:
    """The default hides each field that names a person, whatever its value."""
    assert DEFAULT.record({field: "Alice"}) == {field: MASK}


@pytest.mark.parametrize("field", OPEN_FIELDS)
def test_open_by_name(field: str) -> None:
    """The default hides no field that an operator needs."""
    assert DEFAULT.record({field: "abc"}) == {field: "abc"}


@pytest.mark.slow
def test_the_sdks_fields() -> None:
    """Of the fields that Telnyx's SDK knows, the default hides those that name a person, and no others."""
    from telnyx import BaseModel  # noqa: PLC0415 - takes two seconds, also of workers that run other tests
    from telnyx.types import detail_record_list_response  # noqa: PLC0415

    members = vars(detail_record_list_response).values()
    models = [each for each in members if isinstance(each, type) and issubclass(each, BaseModel)]
    fields = {name for model in models for name in model.model_fields}
    assert {"billed_sec", "call_session_id", "cost"} < fields
    assert {name for name in fields if DEFAULT.hides(name)} == SDK_PERSONAL


@pytest.mark.parametrize("text", NUMBERS)
def test_personal_by_its_looks(text: str) -> None:
    """Phone numbers, SIP URIs and addresses are masked in any text; two digits stay of a number."""
    assert DEFAULT.text(text) == NUMBERS[text]
    assert DEFAULT.record({"tags": text}) == {"tags": NUMBERS[text]}


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text(text: str) -> None:
    """Ids, times, amounts and names of products don't count as phone numbers."""
    assert DEFAULT.text(text) == text


def test_any_depth() -> None:
    """Everything below a personal name is masked, and personal names are found at any depth."""
    record = {
        "payload": {"legs": [{"from": {"phone_number": "+13125550123", "carrier": "T"}, "ok": True}, "+13125550199"]},
        "to": ["+13125550123", "Bob", 13125550123, None, "", {"x": False}],
        "+13125550123": 1,
    }
    assert DEFAULT.record(record) == {
        "payload": {"legs": [{"from": {"phone_number": "***23", "carrier": "***"}, "ok": True}, "***99"]},
        "to": ["***23", "***", "***23", None, "", {"x": "***"}],
        "***23": 1,
    }


def test_short_numbers_and_mixed_text_keep_nothing() -> None:
    """Short numbers are masked entirely, and a name that contains a number is masked as a name."""
    assert DEFAULT.record({"from": "101", "to": "Bob 3125550123", "cli": 42}) == dict.fromkeys(
        ("from", "to", "cli"), MASK
    )


def test_equal_numbers_cannot_be_told() -> None:
    """Numbers with the same last digits have the same mask, so a mask identifies no person."""
    assert DEFAULT.text("+13125550123") == DEFAULT.text("+442079460923")


def test_a_list_of_ones_own() -> None:
    """A list of names replaces the default; values that look personal are masked anyway."""
    own = Redactor(["secret*", "room"])
    record = {"from": "Alice", "to": "+13125550123", "secret_thing": "x", "room": "y", "classroom": "z"}
    masked = {"from": "Alice", "to": "***23", "secret_thing": MASK, "room": MASK, "classroom": "z"}
    assert own.record(record) == masked


def test_an_empty_list_masks_nothing() -> None:
    """With an empty list of names nothing is masked."""
    record = {"from": "+13125550123", "tags": ["sip:a@b", {"to": "c"}]}
    assert Redactor([]).record(record) == record
    assert Redactor([]).text("+13125550123") == "+13125550123"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text(max_size=8), json_values, max_size=4), st.sampled_from(PERSONAL_FIELDS), st.integers(0, 9)
)
def test_a_personal_value_never_shows(record: dict[str, object], field: str, depth: int) -> None:
    """A caller's name never shows, at any depth and beside any other values."""
    for _ in range(depth):
        record = {"below": [record], field: {"x": ["Quisquilia"]}}
    shown = DEFAULT.record({**record, field: "Quisquilia"})
    assert "Quisquilia" not in json.dumps(shown)


def test_too_deep_to_read() -> None:
    """A record with endless nesting is masked below a limit."""
    record: dict[str, object] = {"from": "Alice"}
    for _ in range(300):
        record = {"a": [record]}
    assert "Alice" not in json.dumps(DEFAULT.record(record))
    assert "Alice" not in json.dumps(DEFAULT.record({"to": record}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["1", "+", "+1", "(", "a", "a@", "@", "sip:", "1-", "-", ".", "%2B", "%40", "+1((", "a.", "1 ", "123-"]
)
def test_a_megabyte_is_quick(piece: str) -> None:
    """Masking takes time in proportion to the length of any text."""
    started = time.process_time()
    DEFAULT.text(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 3


def test_labels_of_personal_fields_are_refused() -> None:
    """A label on a personal field is an error with the path and the cure."""
    with pytest.raises(ConfigError) as caught:
        config.parse(b"metrics: {labels: [{name: a, field: tags}, {name: caller, field: callerIdName}]}", "config.yaml")
    assert str(caught.value) == (
        'metrics.labels[1].field: "callerIdName" is personal by web.redact_fields, and a label would show it to '
        "everybody who sees a metric; take another field, or set metrics.labels[1].allow_personal: true"
    )


@pytest.mark.parametrize(
    "text",
    [
        "metrics: {labels: [{name: caller, field: from, allow_personal: true}]}",
        "metrics: {labels: [{name: caller, field: from}]}\nweb: {redact_fields: []}",
        "metrics: {labels: [{name: caller, field: from}]}\nweb: {redact_fields: [to]}",
    ],
)
def test_labels_of_personal_fields_where_that_is_allowed(text: str) -> None:
    """A personal field is accepted from a label that allows it, or if the operator's own list doesn't name it."""
    assert config.parse(text.encode(), "config.yaml").metrics.labels[0].field == "from"


@pytest.mark.parametrize("name", ["'-'", "''", "a b", "'a.b'", "x: y", "1"])
def test_names_that_are_none(name: str) -> None:
    """An entry that can never match is an error."""
    with pytest.raises(ConfigError, match=r"^web\.redact_fields\[0\]: expected the name of a field"):
        config.parse(f"web: {{redact_fields: [{name}]}}".encode(), "config.yaml")
