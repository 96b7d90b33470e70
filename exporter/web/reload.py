"""`POST /-/reload`: have the configuration read again.

Owns who may, and what is answered; the reload itself is the main thread's business. As with Prometheus it is refused
unless a flag allows it, and PUT does the same. The surprising fact: the answer tells settings by their paths but none
of their values, so it may be shown to whoever may ask.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.core.errors import ConfigError, LedgerError

PATH = "/-/reload"
FLAG = "--web.enable-lifecycle"


class ReloadRoute:
    """The route; lives on the web thread."""

    def __init__(self, reload: Callable[[], Future[str]] | None) -> None:
        """`reload` tells what was done, or fails with ConfigError or LedgerError; None: nobody may."""
        self._reload = reload

    def route(self) -> Route:
        return Route(PATH, self.post, methods=["POST", "PUT"])

    async def post(self, _: Request) -> Response:
        if self._reload is None:
            return _answer(HTTPStatus.FORBIDDEN, f"Lifecycle API is not enabled; start the exporter with {FLAG}")
        try:
            done = await asyncio.wrap_future(self._reload())
        except (ConfigError, LedgerError) as error:
            problem = f"failed to reload the configuration, the one before stays in effect: {error}"
            return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, problem)
        return _answer(HTTPStatus.OK, f"reloaded; {done}")


def _answer(status: HTTPStatus, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)
