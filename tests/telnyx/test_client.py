"""Requests of the client and the meaning of statuses, over real sockets."""

import asyncio
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import __version__
from exporter.core.errors import Denied, NotFound, PollError, Transient, Unauthorized
from exporter.telnyx.answers import REASONS
from exporter.telnyx.client import Answered
from exporter.telnyx.pacing import Pacer
from tests.support.faulty_server import KEY, Bench, answer, ask, asked, gzipped, serving, then_close, together

BODY = b'{"root": {}}'
GOOD = answer(200, BODY)


def test_request() -> None:
    """A request carries the key, asks for gzipped JSON, names the exporter, and has no other headers."""
    bench, body = asked(GOOD)
    assert body == BODY
    first, *fields = bench.server.heads[0].strip().split("\r\n")
    assert first == "GET /v2/session_analysis/call-session/call-123?max_depth=5&expand=record HTTP/1.1"
    assert {name.lower(): value for name, value in (line.split(": ", 1) for line in fields)} == {
        "host": f"127.0.0.1:{bench.server.port}",
        "authorization": f"Bearer {KEY}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "user-agent": f"telnyx-session-exporter/{__version__}",
    }
    assert bench.observed == [Answered("session", "200", 0.0)]


def test_all_endpoints() -> None:
    """The tree's options become its query, the metadata has its own path, and other requests go through `get`."""

    async def run() -> tuple[list[str], list[str]]:
        async with serving(GOOD) as server:
            bench = Bench(server)
            client = bench.client()
            await client.tree("message", "m1", max_depth=2, expand=False, date_time="2026-03-17T10:00:00+00:00")
            await client.metadata()
            await client.get("detail_records", ("detail_records",), {"filter[record_type]": "call-control"})
            await client.aclose()
            return server.lines, [answered.endpoint for answered in bench.observed]

    lines, endpoints = asyncio.run(run())
    assert [unquote(line) for line in lines] == [
        "GET /v2/session_analysis/message/m1?max_depth=2&expand=none&date_time=2026-03-17T10:00:00+00:00 HTTP/1.1",
        "GET /v2/session_analysis/metadata HTTP/1.1",
        "GET /v2/detail_records?filter[record_type]=call-control HTTP/1.1",
    ]
    assert "%2B00%3A00" in lines[0]
    assert endpoints == ["session", "metadata", "detail_records"]


@pytest.mark.parametrize(
    ("event_id", "on_the_wire"),
    [
        ("a/b?c#d %", "a%2Fb%3Fc%23d%20%25"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a..b", "a..b"),
        ("%2e%2e", "%252e%252e"),
        ("é ☎", "%C3%A9%20%E2%98%8E"),
        ("a\r\nX-Evil: 1", "a%0D%0AX-Evil%3A%201"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_path_parts(event_id: str, on_the_wire: str) -> None:
    """An id stays inside its own part of the path."""
    bench, _ = asked(GOOD, event_id=event_id)
    assert bench.server.lines[0].split("?")[0] == f"GET /v2/session_analysis/call-session/{on_the_wire}"


@given(st.lists(st.text(min_size=1), min_size=20, max_size=50))
@settings(max_examples=5, deadline=None)
def test_any_id_arrives(ids: list[str]) -> None:
    """Every id that is valid Unicode can be read back from the request line."""

    async def run() -> list[str]:
        async with serving(GOOD) as server:
            client = Bench(server).client()
            for event_id in ids:
                await client.tree("message", event_id, max_depth=1, expand=False, date_time=None)
            await client.aclose()
            return [line.split("?")[0].rpartition("/")[2] for line in server.lines]

    assert [unquote(part) for part in asyncio.run(run())] == ids


def test_endless_id() -> None:
    """An id that fits into no URL is denied without a request."""
    bench, error = asked(GOOD, event_id="x" * 70_000)
    assert isinstance(error, Denied)
    assert error.reason == "bad_request"
    assert bench.server.heads == []


@pytest.mark.parametrize(
    ("status", "kind", "reason", "attempts"),
    [
        (400, Denied, "bad_request", 1),
        (401, Unauthorized, "key_refused", 1),
        (403, Denied, "forbidden", 1),
        (404, NotFound, "not_found", 1),
        (408, Transient, "timeout", 5),
        (409, Transient, "conflict", 5),
        (429, Transient, "throttled", 5),
        (500, Transient, "server_error", 5),
        (503, Transient, "server_error", 5),
        (599, Transient, "server_error", 5),
        (204, Transient, "unexpected_status", 5),
        (206, Transient, "unexpected_status", 5),
        (418, Transient, "unexpected_status", 5),
        (301, Transient, "redirect", 1),
        (307, Transient, "redirect", 1),
    ],
)
def test_statuses(status: int, kind: type[PollError], reason: str, attempts: int) -> None:
    """Each status has its error and reason; only transient ones are retried, with at most five requests in all."""
    body = b"" if status == 204 else b"{}"
    bench, error = asked(answer(status, body, {"Location": "/elsewhere"}))
    assert type(error) is kind
    assert error.reason == reason
    assert error.reason in REASONS
    assert bench.codes == [str(status)] * attempts
    assert len(bench.server.heads) == attempts


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"errors": [{"code": "10005", "title": "Not found", "detail": "No such event"}]}',
            "10005 Not found No such event",
        ),
        (b'{"errors": [{"code": 10005, "message": "Not found", "extra": [1]}]}', "10005 Not found"),
        (b'{"errors": [{"code": "1", "title": "A"}, {"detail": "B"}]}', "1 A; B"),
        (b'{"errors": [{"detail": "a\\u0000b\\n\\u001b[31mc\\u202ed"}]}', "a b [31mc d"),
        (b'{"errors": [{"detail": "' + b"x" * 5000 + b'"}]}', "x" * 295),
        (b'{"errors": [{"detail": "' + b"x" * 50_000 + b'"}]}', ""),
        (b'{"errors": "all"}', ""),
        (b"<html>" + b"secret stack" * 100, ""),
        (b"[" * 10_000, ""),
        (b"", ""),
    ],
)
def test_what_an_error_says(body: bytes, said: str) -> None:
    """Telnyx's error text is in the message, bounded and printable; any other body is not."""
    _, error = asked(answer(404, body))
    assert str(error) == "main: GET /v2/session_analysis/call-session/call-123: 404" + (f": {said}" if said else "")


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_error_body(body: bytes) -> None:
    """An unreadable error body never hides the status."""
    _, error = asked(answer(403, body))
    assert isinstance(error, Denied)


