"""Where Telnyx's webhooks arrive: checked, handed over, and answered once they are durable.

Owns the routes, the order of the checks and the answers. Lives on the web thread; what a webhook tells goes to whoever
owns the ledger, and 204 is said only after it was committed. The surprising fact: an answer never says anything of what
was sent, and is 503 whenever the fault is ours, so that Telnyx sends the webhook again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter.core.errors import LedgerError, Rejected
from exporter.core.model import UNKNOWN
from exporter.log import fields
from exporter.sources.replays import ReplayWindow, WebhookId
from exporter.sources.webhooks import Webhook, read, verify
from exporter.web.uploads import DEFAULT_LIMITS, UploadLimits, Uploads

log = logging.getLogger(__name__)

PATH = "/webhooks/telnyx"

ANSWER_SECONDS = 8.0
"""The ledger waits up to 5 s for somebody else's lock; past this the sender is told to come again."""

RETRY_AFTER_SECONDS = 5

ANSWERS: Mapping[str, tuple[int, str]] = {
    "no_such_account": (404, "no such account; see the configuration's accounts"),
    "account_not_named": (404, f"name the account in the path: {PATH}/ACCOUNT"),
    "no_key": (403, "this account has no webhook public key, so it takes no webhooks"),
    "content_type": (415, "expected Content-Type: application/json"),
    "too_large": (413, "the body is too large for a webhook"),
    "slow": (408, "the body did not come in time"),
    "disconnected": (400, "the body did not come to its end"),
    "unsigned": (401, "expected the headers telnyx-signature-ed25519 and telnyx-timestamp, as Telnyx sends them"),
    "bad_signature": (403, "the signature is not of this body and this account's key"),
    "stale": (403, "the signature is too old, or from the future; is a clock wrong?"),
    "malformed": (400, "the body is no webhook of Telnyx"),
    "unavailable": (503, "not taken for now; send it again"),
}
"""Why a webhook is not taken: the reason as it is counted, the status and the text of the answer."""

REASONS = tuple(reason for reason in ANSWERS if reason not in {"no_such_account", "account_not_named"})
"""Those that are counted under an account's name; the others are counted under `unknown`."""

_HEADERS: Mapping[int, Mapping[str, str]] = {
    408: {"Connection": "close"},
    503: {"Retry-After": str(RETRY_AFTER_SECONDS)},
}

Key = Callable[[], bytes | None]
"""The account's public key as it is now; None if it has none."""

HandOver = Callable[[str, Webhook], Awaitable[None]]
"""Takes a webhook of an account; returns when it is durable."""


class _Open(Struct, frozen=True):
    """For whom webhooks are taken; swapped as a whole."""

    keys: Mapping[str, Key]
    insecure: bool


class WebhookRoutes:
    """The handlers."""

    def __init__(
        self,
        keys: Mapping[str, Key],
        *,
        insecure: bool,
        wall: Callable[[], float],
        hand_over: HandOver,
        refused: Callable[[str, str], None],
        limits: UploadLimits = DEFAULT_LIMITS,
    ) -> None:
        """`keys` by account; `wall` is the time that senders sign with; `refused` is told account and reason."""
        self._open = _Open(keys, insecure)
        self._wall = wall
        self._hand_over = hand_over
        self._refused = refused
        self._uploads = Uploads(limits)
        self._replays = ReplayWindow()
        self._under_way: dict[WebhookId, asyncio.Task[None]] = {}
        self._closed = False
        self.waiting = 0
        """Senders that wait for their answer, from the last byte of their body on; other threads may read it."""

    def adopt(self, keys: Mapping[str, Key], *, insecure: bool) -> None:
        """Take webhooks of these accounts from now on; from any thread, and whoever is being read keeps its place."""
        self._open = _Open(keys, insecure)

    def close(self) -> None:
        """Take no more, and have senders come again; from any thread."""
        self._closed = True

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, self.unnamed, methods=["POST"]),
            Route(f"{PATH}/{{account}}", self.named, methods=["POST"]),
        ]

    async def unnamed(self, request: Request) -> Response:
        """For the one account that takes webhooks, if there is just one."""
        known = self._open
        taking = [name for name, key in known.keys.items() if known.insecure or key() is not None]
        if len(taking) != 1:
            return self._answer(UNKNOWN, Rejected("account_not_named"))
        return await self._receive(taking[0], request)

    async def named(self, request: Request) -> Response:
        account = request.path_params["account"]
        if account not in self._open.keys:
            return self._answer(UNKNOWN, Rejected("no_such_account"))
        return await self._receive(account, request)

    async def _receive(self, account: str, request: Request) -> Response:
        try:
            await self._take(account, request)
        except Rejected as error:
            return self._answer(account, error)
        return Response(status_code=204)

    def _answer(self, account: str, error: Rejected) -> Response:
        status, text = ANSWERS[error.reason]
        self._refused(account, error.reason)
        log.debug("webhook refused", extra=fields(account=account, reason=error.reason))
        return PlainTextResponse(f"{text}\n", status, _HEADERS.get(status))

    async def _take(self, account: str, request: Request) -> None:
        if self._closed:
            raise Rejected("unavailable")
        known = self._open
        if account not in known.keys:
            raise Rejected("no_such_account")
        key = known.keys[account]()
        if key is None and not known.insecure:
            raise Rejected("no_key")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Rejected("content_type")
        body = await self._uploads.read(request)
        self.waiting += 1
        try:
            await self._accept(account, key, request.headers, body)
        finally:
            self.waiting -= 1

    async def _accept(self, account: str, key: bytes | None, headers: Mapping[str, str], body: bytes) -> None:
        now = self._wall()
        if key is not None:
            verify(key, headers.get("telnyx-signature-ed25519"), headers.get("telnyx-timestamp"), body, now)
        await self._once(account, read(body, account), now)

    async def _once(self, account: str, webhook: Webhook, now: float) -> None:
        """Hand it over unless it was taken before; who sends the same meanwhile waits for the first."""
        place = (account, webhook.id)
        if self._replays.knows(place, now):
            return
        task = self._under_way.get(place)
        if task is None:
            task = self._under_way[place] = asyncio.create_task(self._keep(place, webhook, now))
            task.add_done_callback(_heard)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(task)  # that a sender goes away is no reason to stop
        except TimeoutError:
            raise Rejected("unavailable") from None

    async def _keep(self, place: WebhookId, webhook: Webhook, now: float) -> None:
        """Remembered only once it is durable: what failed is taken when it is sent again."""
        account, _ = place
        try:
            await self._hand_over(account, webhook)
        except LedgerError:
            raise Rejected("unavailable") from None
        except Exception as error:
            log.exception("webhook not taken", extra=fields(account=account))
            raise Rejected("unavailable") from error
        else:
            self._replays.add(place, now)
        finally:
            del self._under_way[place]


def _heard(task: "asyncio.Task[None]") -> None:
    """Nobody may wait any more when it fails; asyncio would complain."""
    if not task.cancelled():
        task.exception()
