"""`GET /probe`: one session's samples alone, or with `debug=true` the whole story behind them.

Owns what may be asked, how many may ask at once and how long it may take. The answer is made by `explain`, its request
to the API by the main loop. The surprising fact: a probe that fails answers 200 with `probe_success 0`, as all probers
of Prometheus do, since otherwise its failure would look like the exporter's own; only a question that can't be asked is
an error.
"""

import asyncio
import gzip
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.config.read import read_record
from exporter.config.rules import Rule, SettingSpec, choice, date_or_time, text
from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef
from exporter.core.privacy import Redactor
from exporter.core.tree.walk import ID_MAX
from exporter.explain import Explanation, Prober, ProbeResult, failure, page, story_text
from exporter.metrics.exposition import Format, accepts_gzip, negotiate
from exporter.web.gzipped import GZIP_LEVEL
from exporter.web.routes import SCRAPER

PATH = "/probe"

PROBES_MAX = 4
"""At once. They share the accounts' pace with the polls, which are more; and each may take a core for a second."""
RETRY_SECONDS = "5"
"""When to come again."""

SECONDS = 30.0
"""For who doesn't say how long he waits."""
SECONDS_MAX = 120.0
SLACK_SECONDS = 0.5
"""Before the scraper gives up, as in blackbox_exporter: an answer that comes too late says nothing."""


def _id(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= ID_MAX:
        raise ValueError(f"expected 1 to {ID_MAX} characters")
    return value


class ProbeParameters(Struct, frozen=True, kw_only=True):
    """The parameters of a probe."""

    account: Annotated[str | None, SettingSpec(text("an account's name", r"[a-zA-Z0-9_-]{1,64}"), "")] = None
    record_type: Annotated[str, SettingSpec(text("a record type, such as call-session", r"[a-z0-9_-]{1,64}"), "")]
    event_id: Annotated[str, SettingSpec(Rule("the id of the session's first event", _id), "")]
    date_time: Annotated[str | None, SettingSpec(date_or_time(), "")] = None
    debug: Annotated[str, SettingSpec(choice("true", "false"), "")] = "false"


Content = tuple[str, bytes]
"""A body behind its Content-Type."""

Answer = Callable[[Explanation | None, float], Content]
"""What is made of a story (None: not told in time) that took so many seconds; CPU-heavy where there is one."""

DEBUG_TYPE = "text/plain; charset=utf-8"


class ProbeRoute:
    """The route and what it needs; lives on the web thread."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._under_way: set[asyncio.Task[Content]] = set()

    def route(self) -> Route:
        return Route(PATH, self.get)

    async def get(self, request: Request) -> Response:
        try:
            question, ref = self._question(request)
            seconds = _seconds(request)
        except ConfigError as error:
            told = Redactor(self._prober.config.web.redact_fields).text(str(error))
            return PlainTextResponse(f"{told}\n", HTTPStatus.BAD_REQUEST)
        if len(self._under_way) >= PROBES_MAX:
            self._prober.refuse(ref.account)
            told = f"{PROBES_MAX} probes are under way; come again later, or scrape them at other times"
            headers = {"Retry-After": RETRY_SECONDS}
            return PlainTextResponse(f"{told}\n", HTTPStatus.SERVICE_UNAVAILABLE, headers)
        form = negotiate(",".join(request.headers.getlist("accept")))
        answer = _story if question.debug == "true" else partial(_exposition, form)
        return await self._answer(request, ref, seconds, answer)

    def _question(self, request: Request) -> tuple[ProbeParameters, SessionRef]:
        given = request.query_params.multi_items()
        question = read_record(ProbeParameters, dict(given))
        for name, times in Counter(name for name, _ in given).items():
            if times > 1:
                raise ConfigError(name, "given twice; keep one")
        names = [account.name for account in self._prober.config.accounts]
        account = question.account or (names[0] if len(names) == 1 else None)
        if account not in names:
            problem = "missing" if account is None else f"no account {account} is configured"
            raise ConfigError("account", f"{problem}; the configured ones are {', '.join(names)}")
        assert account is not None
        return question, SessionRef(account, question.record_type, question.event_id, question.date_time)

    async def _answer(self, request: Request, ref: SessionRef, seconds: float, answer: Answer) -> Response:
        loop = asyncio.get_running_loop()
        started = loop.time()

        def tell(look: ProbeResult) -> Content:
            return answer(self._prober.tell(look), loop.time() - started)

        # A thread can't be stopped: a story that takes too long keeps its place until it is told to nobody.
        telling = loop.create_task(self._tell(ref, seconds, tell))
        self._under_way.add(telling)
        telling.add_done_callback(self._under_way.discard)
        await asyncio.wait({telling}, timeout=seconds + min(SLACK_SECONDS, seconds) / 2)
        content = telling.result() if telling.done() else answer(None, loop.time() - started)
        return _response(request, content)

    async def _tell(self, ref: SessionRef, seconds: float, tell: Callable[[ProbeResult], Content]) -> Content:
        look = await asyncio.wrap_future(self._prober.ask(ref, seconds))
        return await asyncio.to_thread(tell, look)


def _seconds(request: Request) -> float:
    """How long a probe may take, from what Prometheus says of its own patience."""
    given = request.headers.get(SCRAPER)
    if given is None:
        return SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(SCRAPER, "expected a number of seconds above 0; leave the header out for the default")
    return min(SECONDS_MAX, max(seconds - SLACK_SECONDS, seconds / 2))


def _story(story: Explanation | None, seconds: float) -> Content:
    late = f"failed: the story could not be told within {seconds:.1f} s; try again with more time\n"
    return DEBUG_TYPE, (late if story is None else story_text(story)).encode()


def _exposition(form: Format, story: Explanation | None, seconds: float) -> Content:
    return form.value, failure(seconds, form) if story is None else page(story, seconds, form)


def _response(request: Request, content: Content) -> Response:
    kind, body = content
    headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
    if accepts_gzip(",".join(request.headers.getlist("accept-encoding"))):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return Response(body, headers=headers)
