"""What can be asked, as one list, and the answers.

Owns the routes, their headers and status codes. It answers from references that the main thread swaps and from two
callables that must be cheap, and never waits. The surprising fact: before the first page there is no empty page but a
503, since Prometheus would read an empty one as the end of every series.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter.metrics.exposition import MetricsPage, accepts_gzip, negotiate
from exporter.web.bodies import Bodies
from exporter.web.landing import NAME, landing_html
from exporter.web.pages.style import HTML

BODY_BYTES_MAX = 1_048_576
"""A larger body is refused with 413 instead of being taken in; webhooks have some kB, lists of sessions some 100."""

SCRAPER = "x-prometheus-scrape-timeout-seconds"
"""The header by which a scrape of Prometheus differs from a look with curl."""


Scraped = Callable[[int], None]
"""Told the version of a page before it, or a newer one, is sent to a scraper."""


class HealthStatus(Struct, frozen=True):
    """How the exporter is: in each case None, or the problem in a few words."""

    healthy: str | None
    ready: str | None


class Surface:
    """The handlers and what they answer from."""

    def __init__(
        self,
        *,
        status: Callable[[], HealthStatus],
        scraped: Scraped,
        exposes: Callable[[int], bool] = lambda _: True,
        further: Sequence[BaseRoute] = (),
    ) -> None:
        """`exposes` says of a page's version whether the ledger may be shown as it is there; `further` routes take what
        sources send.
        """
        self.page: MetricsPage | None = None
        """Swapped by the main thread; None only before the first."""
        self._status = status
        self._scraped = scraped
        self._exposes = exposes
        self._further = further
        self._bodies = Bodies()

    def app(self) -> Starlette:
        app = Starlette(
            routes=_joined(
                Route("/", self.landing),
                Route("/metrics", self.metrics),
                Route("/-/healthy", self.healthy),
                Route("/-/ready", self.ready),
                *self._further,
            ),
            max_body_size=BODY_BYTES_MAX,
        )
        app.router.redirect_slashes = False  # a redirect would be built from the Host header, which anyone can choose
        return app

    async def landing(self, _: Request) -> Response:
        return Response(await asyncio.to_thread(landing_html), headers=HTML)

    async def metrics(self, request: Request) -> Response:
        if self.page is None:
            return _problem("no metrics yet: the ledger is being read")
        whole = self._exposes(self.page.version)
        if whole and request.method == "GET" and SCRAPER in request.headers:
            self._scraped(self.page.version)  # before the page is taken: this scrape sees what was published by now
        page = self.page if whole or self.page.own is None else self.page.own
        form = negotiate(_header(request, "accept"))
        gzip = accepts_gzip(_header(request, "accept-encoding"))
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(await self._bodies.body(page, form, gzip=gzip), headers=headers)

    async def healthy(self, _: Request) -> Response:
        return _state(self._status().healthy, f"{NAME} is healthy.")

    async def ready(self, _: Request) -> Response:
        return _state(self._status().ready, f"{NAME} is ready.")


def _joined(*routes: BaseRoute) -> list[BaseRoute]:
    """Routes of one path as one, so that a method which none of them takes is refused with the names of all others."""
    joined: dict[object, BaseRoute] = {}
    for route in routes:
        if not isinstance(route, Route):
            joined[route] = route
        elif isinstance(known := joined.get(route.path), Route):
            joined[route.path] = _either(known, route)
        else:
            joined[route.path] = route
    return list(joined.values())


def _either(one: Route, other: Route) -> Route:
    async def answer(request: Request) -> Response:
        chosen = one if request.method in (one.methods or ()) else other
        response: Response = await chosen.endpoint(request)
        return response

    return Route(one.path, answer, methods=sorted({*(one.methods or ()), *(other.methods or ())}))


def _state(problem: str | None, good: str) -> Response:
    return PlainTextResponse(f"{good}\n") if problem is None else _problem(problem)


def _problem(problem: str) -> Response:
    return PlainTextResponse(f"{problem}\n", status_code=503)


def _header(request: Request, name: str) -> str:
    """A list header, which may be spread over several lines."""
    return ",".join(request.headers.getlist(name))
