"""uvicorn with three changes: TLS that can change while it serves, time limits of connections, client certificates.

After a change of TLS, new listeners take over on duplicates of the same sockets. Old and new ones listen at the same
time for a moment, so no connection is refused in between.
"""

import asyncio
import socket
from collections.abc import Sequence

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.web.guard import HAS_TRUSTED_CERTIFICATE, LISTENER, Listener

RECEIVE_SECONDS = 15
"""From a request's first byte to its last, and from connecting to the first byte; a slower client is disconnected, so
that slow senders can't use up the connections. Handlers that read a body have shorter limits."""

HANDSHAKE_SECONDS = 15.0
"""From connecting to the end of TLS's handshake; asyncio's own minute lets silent clients hold connections for long."""

CLOSE_SECONDS = 1.0
"""TLS closes a connection when both sides have said so; a client with an idle connection may not answer."""


class ReloadableServer(uvicorn.Server):
    """uvicorn's server with listeners that can be replaced."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self._listener = listener
        self._sockets: Sequence[socket.socket] = ()
        self.servers: list[asyncio.Server] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self._sockets = sockets or ()
        self.servers = await self._listen(self._listener)
        self.started = True

    async def switch(self, listener: Listener) -> None:
        """Accept new connections under this listener's TLS; raise OSError, and change nothing, if that fails."""
        servers = await self._listen(listener)
        if self.should_exit:
            _close(servers)
            return
        closing, self.servers = self.servers, servers
        self._listener.retired, self._listener = True, listener
        for server in closing:
            for accepting in server.sockets:
                asyncio.get_running_loop().remove_reader(accepting.fileno())
        # A connection that was just accepted gets its protocol in the loop's next turn, but not from a closed server.
        await asyncio.sleep(0)
        _close(closing)

    def close(self) -> None:
        """Stop listening; also if the loop ends before `serve` has."""
        _close(self.servers)

    async def _listen(self, listener: Listener) -> list[asyncio.Server]:
        loop = asyncio.get_running_loop()
        context = None if listener.tls is None else listener.tls.context

        def connected() -> asyncio.Protocol:
            state = {**self.lifespan.state, LISTENER: listener}
            return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn itself calls it
                config=self.config, server_state=self.server_state, app_state=state, _loop=loop
            )

        servers: list[asyncio.Server] = []
        try:
            for accepting in self._sockets:
                servers.append(  # noqa: PERF401 - those before a failure have to be closed
                    await loop.create_server(
                        connected,
                        sock=accepting.dup(),
                        ssl=context,
                        backlog=self.config.backlog,
                        ssl_handshake_timeout=None if context is None else HANDSHAKE_SECONDS,
                    )
                )
        except BaseException:
            _close(servers)
            raise
        return servers


def _close(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()


class GuardedConnection(H11Protocol):
    """uvicorn's connection, with time limits before the first request and while one arrives; uvicorn has none there."""

    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        # A certificate that can't be verified has already ended the handshake.
        certificate = None if secured is None else secured.getpeercert(binary_form=True)
        listener: Listener = self.app_state[LISTENER]
        self.app_state[HAS_TRUSTED_CERTIFICATE] = listener.trusts(certificate)
        if not listener.admits(certificate):
            self._refused = True
            transport.abort()
        # asyncio sets it only on sockets whose protocol is given as TCP; without it a body follows its head 40 ms late.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._start_deadline()
        else:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.scheme == "https":
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _start_deadline(self) -> None:
        if self._deadline is None:
            seconds = min(RECEIVE_SECONDS, self.timeout_keep_alive)
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
