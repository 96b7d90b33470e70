"""`healthcheck`: get /-/healthy of the exporter on this machine, for a container's health check.

It doesn't know the flags of `run`, so it tries plain HTTP first and then TLS, with any certificate. If TLS asks for a
client certificate, the exporter counts as healthy: it is alive. Only the standard library is imported, since the
command runs every few seconds and importing the exporter costs a second of CPU time.
"""

import argparse
import select
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

COMMAND = "healthcheck"
HELP = "ask the exporter on this machine for its health; exit 0 if it is healthy, else 1"
LISTEN_ADDRESS = ":9464"
TIMEOUT_SECONDS = 4.0
"""Less than the 5 s that the image's HEALTHCHECK allows, so that the command can still print the reason."""
TEXT_MAX = 200
CLOSED = "alive: TLS answers, and asks for a client certificate"

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a key to look up; nothing is bound
_OK = 200
_HANDSHAKE = b"\x16"
"""The first byte of a ServerHello; an alert, which refuses our ClientHello, begins with another byte."""


class Unhealthy(Exception):
    """The exporter is unhealthy or doesn't answer; the message says which."""


def main(argv: Sequence[str]) -> int:
    """Run the command alone, without `exporter.cli.main`; `argv` is what follows its name."""
    parser = argparse.ArgumentParser(prog=f"telnyx-session-exporter {COMMAND}", description=HELP)
    add_flags(parser)
    return run(parser.parse_args(argv))


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=LISTEN_ADDRESS,
        metavar="HOST:PORT",
        help="the same as for `run` (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=TIMEOUT_SECONDS, metavar="N", help="(default: %(default)g)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, print the answer, and return the exit code."""
    try:
        answer, code = ask(*target(arguments.listen_address), arguments.timeout_seconds), 0
    except Unhealthy as error:
        answer, code = str(error), 1
    print(answer, file=sys.stderr if code else sys.stdout)
    return code


def target(address: str) -> tuple[str, int]:
    """Return the host and port at which a listen address can be reached; raises Unhealthy."""
    host, port = "", None
    with suppress(ValueError):
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port
    if port is None:
        raise Unhealthy(f"--web.listen-address: expected host:port, such as :9464; got {address!r}")
    return _LOOPBACK.get(host, host), port


def ask(host: str, port: int, timeout_seconds: float) -> str:
    """Return the exporter's answer; raises Unhealthy."""

    def connect() -> socket.socket:
        return socket.create_connection((host, port), timeout_seconds)

    try:
        with connect() as connected:
            try:
                return _answer(connected)
            except (HTTPException, ConnectionError):
                pass  # a TLS server fails plain HTTP in one of these ways
        return _ask_tls(connect)
    except (OSError, HTTPException) as error:
        raise Unhealthy(f"{host}:{port}: no answer ({_reason(error)})") from None


def _ask_tls(connect: Callable[[], socket.socket]) -> str:
    context = _context()
    with ExitStack() as opened:
        try:
            tls = opened.enter_context(context.wrap_socket(connect()))
            _await_verdict(tls)
        except (ssl.SSLError, ConnectionError) as error:
            refusal = error
        else:
            return _answer(tls)
    # asyncio's servers close the connection without an alert, so a second connection tells TLS from something else.
    with connect() as connected:
        if not _speaks_tls(connected, context):
            raise refusal
    return CLOSED


def _await_verdict(tls: ssl.SSLSocket) -> None:
    """Raise ConnectionError if a TLS 1.3 server closes after our handshake, as it does to refuse our certificate."""
    # In TLS 1.3 the client finishes first, so a refusal arrives only after its handshake has succeeded.
    if tls.version() != "TLSv1.3":
        return
    timeout = tls.gettimeout()
    select.select([tls], [], [], timeout)
    tls.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        if not tls.recv(1):
            raise ConnectionError("closed after the handshake")
    tls.settimeout(timeout)


def _speaks_tls(connected: socket.socket, context: ssl.SSLContext) -> bool:
    """Return whether the answer to a ClientHello is a ServerHello."""
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    connected.sendall(hello.read())
    return connected.recv(1) == _HANDSHAKE


def _answer(connected: socket.socket) -> str:
    asking = HTTPConnection("localhost")
    asking.sock = connected
    asking.request("GET", "/-/healthy", headers={"Connection": "close"})
    answer = asking.getresponse()
    text = answer.read(TEXT_MAX).decode("utf-8", "replace").strip()
    if answer.status != _OK:
        raise Unhealthy(f"unhealthy: {answer.status} {text}")
    return text


def _context() -> ssl.SSLContext:
    """Return a context for any version, suite and certificate: nothing secret is sent, and nothing is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
