"""TLS of the web config file: which clients can connect, and that a change drops no request."""

import logging
import queue
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import bcrypt
import httpx
import pytest
from cryptography import x509
from msgspec import Struct

from exporter.web import WebServer
from tests.support.certificates import Pair, authority, issue, issue_server
from tests.support.waiting import until
from tests.support.web_surface import FINE, LOOPBACK, page

HASH = bcrypt.hashpw(b"dave123", bcrypt.gensalt(4)).decode()
PLAIN = ""
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
SECURE = f"{TLS}}}"
IF_GIVEN = f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: clients.crt}}"
REQUIRED = f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt"
READ = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.02

ROOT, CLIENTS, STRANGERS = authority("root"), authority("clients"), authority("strangers")
SERVER = issue_server(ROOT)
CLIENT = issue(
    CLIENTS,
    "client",
    x509.DNSName("scraper.example.org"),
    x509.RFC822Name("scraper@example.org"),
    x509.UniformResourceIdentifier("spiffe://cluster/scraper"),
    x509.IPAddress(ip_address("192.0.2.7")),
    x509.IPAddress(ip_address("2001:db8::7")),
)
NAMELESS = issue(CLIENTS, "nameless")
STRANGER = issue(STRANGERS, "stranger", x509.DNSName("scraper.example.org"))
SELF_SIGNED = authority("self-signed")


class Serving(Struct, frozen=True):
    """A started server with the folder of its web config."""

    server: WebServer
    folder: Path

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    def url(self, scheme: str = "https") -> str:
        return f"{scheme}://127.0.0.1:{self.server.port}/metrics"

    def counted(self, family: str, *labels: str) -> int:
        return {(name, found): count for name, found, count in self.server.counts()}[family, labels]

    def write(self, text: str) -> None:
        (self.folder / "web.yml").write_text(text)


@contextmanager
def serving(folder: Path, text: str = SECURE, lines: int = 3) -> Iterator[Serving]:
    SERVER.write(folder, "server")
    CLIENTS.write(folder, "clients")
    ROOT.write(folder, "root")
    (folder / "web.yml").write_text(text)
    died: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    server = WebServer(
        LOOPBACK,
        status=lambda: FINE,
        on_scrape=lambda _: None,
        on_crash=died.put,
        web_config=folder / "web.yml",
        check_seconds=LOOK_SECONDS,
    )
    server.publish(page(1, lines))
    server.start()
    try:
        yield Serving(server, folder)
    finally:
        server.stop(5)
    assert died.empty()


def trusting(folder: Path, client: Pair | None = None) -> ssl.SSLContext:
    """Return a client's TLS context that trusts the test root and presents this certificate."""
    context = ssl.create_default_context(cadata=ROOT.cert)
    if client is not None:
        client.write(folder, "shown")
        context.load_cert_chain(folder / "shown.crt", folder / "shown.key")
    return context


