"""The record types: the documented ones, the naming of nodes, and the additions of the API's metadata."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.record_types import RecordTypes

DOCUMENTED = RecordTypes.documented()

TYPES_OF_THE_GUIDE = {
    "ai-and-voice-intelligence": {
        *("ai-voice-assistant", "inference", "inference-speech-to-text", "inference-text-to-speech", "summarization"),
        *("embedding", "speech-to-text", "text-to-speech", "amd", "noise-suppression"),
    },
    "voice": {"call-session", "call-control", "sip-trunking", "webrtc"},
    "media": {"recording", "media_storage", "media-streaming", "forking"},
    "conferencing": {"conference", "conference-participant"},
    "messaging": {"message"},
    "video": {
        *("room-session-event", "room-session-participant-event"),
        *("room-session-recording-event", "room-session-composition-event"),
    },
    "other": {
        *("verify", "fax-api", "branded-calling", "siprec-client", "sim_card_usage", "customer-service-record"),
    },
}

COMMON_CHILDREN = {
    "ai-voice-assistant": {"inference"},
    "call-session": {
        *("call-control", "sip-trunking", "recording", "webrtc", "siprec-client", "fax-api", "conference-participant"),
    },
    "call-control": {
        *("ai-voice-assistant", "amd", "media-streaming", "speech-to-text", "text-to-speech", "noise-suppression"),
    },
    "conference": {"conference-participant"},
    "message": {"ai-messaging-assistant"},
}


def metadata(*entries: Any) -> bytes:
    return json.dumps({"record_types": entries}).encode()


def test_the_31_types_of_the_guide_are_there() -> None:
    """The documented types are those of the guide, in its groups."""
    groups: dict[str, set[str]] = {}
    for each in DOCUMENTED:
        groups.setdefault(each.group, set()).add(each.name)
    assert groups == TYPES_OF_THE_GUIDE
    assert len(DOCUMENTED) == 31


@pytest.mark.parametrize(("parent", "children"), COMMON_CHILDREN.items())
def test_the_common_children_of_the_guide_are_there(parent: str, children: set[str]) -> None:
    """Every common child that the guide names is a child in the data."""
    found = DOCUMENTED.get(parent)
    assert found is not None
    assert children <= {edge.child for edge in found.children}


def test_no_word_means_two_types() -> None:
    """Names and aliases are distinct, and product and event name together identify a type."""
    words = [word for each in DOCUMENTED for word in (each.name, *each.aliases)]
    names = [(each.product, each.event) for each in DOCUMENTED]
    assert len(words) == len(set(words))
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("product", "event_name", "link", "expected"),
    [
        ("callcontrol-cdrs", "callcontrol-cdrs", "/v2/session_analysis/call-control/1", "call-control"),
        ("callcontrol-cdrs", "callcontrol-cdrs", "/v2/session_analysis/callcontrol-cdrs/call-123", "call-control"),
        ("callcontrol-cdrs", "hangup", "/v2/session_analysis/callcontrol-cdrs/call-123", "call-control"),
        ("siptrunking-cdrs", "call-session", None, "call-session"),
        ("siptrunking-cdrs", "siptrunking-cdrs", None, "sip-trunking"),
        ("siptrunking-cdrs", "?", "/v2/session_analysis/call-session/1", "call-session"),
        ("siptrunking-cdrs", "?", None, "siptrunking-cdrs"),
        ("inference", "embedding", "/v2/session_analysis/inference/1", "embedding"),
        ("inference", "embedding", "/v2/session_analysis/embedding/1", "embedding"),
        ("inference", "new", "/v2/session_analysis/inference/1", "inference"),
        ("x", "y", "/v2/session_analysis/stt/1", "speech-to-text"),
        ("x", "y", "https://api.telnyx.com/v2/session_analysis/sim%5Fcard_usage/1", "sim_card_usage"),
        ("ai-messaging-assistant", "ai-messaging-assistant", None, "ai-messaging-assistant"),
        ("ai-messaging-assistant", "", "/v2/session_analysis/ai-messaging-assistant/1", "ai-messaging-assistant"),
        ("new-cdrs", "", "nonsense", "new-cdrs"),
        ("", "", "", "unknown"),
        ("", "", None, "unknown"),
    ],
)
def test_a_node_gets_its_canonical_name(product: str, event_name: str, link: str | None, expected: str) -> None:
    """A node is named by its link's record type, then by product and event name, then by a product of a single type."""
    assert DOCUMENTED.canonical(product, event_name, link) == expected


