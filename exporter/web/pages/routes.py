"""The routes of pages and their JSON, and what each answers.

Owns status codes, and the threads in which the ledger is read and pages are made: two, with a bounded number of readers
waiting, so that neither scrapes nor webhooks ever wait for a page. A page and its JSON are answered from the same
question. The surprising fact: an id is taken from the path as a whole, slashes included, and may also be given as a
parameter, since a browser would walk up the path at `..`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from exporter.config import Config
from exporter.core.errors import LedgerError
from exporter.core.model import SessionRef
from exporter.core.privacy import Redactor
from exporter.ledger import snapshot
from exporter.ledger.views.listing import SessionQuery
from exporter.ledger.views.models import Failure, SessionHistory
from exporter.ledger.views.snapshot import Snapshot
from exporter.log import fields
from exporter.web.pages import api, settings, view
from exporter.web.pages import parameters as asked
from exporter.web.pages.checks import CHECKS
from exporter.web.pages.cost_breakdown import CostBreakdown
from exporter.web.pages.openapi import openapi
from exporter.web.pages.style import HTML, STATIC
from exporter.web.pages.untrusted import Mask

if TYPE_CHECKING:
    from exporter.web.pages.templates import Templates

log = logging.getLogger(__name__)

THREADS = 2
"""One reads while the other writes HTML; more would only take time from the polls."""
WAITING_MAX = 32
"""Readers that wait for a thread; a page takes some milliseconds, so the last of them waits for less than a second."""
RETRY_SECONDS = "1"

JSON = {"Content-Type": "application/json"}
API = "/api/v1"

Values = dict[str, Any]
Answer = Callable[[Request, Values], Response]


class _NotFound(Exception):
    """There is nothing of this name; the text says where to look."""


class Pages:
    """Everything that can be looked at; lives on the web thread."""

    def __init__(self, config: Callable[[], Config], failed: Callable[[], None]) -> None:
        """`config` gives the settings of the moment; it is called on threads of the pages. `failed` is told of each
        page that the ledger kept from being made, on the web thread.
        """
        self._config = config
        self._failed = failed
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pages")
        self._waiting = 0

    def routes(self) -> list[BaseRoute]:
        named = "/{account}/{record_type}/{event_id:path}"
        return [
            Route("/sessions", self._asked(asked.SESSIONS, self._sessions_page)),
            Route("/sessions/by-id/{event_id:path}", self._asked(asked.SESSION, self._by_id)),
            Route(f"/sessions{named}", self._asked(asked.SESSION, self._session_page)),
            Route("/failures", self._asked(asked.FAILURES, self._failures_page)),
            Route("/config", self._asked((), self._config_page)),
            Route("/static/{name}", _static),
            Route(f"{API}/sessions", self._asked(asked.SESSIONS, self._sessions_json)),
            Route(f"{API}/sessions{named}", self._asked(asked.SESSION, self._session_json)),
            Route(f"{API}/failures", self._asked(asked.FAILURES, self._failures_json)),
            Route(f"{API}/config", self._asked((), self._config_json)),
            Route(f"{API}/openapi.json", self._asked((), self._openapi)),
        ]

    # Asking

    @cached_property
    def _templates(self) -> "Templates":
        """Two threads may make it at once; either will do."""
        from exporter.web.pages.templates import Templates  # noqa: PLC0415 - with the first page, not before

        return Templates()

    def _asked(self, parameters: Sequence[asked.Parameter], answer: Answer) -> Callable[[Request], Any]:
        """A handler: parameters checked, then answered in a thread; errors in the form that was asked for."""

        async def handle(request: Request) -> Response:
            try:
                values = asked.read(parameters, request.query_params.multi_items())
                return await self._in_thread(partial(answer, request, values))
            except ValueError as error:
                return self._problem(request, HTTPStatus.BAD_REQUEST, str(error))
            except _NotFound as error:
                return self._problem(request, HTTPStatus.NOT_FOUND, str(error))
            except LedgerError as error:
                log.warning("page not made", extra=fields(error=str(error)))
                self._failed()
                return self._problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))

        return handle

    async def _in_thread(self, work: Callable[[], Response]) -> Response:
        if self._waiting >= WAITING_MAX:
            raise LedgerError("too many pages are being asked for; try again in a second")
        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._waiting -= 1

    def _mask(self) -> Mask:
        return _redactor(self._config().web.redact_fields).text

    def _ledger(self) -> AbstractContextManager[Snapshot]:
        ledger = self._config().ledger
        return snapshot(ledger.url, ledger.password_file)

    def _page(self, template: str, **values: Any) -> Response:
        return Response(self._templates.page(template, self._mask(), **values), headers=HTML)

    def _problem(self, request: Request, status: HTTPStatus, problem: str) -> Response:
        retry = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        if request.url.path.startswith(f"{API}/"):
            return Response(msgspec.json.encode(api.ProblemDocument(problem)), status, JSON | retry)
        page = self._templates.page("problem.html", title=status.phrase, problem=problem)
        return Response(page, status, HTML | retry)

    # Sessions

    def _query(self, values: Values) -> SessionQuery:
        accounts = self._config().accounts
        return asked.query(values, tuple(currency for account in accounts for currency in account.currencies))

    def _sessions_page(self, request: Request, values: Values) -> Response:
        query = self._query(values)
        with self._ledger() as ledger:
            listing, facets = ledger.sessions(query), ledger.groups()
            states, currencies = ledger.states(), ledger.currencies()
        given = {name: text for name, text in request.query_params.items() if text}
        return self._page(
            "sessions.html",
            query=query,
            listing=listing,
            accounts=sorted({facet.account for facet in facets}),
            record_types=sorted({facet.record_type for facet in facets}),
            states=states,
            checks=list(CHECKS),
            currencies=list(filter(asked.is_currency, currencies)),
            changed=partial(view.changed, "/sessions", given),
        )

    def _sessions_json(self, _: Request, values: Values) -> Response:
        query = self._query(values)
        with self._ledger() as ledger:
            return _json(api.sessions(ledger.sessions(query), self._mask()))

    def _by_id(self, request: Request, values: Values) -> Response:
        event_id = _event_id(request, values)
        with self._ledger() as ledger:
            rows = ledger.by_id(event_id)
        if not rows:
            raise _NotFound(
                "No session has this id. It may not be known yet, it may have been forgotten after its retention, or "
                "it is the id of an event within a session."
            )
        if len(rows) == 1:
            location = view.session_link(rows[0], self._mask())
            return Response(status_code=HTTPStatus.FOUND, headers={"Location": location})
        return self._page("by_id.html", event_id=event_id, rows=rows)

    def _story(self, request: Request, values: Values) -> SessionHistory:
        account, record_type = request.path_params["account"], request.path_params["record_type"]
        ref = SessionRef(account, record_type, _event_id(request, values))
        with self._ledger() as ledger:
            story = ledger.history(ref) or ledger.history_by_number(view.number_of(ref))
        if story is None:
            raise _NotFound("No session has this account, record type and id; look for it among all sessions.")
        return story

    def _session_page(self, request: Request, values: Values) -> Response:
        story, mask = self._story(request, values), self._mask()
        ref = story.row.ref
        account = next((account for account in self._config().accounts if account.name == ref.account), None)
        base_url = account.base_url if account is not None else None
        anatomy = CostBreakdown(story.nodes)
        return self._page(
            "session.html",
            story=story,
            row=story.row,
            ref=ref,
            lines=list(anatomy.lines()),
            parts=anatomy.parts(),
            pictures=anatomy.pictures(),
            checks=CHECKS,
            account=account,
            probe=view.probe_link(ref, mask) if account is not None else None,
            api_of=lambda record_type, event_id: view.api_link(base_url, record_type, event_id, mask),
        )

    def _session_json(self, request: Request, values: Values) -> Response:
        return _json(api.session(self._story(request, values), self._mask()))

    # The rest

    def _failures(self, values: Values) -> tuple[tuple[Failure, ...], int | None]:
        limit = values.get("limit", asked.LIMIT)
        with self._ledger() as ledger:
            found = ledger.failures(limit + 1, values.get("before"))
        return found[:limit], found[limit - 1].number if len(found) > limit else None

    def _failures_page(self, _: Request, values: Values) -> Response:
        found, following = self._failures(values)
        return self._page("failures.html", failures=found, following=following)

    def _failures_json(self, _: Request, values: Values) -> Response:
        return _json(api.failures(*self._failures(values), self._mask()))

    def _config_page(self, _: Request, __: Values) -> Response:
        return self._page("config.html", groups=settings.groups(self._config()))

    def _config_json(self, _: Request, __: Values) -> Response:
        return _json(api.ConfigurationDocument(settings.effective(self._config(), self._mask())))

    def _openapi(self, _: Request, __: Values) -> Response:
        config = self._config()
        accounts = [account.name for account in config.accounts] if config.discovery.http.enabled else []
        return _json(openapi(lists_of=accounts))


@lru_cache(maxsize=4)
def _redactor(fields: tuple[str, ...]) -> Redactor:
    return Redactor(fields)


async def _static(request: Request) -> Response:
    found = STATIC.get(request.path_params["name"])
    if found is None:
        return Response("there is no such file\n", HTTPStatus.NOT_FOUND, media_type="text/plain")
    content, media_type = found
    return Response(content, headers={"Content-Type": media_type})


def _event_id(request: Request, values: Values) -> str:
    """The rest of the path, or the parameter where there is none."""
    return str(request.path_params["event_id"] or values.get("event_id", ""))


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content, enc_hook=str), headers=JSON)
