"""The edge to the Telnyx API: one request in, decoded JSON bytes or one of our errors out.

Owns authorization, retries and the account's pace; refuses to know what a tree is. What an answer means is `answers`'s.
The surprising fact: there is no httpx.AsyncClient here. A prepared `httpx.Request` goes straight to an
`httpx.AsyncBaseTransport`, and a redirect is an error.
"""

import asyncio
import logging
import math
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlencode

import httpx
import msgspec

from exporter import __version__
from exporter.core.errors import ConfigError, Denied, PollError, Transient, TreeError
from exporter.log import fields
from exporter.telnyx.answers import BREAKS, broken, plain, read, read_quietly, said, stream, verdict_on
from exporter.telnyx.pacing import Pacer, retry_after_seconds

log = logging.getLogger(__name__)

MESSAGE_CHARS_MAX = 300
"""What somebody else says is quoted this far, so that no page of HTML gets into a log line."""

TARGET_CHARS_MAX = 65_536
"""Path and query; no server takes a longer one."""

_NOTHING = httpx.ByteStream(b"")

RETRY_WAIT_SECONDS_MAX = 60.0
"""Who is asked to wait longer gives up: the session's next poll comes later anyway, and a place in flight is scarce."""

BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Upper ends of the random waits between attempts, as Telnyx advises."""


class Answered(msgspec.Struct, frozen=True):
    """How one HTTP request ended: `code` is the status, or timeout, connect, tls, read, decode."""

    endpoint: str
    code: str
    seconds: float


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP request and what came of it, for somebody who wants the whole story."""

    path: str
    """With its query; no key is ever in it."""
    code: str
    """As in `Answered`."""
    seconds: float
    bytes: int
    """Of the body, unpacked, as far as it was read."""
    attempt: int
    """1, or more for the same request sent again."""


class RequestLimits(msgspec.Struct, frozen=True):
    """What one answer may cost: decoded bytes, seconds per attempt, attempts."""

    max_body_bytes: int
    timeout_seconds: float
    max_attempts: int = 5


HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"telnyx-session-exporter/{__version__}",
}

_KEY = re.compile(r"[!-~]+")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]+")


class _Failure(NamedTuple):
    error: PollError
    again: bool
    asked_seconds: float | None = None
    bytes: int = 0


