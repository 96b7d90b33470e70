"""`healthcheck` as a container's supervisor runs it: its exit code, however the port is protected."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from exporter.cli.healthcheck import CLOSED, Unhealthy, target
from exporter.web import HealthStatus
from tests.support.web_surface import running
from tests.web.test_tls import HASH, IF_GIVEN, PLAIN, REQUIRED, SECURE, TLS, serving

pytestmark = pytest.mark.slow

HEALTHY = "telnyx-session-exporter is healthy.\n"
USERS = f"basic_auth_users: {{dave: {HASH}}}\nrate_limit: {{interval: 1h, burst: 1}}\n"


def healthcheck(*flags: str) -> tuple[int, str]:
    """Run `healthcheck`; return its exit code and output."""
    command = [sys.executable, "-W", "error", "-m", "exporter", "healthcheck", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (PLAIN, HEALTHY),
        (USERS, HEALTHY),
        (USERS + SECURE, HEALTHY),
        (IF_GIVEN, HEALTHY),
        (f"{TLS}, max_version: TLS12}}", HEALTHY),
        (f"{TLS}, min_version: TLS10, max_version: TLS10}}", HEALTHY),
        (f"{TLS}, min_version: TLS13}}", HEALTHY),
        (f"{REQUIRED}}}", f"{CLOSED}\n"),
        (f"{REQUIRED}, max_version: TLS12}}", f"{CLOSED}\n"),
    ],
)
def test_a_living_exporter_is_healthy(tmp_path: Path, text: str, output: str) -> None:
    """Users, rate limits, TLS versions and required client certificates don't make the check fail."""
    with serving(tmp_path, text) as served:
        for _ in range(2):
            code, answer = healthcheck(f"--web.listen-address=127.0.0.1:{served.server.port}")
            assert (code, answer) == (0, output)


def test_an_unhealthy_exporter_fails_the_check() -> None:
    """The check fails with the reason that /-/healthy gives."""
    with running(status=HealthStatus("the ledger's thread has ended", None)) as served:
        code, output = healthcheck(f"--web.listen-address=:{served.server.port}")
    assert (code, output) == (1, "unhealthy: 503 the ledger's thread has ended\n")


def test_an_unready_exporter_is_healthy() -> None:
    """An exporter that isn't ready passes the check, since a restart wouldn't help."""
    with running(status=HealthStatus(None, "ledger: the disk is full")) as served:
        assert healthcheck(f"--web.listen-address=0.0.0.0:{served.server.port}") == (0, HEALTHY)


def test_no_exporter_on_the_port(free_port: int) -> None:
    """Without an exporter the check prints the address and the reason."""
    assert healthcheck(f"--web.listen-address=:{free_port}") == (
        1,
        f"127.0.0.1:{free_port}: no answer (Connection refused)\n",
    )


@contextmanager
def sending(sent: bytes) -> Iterator[int]:
    """Serve a port that sends these bytes to every client, and then nothing more; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, suppress(ConnectionError):
                    client.sendall(sent)
                    while client.recv(1000):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"])
def test_a_silent_exporter_is_not_healthy(sent: bytes) -> None:
    """A server that accepts connections and never completes an answer fails the check."""
    with sending(sent) as port:
        answer = healthcheck(f"--web.listen-address=:{port}", "--timeout-seconds=0.2")
    assert answer == (1, f"127.0.0.1:{port}: no answer (timed out)\n")


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"])
def test_something_else_is_not_healthy(sent: bytes) -> None:
    """Another program on the port fails the check."""
    with sending(sent) as port:
        assert healthcheck(f"--web.listen-address=:{port}")[0] == 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("127.0.0.1", 1)),
        ("[::]:1", ("::1", 1)),
        ("[fe80::1]:1", ("fe80::1", 1)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_the_target_of_the_check(address: str, expected: tuple[str, int]) -> None:
    """The check connects to the listening address; if that is every interface, to the loopback."""
    assert target(address) == expected


@pytest.mark.parametrize("address", ["", "9464", "localhost", ":port", "[::1:1", ":99999"])
def test_an_invalid_address_is_refused(address: str) -> None:
    """The error for an invalid address contains a valid example."""
    with pytest.raises(Unhealthy, match="expected host:port, such as :9464"):
        target(address)


def test_it_costs_little() -> None:
    """The check runs every few seconds, so it imports none of the exporter's packages and libraries."""
    script = "import sys, exporter.cli.healthcheck; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("exporter")}
    assert ours == {"exporter", "exporter.cli", "exporter.cli.healthcheck"}
    assert not {"asyncio", "httpx", "starlette", "msgspec"} & set(loaded)
