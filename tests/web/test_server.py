"""The web server's thread: start, stop, failure, and the limits on clients."""

import asyncio
import logging
import queue
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from exporter.core.errors import ConfigError
from exporter.web import ConnectionLimits, HealthStatus, WebServer
from exporter.web.address import listen
from tests.support.web_surface import FINE, LOOPBACK, page, running

READ = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(server: WebServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def new_server(*addresses: str) -> WebServer:
    return WebServer(*addresses, status=lambda: FINE, on_scrape=lambda _: None, on_crash=lambda _: None)


# Addresses


def test_port_taken() -> None:
    """A port in use is an error before the start, with the cure; addresses opened before are closed."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            free = f"127.0.0.1:{chosen.getsockname()[1]}"
        server = new_server(free, taken)
        with pytest.raises(ConfigError) as caught:
            server.start()
        assert str(caught.value) == (
            f"--web.listen-address: {taken}: address already in use; "
            "choose another port or stop the process that holds it"
        )
        server.stop(0)
        listen(free).close()


@pytest.mark.parametrize(
    "written", ["", "9464", "localhost", ":http", ":70000", "[::1]", "::1:9464", "host:1:2", "a b:1", "http://x:1"]
)
def test_what_is_no_address(written: str) -> None:
    """An invalid address is an error with examples of valid ones."""
    with pytest.raises(ConfigError) as caught:
        listen(written)
    assert str(caught.value) == (
        f"--web.listen-address: expected host:port, such as :9464, 127.0.0.1:9464 or [::1]:9464; got {written!r}"
    )


def test_address_of_another_machine() -> None:
    """An address that no interface has is an error that says so."""
    with pytest.raises(ConfigError, match="no interface of this machine has this address"):
        listen("192.0.2.1:0")


@pytest.mark.parametrize("written", [":0", "0.0.0.0:0", "localhost:0", "127.0.0.1:0"])
def test_addresses_on_which_loopback_is_reached(written: str) -> None:
    """No host means every interface, `localhost` the IPv4 loopback."""
    with running(written) as exporter:
        assert httpx.get(f"{exporter.url}/-/healthy").status_code == 200


def test_ipv6_or_the_reason() -> None:
    """A bracketed IPv6 address is listened on; a machine without IPv6 says so."""
    try:
        with listen("[::1]:0") as opened:
            outcome = str(opened.getsockname()[0])
    except ConfigError as error:
        outcome = error.problem
    assert outcome == "::1" or "IPv6" in outcome or "no interface" in outcome


def test_several_addresses(free_port: int) -> None:
    """One server answers on all its addresses."""
    with running(LOOPBACK, f"127.0.0.1:{free_port}") as exporter:
        for port in (exporter.server.port, free_port):
            assert httpx.get(f"http://127.0.0.1:{port}/-/healthy").status_code == 200


def test_connections_are_taken_at_once() -> None:
    """Once `start` has returned, connections are accepted, even before the thread serves."""
    server = new_server(LOOPBACK)
    server.start()
    connect(server).close()
    server.stop(5)


# Stops


def test_stop_without_start() -> None:
    """Stopping a server that never started, or twice, does nothing."""
    server = new_server(LOOPBACK)
    server.stop(0)
    server.start()
    server.stop(5)
    server.stop(5)


def test_stop_lets_answers_be_finished() -> None:
    """A stop lets a client finish reading its page, and refuses new connections."""
    large = page(1, lines=200_000)
    with running(published=large) as exporter, ThreadPoolExecutor(1) as pool, connect(exporter.server) as client:
        client.sendall(READ)
        start = client.recv(1024)
        assert start.startswith(b"HTTP/1.1 200")
        stopping = pool.submit(exporter.server.stop, 30)
        body = start + read_all(client)
        stopping.result(30)
        assert len(body) > len(large.text)
        with pytest.raises(ConnectionRefusedError):
            connect(exporter.server)


def test_stop_closes_a_connection_whose_client_does_not_read() -> None:
    """A client that stops reading delays the stop no longer than the timeout."""
    with running(published=page(1, lines=200_000)) as exporter, connect(exporter.server) as client:
        client.sendall(READ)
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        exporter.server.stop(0)
        with pytest.raises(ConnectionRefusedError):
            connect(exporter.server)


def test_a_dead_thread_is_reported() -> None:
    """If the web thread ends without `stop`, its owner gets the reason."""
    died: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    server = WebServer(
        LOOPBACK, status=lambda: FINE, on_scrape=lambda _: asyncio.get_running_loop().stop(), on_crash=died.put
    )
    server.publish(page(1))
    server.start()
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n")
        read_all(client)
    assert "Event loop stopped" in str(died.get(timeout=10))
    server.stop(5)


def test_a_failing_answer_is_no_dead_thread(caplog: pytest.LogCaptureFixture) -> None:
    """A failed request is a 500 without details and an error in the log; the next request is answered."""
    outcomes: list[HealthStatus | None] = [None, FINE]

    def status() -> HealthStatus:
        outcome = outcomes.pop(0)
        if outcome is None:
            raise LookupError("the cause")
        return outcome

    died: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    server = WebServer(LOOPBACK, status=status, on_scrape=lambda _: None, on_crash=died.put)
    server.start()
    url = f"http://127.0.0.1:{server.port}/-/ready"
    first, second = httpx.get(url), httpx.get(url)
    server.stop(5)
    assert (first.status_code, first.text) == (500, "Internal Server Error")
    assert second.status_code == 200
    assert died.empty()
    assert "the cause" in caplog.text


# Limits on clients


def test_connections_are_bounded() -> None:
    """A connection above the limit gets 503 and is closed; the others stay open."""
    with running(limits=ConnectionLimits(connections_max=3)) as exporter:
        held = [httpx.Client(base_url=exporter.url) for _ in range(2)]
        assert [client.get("/-/healthy").status_code for client in held] == [200, 200]
        refused = httpx.get(f"{exporter.url}/-/healthy")
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert held[0].get("/-/healthy").status_code == 200
        for client in held:
            client.close()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nX-Slow: "])
def test_who_asks_nothing_is_cut(sent: bytes) -> None:
    """A connection without a request in time is closed without an answer."""
    with running(limits=ConnectionLimits(idle_seconds=1)) as exporter, connect(exporter.server) as client:
        client.sendall(sent)
        assert read_all(client) == b""


def test_large_heads_are_refused() -> None:
    """A request head above its limit gets 400 before it has been read."""
    with running() as exporter, connect(exporter.server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 17_000)
        assert client.recv(1024).startswith(b"HTTP/1.1 400 ")


def test_large_bodies_are_refused() -> None:
    """A request body above its limit gets 413 before it has been sent."""
    with running() as exporter, connect(exporter.server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        assert client.recv(1024).startswith(b"HTTP/1.1 413 ")


def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither requests, broken ones included, nor start and stop write a log line."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with running(published=page(1)) as exporter:
        for path in ("/", "/metrics", "/nowhere"):
            httpx.get(f"{exporter.url}{path}")
        with connect(exporter.server) as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(1024).startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
