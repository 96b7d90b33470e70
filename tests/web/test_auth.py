"""Basic authentication, the rate limit and the headers of the web config file, by real requests."""

import asyncio
import base64
import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from exporter.core.errors import Rejected
from exporter.web import WebServer
from exporter.web.config import RateLimit
from exporter.web.guard import TokenBucket
from exporter.web.passwords import (
    CROWDED,
    REMEMBERED_MAX,
    UNAUTHORIZED,
    WAITING_MAX,
    WAITING_PER_CLIENT_MAX,
    Credentials,
    PasswordChecker,
    parse_credentials,
)
from tests.support.web_surface import FINE, LOOPBACK, page

COST = 4
SLOW = 9


def hashed(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


HASH = hashed("dave123")
USERS = f"basic_auth_users: {{dave: {HASH}}}"
DAVE = ("dave", "dave123")
PROMPT = 'Basic realm="telnyx-session-exporter", charset="UTF-8"'


async def webhook(_: object) -> PlainTextResponse:
    return PlainTextResponse("taken")


@contextmanager
def serving(folder: Path, text: str) -> Iterator[tuple[WebServer, httpx.Client]]:
    """Run a server with this web config, and yield it with a client."""
    (folder / "web.yml").write_text(text)
    died: list[BaseException] = []
    server = WebServer(
        LOOPBACK,
        status=lambda: FINE,
        on_scrape=lambda _: None,
        on_crash=died.append,
        extra_routes=[Route("/webhooks/telnyx", webhook), Route("/webhooks/telnyx/{account}", webhook)],
        web_config=folder / "web.yml",
    )
    server.publish(page(1))
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            yield server, client
    finally:
        server.stop(5)
    assert died == []


def refusals(server: WebServer) -> Mapping[str, int]:
    return {labels[0]: count for _, labels, count in server.counts() if labels and count}


def basic(content: bytes) -> str:
    return f"Basic {base64.b64encode(content).decode()}"


# Access


def test_who_has_a_password(tmp_path: Path) -> None:
    """With a user's password every page is readable; without, every method and path asks for a password."""
    with serving(tmp_path, USERS) as (server, client):
        for path in ("/", "/metrics", "/nothing", "//metrics", "/-/healthy/", "/webhooks/telnyxx", "/-/ready%2f"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, PROMPT), path
            assert answer.text == "Unauthorized\n"
        assert client.post("/metrics").status_code == 401
        assert client.get("/metrics", auth=DAVE).text.startswith("# HELP")
        assert client.get("/nothing", auth=DAVE).status_code == 404
        assert refusals(server) == {UNAUTHORIZED: 8}


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready", "/webhooks/telnyx", "/webhooks/telnyx/main"])
def test_what_is_open(tmp_path: Path, path: str) -> None:
    """Probes and webhooks need no password."""
    with serving(tmp_path, USERS) as (_, client):
        assert client.get(path).status_code == 200


WRONG = {
    "another password": basic(b"dave:dave124"),
    "no password": basic(b"dave:"),
    "nobody": basic(b":"),
    "an unknown user": basic(b"eve:dave123"),
    "another case": basic(b"Dave:dave123"),
    "no colon": basic(b"davedave123"),
    "a colon too much": basic(b"dave::dave123"),
    "the hash": basic(f"dave:{HASH}".encode()),
    "half an encoding": basic(b"dave:dave123")[:-1],
    "no encoding": "Basic !!!!",
    "not ASCII": "Basic d\xe4ve",
    "another scheme": "Bearer ZGF2ZTpkYXZlMTIz",
    "no scheme": "ZGF2ZTpkYXZlMTIz",
    "nothing": "",
    "only a scheme": "Basic",
    "a NUL": basic(b"dave:dave123\0"),
    "no UTF-8": basic(b"d\xffve:dave\xff"),
    "a long password": basic(b"dave:" + b"x" * 8000),
    "a long name": basic(b"x" * 8000 + b":x"),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    users = f"basic_auth_users: {{dave: {HASH}, zoë: {hashed('pass:wörd')}, long: {hashed('y' * 72)}}}"
    with serving(tmp_path_factory.mktemp("guarded"), users) as (_, client):
        yield client


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_wrong_credentials(guarded: httpx.Client, header: str) -> None:
    """Any wrong Authorization header gets 401 and the request for a password."""
    answer = guarded.get("/metrics", headers=[(b"Authorization", header.encode("latin-1"))])
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, PROMPT)


def test_a_head_without_end(guarded: httpx.Client) -> None:
    """An overlong header is refused before it is parsed, and not as an error of the server."""
    answer = guarded.get("/metrics", headers={"Authorization": basic(b"dave:" + b"x" * 100_000)})
    assert 400 <= answer.status_code < 500


def test_two_headers(guarded: httpx.Client) -> None:
    """Two Authorization headers are refused, because another program might read the other one."""
    good = ("Authorization", basic(b"dave:dave123"))
    assert guarded.get("/metrics", headers=[good]).status_code == 200
    assert guarded.get("/metrics", headers=[good, good]).status_code == 401


@pytest.mark.parametrize(
    "content", ["dave:dave123", "zoë:pass:wörd", f"long:{'y' * 72}", f"long:{'y' * 100}"], ids=range(4)
)
def test_right_credentials(guarded: httpx.Client, content: str) -> None:
    """Colons, other scripts, bytes after the 72nd and any case of the scheme are accepted."""
    encoded = base64.b64encode(content.encode()).decode()
    for scheme in ("Basic", "basic", "BASIC"):
        assert guarded.get("/metrics", headers={"Authorization": f"{scheme} {encoded}"}).status_code == 200


@given(st.binary(max_size=60))
def test_any_header(content: bytes) -> None:
    """Any bytes in the header are credentials or a refusal; encoded credentials are decoded exactly."""
    with contextlib.suppress(Rejected):
        parse_credentials(content)
    name, _, password = content.partition(b":")
    assert parse_credentials(b"Basic " + base64.b64encode(name + b":" + password)) == Credentials(name, password)
    assert repr(Credentials(name, password)) == "Credentials(***)"


# Cost of hashing


class Counting(PasswordChecker):
    """Passwords that record which hashes were computed."""

    def __init__(self, users: Mapping[str, str]) -> None:
        super().__init__()
        self.computed: list[bytes] = []
        self.set_users(users)

    async def _compute(self, password: bytes, hashed: bytes) -> bool:
        self.computed.append(hashed)
        return await super()._compute(password, hashed)

    async def outcome(self, name: str, password: str, client: str = "a") -> str:
        try:
            await self.check(Credentials(name.encode(), password.encode()), client)
        except Rejected as error:
            return error.reason
        return "in"


def test_a_right_password_is_computed_once() -> None:
    """A right password is hashed once until the users change; a wrong one is hashed at each request."""

    async def play() -> None:
        other = hashed("dave123")
        passwords = Counting({"dave": HASH})
        for _ in range(3):
            assert await passwords.outcome("dave", "dave123") == "in"
        assert len(passwords.computed) == 1
        for _ in range(3):
            assert await passwords.outcome("dave", "wrong") == UNAUTHORIZED
        assert len(passwords.computed) == 4
        passwords.set_users({"dave": other})
        assert await passwords.outcome("dave", "dave123") == "in"
        assert passwords.computed[4:] == [other.encode()]
        passwords.set_users({"dave": hashed("another")})
        assert await passwords.outcome("dave", "dave123") == UNAUTHORIZED
        passwords.set_users({"eve": HASH})
        assert await passwords.outcome("dave", "dave123") == UNAUTHORIZED

    asyncio.run(play())


def test_an_unknown_user_costs_a_hash_of_some_user() -> None:
    """An unknown name is always checked against the same user's hash, and no password lets it in."""

    async def play() -> None:
        users = {name: hashed(name, cost) for name, cost in (("a", 4), ("b", 5), ("c", 6))}
        passwords = Counting(users)
        for n in range(30):
            outcomes = {await passwords.outcome(f"eve{n}", password) for password in ("a", "b", "c")}
            assert outcomes == {UNAUTHORIZED}
            assert len(set(passwords.computed[-3:])) == 1
        assert {text.decode() for text in passwords.computed} == set(users.values())

    asyncio.run(play())


def test_what_is_remembered_is_bounded() -> None:
    """The cache of right passwords is bounded and keeps the most recently used."""

    async def play() -> None:
        users = {f"u{n}": HASH for n in range(REMEMBERED_MAX + 1)}
        passwords = Counting(users)
        for name in [*users, "u1"]:
            assert await passwords.outcome(name, "dave123") == "in"
        assert len(passwords.computed) == REMEMBERED_MAX + 1
        assert await passwords.outcome("u0", "dave123") == "in"
        assert await passwords.outcome("u1", "dave123") == "in"
        assert len(passwords.computed) == REMEMBERED_MAX + 2

    asyncio.run(play())


def test_who_asks_the_same_waits_for_the_first() -> None:
    """Twenty concurrent clients with one password cost one hash, and none is refused."""

    async def play() -> None:
        passwords = Counting({"dave": HASH})
        outcomes = await asyncio.gather(*(passwords.outcome("dave", "dave123") for _ in range(20)))
        assert (set(outcomes), len(passwords.computed)) == ({"in"}, 1)

    asyncio.run(play())


def test_guessers_wait_in_bounds() -> None:
    """Waiting password checks are limited per address and in total; those above a limit are refused at once."""

    async def play() -> None:
        passwords = Counting({"dave": HASH})
        guesses = [passwords.outcome("dave", f"guess{n}") for n in range(100)]
        honest = passwords.outcome("dave", "dave123", client="b")
        *guessed, let_in = await asyncio.gather(*guesses, honest)
        assert guessed == [UNAUTHORIZED] * WAITING_PER_CLIENT_MAX + [CROWDED] * (100 - WAITING_PER_CLIENT_MAX)
        assert let_in == "in"
        crowd = [passwords.outcome("dave", f"guess{n}", client=str(n)) for n in range(100)]
        assert (await asyncio.gather(*crowd)).count(CROWDED) == 100 - WAITING_MAX
        assert await passwords.outcome("dave", "wrong") == UNAUTHORIZED  # nothing waits any more

    asyncio.run(play())


def test_scrapes_continue_while_a_client_guesses_passwords(tmp_path: Path) -> None:
    """While guesses are hashed one after the other, a client with a known password is answered at once."""
    with serving(tmp_path, f"basic_auth_users: {{dave: {hashed('dave123', SLOW)}}}") as (server, client):
        start = time.perf_counter()
        assert client.get("/metrics", auth=DAVE).status_code == 200
        one_hash = time.perf_counter() - start
        guessers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(WAITING_PER_CLIENT_MAX)]
        for n, guesser in enumerate(guessers):
            head = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(f'dave:{n}'.encode())}\r\n\r\n"
            guesser.sendall(head.encode())
        took = []
        for _ in range(5):
            start = time.perf_counter()
            assert client.get("/metrics", auth=DAVE).status_code == 200
            took.append(time.perf_counter() - start)
        assert client.get("/metrics", auth=("dave", "one more")).status_code == 429
        for guesser in guessers:
            assert guesser.recv(100).startswith(b"HTTP/1.1 401")
            guesser.close()
        assert min(took) < one_hash


