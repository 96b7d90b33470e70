"""Lists of sessions: valid ones, and the exact message of each mistake."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef
from exporter.sources.entries import Reader, json_entries, yaml_entries

GOOD = {"record_type": "call-session", "event_id": "a"}
RECORD_TYPE = "a record type, such as call-session"
PRINTABLE = "text of 1 to 200 printable characters, with no space at either end"
DATE = "an ISO 8601 date or date-time, such as 2026-03-17 or 2026-03-17T09:30:00Z"
KNOWN = "account, record_type, event_id, date_time"
QUOTES = "; text that can be taken for something else needs quotes"

both = pytest.mark.parametrize("reader", [json_entries, yaml_entries])


def message(reader: Reader, text: str | bytes, *accounts: str) -> str:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        reader(content, "list", accounts or ("main",))
    return str(caught.value)


@both
def test_entries_are_those_of_the_configuration(reader: Reader) -> None:
    """An entry names record type and id; account and date are optional; the order is kept."""
    entries = [
        {"record_type": "call-session", "event_id": "a", "date_time": "2026-03-17T09:30:00Z"},
        {"account": "main", "record_type": "message", "event_id": "b"},
    ]
    assert reader(json.dumps(entries).encode(), "list", ["main"]) == (
        SessionRef("main", "call-session", "a", "2026-03-17T09:30:00Z"),
        SessionRef("main", "message", "b"),
    )


@both
def test_an_entry_twice_is_one_session(reader: Reader) -> None:
    """Two equal entries of a list are one session, with the first date; an empty list names none."""
    entries = [GOOD, {**GOOD, "date_time": "2026-03-17"}]
    assert reader(json.dumps(entries).encode(), "list", ["main"]) == (SessionRef("main", "call-session", "a"),)
    assert reader(b"[]", "list", ["main"]) == ()


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_yaml_file_names_no_session(text: str) -> None:
    """An empty YAML text, or one of comments only, is an empty list; an empty JSON text is broken."""
    assert yaml_entries(text.encode(), "list", ["main"]) == ()
    assert message(json_entries, text) == (
        "list, line 1, column 1: Expecting value; is it JSON, and written to its end?"
    )


BAD: dict[str, str] = {
    json.dumps([GOOD, GOOD, GOOD, {"record_type": "message"}]): f"[3].event_id: missing; expected {PRINTABLE}",
    json.dumps([{"record_type": "Call", "event_id": "a"}]): f'[0].record_type: expected {RECORD_TYPE}, got "Call"',
    json.dumps([{**GOOD, "event_id": 12345}]): f"[0].event_id: expected {PRINTABLE}, got 12345{QUOTES}",
    json.dumps([{**GOOD, "event_id": 1.5}]): f"[0].event_id: expected {PRINTABLE}, got 1.5{QUOTES}",
    json.dumps([{**GOOD, "event_id": True}]): f"[0].event_id: expected {PRINTABLE}, got true{QUOTES}",
    json.dumps([{**GOOD, "event_id": ["a"]}]): f"[0].event_id: expected {PRINTABLE}, got a list",
    json.dumps([{**GOOD, "event_id": "a\nb"}]): f'[0].event_id: expected {PRINTABLE}, got "a\\nb"',
    json.dumps([{**GOOD, "event_id": "\ud800"}]): f'[0].event_id: expected {PRINTABLE}, got "\\ud800"',
    json.dumps([{**GOOD, "date_time": "17.3."}]): f'[0].date_time: expected {DATE}, got "17.3."',
    json.dumps([{**GOOD, "data_time": "x"}]): "[0].data_time: unknown key; did you mean date_time?",
    json.dumps([{**GOOD, "zzz": "x"}]): f"[0].zzz: unknown key; known here are {KNOWN}",
    json.dumps(["a"]): '[0]: expected settings below it (key: value), got "a"',
    json.dumps([None]): "[0]: expected settings below it (key: value), got nothing",
    json.dumps({"sessions": [GOOD]}): "list: expected a list of sessions at the top, got a mapping",
    json.dumps("text"): 'list: expected a list of sessions at the top, got "text"',
    json.dumps([{**GOOD, "account": "mian"}]): '[0].account: no account is named "mian"; did you mean main?',
    json.dumps([{**GOOD, "account": "other"}]): '[0].account: no account is named "other"; there are main',
    json.dumps([{}] * 10_001): "expected 0 to 10000 entries, got 10001",
}


@both
@pytest.mark.parametrize(("text", "expected"), BAD.items(), ids=map(str, range(len(BAD))))
def test_a_bad_entry_gets_its_message(reader: Reader, text: str, expected: str) -> None:
    """A mistake's message names the entry, the problem and the cure, in YAML (which includes this JSON) as in JSON."""
    assert message(reader, text) == expected


