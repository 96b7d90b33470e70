"""A TCP proxy to PostgreSQL that cuts connections at a COMMIT, on request.

It cuts either before the COMMIT reaches the server, or after the server has committed and before the client gets the
answer. In both cases the client can't know whether its transaction was committed.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Moment = Literal["before", "after"]


class CommitFaultProxy:
    """Forward all connections to the server on a port; cut those that `cut` asks for."""

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
        """Cut the connections of the next commits, one per moment."""
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
                    client.shutdown(socket.SHUT_RDWR)  # the client gets no further answer
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
                with suppress(OSError):  # after the cut, read on until the server closes
                    client.sendall(data)
        for end in (client, server):
            end.close()


@contextmanager
def fault_proxy(port: int) -> Iterator[CommitFaultProxy]:
    """Run a proxy to the server on this port until the block ends."""
    proxy = CommitFaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
