"""The routes of the pages and their JSON, and their handlers.

The ledger is read and pages are rendered on two threads with a bounded queue, so scrapes and webhooks never wait for a
page. A page and its JSON are made from the same query.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

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
from exporter.web.pages import api, links, parameters, settings
from exporter.web.pages.cost_breakdown import CostBreakdown
from exporter.web.pages.openapi import openapi
from exporter.web.pages.templates import HTML, STATIC, render
from exporter.web.pages.untrusted import CHECKS, Mask

log = logging.getLogger(__name__)

THREADS = 2
"""One reads while the other renders; more would only take CPU time from the polls."""
WAITING_MAX = 32
"""Requests in progress or queued; a page takes some milliseconds, so the last one waits for less than a second."""
RETRY_SECONDS = "1"

JSON = {"Content-Type": "application/json"}
API = "/api/v1"

Values = dict[str, Any]
Handler = Callable[[Request, Values], Response]


class _NotFound(Exception):
    """The text says where to look instead."""


class Pages:
    """The handlers; they run on the pages' threads, everything else on the web thread."""

    def __init__(self, config: Callable[[], Config], failed: Callable[[], None]) -> None:
        """`config` returns the settings in effect, from any thread; `failed` counts a ledger that can't be read."""
        self._config = config
        self._failed = failed
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pages")
        self._waiting = 0

    def routes(self) -> list[BaseRoute]:
        # `event_id:path` accepts slashes. `.` and `..` can't be in a path, since browsers resolve them; they are
        # given as the parameter `event_id`.
        session = "/{account}/{record_type}/{event_id:path}"
        return [
            Route("/sessions", self._route(parameters.SESSIONS, self._sessions_page)),
            Route("/sessions/by-id/{event_id:path}", self._route(parameters.SESSION, self._by_id)),
            Route(f"/sessions{session}", self._route(parameters.SESSION, self._session_page)),
            Route("/failures", self._route(parameters.FAILURES, self._failures_page)),
            Route("/config", self._route((), self._config_page)),
            Route("/static/{name}", _static),
            Route(f"{API}/sessions", self._route(parameters.SESSIONS, self._sessions_json)),
            Route(f"{API}/sessions{session}", self._route(parameters.SESSION, self._session_json)),
            Route(f"{API}/failures", self._route(parameters.FAILURES, self._failures_json)),
            Route(f"{API}/config", self._route((), self._config_json)),
            Route(f"{API}/openapi.json", self._route((), self._openapi)),
        ]

    def _route(self, accepted: Sequence[parameters.Parameter], handler: Handler) -> Callable[[Request], Any]:
        """Return an endpoint that checks the parameters, runs the handler on a thread, and answers errors."""

        async def endpoint(request: Request) -> Response:
            try:
                values = parameters.read(accepted, request.query_params.multi_items())
                return await self._in_thread(partial(handler, request, values))
            except ValueError as error:
                return self._problem(request, HTTPStatus.BAD_REQUEST, str(error))
            except _NotFound as error:
                return self._problem(request, HTTPStatus.NOT_FOUND, str(error))
            except LedgerError as error:
                log.warning("page could not be made", extra=fields(error=str(error)))
                self._failed()
                return self._problem(request, HTTPStatus.SERVICE_UNAVAILABLE, str(error))

        return endpoint

    async def _in_thread(self, work: Callable[[], Response]) -> Response:
        if self._waiting >= WAITING_MAX:
            raise LedgerError("too many pages are being asked for; try again in a second")
        self._waiting += 1
        loop = asyncio.get_running_loop()
        future = self._threads.submit(work)
        # When the work ends and not when the client leaves: a thread can't be cancelled.
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
        return Response(render(template, self._mask(), **values), headers=HTML)

    def _problem(self, request: Request, status: HTTPStatus, problem: str) -> Response:
        retry = {"Retry-After": RETRY_SECONDS} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        if request.url.path.startswith(f"{API}/"):
            return Response(msgspec.json.encode(api.ProblemDocument(problem)), status, JSON | retry)
        return Response(render("problem.html", title=status.phrase, problem=problem), status, HTML | retry)

    # Sessions

    def _query(self, values: Values) -> SessionQuery:
        accounts = self._config().accounts
        currencies = tuple(currency for account in accounts for currency in account.currencies)
        return parameters.session_query(values, currencies)

    def _sessions_page(self, request: Request, values: Values) -> Response:
        query = self._query(values)
        with self._ledger() as ledger:
            listing, groups = ledger.sessions(query), ledger.groups()
            states, currencies = ledger.states(), ledger.currencies()
        given = {name: text for name, text in request.query_params.items() if text}
        return self._page(
            "sessions.html",
            query=query,
            listing=listing,
            accounts=sorted({group.account for group in groups}),
            record_types=sorted({group.record_type for group in groups}),
            states=states,
            checks=list(CHECKS),
            currencies=list(filter(parameters.is_currency, currencies)),
            changed=partial(links.changed, "/sessions", given),
        )

    def _sessions_json(self, _: Request, values: Values) -> Response:
        query = self._query(values)
        with self._ledger() as ledger:
            return _json(api.session_list(ledger.sessions(query), self._mask()))

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
            location = links.session_link(rows[0].ref, rows[0].number, self._mask())
            return Response(status_code=HTTPStatus.FOUND, headers={"Location": location})
        return self._page("by_id.html", event_id=event_id, rows=rows)

    def _history(self, request: Request, values: Values) -> SessionHistory:
        account, record_type = request.path_params["account"], request.path_params["record_type"]
        ref = SessionRef(account, record_type, _event_id(request, values))
        with self._ledger() as ledger:
            history = ledger.history(ref) or ledger.history_by_number(links.session_number(ref))
        if history is None:
            raise _NotFound("No session has this account, record type and id; look for it among all sessions.")
        return history

    def _session_page(self, request: Request, values: Values) -> Response:
        history, mask = self._history(request, values), self._mask()
        ref = history.row.ref
        account = next((account for account in self._config().accounts if account.name == ref.account), None)
        base_url = account.base_url if account is not None else None
        breakdown = CostBreakdown(history.nodes)
        return self._page(
            "session.html",
            history=history,
            row=history.row,
            ref=ref,
            lines=list(breakdown.rows()),
            shares=breakdown.shares(),
            charts=breakdown.charts(),
            checks=CHECKS,
            account=account,
            probe=links.probe_link(ref, mask) if account is not None else None,
            api_link=lambda record_type, event_id: links.api_link(base_url, record_type, event_id, mask),
        )

    def _session_json(self, request: Request, values: Values) -> Response:
        return _json(api.session(self._history(request, values), self._mask()))

    # Failures, configuration, OpenAPI

    def _failures(self, values: Values) -> tuple[tuple[Failure, ...], int | None]:
        """Return a page of failed polls, and the `before` of the next page if there is one."""
        limit = values.get("limit", parameters.LIMIT)
        with self._ledger() as ledger:
            failures = ledger.failures(limit + 1, values.get("before"))
        return failures[:limit], failures[limit - 1].number if len(failures) > limit else None

    def _failures_page(self, _: Request, values: Values) -> Response:
        failures, next_before = self._failures(values)
        return self._page("failures.html", failures=failures, next_before=next_before)

    def _failures_json(self, _: Request, values: Values) -> Response:
        return _json(api.failure_list(*self._failures(values), self._mask()))

    def _config_page(self, _: Request, __: Values) -> Response:
        return self._page("config.html", groups=settings.groups(self._config()))

    def _config_json(self, _: Request, __: Values) -> Response:
        return _json(api.ConfigurationDocument(settings.effective(self._config(), self._mask())))

    def _openapi(self, _: Request, __: Values) -> Response:
        config = self._config()
        accounts = [account.name for account in config.accounts] if config.discovery.http.enabled else []
        return _json(openapi(list_accounts=accounts))


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
    return str(request.path_params["event_id"] or values.get("event_id", ""))


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content, enc_hook=str), headers=JSON)
