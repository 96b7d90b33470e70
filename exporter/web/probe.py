"""`GET /probe`: one session's samples alone, or with `debug=true` the whole story behind them.

Owns what may be asked, how many may ask at once and how long it may take. The answer is made by `explain`, its request
to the API by the main loop. The surprising fact: a probe that fails answers 200 with `probe_success 0`, as all probers
of Prometheus do, since otherwise its failure would look like the exporter's own; only a question that can't be asked is
an error.
"""

import asyncio
import gzip
import math
from http import HTTPStatus
from typing import Annotated

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.config.read import read_record
from exporter.config.rules import Row, Rule, choice, date_or_time, text
from exporter.errors import ConfigError
from exporter.explain import Prober, Story, failure, page, story_text
from exporter.exposition import accepts_gzip, negotiate
from exporter.model import SessionRef
from exporter.privacy import Redactor
from exporter.tree.walk import ID_MAX
from exporter.web.bodies import GZIP_LEVEL
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


class Question(Struct, frozen=True, kw_only=True):
    """The parameters of a probe."""

    account: Annotated[str | None, Row(text("an account's name", r"[a-zA-Z0-9_-]{1,64}"), "")] = None
    record_type: Annotated[str, Row(text("a record type, such as call-session", r"[a-z0-9_-]{1,64}"), "")]
    event_id: Annotated[str, Row(Rule("the id of the session's first event", _id), "")]
    date_time: Annotated[str | None, Row(date_or_time(), "")] = None
    debug: Annotated[str, Row(choice("true", "false"), "")] = "false"


class ProbeRoute:
    """The route and what it needs; lives on the web thread."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._under_way: set[asyncio.Task[Story]] = set()

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
            told = f"{PROBES_MAX} probes are under way; come again later, or scrape them at other times"
            headers = {"Retry-After": RETRY_SECONDS}
            return PlainTextResponse(f"{told}\n", HTTPStatus.SERVICE_UNAVAILABLE, headers)
        return await self._answer(request, ref, seconds, debug=question.debug == "true")

    def _question(self, request: Request) -> tuple[Question, SessionRef]:
        given = request.query_params.multi_items()
        for name in {name for name, _ in given}:
            if [key for key, _ in given].count(name) > 1:
                raise ConfigError(name if name in Question.__struct_fields__ else "", "given twice; keep one")
        question = read_record(Question, dict(given))
        names = [account.name for account in self._prober.config.accounts]
        account = question.account or (names[0] if len(names) == 1 else None)
        if account not in names:
            problem = "missing" if account is None else f"no account {account} is configured"
            raise ConfigError("account", f"{problem}; there are {', '.join(names)}")
        assert account is not None
        return question, SessionRef(account, question.record_type, question.event_id, question.date_time)

    async def _answer(self, request: Request, ref: SessionRef, seconds: float, *, debug: bool) -> Response:
        loop = asyncio.get_running_loop()
        started = loop.time()
        # A thread can't be stopped: a story that takes too long keeps its place until it is told to nobody.
        telling = loop.create_task(self._tell(ref, seconds))
        self._under_way.add(telling)
        telling.add_done_callback(self._under_way.discard)
        await asyncio.wait({telling}, timeout=seconds + SLACK_SECONDS / 2)
        passed = loop.time() - started
        if debug:
            late = f"failed: the story could not be told within {seconds:.1f} s; try again with more time\n"
            return PlainTextResponse(story_text(telling.result()) if telling.done() else late)
        return await _exposition(request, telling.result() if telling.done() else None, passed)

    async def _tell(self, ref: SessionRef, seconds: float) -> Story:
        look = await asyncio.wrap_future(self._prober.ask(ref, seconds))
        return await asyncio.to_thread(self._prober.tell, look)


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


async def _exposition(request: Request, story: Story | None, seconds: float) -> Response:
    form = negotiate(",".join(request.headers.getlist("accept")))
    body = failure(seconds, form) if story is None else page(story, seconds, form)
    headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
    if accepts_gzip(",".join(request.headers.getlist("accept-encoding"))):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return Response(body, headers=headers)