class TelnyxClient:
    """Asks for one account. Every argument that acts (transport, clock, sleep, chance, observer) is the caller's."""

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: Callable[[], str],
        pacer: Pacer,
        limits: RequestLimits,
        transport: httpx.AsyncBaseTransport,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: random.Random,
        observe: Callable[[Answered], None],
    ) -> None:
        self._name = name
        self._base_url = httpx.URL(base_url.rstrip("/"))
        self._base_path = self._base_url.raw_path.decode("ascii").rstrip("/")
        self._api_key = api_key
        self._headers = lru_cache(maxsize=1)(self._headers_with)
        self._pacer = pacer
        self._limits = limits
        self._transport = transport
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random
        self._observe = observe
        self._in_flight = asyncio.Semaphore(pacer.max_in_flight)
        self._watch: Callable[[Exchange], None] | None = None
        self._until = math.inf

    def watched(self, watch: Callable[[Exchange], None], until: float) -> "TelnyxClient":
        """This client, with its pace and connections, for somebody in a hurry: `watch` is told of each request.

        It gives up, without taking a slot from anybody, where the pace would let a request leave only after `until`
        (monotonic).
        """
        client = copy(self)
        client._watch, client._until = watch, until  # noqa: SLF001 - another one of this class
        return client

    async def tree(
        self, record_type: str, event_id: str, *, max_depth: int, expand: bool, date_time: str | None
    ) -> bytes:
        """The JSON of `GET /session_analysis/{record_type}/{event_id}`; errors as of `get`."""
        params = {"max_depth": str(max_depth), "expand": "record" if expand else "none"}
        if date_time is not None:
            params["date_time"] = date_time
        return await self.get("session", ("session_analysis", record_type, event_id), params)

    async def metadata(self) -> bytes:
        """The JSON of `GET /session_analysis/metadata`; errors as of `get`."""
        return await self.get("metadata", ("session_analysis", "metadata"), {})

    async def detail_records(self, params: Mapping[str, str]) -> bytes:
        """The JSON of one page of `GET /detail_records`; errors as of `get`."""
        return await self.get("detail_records", ("detail_records",), params)

    async def balance(self) -> bytes:
        """The JSON of `GET /balance`; errors as of `get`."""
        return await self.get("balance", ("balance",), {})

    async def get(self, endpoint: str, path_segments: Sequence[str], params: Mapping[str, str]) -> bytes:
        """The body of a 200, unpacked; `endpoint` is what it is observed as, path and query are encoded here.

        Raises Transient when all attempts that make sense have failed, KeyRefused, Denied, Gone or TreeError at once,
        and ConfigError when the key cannot be sent.
        """
        target = self._target(path_segments, params)
        attempt = 1
        while True:
            async with self._in_flight:
                await self._slot()
                outcome = await self._attempt(endpoint, target, attempt)
            if isinstance(outcome, bytes):
                return outcome
            patient = outcome.asked_seconds is None or outcome.asked_seconds <= RETRY_WAIT_SECONDS_MAX
            if not (outcome.again and patient and attempt < self._limits.max_attempts):
                raise outcome.error
            await self._back_off(attempt, outcome.asked_seconds)
            attempt += 1

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _target(self, path_segments: Sequence[str], params: Mapping[str, str]) -> str:
        """Path and query, encoded."""
        path = "/".join(map(_segment, path_segments))
        target = f"{self._base_path}/{path}{_query(*params.items())}"
        if len(target) > TARGET_CHARS_MAX:
            problem = f"its path would have {len(target)} characters"
            raise Denied("bad_request", f"{self._name}: no request can be made of this name: {problem}")
        return target

    async def _slot(self) -> None:
        """Wait for a slot, and for another one when meanwhile a 429 to somebody else has stopped the account."""
        while True:
            if self._watch is not None:
                self._check_patience()
            wait = self._pacer.reserve(self._monotonic())
            if wait > 0:
                await self._sleep(wait)
            if not self._pacer.held(self._monotonic()):
                return

    def _check_patience(self) -> None:
        now = self._monotonic()
        wait = self._pacer.wait(now)
        if now + wait > self._until:
            problem = f"the account's pace lets no further request leave for {wait:.1f} s; polls and probes share it"
            raise Transient("throttled", f"{self._name}: {problem}")

    async def _back_off(self, attempt: int, asked_seconds: float | None) -> None:
        if asked_seconds is None:
            await self._sleep(self._random.uniform(0, BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS)) - 1]))
        elif not self._pacer.held(self._monotonic()):  # a 429 holds the whole account: its next slot is late enough
            await self._sleep(asked_seconds)

    async def _attempt(self, endpoint: str, target: str, attempt: int) -> bytes | _Failure:
        request = self._request(target)
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                response = await self._transport.handle_async_request(request)
                headers = plain(response)
                self._learn(response.status_code, headers)
                async with aclosing(stream(response)):
                    outcome = await self._outcome(request, response, headers)
            code = str(response.status_code)
        except tuple(BREAKS) as error:
            code = broken(error)
            outcome = _Failure(self._broken(request, code, error), again=True)
        seconds = self._monotonic() - started
        self._observe(Answered(endpoint, code, seconds))
        if self._watch is not None:
            read = len(outcome) if isinstance(outcome, bytes) else outcome.bytes
            self._watch(Exchange(target, code, seconds, read, attempt))
        return outcome

    def _learn(self, status: int, headers: Mapping[str, str]) -> None:
        """Show an answer to the pacer, and say when it stops the account."""
        now = self._monotonic()
        held = self._pacer.held(now)
        self._pacer.saw(headers, status, now)
        if self._pacer.held(now) and not held:
            log.warning("throttled: the account's requests wait", extra=fields(account=self._name))

    def _request(self, target: str) -> httpx.Request:
        """The target goes apart, as it is: to take a URL to pieces again and again costs more than the connection."""
        headers, extensions = self._headers(self._api_key()), {"target": target.encode("ascii")}
        return httpx.Request("GET", self._base_url, headers=headers, stream=_NOTHING, extensions=extensions)

    def _headers_with(self, key: str) -> httpx.Headers:
        if not _KEY.fullmatch(key):
            problem = "the API key is empty or holds a line break, a space or another character that no key has"
            raise ConfigError(f"accounts[{self._name}]", f"{problem}; write the key alone into its variable or file")
        host = self._base_url.netloc.decode("ascii")
        return httpx.Headers({"Host": host, **HEADERS, "Authorization": f"Bearer {key}"})

    async def _outcome(
        self, request: httpx.Request, response: httpx.Response, headers: Mapping[str, str]
    ) -> bytes | _Failure:
        if response.status_code != httpx.codes.OK:
            return await self._refused(request, response, headers)
        kind = headers.get("content-type", "application/json")
        if not kind.partition(";")[0].strip().lower().endswith("json"):
            return self._unreadable(request, "not_json", f"200 with {kind} instead of JSON")
        body = await read(response, headers, self._limits.max_body_bytes)
        if body is None:
            problem = f"the answer has more than {self._limits.max_body_bytes} bytes (tree.max_body_bytes)"
            return self._unreadable(request, "body_too_large", problem)
        return body or self._unreadable(request, "not_json", "200 with an empty body")

    async def _refused(self, request: httpx.Request, response: httpx.Response, headers: Mapping[str, str]) -> _Failure:
        status = response.status_code
        verdict = verdict_on(status)
        body = await read_quietly(response, headers)
        words = (str(status), said(body), verdict.cure)
        error = verdict.error(verdict.reason, self._message(request, ": ".join(filter(None, words))))
        again = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower(), verdict.again)
        return _Failure(error, again, retry_after_seconds(headers), len(body))

    def _unreadable(self, request: httpx.Request, reason: str, problem: str) -> _Failure:
        return _Failure(TreeError(reason, self._message(request, problem)), again=False)

    def _broken(self, request: httpx.Request, reason: str, cause: Exception) -> Transient:
        """Without a chain: the causes quote what the other side sent."""
        late = f"no complete answer within {self._limits.timeout_seconds:g} s"
        problem = late if reason == "timeout" else str(cause) or type(cause).__name__
        return Transient(reason, self._message(request, f"{reason}: {problem}"))

    def _message(self, request: httpx.Request, problem: str) -> str:
        """Account, path and problem; bounded, printable, and without the key even where the other side repeats it."""
        path = request.extensions["target"].decode("ascii").partition("?")[0]
        key = request.headers["authorization"].removeprefix("Bearer ")
        return f"{self._name}: GET {_bounded(path)}: {_bounded(problem.replace(key, '***'))}"


def _segment(text: str) -> str:
    """One path part: nothing in it can end the part, and `..` climbs nowhere (RFC 3986 leaves dots unencoded)."""
    if _PLAIN.fullmatch(text):  # the usual case, and the quick one
        return text
    return quote(text, safe="", errors="surrogatepass") if text.strip(".") else "%2E" * len(text)


@lru_cache(maxsize=256)  # trees are asked for with the same one again and again
def _query(*params: tuple[str, str]) -> str:
    return "?" + urlencode(params, quote_via=quote, errors="surrogatepass") if params else ""


def _bounded(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MESSAGE_CHARS_MAX]