def test_cures() -> None:
    """An error that the operator can cure says how."""
    assert "check the API key" in str(asked(answer(401))[1])
    assert "check base_url" in str(asked(answer(302))[1])


def test_quota_seen() -> None:
    """The quota in the headers reaches the pacer, from failures too."""
    pacer = Pacer(10, 2)
    asked(answer(404, b"{}", {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "299"}), pacer=pacer)
    assert (pacer.quota_limit, pacer.quota_remaining) == (300, 299)


def test_in_flight() -> None:
    """As many requests are in flight as the account allows, and connections are reused."""

    async def run() -> tuple[int, int]:
        barrier = asyncio.Barrier(3)
        async with serving(together(GOOD, barrier)) as server:
            client = Bench(server, pacer=Pacer(1e6, 3)).client()
            await asyncio.gather(
                *(client.tree("message", "m", max_depth=5, expand=True, date_time=None) for _ in range(9))
            )
            await client.aclose()
            return server.in_flight_most, len(server.heads)

    assert asyncio.run(run()) == (3, 9)


def test_a_list_that_is_out_of_quota_delays_no_poll() -> None:
    """A 429 to a list stops that endpoint alone, even if only one request may be in flight."""

    async def run() -> tuple[list[tuple[str, str]], bool]:
        throttled = answer(429, b"{}", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "50"})
        async with serving(throttled, GOOD, GOOD) as server:
            bench = Bench(server, pacer=Pacer(1e6, 1))
            waits = asyncio.Event()

            async def sleep(seconds: float) -> None:
                if seconds > 5:  # the wait for the slot, not the one before another attempt
                    waits.set()
                    await asyncio.Event().wait()

            bench.sleep = sleep  # type: ignore[method-assign] # nobody passes the minute
            client = bench.client()
            listing = asyncio.ensure_future(client.detail_records({}))
            await waits.wait()
            async with asyncio.timeout(10):
                for _ in range(2):
                    await client.tree("message", "m", max_depth=5, expand=True, date_time=None)
            waiting = not listing.done()
            listing.cancel()
            await client.aclose()
            return [(each.endpoint, each.code) for each in bench.observed], waiting

    assert asyncio.run(run()) == ([("detail_records", "429"), ("session", "200"), ("session", "200")], True)


def test_kept_alive() -> None:
    """Sequential requests share one connection, whatever their status."""

    async def run() -> int:
        async with serving(GOOD, answer(404), gzipped(BODY), answer(404, b"{}"), GOOD) as server:
            client = Bench(server).client()
            for _ in range(5):
                try:
                    await client.metadata()
                except NotFound:
                    continue
            await client.aclose()
            return server.connections

    assert asyncio.run(run()) == 1


def test_idle_connection_closed() -> None:
    """A connection that the server has closed is replaced without a failure."""

    async def run() -> tuple[int, list[str]]:
        async with serving(then_close(GOOD)) as server:
            bench = Bench(server)
            client = bench.client()
            for _ in range(3):
                await client.metadata()
            await client.aclose()
            return server.connections, bench.codes

    assert asyncio.run(run()) == (3, ["200"] * 3)


def test_key_rotates() -> None:
    """The key is read at every request, so a rotated file needs no restart."""

    async def run() -> list[str]:
        async with serving(answer(500), GOOD) as server:
            await ask(Bench(server, keys=["old", "new"]).client())
            return [head.partition("Bearer ")[2].split("\r\n")[0] for head in server.heads]

    assert asyncio.run(run()) == ["old", "new"]


def test_any_httpx_transport() -> None:
    """The client works with any httpx transport, which gets nothing but the request."""

    async def run() -> bytes:
        async with serving(gzipped(BODY)) as server:
            return await ask(Bench(server).client(transport=httpx.AsyncHTTPTransport()))

    assert asyncio.run(run()) == BODY
