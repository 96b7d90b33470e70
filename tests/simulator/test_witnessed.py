"""The simulator serves what witnesses of the real API have published: tests/data/witnessed has one file per shape.

A shape is the names of the fields and the form of each value: its JSON type, and how it writes times and amounts.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from simulator import WORLD_A, ApiBehaviour, Bills
from simulator.records import LISTABLE_TYPES
from simulator.webhook_events import body, webhook_events
from tests.simulator.test_api import Api
from tests.simulator.test_detail_records import MANY, listed

DAY = 86_400.0
WITNESSED = Path(__file__).parents[1] / "data" / "witnessed"

FORMS = {
    "time to the second": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "time to the microsecond": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    "time to the millisecond": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"),
    "decimal": re.compile(r"-?\d+\.\d+"),
    "scientific": re.compile(r"-?\d+(\.\d+)?E[-+]?\d+"),
}

RECORDS = {
    "ai-voice-assistant": "ai-voice-assistant",
    "conference-participant": "conference-participant",
    "inference": "inference",
    "messaging": "messaging",
    "recording": "recording",
    "sip-trunking": "sip-trunking",
    "stt": "stt",
    "tts": "tts",
    "tts-conversational": "tts",
    "verify": "verify",
    "webrtc": "webrtc",
    "wireless": "wireless",
}
"""The type in the list of each file."""

OTHER_FIELDS: Mapping[str, Mapping[str, str]] = {
    "messaging": {
        "updated_at": "the SDK's type has it",
        "profile_id": "the SDK's type has it",
        "profile_name": "the SDK's type has it",
    },
    "sip-trunking": {
        "record_type": "the SDK requires it of each record",
        "tags": "records of other accounts have it",
    },
}
"""Fields that we serve and a file lacks, with the reason."""

OTHER_FORMS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("sip-trunking", "answered_at"): ("time to the second", "the witnessed call was not answered"),
    ("stt", "call_leg_id"): ("null", "a transcription may be of no call"),
    ("stt", "call_session_id"): ("null", "a transcription may be of no call"),
}
"""Forms that we serve and a file lacks, with the reason."""


def form(value: object) -> str:
    if isinstance(value, str):
        return next((name for name, written in FORMS.items() if written.fullmatch(value)), "text")
    return {bool: "boolean", int: "whole number", float: "number", type(None): "null"}.get(type(value), "object")


def shape(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the form of each value; the elements of a list share a path."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from shape(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for each in value:
            yield from shape(each, f"{path}[]")
    else:
        yield path, "list" if isinstance(value, list) else form(value)


def shapes(values: list[Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for value in values:
        for path, written in shape(value):
            found[path].add(written)
    return found


@cache
def served() -> Mapping[str, list[dict[str, Any]]]:
    """Return all records of a settled world by type."""
    api = Api(**MANY | {"api": WORLD_A})
    api.command(action="step", seconds=3 * DAY)
    return {name: listed(api, name) for name in LISTABLE_TYPES}


@pytest.mark.parametrize("file", RECORDS)
def test_a_record_has_the_witnessed_fields_in_the_witnessed_forms(file: str) -> None:
    """No field is missing, none is added without a reason, and each is written as witnessed."""
    witnessed = json.loads((WITNESSED / "records" / f"{file}.json").read_text())
    conversational = {"tts": False, "tts-conversational": True}.get(file)
    ours = [each for each in served()[RECORDS[file]] if conversational in {None, each["record_type"] == "tts"}]
    assert ours
    others = OTHER_FIELDS.get(file, {})
    assert {frozenset(each) for each in ours} == {frozenset({*witnessed, *others})}
    assert not others.keys() & witnessed.keys()
    for field, forms in shapes(ours).items():
        more = {OTHER_FORMS[file, field][0]} if (file, field) in OTHER_FORMS else set()
        if field not in others:
            assert forms <= {form(witnessed[field])} | more, field


def test_every_file_of_a_record_is_compared() -> None:
    """A new file doesn't go unnoticed."""
    assert {path.stem for path in (WITNESSED / "records").iterdir()} == RECORDS.keys()


APIS: Mapping[str, ApiBehaviour] = {
    "default": WORLD_A,
    "bills": replace(WORLD_A, call_cost_webhooks=True),
    "no costs": replace(WORLD_A, call_analyzed_webhooks="text"),
    "version 1": replace(WORLD_A, webhook_api_version="1"),
    "TeXML": replace(WORLD_A, texml_share=1.0),
}

