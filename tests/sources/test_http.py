"""Lists of sessions posted by other programs, as real requests to a running exporter."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct
from starlette.applications import Starlette

from exporter.config import DiscoverySettings, HttpSettings
from exporter.core.catalog import HTTP
from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef
from exporter.ledger import Ledger
from exporter.sources.entries import json_entries
from exporter.web import HealthStatus, SessionsRoute, WebServer
from simulator import SimulatorSettings, running
from tests.ledger.test_durability import busy
from tests.runtime.test_exporter import LONGEST_SECONDS, value
from tests.support.exporting import NO_RECORDS, Exporting, config, exporting, net, read, same, stated
from tests.support.web_surface import FINE

PATH = "/api/v1/sessions"
JSON = {"Content-Type": "application/json"}
GOOD = {"record_type": "message", "event_id": "a"}
FAILURES, FOUND = "telnyx_discovery_failures_total", "telnyx_discovered_sessions_total"
LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"
ENABLED = DiscoverySettings(http=HttpSettings(enabled=True), detail_records=NO_RECORDS)


class Posting(Struct, frozen=True):
    """An exporter in a thread of its own, with a client."""

    exporter: Exporting
    loop: asyncio.AbstractEventLoop
    http: httpx.Client

    def post(self, body: bytes | list[Any], **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.exporter.origin + PATH, content=content, headers={**JSON, **headers})

    def in_ledger(self) -> int:
        """Return the durable sessions found over HTTP."""
        totals = asyncio.run_coroutine_threadsafe(self.exporter.app.ledger.run(Ledger.totals), self.loop)
        return sum(int(total.value) for total in totals.result(60) if total.family == FOUND)

    def samples(self) -> dict[Any, Any]:
        """Return the samples of /metrics once every list posted so far is included."""
        asyncio.run_coroutine_threadsafe(self.exporter.drained(), self.loop).result(60)
        return read(self.http.get(f"{self.exporter.origin}/metrics").text)


@contextmanager
def posting(folder: Path, settings: SimulatorSettings, **changes: Any) -> Iterator[Posting]:
    """The exporter runs as long as the block."""
    started: Future[tuple[Exporting, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            changed = {"discovery": ENABLED, **changes}
            async with exporting(config(simulated, folder, **changed), simulated) as exporter:
                await exporter.drained()
                end = asyncio.Event()
                started.set_result((exporter, asyncio.get_running_loop(), end))
                await end.wait()

    with ThreadPoolExecutor(1) as pool, httpx.Client(timeout=60) as http:
        played = pool.submit(asyncio.run, play())
        played.add_done_callback(lambda _: started.cancel())
        exporter, loop, end = started.result(60)
        try:
            yield Posting(exporter, loop, http)
        finally:
            loop.call_soon_threadsafe(end.set)
            played.result(60)


@pytest.fixture(scope="module")
def posted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Posting]:
    """An exporter of a world without sessions, shared by tests in which it follows nothing."""
    with posting(tmp_path_factory.mktemp("posted"), SimulatorSettings(speed=0.0, sessions_max=0)) as started:
        yield started


def counts(samples: dict[Any, Any]) -> tuple[int, int, int]:
    """Return sessions found over HTTP, failures of that source, and followed sessions."""
    return (
        int(value(samples, FOUND, source=HTTP)),
        int(value(samples, FAILURES, source=HTTP)),
        int(value(samples, "telnyx_sessions")),
    )


def test_a_list_is_followed_when_it_is_answered(tmp_path: Path) -> None:
    """The answer 200 counts the sessions of the list; they are followed, each once, also if they come again."""
    with posting(tmp_path, SimulatorSettings(speed=0.0, sessions_max=0)) as exporter:
        assert counts(exporter.samples()) == (0, 0, 0)
        assert value(exporter.samples(), LAST_SUCCESS, source=HTTP) == 0
        for _ in range(2):
            answer = exporter.post([GOOD, {**GOOD, "event_id": "b"}, GOOD])
            assert (answer.status_code, answer.json()) == (200, {"sessions": 2})
            assert counts(exporter.samples()) == (2, 0, 2)
        assert value(exporter.samples(), LAST_SUCCESS, source=HTTP) > 0


@pytest.mark.slow
def test_a_world_that_is_posted_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    """Sessions handed over over HTTP are followed exactly once, also across a restart: /metrics equals the truth."""
    folder = tmp_path
    settings = SimulatorSettings(speed=0.0, sessions_per_hour=20, seed=12)

    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            for _ in range(2):
                async with exporting(config(simulated, folder, discovery=ENABLED), simulated) as exporter:
                    for _ in range(2):
                        simulated.clock.step(LONGEST_SECONDS)
                        await exporter.drained()  # ready
                        listed = (await exporter.http.get(f"{simulated.origin}/_sessions")).json()
                        entries = [{key: each[key] for key in ("record_type", "event_id")} for each in listed]
                        answer = await exporter.http.post(exporter.origin + PATH, json=entries)
                        assert answer.json() == {"sessions": len(entries)}
                        await exporter.drained()
                    samples, truth = await exporter.samples(), await exporter.truth()
                    assert same(net(samples), stated(truth)), (net(samples), stated(truth))
                    assert value(samples, FOUND, source=HTTP) == truth["sessions"] > 0

    asyncio.run(play())


@pytest.mark.slow
def test_the_largest_list_is_taken(tmp_path: Path) -> None:
    """A list of 10,000 sessions is accepted; a longer one is refused whole."""
    entries = [{"record_type": "message", "event_id": f"m{number}"} for number in range(10_001)]
    with posting(tmp_path, SimulatorSettings(speed=0.0, sessions_max=0)) as exporter:
        answer = exporter.post(entries)
        assert (answer.status_code, answer.json()) == (400, {"error": "expected 0 to 10000 entries, got 10001"})
        answer = exporter.post(entries[1:])
        assert (answer.status_code, answer.json()) == (200, {"sessions": 10_000})
        assert exporter.in_ledger() == 10_000


def test_without_the_setting_no_list_is_taken(tmp_path: Path) -> None:
    """By default lists over HTTP are refused, and no family has a series for them."""
    with posting(
        tmp_path, SimulatorSettings(speed=0.0, sessions_max=0), discovery=DiscoverySettings(detail_records=NO_RECORDS)
    ) as exporter:
        assert exporter.post([GOOD]).status_code == 404
        assert not [labels for _, labels in exporter.samples() if ("source", HTTP) in labels]


BAD: list[tuple[bytes, int, str]] = [
    (
        json.dumps([GOOD, GOOD, GOOD, {"record_type": "message"}]).encode(),
        400,
        "[3].event_id: missing; expected text of 1 to 200 printable characters, with no space at either end",
    ),
    (
        b'[{"account": "x", "record_type": "a", "event_id": "b"}]',
        400,
        '[0].account: no account is named "x"; there are main',
    ),
    (b"", 400, "body, line 1, column 1: Expecting value; is it JSON, and written to its end?"),
    (b"[" * 1_000_000, 400, "body: nested deeper than 20 levels; no setting lies that deep"),
    (b"[]" + b" " * 1_048_575, 413, "the list is too large; send it in parts"),
]


@pytest.mark.parametrize(("body", "status", "error"), BAD, ids=[str(row[1]) + row[2][:12] for row in BAD])
def test_a_bad_list_is_refused_whole(posted: Posting, body: bytes, status: int, error: str) -> None:
    """A list with a mistake is refused whole, with entry, problem and cure, and counted."""
    found, failures, followed = counts(posted.samples())
    answer = posted.http.post(posted.exporter.origin + PATH, content=iter([body]), headers=JSON)  # chunked
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert counts(posted.samples()) == (found, failures + 1, followed)


STRANGERS: list[tuple[dict[str, str], int, str]] = [
    ({"Origin": "http://localhost:9464"}, 403, "not for browsers: a request with the header origin is refused"),
    ({"Origin": "null"}, 403, "not for browsers: a request with the header origin is refused"),
    (
        {"X-Forwarded-For": "127.0.0.1"},
        403,
        "not through a proxy: a request with the header x-forwarded-for is refused",
    ),
    ({"Forwarded": "for=127.0.0.1"}, 403, "not through a proxy: a request with the header forwarded is refused"),
    ({"Via": "1.1 proxy"}, 403, "not through a proxy: a request with the header via is refused"),
    *(
        ({"Host": host}, 403, "the header host names another machine; use http://localhost or http://127.0.0.1")
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9464", "192.0.2.1", "[::2]", "")
    ),
    *(
        ({"Content-Type": kind}, 415, "expected the header content-type: application/json")
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "")
    ),
]


@pytest.mark.parametrize(("headers", "status", "error"), STRANGERS, ids=map(str, range(len(STRANGERS))))
def test_browsers_and_proxies_are_refused(posted: Posting, headers: dict[str, str], status: int, error: str) -> None:
    """A request that a web page, a rebound DNS name or a proxy could send is refused, and counts as no failure."""
    before = counts(posted.samples())
    answer = posted.post([GOOD], **headers)
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert counts(posted.samples()) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:9464", "[::1]:9464"])
def test_local_names_are_taken(posted: Posting, host: str) -> None:
    """Local host names are accepted with any port, and a charset parameter of the media type is allowed."""
    answer = posted.post([], Host=host, **{"Content-Type": "Application/JSON; charset=utf-8"})
    assert (answer.status_code, answer.json()) == (200, {"sessions": 0})


def test_nothing_but_post_and_get_is_taken(posted: Posting) -> None:
    """Other methods are answered with 405."""
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert posted.http.request(method, posted.exporter.origin + PATH).status_code == 405


def route(followed: list[SessionRef], status: HealthStatus = FINE) -> SessionsRoute:
    """A route whose main thread follows sessions at once."""

    def follow(refs: Sequence[SessionRef]) -> Future[None]:
        followed.extend(refs)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    return SessionsRoute(["main"], lambda: status, follow, lambda: None)


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        *((peer, 200) for peer in ("127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1")),
        *(
            (peer, 403)
            for peer in ("192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "fd00::1", "0.0.0.0", "::", "", "x")
        ),
    ],
)
def test_only_the_same_machine_is_served(peer: str, status: int) -> None:
    """The client's address must be a loopback one, also IPv4 in IPv6; all others are refused with the reason."""
    followed: list[SessionRef] = []

    async def play() -> httpx.Response:
        app = Starlette(routes=[route(followed).route()])
        transport = httpx.ASGITransport(app, client=(peer, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(PATH, json=[GOOD])

    answer = asyncio.run(play())
    assert answer.status_code == status
    assert len(followed) == (status == 200)
    if status == 403:
        assert answer.json() == {
            "error": "only for callers on the same machine or in the same pod; use http://localhost, "
            "or basic authentication or client certificates (--web.config.file)"
        }


def test_loopback_is_known_on_a_socket_for_everything() -> None:
    """A server on all interfaces, IPv6 included, recognises a local caller."""
    followed: list[SessionRef] = []
    server = WebServer(
        ":0",
        status=lambda: FINE,
        on_scrape=lambda _: None,
        on_crash=lambda _: None,
        extra_routes=[route(followed).route()],
    )
    server.start()
    try:
        assert httpx.post(f"http://127.0.0.1:{server.port}{PATH}", json=[GOOD]).json() == {"sessions": 1}
    finally:
        server.stop(5)


def test_before_it_is_ready_the_exporter_says_when_to_come_again() -> None:
    """Starting or stopping, it answers 503 with the reason and Retry-After, and follows nothing."""
    followed: list[SessionRef] = []

    async def play() -> httpx.Response:
        app = Starlette(routes=[route(followed, HealthStatus(healthy=None, ready="stopping")).route()])
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(PATH, json=[GOOD])

    answer = asyncio.run(play())
    assert (answer.status_code, answer.json(), followed) == (503, {"error": "stopping"}, [])
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.slow
def test_a_ledger_that_fails_is_said(tmp_path: Path) -> None:
    """A list that can't be stored is answered with 503 and Retry-After, and is followed when it is sent again."""
    with posting(tmp_path, SimulatorSettings(speed=0.0, sessions_max=0)) as exporter:
        with busy(tmp_path):
            answer = exporter.post([GOOD])
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("ledger: ")
        assert int(answer.headers["retry-after"]) > 0
        ready = f"{exporter.exporter.origin}/-/ready"
        deadline = time.monotonic() + 60
        while exporter.http.get(ready).status_code != 200:
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
        assert counts(exporter.samples()) == (0, 1, 0)
        assert exporter.post([GOOD]).json() == {"sessions": 1}
        assert counts(exporter.samples()) == (1, 1, 1)


@pytest.mark.slow
def test_what_was_answered_survives_a_stop(tmp_path: Path) -> None:
    """After a stop under a flood of lists, every session answered with 200 is in the ledger."""
    taken: list[str] = []

    def flood(exporter: Posting, sender: int) -> None:
        with httpx.Client(timeout=60) as http:
            for number in range(1_000_000):
                entry = {"record_type": "message", "event_id": f"{sender}-{number}"}
                try:
                    answer = http.post(exporter.exporter.origin + PATH, json=[entry])
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    taken.append(entry["event_id"])
                else:
                    assert answer.status_code == 503

    settings = SimulatorSettings(speed=0.0, sessions_max=0)
    with ThreadPoolExecutor(4) as pool:
        with posting(tmp_path, settings) as exporter:
            senders = [pool.submit(flood, exporter, sender) for sender in range(4)]
            while len(taken) < 40:
                assert not any(sender.done() for sender in senders)
                threading.Event().wait(0.01)
        for sender in senders:
            sender.result(60)
    with posting(tmp_path, settings) as exporter:
        kept = exporter.in_ledger()
        assert kept >= len(taken)
        answer = exporter.post([{"record_type": "message", "event_id": event_id} for event_id in taken])
        assert answer.json() == {"sessions": len(taken)}
        assert exporter.in_ledger() == kept  # none of them is new


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("message"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=10), below, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(["account", "record_type", "event_id", "date_time"]) | st.text(max_size=10)
hostile = st.binary(max_size=200) | (
    st.lists(st.dictionaries(keys, values, max_size=5) | values, max_size=5).map(json.dumps).map(str.encode)
)


@pytest.fixture(scope="module")
def series(posted: Posting) -> set[Any]:
    """Return the series of /metrics before any hostile request."""
    return known(posted.samples())


def known(samples: dict[Any, Any]) -> set[Any]:
    """Return the series, except those of API requests, which change in the background."""
    return {key for key in samples if not key[0].startswith("telnyx_api")}


@pytest.mark.slow
@given(body=hostile)
def test_hostile_bodies_do_nothing(posted: Posting, series: set[Any], body: bytes) -> None:
    """No body that isn't a list of sessions makes a session, a series, or an error of the server."""
    try:
        assume(not json_entries(body, "body", ["main"]))
        expected = 200  # an empty list
    except ConfigError:
        expected = 400
    answer = posted.post(body)
    assert answer.status_code == expected
    assert ("error" in answer.json()) is (expected == 400)
    after = posted.samples()
    assert known(after) == series
    assert value(after, FOUND) + value(after, "telnyx_sessions") == 0
