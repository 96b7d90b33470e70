"""Broken exchanges and unreadable bodies over real sockets, and the reasons that the client gives them."""

import asyncio
import gzip
import inspect
import itertools
import socket
import tracemalloc
from collections.abc import Mapping

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.errors import PollError, Transient, TreeError
from exporter.telnyx.answers import BREAKS, REASONS
from exporter.telnyx.client import RequestLimits
from exporter.telnyx.pacing import Pacer
from tests.support.faulty_server import (
    LIMITS,
    Answer,
    Bench,
    FaultyServer,
    answer,
    ask,
    asked,
    gzipped,
    serving,
    then_close,
    then_reset,
    then_silence,
)

BODY = b'{"root": {}}'
GOOD = answer(200, BODY)
GZIP = gzip.compress(BODY, mtime=0)
ONE_ATTEMPT = RequestLimits(max_body_bytes=1000, timeout_seconds=10, max_attempts=1)
HURRIED = RequestLimits(max_body_bytes=1000, timeout_seconds=0.2, max_attempts=1)
"""For answers that never come; on a busy machine others may take longer."""


def zipped(body: bytes) -> bytes:
    return answer(200, body, {"Content-Encoding": "gzip"})


def met(fault: Answer, limits: RequestLimits = ONE_ATTEMPT) -> tuple[Bench, bytes | PollError]:
    return asked(fault, limits=limits)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(then_close(b""), "read", id="hangs up without a word"),
        pytest.param(then_reset(b""), "read", id="resets without a word"),
        pytest.param(then_close(GOOD[:20]), "read", id="hangs up in the head"),
        pytest.param(then_reset(GOOD[:20]), "read", id="resets in the head"),
        pytest.param(then_close(GOOD[:-3]), "read", id="body shorter than its content-length"),
        pytest.param(then_reset(GOOD[:-3]), "read", id="resets in the body"),
        pytest.param(then_silence(b""), "timeout", id="silent"),
        pytest.param(then_silence(GOOD[:20]), "timeout", id="silent in the head"),
        pytest.param(then_silence(GOOD[:-3]), "timeout", id="silent in the body"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "read", id="another protocol"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", "read", id="no status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n", "read", id="endless header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "read", id="length is no number"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            "read",
            id="broken chunk size",
        ),
        pytest.param(
            then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "read", id="no last chunk"
        ),
        pytest.param(zipped(b"no gzip at all"), "decode", id="not gzip"),
        pytest.param(zipped(GZIP[:12] + b"\xff\xff\xff" + GZIP[15:]), "decode", id="corrupt gzip"),
        pytest.param(zipped(GZIP[:-9]), "decode", id="gzip cut off"),
        pytest.param(zipped(GZIP[:-8] + b"\x00" * 8), "decode", id="gzip with a wrong checksum"),
        pytest.param(zipped(GZIP + b"more"), "decode", id="bytes behind the gzip stream"),
        pytest.param(zipped(b""), "decode", id="empty gzip"),
        pytest.param(answer(200, BODY, {"Content-Encoding": "br"}), "decode", id="an encoding nobody asked for"),
    ],
)
def test_broken(fault: Answer, code: str) -> None:
    """A broken exchange is a Transient with its own reason, which is also observed."""
    bench, error = met(fault, HURRIED if code == "timeout" else ONE_ATTEMPT)
    assert isinstance(error, Transient)
    assert error.reason == code
    assert bench.codes == [code]
    assert str(error).startswith(f"main: GET /v2/session_analysis/call-session/call-123: {code}: ")


def test_silence_is_bounded() -> None:
    """A timeout states its length."""
    assert str(met(then_silence(b""), HURRIED)[1]).endswith("timeout: no complete answer within 0.2 s")


@pytest.mark.parametrize("fault", [then_reset(GOOD[:-3]), then_close(b""), zipped(GZIP[:-9])])
def test_asked_again(fault: Answer) -> None:
    """A broken exchange is retried."""

    async def run() -> tuple[bytes, list[str]]:
        async with serving(fault, GOOD) as server:
            bench = Bench(server)
            return await ask(bench.client()), bench.codes

    body, codes = asyncio.run(run())
    assert (body, codes[-1]) == (BODY, "200")


def test_idle_connection_that_was_closed() -> None:
    """A reused connection that ends without a byte was only closed by the server: that is no failure."""

    async def run() -> tuple[list[str], int]:
        async with serving(GOOD, then_close(b""), GOOD) as server:
            bench = Bench(server)
            client = bench.client()
            assert await client.metadata() == await ask(client) == BODY
            return bench.codes, server.connections

    assert asyncio.run(run()) == (["200", "200"], 2)


def test_refused_connection() -> None:
    """A port without a listener is a connect failure."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    bench = Bench(FaultyServer([], port=port))
    with pytest.raises(Transient, match="connect") as caught:
        asyncio.run(ask(bench.client()))
    assert caught.value.reason == "connect"
    assert bench.codes == ["connect"] * 5


@given(st.binary(max_size=80))
@settings(max_examples=30, deadline=None)
def test_any_bytes(sent: bytes) -> None:
    """Whatever a server sends in place of HTTP, the request fails with one of the exporter's errors."""
    _, error = met(then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + sent))
    assert isinstance(error, (PollError, bytes))
    assert isinstance(met(then_close(sent))[1], PollError)


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ({"Content-Type": None}, True),
        ({"Content-Type": "application/json; charset=utf-8"}, True),
        ({"Content-Type": "APPLICATION/JSON"}, True),
        ({"Content-Type": "application/problem+json"}, True),
        ({"Content-Type": "text/html; charset=json"}, False),
        ({"Content-Type": ""}, False),
    ],
)
def test_content_types(headers: Mapping[str, str | None], read: bool) -> None:
    """JSON is read under any of its content types, or without one; for any other the message names the type."""
    bench, outcome = met(answer(200, BODY, headers))
    assert bench.codes == ["200"]
    if read:
        assert outcome == BODY
    else:
        assert isinstance(outcome, TreeError)
        assert outcome.reason == "not_json"
        assert f"200 with {headers['Content-Type']}".strip() in str(outcome)


