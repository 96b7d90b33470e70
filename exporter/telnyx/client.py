"""The client of the Telnyx API for one account: one request in, a JSON body or a `PollError` out.

Adds the key, keeps the pace of each endpoint, and retries; `answers` says what an answer means. There is no
httpx.AsyncClient: a prepared `httpx.Request` goes straight to an `httpx.AsyncBaseTransport`, so a redirect is an error
and no cookie or proxy is used.
"""

import asyncio
import logging
import math
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from typing import NamedTuple
from urllib.parse import quote, urlencode

import httpx
import msgspec

from exporter import __version__
from exporter.core.errors import ConfigError, Denied, PollError, Transient, TreeError
from exporter.log import fields
from exporter.telnyx.answers import (
    BREAKS,
    break_reason,
    error_text,
    plain_headers,
    read,
    read_error_body,
    stream,
    verdict_on,
)
from exporter.telnyx.pacing import AccountPacers, Pacer, retry_after_seconds

log = logging.getLogger(__name__)

MESSAGE_CHARS_MAX = 300
"""Limit on text that is quoted from an answer, so that no HTML page gets into a log line."""

TARGET_CHARS_MAX = 65_536
"""Limit on path and query; no server takes a longer one."""

RETRY_WAIT_SECONDS_MAX = 60.0
"""If the API asks for a longer wait, the request fails: its slot is scarce, and the session is polled again later."""

BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Upper ends of the random waits between attempts, as Telnyx advises."""

HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"telnyx-session-exporter/{__version__}",
}

_KEY = re.compile(r"[!-~]+")
_NO_BODY = httpx.ByteStream(b"")


class Answered(msgspec.Struct, frozen=True):
    """The end of one HTTP request; `code` is the status, or timeout, connect, tls, read, decode."""

    endpoint: str
    code: str
    seconds: float


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP request and its end, for `TelnyxClient.watched`."""

    path: str
    """With its query; it never holds a key."""
    code: str
    """As in `Answered`."""
    seconds: float
    bytes: int
    """Size of the unpacked body, as far as it was read."""
    attempt: int
    """1 for the first attempt."""


class RequestLimits(msgspec.Struct, frozen=True):
    """Limits on one answer: unpacked bytes, seconds per attempt, attempts."""

    max_body_bytes: int
    timeout_seconds: float
    max_attempts: int = 5


class _Failure(NamedTuple):
    error: PollError
    again: bool
    """The same request may be sent again at once."""
    asked_seconds: float | None = None
    """The wait that the API asks for."""
    bytes: int = 0


