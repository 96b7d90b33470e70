"""`healthcheck`: asks the exporter on this machine whether it is healthy, for the supervisor of a container.

Owns the question and an exit code; the verdict is /-/healthy's. It is not told of the flags of `run`, so it finds out
by itself whether TLS is on. It asks this machine only, so any certificate will do, and no password is needed. Nothing
but the standard library is imported, since it runs every few seconds, and all rooms of the exporter cost a second of a
processor. The surprising fact: a handshake that is refused for want of a client certificate is good news.
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
SAYS = "ask the exporter on this machine whether it is healthy; exit 0 if it is, 1 if not"
LISTEN_ADDRESS = ":9464"
TIMEOUT_SECONDS = 4.0
"""Less than the five seconds that the image gives it, so that it can still say what was wrong."""
TEXT_MAX = 200
CLOSED = "alive: TLS answers, but lets nobody in without a client certificate"

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
_OK = 200
_HANDSHAKE = b"\x16"
"""The first byte of a server's answer to a greeting; a refusal of the greeting itself begins with another."""


class Unhealthy(Exception):
    """It is not, or nobody can tell; the message says which."""


def main(argv: Sequence[str]) -> int:
    """The command by itself; `argv` is what stands after its name."""
    parser = argparse.ArgumentParser(prog=f"telnyx-session-exporter {COMMAND}", description=SAYS)
    add_flags(parser)
    return run(parser.parse_args(argv))


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen_address",
        default=LISTEN_ADDRESS,
        metavar="HOST:PORT",
        help="as it was given to `run` (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=TIMEOUT_SECONDS, metavar="N", help="(default: %(default)g)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    try:
        said, code = ask(*place(arguments.listen_address), arguments.timeout_seconds), 0
    except Unhealthy as error:
        said, code = str(error), 1
    print(said, file=sys.stderr if code else sys.stdout)
    return code


def place(address: str) -> tuple[str, int]:
    """Where to ask: the host and port of a listening address; raises Unhealthy."""
    host, port = "", None
    with suppress(ValueError):
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port
    if port is None:
        raise Unhealthy(f"--web.listen-address: expected host:port, such as :9464; got {address!r}")
    return _LOOPBACK.get(host, host), port


def ask(host: str, port: int, timeout_seconds: float) -> str:
    """What the exporter says of its health; raises Unhealthy."""

    def connect() -> socket.socket:
        return socket.create_connection((host, port), timeout_seconds)

    try:
        with connect() as connected:
            try:
                return _answer(connected)
            except (HTTPException, ConnectionError):  # all that TLS makes of plain HTTP
                pass
        return _ask_secretly(connect)
    except (OSError, HTTPException) as error:
        raise Unhealthy(f"{host}:{port}: no answer ({_reason(error)})") from None


def _ask_secretly(connect: Callable[[], socket.socket]) -> str:
    context = _context()
    with ExitStack() as opened:
        try:
            secret = opened.enter_context(context.wrap_socket(connect()))
            _await_verdict(secret)
        except (ssl.SSLError, ConnectionError) as error:
            refusal = error
        else:
            return _answer(secret)
    # asyncio's servers hang up without saying why.
    with connect() as connected:
        if not _speaks_tls(connected, context):
            raise refusal
    return CLOSED


def _await_verdict(secret: ssl.SSLSocket) -> None:
    """Of TLS 1.3: what the server says after its client has finished, or that it hangs up; raises ConnectionError."""
    if secret.version() != "TLSv1.3":
        return
    timeout = secret.gettimeout()
    select.select([secret], [], [], timeout)
    secret.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        if not secret.recv(1):
            raise ConnectionError("hung up after the handshake")
    secret.settimeout(timeout)


def _speaks_tls(connected: socket.socket, context: ssl.SSLContext) -> bool:
    """Whether the answer to a client's greeting is a server's."""
    greeting = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), greeting).do_handshake()
    connected.sendall(greeting.read())
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
    """Any version, any suite, any certificate: nothing secret is sent or believed."""
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
