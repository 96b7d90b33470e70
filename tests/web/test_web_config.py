"""The web config file: valid files, the errors of invalid ones, and that no error shows a secret."""

import re
import ssl
import textwrap
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.read import settings_of
from exporter.config.rules import Section
from exporter.core.errors import ConfigError
from exporter.web.config import (
    Headers,
    HttpServerConfig,
    LoadedWebConfig,
    RateLimit,
    TlsServerConfig,
    WebConfig,
    WebConfigFile,
    load,
)
from exporter.web.config.settings import ANY, CURVES, IF_GIVEN, NO_CERTIFICATE, REQUESTED, VERSIONS
from exporter.web.guard import REASONS
from tests.support.certificates import Pair, authority, issue_server

HASH = bcrypt.hashpw(b"dave123", bcrypt.gensalt(4)).decode()
PASSWORD = "hunter2-distinctive"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
VERIFIED = f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"
ALL_SUITES = """
- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
- TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
- TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
- TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
- TLS_AES_128_GCM_SHA256
- TLS_AES_256_GCM_SHA384
- TLS_CHACHA20_POLY1305_SHA256
- TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
- TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA
- TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
- TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
- TLS_RSA_WITH_AES_128_CBC_SHA
- TLS_RSA_WITH_AES_256_CBC_SHA
- TLS_RSA_WITH_AES_128_GCM_SHA256
- TLS_RSA_WITH_AES_256_GCM_SHA384
"""

GOOD = {
    "empty": "",
    "only a comment": "# nothing yet\n",
    "every section empty": "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
    "empty mappings": "tls_server_config: {}\nhttp_server_config: {headers: {}}\nbasic_auth_users: {}\nrate_limit: {}",
    "certificate and key": f"{TLS}}}",
    "blank keys are no keys": f"{TLS}, cert: '', client_ca_file: '', client_auth_type: '', client_ca:}}",
    "no client certificates": f"{TLS}, client_auth_type: NoClientCert}}",
    "requested": f"{TLS}, client_auth_type: RequestClientCert}}",
    "verified if given, by public roots": f"{TLS}, client_auth_type: VerifyClientCertIfGiven}}",
    "verified if given": f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}}",
    "required": f"{VERIFIED}}}",
    "required, by public roots": f"{TLS}, client_auth_type: RequireAndVerifyClientCert}}",
    "names": f"{VERIFIED}, client_allowed_sans: [scraper, 10.0.0.1, 'spiffe://cluster/scraper']}}",
    "nobody's name": f"{VERIFIED}, client_allowed_sans: []}}",
    "all suites": f"{TLS}, cipher_suites: {ALL_SUITES.replace(chr(10) + '- ', ',').strip(',').strip().join('[]')}}}",
    "suites of TLS 1.3": f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256], min_version: TLS13}}",
    "suites without those of HTTP/2": f"{TLS}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}}\n"
    "http_server_config: {http2: false}",
    "the client's order": f"{TLS}, prefer_server_cipher_suites: false}}",
    "all curves": f"{TLS}, curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]}}",
    "a curve": f"{TLS}, curve_preferences: [X25519]}}",
    "versions": f"{TLS}, min_version: TLS10, max_version: TLS11}}",
    "a version": f"{TLS}, min_version: TLS13, max_version: TLS13}}",
    "versions without TLS": "tls_server_config: {min_version: TLS13}",
    "http2": "http_server_config: {http2: true}",
    "headers": """
        http_server_config:
          headers:
            X-Frame-Options: deny
            Strict-Transport-Security: max-age=31536000; includeSubDomains
            X-Content-Type-Options: nosniff
            X-XSS-Protection: 1
            Content-Security-Policy: "default-src 'self' *.test.example.net"
        """,
    "blank headers are none": "http_server_config: {headers: {X-Frame-Options: '', Content-Security-Policy:}}",
    "same origin": "http_server_config: {headers: {X-Frame-Options: sameorigin}}",
    "users": f"basic_auth_users: {{dave: {HASH}, zoë: $2y{HASH[3:]}, 7: $2a{HASH[3:]}}}",
    "users and TLS": f"{TLS}}}\nbasic_auth_users: {{dave: {HASH}}}",
    "no limit": "rate_limit: {interval: 0, burst: 0}",
    "a limit": "rate_limit: {interval: 1s, burst: 1}",
    "a limit of several units": "rate_limit: {interval: 1h1.5m20ms, burst: 100}",
}

