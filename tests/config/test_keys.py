"""API keys and public keys: where they are read from, and that no message shows one."""

import base64
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import config
from exporter.config import Account, Secret
from exporter.core.errors import ConfigError

KEY = "KEY0123456789ABCDEF0123456789ABCDEF_abcdefghijklmnopqrstuv"
ENVIRON = {"TELNYX_API_KEY": KEY}


def load_message(tmp_path: Path, text: str, environ: Mapping[str, str]) -> str:
    """The whole error that the text gets as a file, with its keys read."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file, environ)
    return str(caught.value)


def test_the_defaults_need_only_the_key() -> None:
    """Without a file one account `default` has the key from TELNYX_API_KEY, stripped."""
    read = config.load(None, {"TELNYX_API_KEY": f" {KEY}\n"})
    assert [(account.name, account.api_key().reveal()) for account in read.accounts] == [("default", KEY)]


def test_a_key_file_is_read_again(tmp_path: Path) -> None:
    """`resolve_key` reads the current content of the file, for a rotated key."""
    file = tmp_path / "key"
    file.write_text("first\n")
    account = Account(api_key_file=file)
    assert config.resolve_key(account, {}) == Secret("first")
    file.write_text("second\n")
    assert config.resolve_key(account, {}) == Secret("second")


UNSET = (
    "the environment variable TELNYX_API_KEY is not set; export it with the account's API key, "
    "or name another variable here, or a file in api_key_file"
)
UNUSABLE = "(white space, control or non-ASCII characters, or too long); correct it"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        *((environ, UNSET) for environ in ({}, {"TELNYX_API_KEY": " \n"})),
        *(
            ({"TELNYX_API_KEY": key}, f"what the environment variable TELNYX_API_KEY holds is no API key {UNUSABLE}")
            for key in (f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\0", f"{KEY}\x7f", f"{KEY}é", f"{KEY}\udcff", KEY * 100)
        ),
    ],
)
def test_an_unusable_variable_is_named_and_its_value_is_not(environ: dict[str, str], expected: str) -> None:
    """A missing key names the variable and the cure; an unusable one is not shown."""
    with pytest.raises(ConfigError) as caught:
        config.load(None, environ)
    assert str(caught.value) == f"accounts[0].api_key_env: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, 'cannot read "{}" (No such file or directory); create the file or correct the path'),
        (b"\n", '"{}" is empty; write the account\'s API key into it'),
        (b"a b", f'what "{{}}" holds is no API key {UNUSABLE}'),
        (b"\xff\xfe", f'what "{{}}" holds is no API key {UNUSABLE}'),
        (b"a" * 5000, f'what "{{}}" holds is no API key {UNUSABLE}'),
    ],
)
def test_an_unusable_key_file_is_named(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """A key file that is missing, empty or holds no key is named with the cure."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    found = load_message(tmp_path, f"accounts: [{{api_key_file: {file}}}]", {})
    assert found == f"accounts[0].api_key_file: {expected.format(file)}"