def test_empty_body() -> None:
    """An empty body is no tree."""
    _, outcome = met(answer(200, b""))
    assert isinstance(outcome, TreeError)
    assert outcome.reason == "not_json"


def test_body_limit_counts_decoded_bytes() -> None:
    """A body of exactly the limit is read, plain or packed; one byte more is too large."""
    for whole in (answer(200, b"x" * 1000), gzipped(b"x" * 1000)):
        assert met(whole)[1] == b"x" * 1000
    for larger in (answer(200, b"x" * 1001), gzipped(b"x" * 1001)):
        bench, outcome = met(larger)
        assert isinstance(outcome, TreeError)
        assert outcome.reason == "body_too_large"
        assert "1000 bytes" in str(outcome)
        assert bench.codes == ["200"]


def test_long_body() -> None:
    """A body in many parts is read whole, and one that is cut off late is broken."""
    body, roomy = bytes(range(256)) * 8_000, RequestLimits(max_body_bytes=10**7, timeout_seconds=10, max_attempts=1)
    assert met(answer(200, body), roomy)[1] == body
    bench, error = met(then_close(answer(200, body)[:-1]), roomy)
    assert isinstance(error, Transient)
    assert bench.codes == [error.reason] == ["read"]


def test_faults_side_by_side() -> None:
    """Each request gets its own answer or failure, whatever happens to those beside and before it."""
    long = bytes(range(256)) * 2_000
    fates: Mapping[str, tuple[Answer, str]] = {
        "good": (GOOD, "200"),
        "long": (answer(200, long), "200"),
        "longer": (answer(200, 2 * long), "body_too_large"),
        "refused": (answer(500), "server_error"),
        "cut": (then_close(answer(200, long)[:-3]), "read"),
        "mute": (then_close(b""), "read"),
        "silent": (then_silence(b""), "timeout"),
    }

    async def run() -> set[tuple[str, str]]:
        async with serving(GOOD, by_id={name: fault for name, (fault, _) in fates.items()}) as server:
            limits = RequestLimits(max_body_bytes=len(long), timeout_seconds=0.5, max_attempts=1)
            client = Bench(server).client(limits=limits)

            async def fate(name: str) -> tuple[str, str]:
                try:
                    body = await client.tree("call-session", name, max_depth=5, expand=True, date_time=None)
                except PollError as error:
                    return name, error.reason
                return name, "200" if body == {"good": BODY, "long": long}.get(name) else "another's"

            async def fates_in_turn() -> list[tuple[str, str]]:
                return [await fate(name) for name in [*fates, *["long", "longer"] * 20]]

            try:
                return set(itertools.chain(*await asyncio.gather(*(fates_in_turn() for _ in range(10)))))
            finally:
                await client.aclose()

    assert asyncio.run(run()) == {(name, reason) for name, (_, reason) in fates.items()}


def test_trailers_are_no_headers() -> None:
    """Bytes behind the end of a body are ignored."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = head + b"%x\r\n%b\r\n0\r\nContent-Encoding: br\r\n\r\n" % (len(BODY), BODY)
    assert met(chunked)[1] == BODY


def test_preliminary_answer() -> None:
    """Of a repeated header the last one counts."""
    assert met(b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n" + GOOD)[1] == BODY


def test_gzip_bomb() -> None:
    """A decompression bomb is unpacked only up to the limit, and not requested again."""
    bomb = gzipped(bytes(200_000_000))
    tracemalloc.start()
    try:
        bench, outcome = met(bomb, msgspec.structs.replace(LIMITS, max_body_bytes=100_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, TreeError)
    assert bench.codes == ["200"]
    assert peak < 10_000_000


def test_endless_body() -> None:
    """An endless body is given up as soon as it is too large."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    assert isinstance(met(endless, LIMITS)[1], TreeError)


def test_cancelled() -> None:
    """A cancelled poll frees its slot and its connection."""

    async def run() -> bytes:
        asked = asyncio.Event()

        async def silence(_: asyncio.StreamWriter) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with serving(silence, GOOD) as server:
            bench = Bench(server, pacer=Pacer(1e6, 1))
            client = bench.client()
            poll = asyncio.ensure_future(client.metadata())
            await asked.wait()
            poll.cancel()
            with pytest.raises(asyncio.CancelledError):
                await poll
            body = await ask(client)
            assert bench.codes == ["200"]
            return body

    assert asyncio.run(run()) == BODY


def test_every_httpx_error_has_a_name() -> None:
    """Each error that an httpx transport may raise is in the table under its own name."""
    family = {kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, httpx.RequestError)}
    redirects = {httpx.TooManyRedirects}  # raised by httpx.Client alone
    assert family - redirects <= set(BREAKS)


def test_reasons() -> None:
    """The reasons are a closed set, because they become label values."""
    assert REASONS == (
        "bad_request",
        "body_too_large",
        "conflict",
        "connect",
        "decode",
        "forbidden",
        "key_refused",
        "not_found",
        "not_json",
        "read",
        "redirect",
        "server_error",
        "throttled",
        "timeout",
        "tls",
        "unexpected_status",
    )
