"""The list of routes, and the handlers of /, /metrics, health and reload.

Handlers answer from references that the main thread swaps and from callables that must be cheap. Before the first page
/metrics answers 503, since Prometheus reads an empty page as the end of every series.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter.core.errors import ConfigError, LedgerError
from exporter.metrics.exposition import MetricsPage, accepts_gzip, negotiate
from exporter.web.metrics_body import MetricsBodies
from exporter.web.pages.templates import HTML, render

NAME = "telnyx-session-exporter"

BODY_BYTES_MAX = 1_048_576
"""A larger body is refused with 413; webhooks have some kB, lists of sessions some 100 kB."""

SCRAPE_TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
"""Prometheus sends it; curl and browsers don't."""

RELOAD_FLAG = "--web.enable-lifecycle"

LINKS = (
    ("/sessions", "followed sessions: search, sort, and what each event cost"),
    ("/failures", "the last failed polls, with their reasons"),
    ("/config", "the effective configuration"),
    ("/metrics", "metrics for Prometheus"),
    ("/-/healthy", "200 as long as the process works"),
    ("/-/ready", "200 once the ledger is open and polls have begun"),
    ("/api/v1/openapi.json", "the pages as JSON for programs, described by OpenAPI"),
)

OnScrape = Callable[[int], None]
"""Called with the version of a page before that page, or a newer one, is sent to Prometheus."""


class HealthStatus(Struct, frozen=True):
    """None, or the problem in a few words."""

    healthy: str | None
    ready: str | None
    note: str | None = None
    """What a ready exporter is still about."""


class WebApp:
    """The Starlette application, and the page of metrics that it serves."""

    def __init__(
        self,
        *,
        status: Callable[[], HealthStatus],
        on_scrape: OnScrape,
        exposes: Callable[[int], bool] = lambda _: True,
        extra_routes: Sequence[BaseRoute] = (),
    ) -> None:
        """`exposes` tells whether the ledger's series in the page of this version may be shown by this replica."""
        self.page: MetricsPage | None = None
        """Swapped by the main thread; None only before the first."""
        self._status = status
        self._on_scrape = on_scrape
        self._exposes = exposes
        self._bodies = MetricsBodies()
        own_routes = [
            Route("/", self.landing),
            Route("/metrics", self.metrics),
            Route("/-/healthy", self.healthy),
            Route("/-/ready", self.ready),
        ]
        self.app = Starlette(routes=_joined([*own_routes, *extra_routes]), max_body_size=BODY_BYTES_MAX)
        # A redirect would be built from the Host header, which the client chooses.
        self.app.router.redirect_slashes = False

    async def landing(self, _: Request) -> Response:
        note = self._status().note
        return Response(await asyncio.to_thread(render, "landing.html", links=LINKS, note=note), headers=HTML)

    async def metrics(self, request: Request) -> Response:
        if self.page is None:
            return _plain("no metrics yet: the ledger is being read", 503)
        whole = self._exposes(self.page.version)
        if whole and request.method == "GET" and SCRAPE_TIMEOUT_HEADER in request.headers:
            # Before the page is read: the callback may publish a newer one, which this scrape then gets.
            self._on_scrape(self.page.version)
        page = self.page if whole or self.page.own is None else self.page.own
        form = negotiate(list_header(request, "accept"))
        gzip = accepts_gzip(list_header(request, "accept-encoding"))
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(await self._bodies.body(page, form, gzip=gzip), headers=headers)

    async def healthy(self, _: Request) -> Response:
        problem = self._status().healthy
        return _plain(f"{NAME} is healthy.") if problem is None else _plain(problem, 503)

    async def ready(self, _: Request) -> Response:
        status = self._status()
        if status.ready is not None:
            return _plain(status.ready, 503)
        return _plain("\n".join(filter(None, (f"{NAME} is ready.", status.note))))


class ReloadRoute:
    """`POST /-/reload`, or PUT: read the configuration again; as with Prometheus, refused unless a flag allows it."""

    def __init__(self, reload: Callable[[], Future[str]] | None) -> None:
        """`reload` returns a summary, or fails with ConfigError or LedgerError; None refuses every reload."""
        self._reload = reload

    def route(self) -> Route:
        return Route("/-/reload", self.post, methods=["POST", "PUT"])

    async def post(self, _: Request) -> Response:
        if self._reload is None:
            return _plain(f"Lifecycle API is not enabled; start the exporter with {RELOAD_FLAG}", 403)
        try:
            # Summary and errors name settings but none of their values, so any client may see them.
            summary = await asyncio.wrap_future(self._reload())
        except (ConfigError, LedgerError) as error:
            return _plain(f"failed to reload the configuration, the previous one stays in effect: {error}", 500)
        return _plain(f"reloaded; {summary}")


def list_header(request: Request, name: str) -> str:
    """Return a header that is a list, which may be spread over several lines."""
    return ",".join(request.headers.getlist(name))


def _plain(text: str, status: int = 200) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _joined(routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """Return one route per path, since Starlette's answer 405 names the methods of a path's first route only."""
    by_path: dict[object, BaseRoute] = {}
    for route in routes:
        key = route.path if isinstance(route, Route) else route
        known = by_path.get(key)
        by_path[key] = _either(known, route) if isinstance(known, Route) and isinstance(route, Route) else route
    return list(by_path.values())


def _either(first: Route, second: Route) -> Route:
    async def dispatch(request: Request) -> Response:
        chosen = first if request.method in (first.methods or ()) else second
        response: Response = await chosen.endpoint(request)
        return response

    return Route(first.path, dispatch, methods=sorted({*(first.methods or ()), *(second.methods or ())}))
