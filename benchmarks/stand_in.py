"""Serve an API that needs almost no CPU: every session is the call of Telnyx's guide, answered from memory.

Each answer gets the requested ids and a number of its own, so the exporter has to read and compare every answer. The
program prints its port.
"""

import asyncio
import re
import sys
from datetime import date
from itertools import count

from benchmarks.ledgers import STEM, example

ASKED = re.compile(rb"GET /v2/session_analysis/[a-z-]+/([0-9a-f]{8})[0-9a-f-]{28}[? ]")
NUMBERS = count()
HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection; requests have no bodies."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            asked = ASKED.match(head)
            status, body = (b"200 OK", self._body(asked[1])) if asked else (b"404 Not Found", b"{}")
            self._transport.write(HEAD % (status, len(body)) + body)

    def _body(self, stem: bytes) -> bytes:
        return b'{"answer": %d, ' % next(NUMBERS) + self._answer.replace(STEM, stem)[1:]


async def serve(day: date) -> None:
    answer = example(day)
    server = await asyncio.get_running_loop().create_server(lambda: Answering(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(date.fromisoformat(sys.argv[1])))
