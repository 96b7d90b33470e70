"""The configuration: each rule with its exact message, and how values are kept."""

from pathlib import Path

import pytest

from exporter import config
from exporter.config import Account, Config
from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef
from tools.configuration_page import setting_paths

KEY = "KEY0123456789ABCDEF0123456789ABCDEF_abcdefghijklmnopqrstuv"


def parse(text: str) -> Config:
    return config.parse(text.encode(), "config.yaml")


def message(text: str | bytes) -> str:
    """The whole error that the text gets."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text if isinstance(text, bytes) else text.encode(), "config.yaml")
    return str(caught.value)


SESSION = "sessions: [{record_type: call-session, event_id: a, %s}]"
LABEL = "metrics: {labels: [{field: f, %s}]}"
LABEL_NAME = "a label name (a-z, A-Z, 0-9, _) that neither starts with __ nor is one of the exporter's own"
ACCOUNT_NAME = "1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
PRINTABLE = "text of 1 to 200 printable characters, with no space at either end"
DATE = "an ISO 8601 date or date-time, such as 2026-03-17 or 2026-03-17T09:30:00Z"
QUOTES = "; text that can be taken for something else needs quotes"
URL = "an http or https URL, such as https://api.telnyx.com/v2"
URL_PLAIN = "expected a URL without credentials, query or fragment; they are not shown"
SERVER_URL = (
    "expected postgresql://USER@HOST:PORT/DATABASE, perhaps with ?sslmode=verify-full and other settings of libpq;"
    " in a password %, /, ?, # and @ are written as %25, %2F, %3F, %23 and %40"
)
LEDGER_URL = (
    "sqlite:/// and the path of a file, such as sqlite:///telnyx-sessions.sqlite, or postgresql://USER@HOST/DATABASE"
)
NOT_SHOWN = f"expected {LEDGER_URL}; what it holds is not shown, for there may be a password in it"
VARIABLE = "the name of an environment variable, such as TELNYX_API_KEY"
NOTHING = "nothing; remove the key to have its default"
TOP_KEYS = "known here are accounts, discovery, sessions, metrics, budgets, ledger, polling, tree, web"
CURRENCY = "three capital letters (ISO 4217), such as USD"

BAD_SETTINGS = {
    # numbers
    "polling: {min_interval_seconds: fast}": (
        'polling.min_interval_seconds: expected a number of at least 1, got "fast"'
    ),
    'polling: {min_interval_seconds: "30"}': 'polling.min_interval_seconds: expected a number of at least 1, got "30"',
    "polling: {min_interval_seconds: 0}": "polling.min_interval_seconds: expected a number of at least 1, got 0",
    "polling: {min_interval_seconds: -30}": "polling.min_interval_seconds: expected a number of at least 1, got -30",
    "polling: {min_interval_seconds: .nan}": "polling.min_interval_seconds: expected a number of at least 1, got .nan",
    "polling: {min_interval_seconds: .inf}": "polling.min_interval_seconds: expected a number of at least 1, got .inf",
    "polling: {min_interval_seconds: !!float nan}": (
        "polling.min_interval_seconds: expected a number of at least 1, got nan"
    ),
    "polling: {min_interval_seconds: true}": "polling.min_interval_seconds: expected a number of at least 1, got true",
    "polling: {min_interval_seconds: 1:30}": "polling.min_interval_seconds: expected a number of at least 1, got 1:30",
    "polling: {min_interval_seconds: 0x1F}": "polling.min_interval_seconds: expected a number of at least 1, got 0x1F",
    "polling: {min_interval_seconds: [30]}": (
        "polling.min_interval_seconds: expected a number of at least 1, got a list"
    ),
    "polling: {min_interval_seconds: {a: 1}}": (
        "polling.min_interval_seconds: expected a number of at least 1, got a mapping"
    ),
    "polling: {min_interval_seconds: }": (
        "polling.min_interval_seconds: expected a number of at least 1, got nothing; remove the key to have its default"
    ),
    "polling: {not_found_timeout_seconds: 1.0e+99}": (
        "polling.not_found_timeout_seconds: expected a number of at most 315360000 (ten years), got 1.0E+99"
    ),
    "polling: {max_attempts: 2.5}": "polling.max_attempts: expected a whole number from 1 to 10, got 2.5",
    "tree: {max_depth: 6}": "tree.max_depth: expected a whole number from 1 to 5, got 6",
    f"tree: {{max_depth: {'9' * 5000}}}": f"tree.max_depth: expected a whole number from 1 to 5, got {'9' * 200}...",
    "metrics: {new_series_zero_seconds: -1}": (
        "metrics.new_series_zero_seconds: expected a number from 0 to 3600, got -1"
    ),
    "metrics: {buckets: {session_cost: [0.0000000000001]}}": (
        "metrics.buckets.session_cost[0]: expected an amount from 0 to 1000000000 with at most 12 decimal places, "
        "got 1E-13"
    ),
    # lists
    "polling: {recheck_after_seconds: 5}": (
        "polling.recheck_after_seconds: expected a list, each a number of at least 1, got 5"
    ),
    "polling: {recheck_after_seconds: [5, x]}": (
        'polling.recheck_after_seconds[1]: expected a number of at least 1, got "x"'
    ),
    "polling: {recheck_after_seconds: [5, 5]}": (
        "polling.recheck_after_seconds: expected each number to be greater than the one before, got 5 after 5"
    ),
    "metrics: {buckets: {session_cost: [1, 0.5]}}": (
        "metrics.buckets.session_cost: expected each number to be greater than the one before, got 0.5 after 1"
    ),
    "metrics: {buckets: {session_events: []}}": "metrics.buckets.session_events: expected 1 to 40 entries, got 0",
    "accounts: []": "accounts: expected 1 to 10000 entries, got 0",
    "accounts: [{currencies: [usd]}]": f'accounts[0].currencies[0]: expected {CURRENCY}, got "usd"',
    "accounts: [{currencies: [NO]}]": f"accounts[0].currencies[0]: expected {CURRENCY}, got NO{QUOTES}",
    "accounts: [{currencies: [USD, USD]}]": 'accounts[0].currencies: "USD" is given twice; keep one',
    # text
    "accounts: [{name: a b}]": f'accounts[0].name: expected {ACCOUNT_NAME}, got "a b"',
    "accounts: [{name: 2026}]": f"accounts[0].name: expected {ACCOUNT_NAME}, got 2026{QUOTES}",
    'accounts: [{name: "a\\n"}]': f'accounts[0].name: expected {ACCOUNT_NAME}, got "a\\n"',
    SESSION % "date_time: 2026-03-17": f"sessions[0].date_time: expected {DATE}, got 2026-03-17{QUOTES}",
    SESSION % 'date_time: "2026-02-31"': f'sessions[0].date_time: expected {DATE}, got "2026-02-31"',
    SESSION % 'date_time: "17.3.2026"': f'sessions[0].date_time: expected {DATE}, got "17.3.2026"',
    "sessions: [{record_type: Call, event_id: a}]": (
        'sessions[0].record_type: expected a record type, such as call-session, got "Call"'
    ),
    'sessions: [{record_type: call-session, event_id: ""}]': f'sessions[0].event_id: expected {PRINTABLE}, got ""',
    'sessions: [{record_type: call-session, event_id: "a\\tb"}]': (
        f'sessions[0].event_id: expected {PRINTABLE}, got "a\\tb"'
    ),
    f"sessions: [{{record_type: call-session, event_id: {'a' * 201}}}]": (
        f'sessions[0].event_id: expected {PRINTABLE}, got "{"a" * 200}..."'
    ),
    "tree: {expand: all}": 'tree.expand: expected auto, record or none, got "all"',
    "tree: {expand: no}": f"tree.expand: expected auto, record or none, got no{QUOTES}",
    LABEL % "name: __x": f'metrics.labels[0].name: expected {LABEL_NAME}, got "__x"',
    LABEL % "name: 1st": f'metrics.labels[0].name: expected {LABEL_NAME}, got "1st"',
    **{
        LABEL % f"name: {name}": f'metrics.labels[0].name: expected {LABEL_NAME}, got "{name}"'
        for name in ("account", "le")
    },
    LABEL % "name: x, from: root": 'metrics.labels[0].from: expected event, nearest or session, got "root"',
    LABEL % "name: x, values: []": "metrics.labels[0].values: expected 1 to 1000 entries, got 0",
    # where things are
    "accounts: [{api_key_file: ''}]": 'accounts[0].api_key_file: expected the path of a file, got ""',
    "accounts: [{api_key_env: a b}]": (
        f"accounts[0].api_key_env: expected {VARIABLE}; what it holds is not shown, for it may be the key itself"
    ),
    f"accounts: [{{api_key_env: {KEY}}}]": (
        f"accounts[0].api_key_env: expected {VARIABLE}, "
        "got what looks like the key itself; keep the key out of this file"
    ),
    "accounts: [{base_url: api.telnyx.com}]": f'accounts[0].base_url: expected {URL}, got "api.telnyx.com"',
    "accounts: [{base_url: 'ftp://api.telnyx.com'}]": f'accounts[0].base_url: expected {URL}, got "ftp://api.telnyx.com"',
    "accounts: [{base_url: 'http://a:99999'}]": f'accounts[0].base_url: expected {URL}, got "http://a:99999"',
    "accounts: [{base_url: 'https://u:secret@a/v2'}]": f"accounts[0].base_url: {URL_PLAIN}",
    "accounts: [{base_url: 'https://a/v2?key=secret'}]": f"accounts[0].base_url: {URL_PLAIN}",
    "accounts: [{base_url: 'https://a/v2#x'}]": f"accounts[0].base_url: {URL_PLAIN}",
    "ledger: {url: 'postgresql://u:secret@db'}": f"ledger.url: {SERVER_URL}",
    "ledger: {url: 'postgresql://u:se/cret@db/x'}": f"ledger.url: {SERVER_URL}",
    "ledger: {url: 'postgresql://u:s@cret@db/x'}": f"ledger.url: {SERVER_URL}",
    "ledger: {url: 'postgresql://u:50%secret@db/x'}": f"ledger.url: {SERVER_URL}",
    "ledger: {url: 'postgres:u:secret@db/x'}": f"ledger.url: {SERVER_URL}",
    "ledger: {password_file: /etc/pw}": (
        "ledger.password_file: a file has no password; remove the key, or name a PostgreSQL in ledger.url"
    ),
    "ledger: {url: 'mysql://u:secret@db/x'}": f"ledger.url: {NOT_SHOWN}",
    "ledger: {url: 'host=db user=u password=secret dbname=x'}": f"ledger.url: {NOT_SHOWN}",
    "ledger: {url: 'sqlite:///x?mode=ro'}": f"ledger.url: {URL_PLAIN}",
    "ledger: {url: x.sqlite}": f'ledger.url: expected {LEDGER_URL}, got "x.sqlite"',
    "ledger: {url: 'sqlite://'}": f'ledger.url: expected {LEDGER_URL}, got "sqlite://"',
    "ledger: {url: 'sqlite:///:memory:'}": f'ledger.url: expected {LEDGER_URL}, got "sqlite:///:memory:"',
    # how sessions are found
    **{
        f"discovery: {{webhooks: {{insecure: {word}}}}}": (
            f"discovery.webhooks.insecure: expected true or false, got {shown}"
        )
        for word, shown in (("yes", "yes"), ("1", "1"), ('"true"', '"true"'), ("[true]", "a list"), ("", NOTHING))
    },
    "discovery: {http: {enabled: on}}": "discovery.http.enabled: expected true or false, got on",
    "discovery: {detail_records: {record_types: [call-control, call-control]}}": (
        'discovery.detail_records.record_types: "call-control" is given twice; keep one'
    ),
    "discovery: {detail_records: {record_types: [Call]}}": (
        'discovery.detail_records.record_types[0]: expected a record type, such as call-control, got "Call"'
    ),
    "discovery: {detail_records: {interval_seconds: 1}}": (
        "discovery.detail_records.interval_seconds: expected a number of at least 5, got 1"
    ),
    "discovery: {detail_records: {lookback_seconds: 0}}": (
        "discovery.detail_records.lookback_seconds: expected a number of at least 60, got 0"
    ),
    "discovery: {detail_records: {first_lookback_seconds: -1}}": (
        "discovery.detail_records.first_lookback_seconds: expected a number of at least 0, got -1"
    ),
    "discovery: {detail_records: {custom_types: [{time_field: at}]}}": (
        "discovery.detail_records.custom_types[0].name: missing; expected a record type, such as call-control"
    ),
    "discovery: {detail_records: {custom_types: [{name: x, id_field: a.b}]}}": (
        'discovery.detail_records.custom_types[0].id_field: expected the name of a field, such as created_at, got "a.b"'
    ),
    "discovery: {detail_records: {custom_types: [{name: x, session: y}]}}": (
        "discovery.detail_records.custom_types[0].session: unknown key; did you mean session_field?"
    ),
    "accounts: [{webhook_public_key_env: A, webhook_public_key_file: b}]": (
        "accounts[0].webhook_public_key_file: given beside webhook_public_key_env; keep one of the two"
    ),
    "accounts: [{webhook_public_key_env: a b}]": (
        f"accounts[0].webhook_public_key_env: expected {VARIABLE}; "
        "what it holds is not shown, for it may be the key itself"
    ),
    # keys
    "accounts: [{api_keyy: x}]": "accounts[0].api_keyy: unknown key; did you mean api_key_env?",
    f"accounts: [{{api_key: {KEY}}}]": "accounts[0].api_key: unknown key; did you mean api_key_env?",
    "zzz: 1": f"zzz: unknown key; {TOP_KEYS}",
    "yes: 1": f"yes: unknown key; {TOP_KEYS}",
    '"a\\nb": 1': f'"a\\nb": unknown key; {TOP_KEYS}',
    "polling: {<<: {scheduler_interval_seconds: 2}}": (
        "polling.<<: unknown key; known here are min_interval_seconds, max_interval_seconds, settle_after_seconds, "
        "recheck_after_seconds, reported_interval_seconds, not_found_timeout_seconds, configured_recheck_seconds, "
        "scheduler_interval_seconds, timeout_seconds, max_attempts"
    ),
    "sessions: [{event_id: a}]": "sessions[0].record_type: missing; expected a record type, such as call-session",
    "sessions: [call-session/a]": ('sessions[0]: expected settings below it (key: value), got "call-session/a"'),
    "polling: 5": "polling: expected settings below it (key: value), got 5",
    "polling: !!set {a}": "polling: expected settings below it (key: value), got tag:yaml.org,2002:set",
    # what settings must agree on
    "accounts: [{api_key_env: A, api_key_file: b}]": (
        "accounts[0].api_key_file: given beside api_key_env; keep one of the two"
    ),
    "accounts: [{name: main}, {name: main}]": (
        'accounts[1].name: "main" is used twice; every account needs its own name'
    ),
    "metrics: {labels: [{name: team, field: a}, {name: team, field: b}]}": (
        'metrics.labels[1].name: "team" is used twice; every label needs its own name'
    ),
    "accounts: [{name: main}, {name: backup}]\n" + SESSION % "": (
        "sessions[0].account: missing; there are several accounts, so name one: main, backup"
    ),
    "accounts: [{name: main}, {name: backup}]\n" + SESSION % "account: mian": (
        'sessions[0].account: no account is named "mian"; did you mean main?'
    ),
    SESSION % "account: zzz": 'sessions[0].account: no account is named "zzz"; there are default',
    "sessions: [{record_type: a, event_id: b}, {record_type: a, event_id: b, account: default}]": (
        "sessions[1]: the same session as sessions[0]; keep one of the two"
    ),
    "polling: {max_interval_seconds: 10}": (
        "polling.max_interval_seconds: expected at least polling.min_interval_seconds (30), got 10"
    ),
    "ledger: {retention_days: 35}": (
        "ledger.retention_days: expected more than 35.25, the days until the last of polling.recheck_after_seconds, "
        "got 35"
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_SETTINGS.items())
def test_a_wrong_setting_gets_its_message(text: str, expected: str) -> None:
    """A wrong setting is answered with its path, what was expected, what was found, and the cure."""
    assert message(text) == expected


RENAMED = {
    "discovery.detail_records.dialect": "custom_types",
    "ledger.takeover_seconds": "exposition_handover_seconds",
    "metrics.birth_seconds": "new_series_zero_seconds",
    "metrics.followed_sessions_max": "session_series_max",
    "polling.attempts_max": "max_attempts",
    "polling.give_up_after_seconds": "not_found_timeout_seconds",
    "polling.hinted_interval_seconds": "reported_interval_seconds",
    "polling.tick_seconds": "scheduler_interval_seconds",
    "tree.body_bytes_max": "max_body_bytes",
    "tree.depth_max": "max_levels",
    "tree.nodes_max": "max_nodes",
    "tree.subtrees_max": "max_subtree_requests",
}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_former_key_is_refused_with_the_new_name(old: str, new: str) -> None:
    """A key that was renamed is an error at its place, and the error says what to write instead."""
    *sections, key = old.split(".")
    text = "".join(f"{section}: {{" for section in sections) + f"{key}: 1" + "}" * len(sections)
    assert message(text) == f"{old}: renamed; write {new} instead"
    assert any(path.startswith(f"{'.'.join(sections)}.{new}") for path in setting_paths())


BAD_DOCUMENTS: dict[str | bytes, str] = {
    "polling:\n  scheduler_interval_seconds: 1\n  scheduler_interval_seconds: 2\n": (
        "polling.scheduler_interval_seconds: given twice, on lines 2 and 3; keep one"
    ),
    "a: [": (
        "config.yaml, line 1, column 5: while parsing a flow node, expected the node content, but found '<stream end>'"
    ),
    "polling:\n\ttick_seconds: 1\n": (
        "config.yaml, line 2, column 1: while scanning for the next token, "
        "found character '\\t' that cannot start any token"
    ),
    "a: &a [x]\nb: *a\n": ("config.yaml, line 2, column 4: aliases (*name) are not supported; write the value out"),
    "a: &a [*a]": "config.yaml, line 1, column 8: aliases (*name) are not supported; write the value out",
    "[" * 5000: "config.yaml, line 1, column 21: nested deeper than 20 levels; no setting lies that deep",
    "- a\n": "config.yaml: expected settings such as `polling:` at the top; see the annotated config.yaml",
    "text": "config.yaml: expected settings such as `polling:` at the top; see the annotated config.yaml",
    "a: 1\n---\nb: 1\n": (
        "config.yaml, line 2, column 1: expected a single document in the stream, but found another document"
    ),
    "? [a]\n: 1\n": "config.yaml, line 1, column 3: a key must be plain text, not a list or a mapping",
    "polling:\n  ? {a: b}\n  : 1\n": "config.yaml, line 2, column 5: a key must be plain text, not a list or a mapping",
    'a: "\\UFFFFFFFF"': "config.yaml: an escape or a version in it is no valid YAML; see the annotated config.yaml",
    "a: 1\nb: \x07\n": "config.yaml, line 2: a control character; remove it",
    b"a: 1\nb: \xff\n": "config.yaml, line 2: is not UTF-8 text; save the file as UTF-8",
    "#" * 1_048_577: "config.yaml: is larger than 1048576 bytes; is it the right file?",
}


@pytest.mark.parametrize(("text", "expected"), BAD_DOCUMENTS.items(), ids=[str(n) for n in range(len(BAD_DOCUMENTS))])
def test_a_broken_document_gets_its_line(text: str | bytes, expected: str) -> None:
    """A text that is no YAML, or more YAML than a configuration needs, is answered with the line."""
    assert message(text) == expected


def test_all_wrong_settings_are_reported_together() -> None:
    """Several wrong settings are one error with a line for each."""
    assert message("tree: {max_depth: 9}\nledgr: {}\npolling: {scheduler_interval_seconds: x}").splitlines() == [
        "ledgr: unknown key; did you mean ledger?",
        'polling.scheduler_interval_seconds: expected a number from 0.05 to 60, got "x"',
        "tree.max_depth: expected a whole number from 1 to 5, got 9",
    ]


def test_a_flood_of_wrong_settings_is_cut() -> None:
    """Of very many problems the first 20 are shown, and the others counted."""
    lines = message("\n".join(f"wrong{number}: 1" for number in range(25))).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 5 more")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "accounts:\nsessions:\npolling:\nmetrics: {labels: }\n"])
def test_what_is_left_out_has_its_default(text: str) -> None:
    """An empty file, and a section or list with nothing below its key, is the defaults."""
    assert parse(text) == Config()


def test_values_are_kept_as_the_exporter_uses_them() -> None:
    """Seconds are floats, money is Decimal to the digit, lists are tuples, paths are paths, a URL has no last slash."""
    read = parse(
        "accounts: [{name: a, api_key_file: k, base_url: 'http://[::1]:8080/v2/'}]\n"
        "polling: {scheduler_interval_seconds: 2, recheck_after_seconds: []}\n"
        "metrics:\n  buckets: {session_cost: [-0.0, 0.10, 3]}\n"
        "  labels: [{name: team, field: t, from: event, values: [x]}]\n"
    )
    assert read.accounts == (
        Account(name="a", api_key_env=None, api_key_file=Path("k"), base_url="http://[::1]:8080/v2"),
    )
    assert isinstance(read.polling.scheduler_interval_seconds, float)
    assert read.polling.recheck_after_seconds == ()
    assert list(map(str, read.metrics.buckets.session_cost)) == ["0", "0.10", "3"]
    assert read.metrics.labels == (config.Label(name="team", field="t", from_="event", values=("x",)),)


def test_configured_sessions_become_refs() -> None:
    """A configured session without an account belongs to the only one."""
    read = parse("accounts: [{name: main}]\n" + SESSION % 'date_time: "2026-03-17T09:30:00.123Z"')
    assert list(read.session_refs()) == [SessionRef("main", "call-session", "a", "2026-03-17T09:30:00.123Z")]


@pytest.mark.parametrize("limit", ["0.05", "60"])
def test_a_limit_itself_is_allowed(limit: str) -> None:
    """The bounds of a range belong to it, also where no float is the number that is written."""
    assert config.parse(
        f"polling: {{scheduler_interval_seconds: {limit}}}".encode(), "config.yaml"
    ).polling.scheduler_interval_seconds == float(limit)
