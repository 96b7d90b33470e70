"""`GET /probe`: the samples of one session, or with `debug=true` everything behind them.

As with all probers of Prometheus, a probe that fails answers 200 with `probe_success 0`, since an error would look like
one of the exporter itself. Only wrong parameters and too many probes are errors. Lives on the web thread.
"""

import asyncio
import gzip
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
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
from exporter.explain import Explanation, Prober, failed_exposition, full_text, probe_exposition
from exporter.metrics.exposition import Format, accepts_gzip, negotiate
from exporter.web.metrics_body import GZIP_LEVEL
from exporter.web.routes import SCRAPE_TIMEOUT_HEADER, list_header

PROBES_MAX = 4
"""At once. They share the accounts' request slots with the polls, and each may take a second of CPU."""
RETRY_SECONDS = "5"

DEFAULT_SECONDS = 30.0
"""The time of a probe whose client sends no timeout."""
SECONDS_MAX = 120.0
SLACK_SECONDS = 0.5
"""The answer is sent so long before the scraper's timeout, as in blackbox_exporter."""

DEBUG_TYPE = "text/plain; charset=utf-8"


def _id(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= ID_MAX:
        raise ValueError(f"expected 1 to {ID_MAX} characters")
    return value


class ProbeParameters(Struct, frozen=True, kw_only=True):
    account: Annotated[str | None, SettingSpec(text("an account's name", r"[a-zA-Z0-9_-]{1,64}"), "")] = None
    record_type: Annotated[str, SettingSpec(text("a record type, such as call-session", r"[a-z0-9_-]{1,64}"), "")]
    event_id: Annotated[str, SettingSpec(Rule("the id of the session's first event", _id), "")]
    date_time: Annotated[str | None, SettingSpec(date_or_time(), "")] = None
    debug: Annotated[str, SettingSpec(choice("true", "false"), "")] = "false"


Content = tuple[str, bytes]
"""Content-Type and body."""

Render = Callable[[Explanation | None, float], Content]
"""Renders an explanation (None: it was not ready in time) of a probe that took so many seconds; CPU-heavy."""


class ProbeRoute:
    """The route."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._in_progress: set[asyncio.Task[Content]] = set()

    def route(self) -> Route:
        return Route("/probe", self.get)

    async def get(self, request: Request) -> Response:
        try:
            parameters, ref = self._parameters(request)
            seconds = _seconds(request)
        except ConfigError as error:
            problem = Redactor(self._prober.config.web.redact_fields).text(str(error))
            return PlainTextResponse(f"{problem}\n", 400)
        if len(self._in_progress) >= PROBES_MAX:
            self._prober.count_refused(ref.account)
            problem = f"{PROBES_MAX} probes are under way; come again later, or scrape them at other times"
            return PlainTextResponse(f"{problem}\n", 503, {"Retry-After": RETRY_SECONDS})
        form = negotiate(list_header(request, "accept"))
        render = _render_debug if parameters.debug == "true" else partial(_render_exposition, form)
        content_type, body = await self._content(ref, seconds, render)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if accepts_gzip(list_header(request, "accept-encoding")):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Response(body, headers=headers)

    def _parameters(self, request: Request) -> tuple[ProbeParameters, SessionRef]:
        given = request.query_params.multi_items()
        parameters = read_record(ProbeParameters, dict(given))
        for name, times in Counter(name for name, _ in given).items():
            if times > 1:
                raise ConfigError(name, "given twice; keep one")
        names = [account.name for account in self._prober.config.accounts]
        account = parameters.account or (names[0] if len(names) == 1 else None)
        if account not in names:
            problem = "missing" if account is None else f"no account {account} is configured"
            raise ConfigError("account", f"{problem}; the configured ones are {', '.join(names)}")
        assert account is not None
        return parameters, SessionRef(account, parameters.record_type, parameters.event_id, parameters.date_time)

    async def _content(self, ref: SessionRef, seconds: float, render: Render) -> Content:
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def probe() -> Content:
            result = await asyncio.wrap_future(self._prober.submit(ref, seconds))
            return await asyncio.to_thread(lambda: render(self._prober.explain(result), loop.time() - started))

        # A thread can't be stopped: an explanation that takes too long counts as in progress until it ends.
        task = loop.create_task(probe())
        self._in_progress.add(task)
        task.add_done_callback(self._in_progress.discard)
        await asyncio.wait({task}, timeout=seconds + min(SLACK_SECONDS, seconds) / 2)
        return task.result() if task.done() else render(None, loop.time() - started)


def _seconds(request: Request) -> float:
    """Return how long a probe may take, from the scrape timeout that Prometheus sends."""
    given = request.headers.get(SCRAPE_TIMEOUT_HEADER)
    if given is None:
        return DEFAULT_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        cure = "leave the header out for the default"
        raise ConfigError(SCRAPE_TIMEOUT_HEADER, f"expected a number of seconds above 0; {cure}")
    return min(SECONDS_MAX, max(seconds - SLACK_SECONDS, seconds / 2))


def _render_debug(explanation: Explanation | None, seconds: float) -> Content:
    late = f"failed: the explanation was not ready within {seconds:.1f} s; try again with more time\n"
    return DEBUG_TYPE, (late if explanation is None else full_text(explanation)).encode()


def _render_exposition(form: Format, explanation: Explanation | None, seconds: float) -> Content:
    if explanation is None:
        return form.value, failed_exposition(seconds, form)
    return form.value, probe_exposition(explanation, seconds, form)
