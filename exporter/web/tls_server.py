"""A server whose TLS can change while it serves: new listeners take over, the old ones are closed.

Owns the listeners, all of them on the same sockets; what a connection does is uvicorn's. The surprising fact: both
generations listen for a moment, each on a duplicate of the same socket, so that no connection is refused in between;
those that came in before live on, and their Door is shut.
"""

import asyncio
import socket
from collections.abc import Sequence

import uvicorn

from exporter.web.guard import DOOR, Door

HANDSHAKE_SECONDS = 15.0
"""From connecting to the end of TLS's handshake; asyncio's own minute is long for a place that is held by silence."""


class ReloadableServer(uvicorn.Server):
    """uvicorn's server, but for how it listens."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door
        self._listening: Sequence[socket.socket] = ()
        self.servers: list[asyncio.Server] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self._listening = sockets or ()
        self.servers = await self._open(self._door)
        self.started = True

    async def switch(self, door: Door) -> None:
        """Connections come in by this door from now on; raises OSError, and changes nothing, if that can't be."""
        opened = await self._open(door)
        if self.should_exit:
            _close(opened)
            return
        closing, self.servers = self.servers, opened
        self._door.shut, self._door = True, door
        for server in closing:
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
        # What was just accepted gets its protocol in the next turn of the loop, and none from a server that is closed.
        await asyncio.sleep(0)
        _close(closing)

    def close(self) -> None:
        """Listen no more; also when the loop ends before `serve` has."""
        _close(self.servers)

    async def _open(self, door: Door) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        context = None if door.tls is None else door.tls.context

        def connected() -> asyncio.Protocol:
            state = {**self.lifespan.state, DOOR: door}
            return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn itself calls it
                config=self.config, server_state=self.server_state, app_state=state, _loop=loop
            )

        opened: list[asyncio.Server] = []
        try:
            for listening in self._listening:
                opened.append(  # noqa: PERF401 - those before a failure have to be closed
                    await loop.create_server(
                        connected,
                        sock=listening.dup(),
                        ssl=context,
                        backlog=self.config.backlog,
                        ssl_handshake_timeout=None if context is None else HANDSHAKE_SECONDS,
                    )
                )
        except BaseException:
            _close(opened)
            raise
        return opened


def _close(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()
