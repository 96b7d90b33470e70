"""A server replaces its listeners on the same sockets, and no connection made meanwhile is lost."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from starlette.responses import PlainTextResponse

from exporter.web.guard import Listener
from exporter.web.uvicorn_server import ReloadableServer

CLIENTS, REQUESTS, PATIENCE_SECONDS = 4, 250, 10
READ = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(port: int) -> None:
    """Send requests one after the other, each on a new connection, and expect an answer."""
    for _ in range(REQUESTS):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(READ)
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b"\r\n\r\nhere")


def test_no_connection_is_lost() -> None:
    """Replacing listeners without a pause loses no connection, and every one is answered."""

    async def play() -> int:
        config = uvicorn.Config(PlainTextResponse("here"), lifespan="off", log_config=None, ws="none", http="h11")
        server = ReloadableServer(config, Listener(None, print))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(CLIENTS) as pool, socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            serving = asyncio.create_task(server.serve([listening.dup()]))
            asking = asyncio.gather(*(loop.run_in_executor(pool, ask, port) for _ in range(CLIENTS)))
            switches = 0
            while not asking.done():
                await asyncio.sleep(0)
                if server.started:
                    await server.switch(Listener(None, print))
                    switches += 1
            server.should_exit = True
            await serving
            await asking
        return switches

    assert asyncio.run(play()) > 100