def test_two_accounts_with_one_key_are_refused(tmp_path: Path) -> None:
    """Two accounts with the same key would book every event twice."""
    text = "accounts: [{name: a}, {name: b, api_key_env: OTHER}]"
    assert load_message(tmp_path, text, ENVIRON | {"OTHER": KEY}) == (
        'accounts[1]: has the API key of the account "a"; every event would be booked twice, so keep one'
    )


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    """A CA file that is missing or holds no certificate is found at start, not at the first request."""
    none, empty = tmp_path / "none.pem", tmp_path / "empty.pem"
    empty.write_text("")
    text = f"accounts: [{{name: a, ca_file: {none}}}, {{name: b, api_key_env: OTHER, ca_file: {empty}}}]"
    cure = "it must hold certificates in PEM form"
    assert load_message(tmp_path, text, ENVIRON | {"OTHER": "x"}).splitlines() == [
        f'accounts[0].ca_file: cannot read "{none}" (No such file or directory); {cure}',
        f'accounts[1].ca_file: cannot read "{empty}" (no certificate in it); {cure}',
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A configuration file that cannot be read is named with the cure."""
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.yaml", ENVIRON)
    assert str(caught.value) == (
        f"{tmp_path}/none.yaml: cannot be read (No such file or directory); correct --config.file, "
        "or leave it out to run with the defaults"
    )


def test_a_secret_shows_itself_only_when_asked() -> None:
    """No way of writing out a loaded configuration shows a key, and serialisers refuse it."""
    read = config.load(None, ENVIRON)
    secret = read.accounts[0].api_key()
    assert secret.reveal() == KEY
    assert {str(secret), repr(secret), f"{secret}"} == {"***"}
    assert KEY not in repr(read)
    assert KEY not in str(config.dump(read))
    with pytest.raises(TypeError):
        msgspec.json.encode(read)


SNIPPETS = [
    "polling: {min_interval_seconds: %s}",
    "sessions: [{record_type: %s, event_id: %s, date_time: %s}]",
    "%s: {%s: %s}",
    "? %s\n: *%s",
    "!%s %s",
    '"%s\\x"',
    "accounts: [{name: %s, api_key_env: %s, api_key_file: %s, ca_file: %s, base_url: %s, currencies: [%s]}]",
]


@pytest.mark.parametrize("source", ["api_key_env", "api_key_file", "ca_file", "name", "base_url", "currencies", "x"])
def test_a_key_pasted_into_a_setting_is_not_shown(tmp_path: Path, source: str) -> None:
    """Whichever setting the key is pasted into, the message doesn't repeat it."""
    assert KEY not in load_message(tmp_path, f"accounts: [{{{source}: {KEY}}}]\nsessions: [{{account: {KEY}}}]", {})


@given(st.sampled_from(SNIPPETS), st.lists(st.sampled_from([KEY, "x", "1", f"x{KEY}"]), min_size=6, max_size=6))
def test_no_message_repeats_a_key(snippet: str, words: list[str]) -> None:
    """A key that stands anywhere in the file stays out of the error."""
    parts = snippet.split("%s")
    text = "".join(part + word for part, word in zip(parts, [*words, *words], strict=False))
    try:
        config.parse(text.encode(), "config.yaml")
    except ConfigError as error:
        assert KEY not in str(error)  # noqa: PT017  # most of these texts are wrong, but some may be right


# The public keys of webhooks

PUBLIC = base64.b64encode(bytes(range(32))).decode()
NO_PUBLIC_KEY = "is no Ed25519 public key in base64 (44 characters); copy it from Mission Control"


def test_the_public_key_of_webhooks(tmp_path: Path) -> None:
    """It comes from a variable or a file, surrounding white space removed; without either the account has none."""
    file = tmp_path / "key"
    file.write_text(f"{PUBLIC}\n")
    environ = {**ENVIRON, "PUBLIC": f" {PUBLIC} "}
    settings = {
        "{webhook_public_key_env: PUBLIC}": bytes(range(32)),
        f"{{webhook_public_key_file: {file}}}": bytes(range(32)),
        "{}": None,
    }
    for text, key in settings.items():
        path = tmp_path / "config.yaml"
        path.write_text(f"accounts: [{text}]")
        read = config.load(path, environ)
        assert read.accounts[0].webhook_key == key
        assert read.takes_webhooks(read.accounts[0]) == (key is not None)


@pytest.mark.parametrize(
    "value",
    [
        "*" + PUBLIC[1:],
        PUBLIC[:-4],
        PUBLIC + "AAAA",
        bytes(range(32)).hex(),
        "-----BEGIN",
        PUBLIC[:-1],
        f"{PUBLIC[:20]}=",
    ],
)
def test_what_is_no_public_key_is_not_shown(tmp_path: Path, value: str) -> None:
    """The error of a wrong public key names its place and the cure, but not its value: it may be a private key."""
    file = tmp_path / "key"
    file.write_text(value)
    environ = {**ENVIRON, "PUBLIC": value}
    assert load_message(tmp_path, "accounts: [{webhook_public_key_env: PUBLIC}]", environ) == (
        f"accounts[0].webhook_public_key_env: what the environment variable PUBLIC holds {NO_PUBLIC_KEY}"
    )
    assert load_message(tmp_path, f"accounts: [{{webhook_public_key_file: {file}}}]", environ) == (
        f'accounts[0].webhook_public_key_file: what "{file}" holds {NO_PUBLIC_KEY}'
    )


def test_a_public_key_that_is_not_there(tmp_path: Path) -> None:
    """A missing variable or file of the public key is an error with the cure."""
    assert load_message(tmp_path, "accounts: [{webhook_public_key_env: PUBLIC}]", ENVIRON) == (
        "accounts[0].webhook_public_key_env: the environment variable PUBLIC is not set; export it with the account's "
        "webhook public key, or name another variable here, or a file in webhook_public_key_file"
    )
    missing = tmp_path / "none"
    assert load_message(tmp_path, f"accounts: [{{webhook_public_key_file: {missing}}}]", ENVIRON) == (
        f'accounts[0].webhook_public_key_file: cannot read "{missing}" (No such file or directory); '
        "create the file or correct the path"
    )
