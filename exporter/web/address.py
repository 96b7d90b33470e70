"""Where to listen: from `--web.listen-address` to a socket that already accepts connections.

Owns the written form (`:9464`, `127.0.0.1:9464`, `[::1]:9464`) and the operator's cure for each way in which it can
fail. Knows no HTTP. The surprising fact: an address without a host means every interface, IPv4 and IPv6 through one
socket, as with Prometheus itself.
"""

import errno
import os
import re
import socket

from exporter.core.errors import ConfigError

FLAG = "--web.listen-address"

_WRITTEN = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>[0-9]{1,5})")
_PORT_MAX = 65_535
_BACKLOG = 128

_CURES = {
    errno.EADDRINUSE: "address already in use; choose another port or stop the process that holds it",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address; choose one that it has, or none for all",
    errno.EACCES: "permission denied; choose a port from 1024 on",
    errno.EAFNOSUPPORT: "this machine has no IPv6; choose an IPv4 address",
}


def listen(address: str) -> socket.socket:
    """A listening socket; raises ConfigError with the cure."""
    host, port = _parse(address)
    try:
        if not host:
            return _listen_everywhere(port)
        family, _, _, _, place = min(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda found: found[0] != socket.AF_INET,  # `localhost` is 127.0.0.1 to whoever writes it
        )
        return socket.create_server(place, family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise ConfigError(FLAG, f"{address}: the host is not known here ({error.strerror})") from error
    except OSError as error:
        cure = _CURES.get(error.errno or 0) or os.strerror(error.errno or 0)
        raise ConfigError(FLAG, f"{address}: {cure}") from error


def _parse(address: str) -> tuple[str, int]:
    found = _WRITTEN.fullmatch(address)
    if found is None or int(found["port"]) > _PORT_MAX:
        raise ConfigError(FLAG, f"expected host:port, such as :9464, 127.0.0.1:9464 or [::1]:9464; got {address!r}")
    return found["ipv6"] or found["host"], int(found["port"])


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=_BACKLOG)
