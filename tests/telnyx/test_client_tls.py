"""Certificates: the transport trusts the public authorities, or the file that the operator names."""

import asyncio
from pathlib import Path

import certifi
import pytest

from exporter.core.errors import ConfigError, PollError, Transient
from exporter.telnyx.client import RequestLimits
from exporter.telnyx.transport import open_transport
from tests.support.faulty_server import ROOT_PEM, SERVER_PEM, Bench, FaultyServer, answer, ask, serving

BODY = b'{"root": {}}'
GOOD = answer(200, BODY)
ROOT_HASH = "729cd28f.0"
"""The name under which OpenSSL looks for the root."""
ONCE = RequestLimits(max_body_bytes=1000, timeout_seconds=10, max_attempts=1)


def trusting(root: Path | None, directory: Path) -> bytes | PollError:
    async def run() -> bytes | PollError:
        async with serving(GOOD, tls_directory=directory) as server:
            client = Bench(server).client(limits=ONCE, transport=open_transport(root, 1), scheme="https")
            try:
                return await ask(client)
            except PollError as error:
                return error

    return asyncio.run(run())


def test_ca_file(tmp_path: Path) -> None:
    """A root without the extensions that Python 3.13 demands is trusted if the operator names it."""
    (tmp_path / "root.pem").write_text(ROOT_PEM)
    assert trusting(tmp_path / "root.pem", tmp_path) == BODY


def test_unknown_root(tmp_path: Path) -> None:
    """A server with an untrusted certificate is a TLS failure, and nothing is sent to it."""
    error = trusting(None, tmp_path)
    assert isinstance(error, Transient)
    assert error.reason == "tls"
    assert "unable to get local issuer certificate" in str(error)


def test_no_tls_there() -> None:
    """A server that speaks no TLS is a TLS failure."""

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400))
        writer.close()

    async def run() -> str:
        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with listener:
            server = FaultyServer([], port=listener.sockets[0].getsockname()[1])
            with pytest.raises(Transient) as caught:
                await ask(Bench(server).client(limits=ONCE, transport=open_transport(None, 1), scheme="https"))
            return caught.value.reason

    assert asyncio.run(run()) == "tls"


def test_ca_file_may_name_less_than_a_root(tmp_path: Path) -> None:
    """Any certificate in the file is trusted as it is, also an intermediate or the server's own."""
    (tmp_path / "own.pem").write_text(SERVER_PEM.partition("-----BEGIN PRIVATE KEY")[0])
    assert trusting(tmp_path / "own.pem", tmp_path) == BODY


def test_ca_file_replaces_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE counts if no file is named, and only then."""
    (tmp_path / "root.pem").write_text(ROOT_PEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    assert trusting(None, tmp_path) == BODY
    error = trusting(Path(certifi.where()), tmp_path)
    assert isinstance(error, Transient)
    assert error.reason == "tls"


def test_folder_of_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_DIR names a folder as `openssl rehash` makes it."""
    root = tmp_path / "roots" / ROOT_HASH
    root.parent.mkdir()
    root.write_text(ROOT_PEM)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(root.parent))
    assert trusting(None, tmp_path) == BODY


def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is sent to `base_url` only."""
    (tmp_path / "root.pem").write_text(ROOT_PEM)
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert trusting(tmp_path / "root.pem", tmp_path) == BODY


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\x30\x82\x01\x0a"])
def test_useless_ca_file(content: bytes | None, tmp_path: Path) -> None:
    """A CA file that is missing or holds no certificate is a ConfigError that names it."""
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"accounts\[\]\.ca_file: cannot read certificates from .*root\.pem"):
        open_transport(path, 1)
