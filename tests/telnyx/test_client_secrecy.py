"""The key never shows in errors, chains, reprs, logs or observations."""

import asyncio
import logging
import traceback

import pytest

from exporter.core.errors import ConfigError, PollError
from exporter.telnyx.pacing import Pacer
from tests.support.faulty_server import KEY, Answer, Bench, answer, ask, serving, then_close, then_reset

ECHO = f'{{"errors": [{{"code": "1", "title": "Bad key {KEY}", "detail": "{"x" * 280}{KEY}"}}]}}'.encode()


def chain(error: BaseException) -> list[BaseException]:
    links = [error]
    while link := links[-1].__cause__ or links[-1].__context__:
        links.append(link)
    return links


@pytest.mark.parametrize(
    "reply",
    [
        answer(401, ECHO),
        answer(500, ECHO),
        answer(200, b"x", {"Content-Type": KEY}),
        answer(302, b"", {"Location": f"/?key={KEY}"}),
        b"HTTP/1.1 nonsense\r\n\r\n",
        f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(),
        then_close(b""),
        then_reset(answer(200)[:-1]),
    ],
)
def test_key_is_never_told(reply: Answer, caplog: pytest.LogCaptureFixture) -> None:
    """No failure shows the key in its message, traceback, chain of causes, or log lines."""
    caplog.set_level(logging.DEBUG)

    async def run() -> tuple[list[str], PollError]:
        async with serving(reply) as server:
            bench = Bench(server, pacer=Pacer(1e6, 1))
            client = bench.client()
            with pytest.raises(PollError) as caught:
                await ask(client)
            assert KEY in server.heads[0]
            return [repr(client), repr(vars(client)["_transport"]), repr(bench.observed)], caught.value

    told, error = asyncio.run(run())
    told += traceback.format_exception(error)
    told += [text for link in chain(error) for text in (str(link), repr(link), repr(link.args))]
    assert KEY not in "\n".join([*told, caplog.text])


def test_old_key_is_not_told_either() -> None:
    """A server that repeats a key which was rotated meanwhile has that key masked."""

    async def run() -> str:
        async with serving(answer(401, ECHO)) as server:
            with pytest.raises(PollError) as caught:
                await ask(Bench(server, keys=[KEY, "new"]).client())
            return str(caught.value)

    said = asyncio.run(run())
    assert "Bad key ***" in said
    assert KEY[:6] not in said


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nX-Evil: 1", f" {KEY}", f"{KEY}\x00", f"é{KEY}", f"{KEY} {KEY}"])
def test_impossible_key(key: str) -> None:
    """A key that can't be sent is a ConfigError which doesn't show it, and no request is made."""

    async def run() -> tuple[ConfigError, int]:
        async with serving(answer(200)) as server:
            with pytest.raises(ConfigError) as caught:
                await ask(Bench(server, keys=[key]).client())
            return caught.value, len(server.heads)

    error, requests = asyncio.run(run())
    assert requests == 0
    assert str(error).startswith("accounts[main]: the API key is empty or holds a line break")
    assert KEY not in "\n".join([repr(error), *traceback.format_exception(error)])


def test_missing_key() -> None:
    """An empty key is a ConfigError too, instead of a 401."""

    async def run() -> None:
        async with serving(answer(200)) as server:
            with pytest.raises(ConfigError, match="is empty or"):
                await ask(Bench(server, keys=[""]).client())

    asyncio.run(run())
