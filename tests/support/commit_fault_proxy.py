"""A wire to PostgreSQL that breaks at the worst moment: while a transaction is being committed.

Owns a port on loopback that passes bytes on, and cuts a connection at a COMMIT if it is told to: before the server has
heard of it, or after the server did it and before the client has heard of that.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Moment = Literal["before", "after"]


class CommitFaultProxy:
    """Passes on what comes until it is told to cut."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._moments: list[Moment] = []
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self, *moments: Moment) -> None:
        """The next commits that come by, one each."""
        self._moments += moments

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for target in (self._up, self._down):
                    threading.Thread(target=target, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT\0" in data and self._moments:
                    moment = self._moments.pop(0)
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)  # whatever the server says from now on, nobody hears
                    if moment == "after":
                        server.sendall(data)
                        server.shutdown(socket.SHUT_WR)
                        return
                    break
                server.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with suppress(OSError):  # after the cut the server must still be heard out
                    client.sendall(data)
        for end in (client, server):
            end.close()


@contextmanager
def fault_proxy(port: int) -> Iterator[CommitFaultProxy]:
    """A wire to the server on this port until the block ends."""
    proxy = CommitFaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