class TelnyxClient:
    """The client of one account. Time, chance and the network are arguments."""

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: Callable[[], str],
        pacers: AccountPacers,
        limits: RequestLimits,
        transport: httpx.AsyncBaseTransport,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: random.Random,
        observe: Callable[[Answered], None],
    ) -> None:
        """`api_key` is called for each request, so a key may be replaced while the exporter runs."""
        self._name = name
        self._base_url = httpx.URL(base_url.rstrip("/"))
        self._base_path = self._base_url.raw_path.decode("ascii").rstrip("/")
        self._host = self._base_url.netloc.decode("ascii")
        self._api_key = api_key
        self._pacers = pacers
        self._limits = limits
        self._transport = transport
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random
        self._observe = observe
        # Each endpoint has its own: a list that waits for its quota takes no request from the polls.
        self._in_flight = {name: asyncio.Semaphore(pacer.max_in_flight) for name, pacer in pacers.items()}
        self._watch: Callable[[Exchange], None] | None = None
        self._until = math.inf

    def watched(self, watch: Callable[[Exchange], None], until: float) -> "TelnyxClient":
        """Return a client with the same pace and connections that calls `watch` after each request.

        It raises Transient at once, and takes no slot, if the pace lets the request leave only after `until`
        (monotonic).
        """
        client = copy(self)
        client._watch, client._until = watch, until  # noqa: SLF001 - another one of this class
        return client

    async def tree(
        self, record_type: str, event_id: str, *, max_depth: int, expand: bool, date_time: str | None
    ) -> bytes:
        """Return the JSON of `GET /session_analysis/{record_type}/{event_id}`; raises as `get` does."""
        params = {"max_depth": str(max_depth), "expand": "record" if expand else "none"}
        if date_time is not None:
            params["date_time"] = date_time
        return await self.get("session", ("session_analysis", record_type, event_id), params)

    async def metadata(self) -> bytes:
        """Return the JSON of `GET /session_analysis/metadata`; raises as `get` does."""
        return await self.get("metadata", ("session_analysis", "metadata"), {})

    async def detail_records(self, params: Mapping[str, str]) -> bytes:
        """Return the JSON of one page of `GET /detail_records`; raises as `get` does."""
        return await self.get("detail_records", ("detail_records",), params)

    async def detail_record_options(self) -> bytes:
        """Return the JSON of `GET /detail_records/options`; raises as `get` does."""
        return await self.get("detail_record_options", ("detail_records", "options"), {})

    async def balance(self) -> bytes:
        """Return the JSON of `GET /balance`; raises as `get` does."""
        return await self.get("balance", ("balance",), {})

    async def get(self, endpoint: str, path_segments: Sequence[str], params: Mapping[str, str]) -> bytes:
        """Return the unpacked body of a 200.

        `endpoint` is the label value of the request; path and query are encoded here. Raises Transient when the last
        useful attempt failed, Unauthorized, Denied, NotFound or TreeError at once, and ConfigError if the key can't be
        sent.
        """
        query = "?" + urlencode(params, quote_via=quote, errors="surrogatepass") if params else ""
        target = f"{self._base_path}/{'/'.join(map(_segment, path_segments))}{query}"
        if len(target) > TARGET_CHARS_MAX:
            problem = f"its path would have {len(target)} characters"
            raise Denied("bad_request", f"{self._name}: no request can be made of this name: {problem}")
        attempt, pacer = 1, self._pacers[endpoint]
        while True:
            async with self._in_flight[endpoint]:
                await self._wait_for_slot(pacer)
                outcome = await self._attempt(endpoint, target, attempt)
            if isinstance(outcome, bytes):
                return outcome
            asked = outcome.asked_seconds
            patient = asked is None or asked <= RETRY_WAIT_SECONDS_MAX
            if not (outcome.again and patient and attempt < self._limits.max_attempts):
                raise outcome.error
            if asked is None:
                await self._sleep(self._random.uniform(0, BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS)) - 1]))
            elif not pacer.held(self._monotonic()):  # after a 429 the pacer holds the next slot back long enough
                await self._sleep(asked)
            attempt += 1

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _wait_for_slot(self, pacer: Pacer) -> None:
        while True:
            if self._watch is not None:
                now = self._monotonic()
                wait = pacer.wait(now)
                if now + wait > self._until:
                    problem = f"the account's pace allows no request for {wait:.1f} s; polls and probes share it"
                    raise Transient("throttled", f"{self._name}: {problem}")
            wait = pacer.reserve(self._monotonic())
            if wait > 0:
                await self._sleep(wait)
            # If a 429 to another request has stopped the endpoint meanwhile, this slot is void.
            if not pacer.held(self._monotonic()):
                return

    async def _attempt(self, endpoint: str, target: str, attempt: int) -> bytes | _Failure:
        request = self._request(target)
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                response = await self._transport.handle_async_request(request)
                headers = plain_headers(response)
                self._learn(endpoint, response.status_code, headers)
                async with aclosing(stream(response)):
                    outcome = await self._outcome(request, response, headers)
            code = str(response.status_code)
        except tuple(BREAKS) as error:
            code = break_reason(error)
            # The error has no cause: the causes quote bytes of the answer, which may repeat the key.
            problem = (
                f"no complete answer within {self._limits.timeout_seconds:g} s"
                if code == "timeout"
                else str(error) or type(error).__name__
            )
            outcome = _Failure(Transient(code, self._message(request, f"{code}: {problem}")), again=True)
        seconds = self._monotonic() - started
        self._observe(Answered(endpoint, code, seconds))
        if self._watch is not None:
            read = len(outcome) if isinstance(outcome, bytes) else outcome.bytes
            self._watch(Exchange(target, code, seconds, read, attempt))
        return outcome

    def _learn(self, endpoint: str, status: int, headers: Mapping[str, str]) -> None:
        """Let the endpoint's pacer learn from an answer; log when it stops the endpoint."""
        now, pacer = self._monotonic(), self._pacers[endpoint]
        held = pacer.held(now)
        pacer.learn(headers, status, now)
        if pacer.held(now) and not held:
            log.warning("throttled: requests to an endpoint wait", extra=fields(account=self._name, endpoint=endpoint))

    def _request(self, target: str) -> httpx.Request:
        key = self._api_key()
        if not _KEY.fullmatch(key):
            problem = "the API key is empty or holds a line break, a space or another character that no key has"
            raise ConfigError(f"accounts[{self._name}]", f"{problem}; write the key alone into its variable or file")
        headers = httpx.Headers({"Host": self._host, **HEADERS, "Authorization": f"Bearer {key}"})
        # The target travels apart from the URL: httpx would parse and join the URL again for each request.
        extensions = {"target": target.encode("ascii")}
        return httpx.Request("GET", self._base_url, headers=headers, stream=_NO_BODY, extensions=extensions)

    async def _outcome(
        self, request: httpx.Request, response: httpx.Response, headers: Mapping[str, str]
    ) -> bytes | _Failure:
        if response.status_code != httpx.codes.OK:
            return await self._failed_status(request, response, headers)
        kind = headers.get("content-type", "application/json")
        if not kind.partition(";")[0].strip().lower().endswith("json"):
            return self._unreadable(request, "not_json", f"200 with {kind} instead of JSON")
        body = await read(response, headers, self._limits.max_body_bytes)
        if body is None:
            problem = f"the answer has more than {self._limits.max_body_bytes} bytes (tree.max_body_bytes)"
            return self._unreadable(request, "body_too_large", problem)
        return body or self._unreadable(request, "not_json", "200 with an empty body")

    async def _failed_status(
        self, request: httpx.Request, response: httpx.Response, headers: Mapping[str, str]
    ) -> _Failure:
        status = response.status_code
        verdict = verdict_on(status)
        body = await read_error_body(response, headers)
        message = ": ".join(filter(None, (str(status), error_text(body), verdict.cure)))
        error = verdict.error(verdict.reason, self._message(request, message))
        again = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower(), verdict.again)
        return _Failure(error, again, retry_after_seconds(headers), len(body))

    def _unreadable(self, request: httpx.Request, reason: str, problem: str) -> _Failure:
        return _Failure(TreeError(reason, self._message(request, problem)), again=False)

    def _message(self, request: httpx.Request, problem: str) -> str:
        """Return account, path and problem, bounded and printable, with the key masked if the answer repeats it."""
        path = request.extensions["target"].decode("ascii").partition("?")[0]
        key = request.headers["authorization"].removeprefix("Bearer ")
        return f"{self._name}: GET {_bounded(path)}: {_bounded(problem.replace(key, '***'))}"


def _segment(text: str) -> str:
    """Encode one part of a path, so that it can't end the part; `.` and `..`, which quote() leaves, can't climb."""
    return quote(text, safe="", errors="surrogatepass") if text.strip(".") else "%2E" * len(text)


def _bounded(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MESSAGE_CHARS_MAX]