BAD = {
    "no mapping": ("sdlkfj", "expected keys such as `basic_auth_users:` at the top"),
    "no YAML": ("a: [", "line 1, column 5"),
    "unknown section": ("tls_config: {}", "tls_config: unknown key; did you mean tls_server_config?"),
    "unknown key": (f"{TLS}, cert_path: x}}", "tls_server_config.cert_path: unknown key"),
    "given twice": ("rate_limit: {}\nrate_limit: {}", "given twice, on lines 1 and 2"),
    "no certificate": ("tls_server_config: {cert_file: '', key_file: server.key}", "cert_file: missing"),
    "no inline certificate": ("tls_server_config: {cert: '', key_file: server.key}", "cert_file: missing"),
    "no key": ("tls_server_config: {cert_file: server.crt, key_file: ''}", "key_file: missing"),
    "no inline key": ("tls_server_config: {cert_file: server.crt, key: ''}", "key_file: missing"),
    "neither": ("tls_server_config: {cert_file: '', key_file: '', client_auth_type: RequestClientCert}", "missing"),
    "certificate not there": (f"{TLS.replace('server.crt', 'no.crt')}}}", "cannot read no.crt (No such file"),
    "key not there": (f"{TLS.replace('server.key', 'no.key')}}}", "cannot read no.key (No such file"),
    "neither there": ("tls_server_config: {cert_file: a, key_file: b}", "cannot read a (No such file"),
    "not the certificate's key": (f"{TLS.replace('server.key', 'other.key')}}}", "is not the key of the certificate"),
    "no PEM": (f"{TLS.replace('server.crt', 'junk')}}}", "cert_file: holds no certificate in PEM form"),
    "key and certificate exchanged": (
        "tls_server_config: {cert_file: server.key, key_file: server.crt}",
        "cert_file: holds no certificate",
    ),
    "no key in PEM": (f"{TLS.replace('server.key', 'junk')}}}", "key_file: holds no private key in PEM form"),
    "locked key": (f"{TLS.replace('server.key', 'locked.key')}}}", "the key is encrypted"),
    "certificate twice": (f"{TLS}, cert: '-----BEGIN CERTIFICATE-----'}}", "given beside cert_file"),
    "CA without a policy": (f"{TLS}, client_ca_file: ca.crt}}", "client_ca_file: without effect"),
    "CA not there": (f"{VERIFIED.replace('ca.crt', 'no.crt')}}}", "client_ca_file: cannot read no.crt"),
    "CA without certificates": (f"{VERIFIED.replace('ca.crt', 'junk')}}}", "client_ca_file: holds no certificate"),
    "unknown policy": (f"{TLS}, client_auth_type: Sometimes}}", "client_auth_type: expected NoClientCert, "),
    "any certificate": (f"{TLS}, client_auth_type: RequireAnyClientCert}}", "use RequireAndVerifyClientCert with"),
    "any certificate, as it was": (f"{TLS}, client_auth_type: RequireClientCert}}", "use RequireAndVerifyClientCert"),
    "names without certificates": (f"{TLS}, client_allowed_sans: [a]}}", "client_allowed_sans: a client may come"),
    "names if given": (
        f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [a]}}",
        "client_allowed_sans: a client may come without",
    ),
    "names without TLS": ("tls_server_config: {client_allowed_sans: [a]}", "client_allowed_sans: a client may"),
    "invented suite": (f"{TLS}, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]}}", "cipher_suites[0]: "),
    "broken suite": (f"{TLS}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}", "cipher_suites[0]: expected"),
    "suites without those of HTTP/2": (
        f"{TLS}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}}",
        "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or",
    ),
    "suites of TLS 1.3 without it": (
        f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12}}",
        "no client could connect",
    ),
    "invented curve": (f"{TLS}, curve_preferences: [CurveP2048]}}", "curve_preferences[0]: expected CurveP256,"),
    "wrong version": (f"{TLS}, min_version: TLS111}}", "min_version: expected TLS10, TLS11, TLS12 or TLS13"),
    "no version": (f"{TLS}, max_version: 1.3}}", "max_version: expected TLS10, TLS11, TLS12 or TLS13, got 1.3"),
    "versions crossed": (f"{TLS}, min_version: TLS13, max_version: TLS12}}", "is older than min_version, TLS13"),
    "order": (f"{TLS}, prefer_server_cipher_suites: maybe}}", "prefer_server_cipher_suites: expected true or false"),
    "content type options": (
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
        'headers.X-Content-Type-Options: expected nosniff, got "sniff"',
    ),
    "frame options": (
        "http_server_config: {headers: {X-Frame-Options: DENY}}",
        'headers.X-Frame-Options: expected deny or sameorigin, got "DENY"',
    ),
    "another header": ("http_server_config: {headers: {Server: me}}", "headers.Server: unknown key; known here are"),
    "header of two lines": (
        'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nSet-Cookie: a"}}',
        "headers.X-XSS-Protection: expected one line",
    ),
    "http2": ("http_server_config: {http2: 2}", "http2: expected true or false, got 2"),
    "no hash": (
        f"basic_auth_users: {{dave: {PASSWORD}}}",
        'the value for "dave" is not a bcrypt hash, and is not shown',
    ),
    "short hash": (f"basic_auth_users: {{dave: {HASH[:-1]}}}", "is not a bcrypt hash"),
    "hash of another kind": ("basic_auth_users: {dave: $apr1$abcdefgh$abcdefghijklmnopqrstuv}", "htpasswd -nBC 10"),
    "user without a hash": ("basic_auth_users: {dave:}", 'the value for "dave" is not a bcrypt hash'),
    "list of users": (f"basic_auth_users: [{{dave: {HASH}}}]", "expected names and bcrypt hashes below it"),
    "user in one word": (f"basic_auth_users: dave:{HASH}", "the value is not shown"),
    "hash as a name": (f"basic_auth_users: {{{HASH}: dave}}", "a hash stands where a name belongs"),
    "name with a colon": (f"basic_auth_users: {{'da:ve': {HASH}}}", 'the name "da:ve" has a colon'),
    "inline key without PEM": (f"tls_server_config: {{cert_file: server.crt, key: {PASSWORD}}}", "key: expected a pri"),
    "no duration": ("rate_limit: {interval: soon, burst: 1}", "rate_limit.interval: expected a duration, such as 1s"),
    "no unit": ("rate_limit: {interval: 5, burst: 1}", "rate_limit.interval: expected a duration"),
    "below zero": ("rate_limit: {interval: -1s, burst: 1}", "rate_limit.interval: expected a duration"),
    "no burst": ("rate_limit: {interval: 1s}", "rate_limit.burst: expected at least 1"),
    "half a burst": ("rate_limit: {interval: 1s, burst: 0.5}", "rate_limit.burst: expected a whole number"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the tables' configs name."""
    made = tmp_path_factory.mktemp("web")
    root = authority("root")
    server = issue_server(root)
    server.write(made, "server")
    issue_server(root).write(made, "other")
    root.write(made, "ca")
    (made / "junk").write_text("no PEM\n")
    (made / "locked.key").write_text(server.locked(serialization.BestAvailableEncryption(b"x")))
    return made


def loaded(folder: Path, text: str) -> LoadedWebConfig:
    file = folder / "web.yml"
    file.write_text(textwrap.dedent(text))
    return load(file)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_files(folder: Path, text: str) -> None:
    """Every file that exporter-toolkit accepts is accepted; TLS is on if it names a certificate."""
    assert (loaded(folder, text).tls is not None) == ("server.crt" in text)


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD)
def test_bad_files(folder: Path, text: str, problem: str) -> None:
    """A file that exporter-toolkit refuses, or that can't work here, is refused with file, key and cure."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    assert str(caught.value).startswith(str(folder / "web.yml"))
    assert problem in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert HASH[7:] not in str(caught.value)


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    """Every wrong key is in the error, not only the first."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, "rate_limit: {interval: x, burst: y}\nhttp_server_config: {http2: z}")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "http_server_config.http2",
        "rate_limit.interval",
        "rate_limit.burst",
    ]


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is an error that names the flag to correct."""
    with pytest.raises(ConfigError, match=r"no\.yml: cannot be read \(No such file.*correct --web\.config\.file"):
        load(tmp_path / "no.yml")


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("http_server_config: {http2: true}", "http2 is without effect"),
        ("http_server_config: {http2: false}", "http2 is without effect"),
        (f"{TLS}, client_auth_type: RequestClientCert}}", "RequestClientCert is as NoClientCert"),
        (
            f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}",
            "without effect on the suites of TLS 1.3",
        ),
        (f"{TLS}, curve_preferences: [CurveP256, X25519]}}", "only one curve can be chosen"),
        (f"{TLS}, min_version: TLS11}}", "lets clients use TLS11"),
        ("tls_server_config: {min_version: TLS13}", "plain HTTP is served"),
        (
            f"{TLS}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA]}}",
            "without forward secrecy",
        ),
    ],
)
def test_without_effect(folder: Path, text: str, remark: str) -> None:
    """A setting that is accepted but lacks its expected effect gets one remark."""
    (found,) = loaded(folder, text).remarks
    assert remark in found


def test_nothing_to_remark(folder: Path) -> None:
    """A file whose settings all take effect gets no remark."""
    text = f"{VERIFIED}, client_allowed_sans: [a], min_version: TLS13, curve_preferences: [CurveP384]}}"
    assert (
        loaded(folder, f"{text}\nbasic_auth_users: {{dave: {HASH}}}\nrate_limit: {{interval: 1s, burst: 1}}").remarks
        == ()
    )


def test_inline(folder: Path) -> None:
    """Certificate, key and CA may be inline; the parsed record's text shows none of them."""
    texts = {"cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    lines = [f"  {key}: |\n{textwrap.indent((folder / file).read_text(), '    ')}" for key, file in texts.items()]
    found = loaded(folder, "tls_server_config:\n  client_auth_type: VerifyClientCertIfGiven\n" + "".join(lines))
    assert found.tls is not None
    assert found.tls.context.verify_mode == ssl.CERT_OPTIONAL
    assert "BEGIN" not in repr(found)


def test_key_with_company(folder: Path) -> None:
    """One file with parameters, certificate and key works for both settings, as with OpenSSL's own tools."""
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    both = (folder / "server.crt").read_text() + (folder / "server.key").read_text()
    (folder / "both.pem").write_text(f"a comment, é\n{parameters}{both}")
    assert loaded(folder, "tls_server_config: {cert_file: both.pem, key_file: both.pem}").tls is not None


def test_paths_are_beside_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path starts at the web config file's folder; an absolute one is kept."""
    monkeypatch.chdir(tmp_path)
    assert loaded(folder, f"{TLS}}}").tls is not None
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {folder}/server.crt, key_file: {folder}/server.key}}"
    )
    assert load(Path("web.yml")).tls is not None


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any content is either accepted or a ConfigError."""
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(content)
    with suppress(ConfigError):
        load(file)


# Changes


def write(folder: Path, pair: Pair, text: str = f"{TLS}}}") -> None:
    pair.write(folder, "server")
    (folder / "web.yml").write_text(text)


def test_a_change_is_taken_when_it_stands_still(tmp_path: Path) -> None:
    """A change is applied once, after two checks in a row have read it; a half-written file is not applied."""
    root = authority("root")
    write(tmp_path, issue_server(root))
    file = WebConfigFile(tmp_path / "web.yml")
    first = file.load()
    assert (file.changed(), file.changed()) == (None, None)
    (tmp_path / "web.yml").write_text("")
    assert file.changed() is None
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{dave: {HASH}}}")
    assert file.changed() is None
    second = file.changed()
    assert second is not None
    assert (second.tls, len(second.config.basic_auth_users)) == (None, 1)
    assert first.tls is not None
    assert file.changed() is None


def test_a_change_of_a_named_file_is_one(tmp_path: Path) -> None:
    """A new certificate is found by its content, even with the same size and time, or behind a link."""
    root = authority("root")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        issue_server(root).write(tmp_path / name, "server")
    (tmp_path / "now").symlink_to("one")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: now/server.crt, key_file: now/server.key}")
    file = WebConfigFile(tmp_path / "web.yml")
    before = file.load()
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert file.changed() is None
    after = file.changed()
    assert after is not None
    assert after.tls != before.tls
    assert after.config == before.config


def test_a_bad_change_is_reported_once(tmp_path: Path) -> None:
    """A bad change is one error; the corrected file is loaded again, even if it equals the last good one."""
    root = authority("root")
    good, other = issue_server(root), issue_server(root)
    write(tmp_path, good)
    file = WebConfigFile(tmp_path / "web.yml")
    before = file.load()
    (tmp_path / "server.key").write_text(other.key)
    assert file.changed() is None
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        file.changed()
    assert (file.changed(), file.changed()) == (None, None)
    (tmp_path / "web.yml").unlink()
    assert file.changed() is None
    with pytest.raises(ConfigError, match="cannot be read"):
        file.changed()
    write(tmp_path, good)
    assert file.changed() is None
    after = file.changed()
    assert after is not None
    assert after.tls == before.tls


# Documentation

PAGE = (Path(__file__).parents[2] / "docs" / "web-config.md").read_text()


def test_the_page_names_every_key() -> None:
    """docs/web-config.md has every key, and every value of those that have a few."""
    records = (WebConfig, TlsServerConfig, HttpServerConfig, Headers, RateLimit)
    keys = [
        setting.key
        for record in records
        for setting in settings_of(record)
        if not isinstance(setting.spec.rule, Section)
    ]
    values = [NO_CERTIFICATE, REQUESTED, ANY[0], IF_GIVEN, *VERSIONS, *CURVES, *REASONS]
    assert [word for word in (*keys, *values) if f"{word}`" not in PAGE] == []


def test_the_pages_example_is_good(folder: Path) -> None:
    """The example on docs/web-config.md is accepted as it is."""
    (example, _) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE)
    found = loaded(folder, example)
    assert found.tls is not None
    assert len(found.config.basic_auth_users) == 1