WEBHOOKS = {
    "1_initiated.json": ("call.initiated", "default"),
    "2_hangup.json": ("call.hangup", "default"),
    "3_conv_ended.json": ("call.conversation.ended", "default"),
    "4_insights.json": ("call.conversation_insights.generated", "default"),
    "5_analyzed.json": ("call.analyzed", "default"),
    "5b_analyzed_nocost.json": ("call.analyzed", "no costs"),
    "6_cost_error.json": ("call.cost", "bills"),
    "7_cost.json": ("call.cost", "bills"),
    "8_finalized.json": ("message.finalized", "default"),
    "9_received.json": ("message.received", "default"),
    "10_streaming.json": ("streaming.started", "default"),
    "11_conference.json": ("conference.ended", "default"),
    "12_fax.json": ("fax.delivered", "default"),
    "14_v1.json": ("call_initiated", "version 1"),
    "15_texml.form": ("completed", "TeXML"),
}
"""The event type of each file, and the behaviour with which it is served."""

NOT_SERVED = {
    "13_assistant_init.json": "it asks for the variables of a conversation, which an exporter doesn't have",
}

OTHER_WEBHOOK_FIELDS: Mapping[str, Mapping[str, str]] = {
    "14_v1.json": {
        "payload.connection_id": "that of version 2 has it",
        "payload.client_state": "that of version 2 has it",
        "payload.direction": "that of version 2 has it",
        "payload.state": "that of version 2 has it",
        "payload.from": "that of version 2 has it",
        "payload.to": "that of version 2 has it",
    },
}
"""Fields that we serve and a file lacks, with the reason."""


@cache
def sent(name: str, *, priced: bool) -> list[tuple[str, str, Any]]:
    """Return event type, content type and content of all webhooks of a world."""
    api = APIS[name]
    bills = Bills() if priced else Bills(never_priced_share=1.0)
    world = Api(**MANY | {"api": api, "bills": bills}).simulator.world
    sessions = {number: world.session(number) for number in range(400)}
    found = []
    for session in sessions.values():
        for hook in webhook_events(session, api):
            content_type, content = body(session, hook, api, 1, "https://x")
            if content_type == "application/json":
                decoded = json.loads(content)
                found.append((decoded.get("data", decoded)["event_type"], content_type, decoded))
            else:
                fields = dict(parse_qsl(content.decode(), strict_parsing=True))
                found.append((fields["CallStatus"], content_type, fields))
    return found


@pytest.mark.parametrize("file", WEBHOOKS)
def test_a_webhook_has_the_witnessed_fields_in_the_witnessed_forms(file: str) -> None:
    """As for records; an empty list may be where the witness had elements, and the other way round."""
    event_type, name = WEBHOOKS[file]
    text = (WITNESSED / "webhooks" / file).read_text()
    form_encoded = file.endswith(".form")
    witnessed = dict(parse_qsl(text.strip(), strict_parsing=True)) if form_encoded else json.loads(text)
    everything = sent(name, priced=file != "6_cost_error.json")
    ours = [content for said, kind, content in everything if said == event_type and form_encoded is ("form" in kind)]
    assert ours
    expected, others = shapes([witnessed]), OTHER_WEBHOOK_FIELDS.get(file, {})
    for content in ours:
        assert {path for path, _ in shape(content)} == expected.keys() | others.keys()
    assert not others.keys() & expected.keys()
    for path, forms in shapes(ours).items():
        if path not in others:
            assert forms <= expected[path], path


def test_every_file_of_a_webhook_is_compared() -> None:
    """A new file doesn't go unnoticed; those that we don't serve have a reason."""
    assert {path.name for path in (WITNESSED / "webhooks").iterdir()} == WEBHOOKS.keys() | NOT_SERVED.keys()


def test_the_forms_tell_what_matters_apart() -> None:
    """Times by their precision, amounts by their notation, numbers from texts."""
    values = ["2026-07-21T10:58:51Z", "2026-11-30T22:25:27.521992Z", "0.05", "1.666E-4", "60", 60, 0.05, True, None]
    assert len({form(value) for value in values}) == len(values)