# The rate limit


def test_bucket() -> None:
    """A burst of requests passes at once, then one per interval; unused ones add up to at most the burst."""
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3))
    assert [bucket.try_take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.try_take(now) for now in (101.9, 102.0, 102.1)] == [False, True, False]
    assert [bucket.try_take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_no_limit() -> None:
    """An interval of 0 turns the limit off."""
    bucket = TokenBucket(RateLimit())
    assert all(bucket.try_take(0.0) for _ in range(1000))


def test_too_many_requests(tmp_path: Path) -> None:
    """After the burst every path but the health probes answers 429, before the password check, with all headers."""
    text = f"{USERS}\nrate_limit: {{interval: 1h, burst: 2}}\nhttp_server_config: {{headers: {{X-XSS-Protection: 1}}}}"
    with serving(tmp_path, text) as (server, client):
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", auth=DAVE).status_code == 200
        for path in ("/metrics", "/webhooks/telnyx", "/"):
            answer = client.get(path, auth=DAVE)
            assert (answer.status_code, answer.text) == (429, "Too Many Requests\n")
            assert answer.headers["X-XSS-Protection"] == "1"
        assert client.get("/-/healthy").status_code == 200
        assert refusals(server) == {UNAUTHORIZED: 1, "rate_limited": 3}


# Headers


def test_headers(tmp_path: Path) -> None:
    """Configured headers replace the exporter's own on every answer; a page with its own policy keeps it."""
    text = """
http_server_config:
  headers:
    X-Frame-Options: sameorigin
    Strict-Transport-Security: max-age=31536000
    Content-Security-Policy: "default-src 'self'"
"""
    with serving(tmp_path, f"{USERS}{text}") as (_, client):
        for path, status in (("/metrics", 401), ("/-/healthy", 200)):
            answer = client.get(path)
            assert answer.status_code == status
            assert answer.headers.get_list("X-Frame-Options") == ["sameorigin"]
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        page_with_own = client.get("/", auth=DAVE)
        assert "style-src 'self'" in page_with_own.headers["Content-Security-Policy"]
        assert len(page_with_own.headers.get_list("Content-Security-Policy")) == 1