def asked(serving: Serving, context: ssl.SSLContext) -> bytes:
    """Return the answer over a new connection; raise OSError if there is none."""
    with (
        socket.create_connection(serving.address, timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(READ)
        answer = b"".join(iter(lambda: secure.recv(65_536), b""))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer)
    return answer


def lets_in(serving: Serving, context: ssl.SSLContext) -> bool:
    try:
        asked(serving, context)
    except OSError:
        return False
    return True


def shown_name(serving: Serving, context: ssl.SSLContext) -> str:
    """Return the name in the certificate that a new connection gets."""
    with (
        socket.create_connection(serving.address, timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string().removeprefix("CN=")


# Client certificates


@pytest.mark.parametrize(
    ("text", "client", "comes_in"),
    [
        (SECURE, None, True),
        (SECURE, STRANGER, True),
        (f"{TLS}, client_auth_type: RequestClientCert}}", STRANGER, True),
        (IF_GIVEN, None, True),
        (IF_GIVEN, CLIENT, True),
        (IF_GIVEN, STRANGER, False),
        (IF_GIVEN, SELF_SIGNED, False),
        (f"{REQUIRED}}}", None, False),
        (f"{REQUIRED}}}", CLIENT, True),
        (f"{REQUIRED}}}", NAMELESS, True),
        (f"{REQUIRED}}}", STRANGER, False),
        (f"{REQUIRED}}}", SELF_SIGNED, False),
        (f"{REQUIRED}}}", SERVER, False),
        (f"{TLS}, client_auth_type: RequireAndVerifyClientCert}}", CLIENT, False),
        (f"{REQUIRED}, max_version: TLS12}}", CLIENT, True),
        (f"{REQUIRED}, max_version: TLS12}}", STRANGER, False),
    ],
)
def test_client_certificates(tmp_path: Path, text: str, client: Pair | None, *, comes_in: bool) -> None:
    """Each client certificate policy accepts the same clients as exporter-toolkit does."""
    with serving(tmp_path, text) as running:
        assert lets_in(running, trusting(tmp_path, client)) == comes_in


@pytest.mark.parametrize(
    ("names", "client", "comes_in"),
    [
        ("[scraper.example.org]", CLIENT, True),
        ("[other, scraper@example.org]", CLIENT, True),
        ("['spiffe://cluster/scraper']", CLIENT, True),
        ("[192.0.2.7]", CLIENT, True),
        ("['2001:db8::7']", CLIENT, True),
        ("[example.org, '*.example.org', Scraper.example.org, client, 192.0.2.8]", CLIENT, False),
        ("[scraper.example.org]", NAMELESS, False),
        ("[nameless]", NAMELESS, False),
        ("[scraper.example.org]", STRANGER, False),
        ("[]", CLIENT, False),
    ],
)
def test_allowed_names(tmp_path: Path, names: str, client: Pair, *, comes_in: bool) -> None:
    """A valid certificate needs one name that is allowed exactly; else the connection is closed and counted."""
    with serving(tmp_path, f"{REQUIRED}, client_allowed_sans: {names}}}") as running:
        assert lets_in(running, trusting(tmp_path, client)) == comes_in
        refused = running.counted("telnyx_exporter_web_refusals_total", "client_certificate")
        assert refused == (not comes_in and client is not STRANGER)


def test_a_wrong_name_is_served_nothing(tmp_path: Path) -> None:
    """Requests that come with the last bytes of the handshake are not answered either."""
    with serving(tmp_path, f"{REQUIRED}, client_allowed_sans: [x]}}") as running:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = trusting(tmp_path, CLIENT).wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(running.address, timeout=PATIENCE_SECONDS) as plain:
            while True:
                try:
                    secure.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))
            secure.write(READ * 10)
            plain.sendall(outgoing.read())  # certificate, end of the handshake and requests at once
            with suppress(ConnectionResetError):
                while received := plain.recv(65_536):
                    incoming.write(received)
            with pytest.raises(ssl.SSLError):
                secure.read()


@pytest.mark.parametrize(
    ("settings", "client", "comes_in"),
    [
        ("", "1.3", True),
        ("", "1.2", True),
        ("", "1.1", False),
        (", min_version: TLS13", "1.3", True),
        (", min_version: TLS13", "1.2", False),
        (", max_version: TLS12", "1.3", False),
        (", min_version: TLS10", "1.0", True),
        (", min_version: TLS10", "1.3", True),
        (", min_version: TLS11", "1.0", False),
        (", min_version: TLS11", "1.1", True),
        (", cipher_suites: [TLS_AES_128_GCM_SHA256], min_version: TLS13", "1.3", True),
        (", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]", "1.2", True),
        (", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", "1.2", False),
        (", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", "1.3", True),
    ],
)
def test_versions(tmp_path: Path, curl: Path, settings: str, client: str, *, comes_in: bool) -> None:
    """Curl connects with the TLS versions that the file allows; the default is 1.2 and later."""
    with serving(tmp_path, f"{TLS}{settings}}}") as running:
        only = [f"--tlsv{client}", "--tls-max", client, "--ciphers", "DEFAULT:@SECLEVEL=0"]
        assert (curled(curl, running, *only) == "200") == comes_in


def curled(curl: Path, serving: Serving, *flags: str, scheme: str = "https") -> str:
    """Return the status that curl gets, or curl's error."""
    arguments = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    arguments += ["--cacert", str(serving.folder / "root.crt")]
    done = subprocess.run(
        [str(curl), *arguments, *flags, serving.url(scheme)], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else f"error {done.returncode}"


def test_curl(tmp_path: Path, curl: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Curl needs TLS, certificate and password if the file says so; failures leave no traceback in the log."""
    CLIENT.write(tmp_path, "client")
    STRANGER.write(tmp_path, "stranger")
    with serving(
        tmp_path, f"{REQUIRED}, client_allowed_sans: [192.0.2.7]}}\nbasic_auth_users: {{dave: {HASH}}}"
    ) as running:
        mine = ["--cert", str(tmp_path / "client.crt"), "--key", str(tmp_path / "client.key")]
        others = ["--cert", str(tmp_path / "stranger.crt"), "--key", str(tmp_path / "stranger.key")]
        password = ["--user", "dave:dave123"]
        assert curled(curl, running, *mine, *password) == "200"
        assert curled(curl, running, *mine) == "401"
        assert curled(curl, running, *mine, "--user", "dave:dave124") == "401"
        for flags in ([], password, [*others, *password]):
            assert curled(curl, running, *flags).startswith("error")
        assert curled(curl, running, *mine, *password, scheme="http").startswith("error")
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("preferred", [True, False])
def test_order_of_suites(tmp_path: Path, *, preferred: bool) -> None:
    """The server's order of cipher suites wins, unless the file prefers the client's."""
    suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    settings = f"cipher_suites: [{suites}], prefer_server_cipher_suites: {str(preferred).lower()}"
    with serving(tmp_path, f"{TLS}, {settings}}}") as running:
        context = trusting(tmp_path)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
        with (
            socket.create_connection(running.address, timeout=PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            chosen = secure.cipher()
        assert chosen is not None
        assert chosen[0] == f"ECDHE-ECDSA-AES{256 if preferred else 128}-GCM-SHA{384 if preferred else 256}"


def test_one_curve(tmp_path: Path) -> None:
    """With one allowed curve, only clients with that curve can connect."""
    with serving(tmp_path, f"{TLS}, curve_preferences: [CurveP384]}}") as running:
        outcomes = {}
        for curve in ("secp384r1", "prime256v1"):
            context = trusting(tmp_path)
            context.set_ecdh_curve(curve)
            outcomes[curve] = lets_in(running, context)
        assert outcomes == {"secp384r1": True, "prime256v1": False}


def test_what_is_no_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Plain HTTP, garbage, silence and half a handshake on a port with TLS end without a line in the log."""
    with serving(tmp_path) as running:
        for sent in (READ, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 100, b""):
            with socket.create_connection(running.address, timeout=PATIENCE_SECONDS) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    assert b"HTTP" not in client.recv(1000)
        assert lets_in(running, trusting(tmp_path))
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Changes


class Load:
    """Run clients that send requests without a pause, each on a kept connection."""

    def __init__(self, serving: Serving, clients: int = 4) -> None:
        self._serving = serving
        self._end = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(verify=ssl.create_default_context(cadata=ROOT.cert), timeout=PATIENCE_SECONDS) as client:
            while not self._end.is_set():
                try:
                    answer = client.get(self._serving.url())
                    if answer.status_code != 200 or len(answer.content) < 1000:
                        self.failures.append(str(answer))
                    self.answers += 1
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def go_on(self) -> None:
        """Wait until every client has had a further answer."""
        seen = self.answers
        until(lambda: self.answers > seen + 2 * len(self._threads))


@pytest.mark.slow
def test_certificates_change_under_load(tmp_path: Path) -> None:
    """Ten certificate changes fail no request of clients with kept connections."""
    with serving(tmp_path, lines=2000) as running, Load(running) as load:
        context = trusting(tmp_path)
        for n in range(10):
            issue_server(ROOT, f"server {n}").write(tmp_path, "server")
            until(lambda n=n: shown_name(running, context) == f"server {n}")  # type: ignore[misc]
            load.go_on()
    assert load.failures == []
    assert load.answers > 80
    assert running.counted("telnyx_exporter_web_config_failures_total") == 0


@pytest.mark.slow
def test_everything_changes_under_load(tmp_path: Path) -> None:
    """Changes of versions, client CAs, headers and the limit fail no request."""
    with serving(tmp_path, lines=2000) as running, Load(running) as load:
        for n, text in enumerate(
            (IF_GIVEN, f"{TLS}, min_version: TLS13}}", f"{SECURE}\nrate_limit: {{interval: 1us, burst: 1000}}", SECURE)
        ):
            running.write(f"{text}\nhttp_server_config: {{headers: {{X-XSS-Protection: {n}}}}}")
            with httpx.Client(verify=trusting(tmp_path)) as client:
                until(lambda n=n: client.get(running.url()).headers.get("X-XSS-Protection") == str(n))  # type: ignore[misc]
            load.go_on()
    assert load.failures == []


def test_an_open_connection_is_answered_once_more(tmp_path: Path) -> None:
    """After a change of TLS an open connection gets one more answer, with `Connection: close`."""
    with serving(tmp_path) as running, httpx.Client(verify=trusting(tmp_path)) as client:
        assert "Connection" not in client.get(running.url()).headers
        running.write(f"{REQUIRED}}}")
        until(lambda: not lets_in(running, trusting(tmp_path)))
        assert client.get(running.url()).headers["Connection"] == "close"
        with pytest.raises(httpx.TransportError):
            client.get(running.url())


def test_a_slow_reader_gets_all_of_it(tmp_path: Path) -> None:
    """An answer in progress when TLS changes is finished."""
    with serving(tmp_path, lines=200_000) as running:
        with (
            socket.create_connection(running.address, timeout=PATIENCE_SECONDS) as plain,
            trusting(tmp_path).wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(READ)
            answer = secure.recv(1000)
            issue_server(ROOT, "next").write(tmp_path, "server")
            until(lambda: shown_name(running, trusting(tmp_path)) == "next")
            answer += b"".join(iter(lambda: secure.recv(65_536), b""))
        assert answer.count(b"\n") > 200_000


def test_plain_and_back(tmp_path: Path) -> None:
    """TLS can be switched on and off; the port and the users stay."""
    with serving(tmp_path, f"basic_auth_users: {{dave: {HASH}}}") as running:

        def status(scheme: str) -> int:
            try:
                return httpx.get(running.url(scheme), verify=trusting(tmp_path), auth=("dave", "dave123")).status_code
            except httpx.TransportError:
                return 0

        assert (status("http"), status("https")) == (200, 0)
        running.write(f"{SECURE}\nbasic_auth_users: {{dave: {HASH}}}")
        until(lambda: status("https") == 200)
        assert status("http") == 0
        running.write(f"basic_auth_users: {{dave: {HASH}}}")
        until(lambda: status("http") == 200)
        assert status("https") == 0


def test_users_change_at_once(tmp_path: Path) -> None:
    """A removed user or changed password is refused at the next request, on open connections too."""
    with (
        serving(tmp_path, f"basic_auth_users: {{dave: {HASH}}}") as running,
        httpx.Client(auth=("dave", "dave123")) as client,
    ):
        assert client.get(running.url("http")).status_code == 200
        running.write(f"basic_auth_users: {{eve: {HASH}}}")
        until(lambda: client.get(running.url("http")).status_code == 401)
        assert httpx.get(running.url("http"), auth=("eve", "dave123")).status_code == 200


def test_a_bad_change_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a bad change the last good files stay in use; it is logged with path and cure and counted once."""
    with serving(tmp_path) as running:

        def failures() -> int:
            return running.counted("telnyx_exporter_web_config_failures_total")

        context = trusting(tmp_path)
        (tmp_path / "server.key").write_text(issue_server(ROOT).key)
        until(lambda: failures() == 1)
        assert shown_name(running, context) == "server"
        (tmp_path / "server.key").write_text("")
        until(lambda: failures() == 2)
        running.write("tls_server_config: {cert_file: /no.crt}")
        until(lambda: failures() == 3)
        assert lets_in(running, context)
        issue_server(ROOT, "next").write(tmp_path, "server")
        running.write(SECURE)
        until(lambda: shown_name(running, context) == "next")
        assert failures() == 3
    errors = [record.fields["error"] for record in caplog.records if record.levelno == logging.ERROR]  # type: ignore[attr-defined]
    assert len(errors) == 3
    assert errors[0].endswith("key_file: is not the key of the certificate; a new one needs both")
    assert errors[2].startswith(f"{tmp_path}/web.yml: tls_server_config.key_file: missing")


@pytest.mark.slow
def test_stop_with_open_connections(tmp_path: Path) -> None:
    """A server with idle clients of several certificates stops in time and frees its port."""
    with serving(tmp_path) as running, ThreadPoolExecutor(1) as pool:
        context = trusting(tmp_path)
        clients = [httpx.Client(verify=context) for _ in range(3)]
        for n, client in enumerate(clients):
            assert client.get(running.url()).status_code == 200
            issue_server(ROOT, f"server {n}").write(tmp_path, "server")
            until(lambda n=n: shown_name(running, context) == f"server {n}")  # type: ignore[misc]
        pool.submit(running.server.stop, 5).result(PATIENCE_SECONDS)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(running.address)
        for client in clients:
            client.close()