@both
def test_an_account_is_needed_where_there_are_several(reader: Reader) -> None:
    """With several accounts each entry names its own."""
    assert message(reader, json.dumps([GOOD]), "main", "backup") == (
        "[0].account: missing; there are several accounts, so name one: main, backup"
    )


BROKEN_JSON: dict[str | bytes, str] = {
    '[{"record_type": "call-session",': (
        "list, line 1, column 33: Expecting property name enclosed in double quotes; "
        "is it JSON, and written to its end?"
    ),
    "- record_type: call-session": "list, line 1, column 1: Expecting value; is it JSON, and written to its end?",
    "[]\n[]": "list, line 2, column 1: Extra data; is it JSON, and written to its end?",
    '[{"event_id": "a", "event_id": "b"}]': "[0].event_id: given twice; keep one",
    "[NaN]": "[0]: expected settings below it (key: value), got NaN",
    "[" * 100_000: "list: nested deeper than 20 levels; no setting lies that deep",
    '[{"a":' * 11 + "1" + "}]" * 11: "list: nested deeper than 20 levels; no setting lies that deep",
    f'[{{"event_id": {"9" * 5000}}}]': f"[0].record_type: missing; expected {RECORD_TYPE}\n"
    f"[0].event_id: expected {PRINTABLE}, got {'9' * 200}...{QUOTES}",
    b'["\xff"]': "list, line 1: is not UTF-8 text; save the file as UTF-8",
    '["\\"': "list, line 1, column 2: Unterminated string starting at; is it JSON, and written to its end?",
    " " * 1_048_577: "list: is larger than 1048576 bytes; is it the right file?",
}


@pytest.mark.parametrize(("text", "expected"), BROKEN_JSON.items(), ids=map(str, range(len(BROKEN_JSON))))
def test_broken_json_gets_its_place(text: str | bytes, expected: str) -> None:
    """Invalid JSON, or deeper JSON than a list needs, is an error with its line and column."""
    assert message(json_entries, text) == expected


def test_brackets_in_text_are_no_depth() -> None:
    """An id may hold any brackets and quotes."""
    event_id = '[[[{{{"' * 20
    assert json_entries(json.dumps([{**GOOD, "event_id": event_id}]).encode(), "list", ["main"]) == (
        SessionRef("main", "call-session", event_id),
    )


def test_all_mistakes_are_reported_together() -> None:
    """The first 20 mistakes are reported and the others counted, within the time limit."""
    lines = message(json_entries, json.dumps([{f"key{n}": n for n in range(50_000)}])).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 49982 more")


plain = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=50)
good_entries = st.lists(
    st.fixed_dictionaries(
        {"record_type": st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), "event_id": plain},
        optional={"account": st.just("main"), "date_time": st.dates().map(str)},
    ),
    max_size=10,
)


@given(good_entries)
def test_yaml_and_json_mean_the_same(entries: list[dict[str, str]]) -> None:
    """A list has the same sessions whether it is read as JSON or as YAML."""
    text = json.dumps(entries).encode()
    assert json_entries(text, "list", ["main"]) == yaml_entries(text, "list", ["main"])


@both
@given(content=st.binary() | st.text("[]{}\":,\\ae1-\n \t#&*!|>'%@`\ufeff\ud7ff").map(str.encode))
def test_any_bytes_are_sessions_or_one_error(reader: Reader, content: bytes) -> None:
    """Any bytes are read as sessions or raise a ConfigError."""
    with suppress(ConfigError):
        assert isinstance(reader(content, "list", ["main"]), tuple)
