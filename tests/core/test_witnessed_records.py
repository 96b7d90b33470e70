"""What each detail record that was seen on live accounts yields, and what of it identifies a person."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Label
from exporter.config.settings import REDACT_FIELDS
from exporter.core.attributes import AttributeReader
from exporter.core.model import Event, Session, SessionRef
from exporter.core.money import read_decimal
from exporter.core.privacy import Redactor

RECORDS = sorted((Path(__file__).parents[1] / "data" / "witnessed" / "records").glob("*.json"))
READER = AttributeReader([Label(name="tags", field="tags"), Label(name="connection", field="connection_id")])

YIELDS: dict[str, tuple[int | None, int | None, int | None, int | None, int | None, float | None, str, str]] = {
    "ai-voice-assistant": (None, None, None, None, 60, 31, "none", "none"),
    "conference-participant": (None, None, None, None, 60, 5, "none", "none"),
    "inference": (812, 640, 57, None, None, None, "none", "none"),
    "messaging": (None, None, None, None, None, None, "tag1,tag2", "none"),
    "recording": (None, None, None, None, 60, None, "none", "none"),
    "sip-trunking": (None, None, None, None, 0, 0, "none", "2500000000000000001"),
    "stt": (None, None, None, None, None, None, "none", "none"),
    "tts": (None, None, None, 238, None, None, "none", "none"),
    "tts-conversational": (None, None, None, 238, None, None, "none", "none"),
    "verify": (None, None, None, None, None, None, "none", "none"),
    "webrtc": (None, None, None, None, 60, 50, "none", "2500000000000000003"),
    "wireless": (None, None, None, None, None, None, "none", "none"),
}
"""Input, cached input and output tokens, characters, billed seconds, duration in seconds, tags, connection."""

PERSONAL = {
    "conference-participant": {"destination_number", "originating_number"},
    "messaging": {"cld", "cli"},
    "sip-trunking": {
        *("auth_username", "cld", "cli", "lrn", "orig_jip", "orig_lrn", "sip_call_id", "sip_from_url", "sip_full_to"),
        *("term_lrn_city", "term_lrn_ocn"),
    },
    "verify": {"destination_phone_number"},
    "webrtc": {"auth_username", "caller_number", "cld", "cli", "dest_number"},
    "wireless": {"imsi", "ip_address", "phone_number"},
}
"""Fields that are masked; the others of a record are shown."""

every_record = pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)


def record(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(), parse_float=read_decimal)
    return read


@every_record
def test_a_record_yields_its_usage(path: Path) -> None:
    """As a node of a tree."""
    kept = {name: value for name, value in record(path).items() if name in READER.record_fields}
    event = Event("p", "e", "x", 0, path.stem, -1, Decimal(0), None, "USD", kept)
    session = Session(
        SessionRef("main", path.stem, "x"), (event,), complete=True, mismatches=(), cuts=0, cuts_unresolved=0
    )
    (found,) = READER.event_attributes(session)
    labels = dict(found.labels)
    usage = (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.characters, found.billed_seconds)
    duration = READER.session_attributes(session, (found,)).duration_seconds
    assert (*usage, duration, labels["tags"], labels["connection"]) == YIELDS[path.stem]
    assert found.at is not None


@every_record
def test_what_identifies_a_person_is_masked(path: Path) -> None:
    """By default, whatever the record type."""
    plain = record(path)
    shown = Redactor(REDACT_FIELDS).record(plain)
    assert {name for name in plain if shown[name] != plain[name]} == PERSONAL.get(path.stem, set())