def test_every_type_is_found_by_each_of_its_names() -> None:
    """A documented type is found by its link, by an alias in the link, and by product and event name alone."""
    for each in DOCUMENTED:
        assert DOCUMENTED.canonical(each.product, each.event, None) == each.name
        for word in (each.name, *each.aliases):
            assert DOCUMENTED.canonical("", "", f"/v2/session_analysis/{word}/1") == each.name
            assert DOCUMENTED.get(word) == each


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ("call-session", "call-control", True),
        ("call-session", "conference-participant", False),
        ("conference", "conference-participant", True),
        ("recording", "media_storage", False),
        ("ai-messaging-assistant", "inference", True),
        ("nobody", "nothing", True),
    ],
)
def test_costs_roll_up_unless_the_metadata_says_no(parent: str, child: str, *, expected: bool) -> None:
    """An edge rolls up if it says so, or if it is unknown."""
    assert DOCUMENTED.rolls_up(parent, child) is expected


@pytest.mark.parametrize(
    ("record_type", "expected"),
    [("call-session", True), ("inference", False), ("recording", False), ("ai-messaging-assistant", True)],
)
def test_only_known_leaves_are_believed_to_be_leaves(record_type: str, *, expected: bool) -> None:
    """A type may have children unless it is known and no edge below it is traversed."""
    assert DOCUMENTED.may_have_children(record_type) is expected


def test_metadata_adds_types_aliases_names_and_relationships() -> None:
    """Types, aliases and names of the API's metadata are added to the known ones."""
    types = DOCUMENTED.extended(
        metadata(
            {
                "record_type": "ai-messaging-assistant",
                "aliases": ["ai-sms"],
                "product": "ai-messaging",
                "event": "reply",
                "child_relationships": [{"child_record_type": "inference", "cost_rollup": False, "novel": 1}],
            },
            {"record_type": "verify", "aliases": ["verify", "2fa"], "product": "verify-cdrs", "event": "verify-cdrs"},
        )
    )
    assert len(types) == 32
    assert types.canonical("ai-messaging", "reply", None) == "ai-messaging-assistant"
    assert types.canonical("", "", "/v2/session_analysis/ai-sms/1") == "ai-messaging-assistant"
    assert not types.rolls_up("ai-messaging-assistant", "inference")
    assert types.may_have_children("ai-messaging-assistant")
    assert types.canonical("", "", "/v2/session_analysis/2fa/1") == "verify"
    assert types.canonical("verify-cdrs", "verify-cdrs", None) == "verify"
    assert types.canonical("verify", "verify", None) == "verify"


def test_metadata_takes_no_name_away() -> None:
    """An alias or a name that is taken keeps its meaning."""
    types = DOCUMENTED.extended(
        metadata({"record_type": "new", "aliases": ["call-session", "stt"], "product": "amd", "event": "amd"})
    )
    assert types.canonical("", "", "/v2/session_analysis/call-session/1") == "call-session"
    assert types.canonical("", "", "/v2/session_analysis/stt/1") == "speech-to-text"
    assert types.canonical("amd", "amd", None) == "amd"


def test_metadata_corrects_the_flags_of_a_known_relationship() -> None:
    """The API's roll-up and traversal count, as the guide doesn't state them; absent values change nothing."""
    edge = {"child_record_type": "conference-participant"}
    silent = DOCUMENTED.extended(metadata({"record_type": "call-session", "child_relationships": [edge]}))
    stated = DOCUMENTED.extended(
        metadata({"record_type": "call-session", "child_relationships": [{**edge, "cost_rollup": True}]})
    )
    assert not silent.rolls_up("call-session", "conference-participant")
    assert stated.rolls_up("call-session", "conference-participant")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        {},
        {"record_type": ""},
        {"record_type": ["x"]},
        {"record_type": "verify", "aliases": 3},
        {"record_type": "verify", "child_relationships": [{"cost_rollup": True}, {"child_record_type": ""}, None]},
    ],
)
def test_a_bad_entry_is_left_out_and_no_other(bad: object) -> None:
    """A bad entry is left out alone."""
    types = DOCUMENTED.extended(metadata(bad, {"record_type": "new", "aliases": None, "child_relationships": None}))
    assert [each.name for each in types] == [*(each.name for each in DOCUMENTED), "new"]
    assert types.canonical("", "", None) == "unknown"


@given(
    st.one_of(
        st.binary(),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
            lambda value: json.dumps({"record_types": value}).encode()
        ),
        st.just(b'{"record_types": ' + b"[" * 10_000),
    )
)
def test_no_answer_takes_anything_away(answer: bytes) -> None:
    """All documented types stay, whatever the metadata's answer."""
    known = {each.name for each in DOCUMENTED.extended(answer)}
    assert known >= {each.name for each in DOCUMENTED}
