"""Turn a listen address into a listening socket, or into an error with its cure.

Addresses are `:9464`, `127.0.0.1:9464` or `[::1]:9464`. Without a host it is every interface, IPv4 and IPv6 through one
socket, as with Prometheus.
"""

import errno
import os
import re
import socket

from exporter.core.errors import ConfigError

FLAG = "--web.listen-address"

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>[0-9]{1,5})")
_PORT_MAX = 65_535
_BACKLOG = 128

_CURES = {
    errno.EADDRINUSE: "address already in use; choose another port or stop the process that holds it",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address; choose one that it has, or none for all",
    errno.EACCES: "permission denied; choose a port from 1024 on",
    errno.EAFNOSUPPORT: "this machine has no IPv6; choose an IPv4 address",
}


def listen(address: str) -> socket.socket:
    """Return a listening socket; raise ConfigError with the cure."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > _PORT_MAX:
        raise ConfigError(FLAG, f"expected host:port, such as :9464, 127.0.0.1:9464 or [::1]:9464; got {address!r}")
    host, port = found["ipv6"] or found["host"], int(found["port"])
    try:
        if not host:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
            return socket.create_server(("", port), backlog=_BACKLOG)
        family, _, _, _, resolved = min(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE),
            key=lambda info: info[0] != socket.AF_INET,  # `localhost` means 127.0.0.1, even if ::1 is listed first
        )
        return socket.create_server(resolved, family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise ConfigError(FLAG, f"{address}: the host is not known here ({error.strerror})") from error
    except OSError as error:
        cure = _CURES.get(error.errno or 0) or os.strerror(error.errno or 0)
        raise ConfigError(FLAG, f"{address}: {cure}") from error
