"""Receive Telnyx's webhooks: check them, pass them on, and answer 204 once they are durable.

The answer is 503 whenever the exporter is at fault, so that Telnyx sends the webhook again. An answer never repeats
anything that was sent. Lives on the web thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from exporter.core.errors import LedgerError, Rejected
from exporter.core.model import UNKNOWN
from exporter.log import fields
from exporter.sources.replays import ReplayWindow, WebhookId
from exporter.sources.webhooks import READERS, Webhook, verify
from exporter.telnyx.keys import FileKey
from exporter.web.uploads import DEFAULT_LIMITS, UploadLimits, Uploads

log = logging.getLogger(__name__)

PATH = "/webhooks/telnyx"

ANSWER_SECONDS = 1.5
"""Telnyx waits 2 s, and sends a webhook again after a 503. It may become durable meanwhile, which is harmless."""

RETRY_AFTER_SECONDS = 5

ANSWERS: Mapping[str, tuple[int, str]] = {
    "no_such_account": (404, "no such account; see the configuration's accounts"),
    "account_not_named": (404, f"name the account in the path: {PATH}/ACCOUNT"),
    "no_key": (403, "this account has no webhook public key, so its webhooks are refused"),
    "content_type": (415, "expected Content-Type: application/json, or application/x-www-form-urlencoded from TeXML"),
    "too_large": (413, "the body is too large for a webhook"),
    "slow": (408, "the body was not received in time"),
    "disconnected": (408, "the body was not received completely"),
    "unsigned": (401, "expected the headers telnyx-signature-ed25519 and telnyx-timestamp, as Telnyx sends them"),
    "bad_signature": (403, "the signature does not match this body and this account's key"),
    "key_file": (
        503,
        "the account's public key file can't be read, and the last good key doesn't match; send it again",
    ),
    "stale": (403, "the signature is too old; is a clock wrong?"),
    "early": (503, "the signature is from the future; is a clock wrong? send it again"),
    "malformed": (400, "the body is not a webhook of Telnyx"),
    "unavailable": (503, "the webhook could not be stored; send it again"),
}
"""By the reason of a rejection, as it is counted: the status and the text of the answer.

Telnyx sends a webhook again after 408, 429 and 5xx only, so the answer has another status only if the same webhook
can never be accepted by this configuration.
"""

REASONS = tuple(reason for reason in ANSWERS if reason not in {"no_such_account", "account_not_named"})
"""The reasons that are counted under an account's name; the others are counted under `unknown`."""

_HEADERS: Mapping[int, Mapping[str, str]] = {
    408: {"Connection": "close"},
    503: {"Retry-After": str(RETRY_AFTER_SECONDS)},
}

Key = FileKey[bytes | None]
"""The account's public key; its value is None if the account has none."""

IngestWebhook = Callable[[str, Webhook], Awaitable[None]]
"""Stores a webhook of an account; returns when it is durable."""


class _WebhookAccounts(Struct, frozen=True):
    """Swapped as a whole."""

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
        ingest: IngestWebhook,
        rejected: Callable[[str, str], None],
        limits: UploadLimits = DEFAULT_LIMITS,
    ) -> None:
        """`keys` by account; `wall` is the clock for signatures; `rejected` is called with account and reason."""
        self._accounts = _WebhookAccounts(keys, insecure)
        self._wall = wall
        self._ingest = ingest
        self._rejected = rejected
        self._uploads = Uploads(limits)
        self._replays = ReplayWindow()
        self._in_progress: dict[WebhookId, asyncio.Task[None]] = {}
        self._closed = False
        self.waiting = 0
        """Senders that wait for their answer, after the last byte of their body; other threads may read it."""

    def apply_config(self, keys: Mapping[str, Key], *, insecure: bool) -> None:
        """Accept webhooks of these accounts from now on; from any thread."""
        self._accounts = _WebhookAccounts(keys, insecure)

    def close(self) -> None:
        """Answer 503 from now on; from any thread."""
        self._closed = True

    def routes(self) -> list[BaseRoute]:
        return [
            Route(PATH, self.unnamed, methods=["POST"]),
            Route(f"{PATH}/{{account}}", self.named, methods=["POST"]),
        ]

    async def unnamed(self, request: Request) -> Response:
        """Receive a webhook without an account in its path, if just one account accepts webhooks."""
        accounts = self._accounts
        accepting = [name for name, key in accounts.keys.items() if accounts.insecure or key.current() is not None]
        if len(accepting) != 1:
            return self._reject(UNKNOWN, Rejected("account_not_named"))
        return await self._receive(accepting[0], request)

    async def named(self, request: Request) -> Response:
        account = request.path_params["account"]
        if account not in self._accounts.keys:
            return self._reject(UNKNOWN, Rejected("no_such_account"))
        return await self._receive(account, request)

    def _reject(self, account: str, error: Rejected) -> Response:
        status, text = ANSWERS[error.reason]
        self._rejected(account, error.reason)
        log.debug("webhook refused", extra=fields(account=account, reason=error.reason))
        return PlainTextResponse(f"{text}\n", status, _HEADERS.get(status))

    async def _receive(self, account: str, request: Request) -> Response:
        try:
            key, read = self._check_head(account, request)
            body = await self._uploads.read(request)
            self.waiting += 1
            try:
                now = self._wall()
                _verify(key, request.headers, body, now)
                await self._store_once(account, read(body, account), now)
            finally:
                self.waiting -= 1
        except Rejected as error:
            return self._reject(account, error)
        return Response(status_code=204)

    def _check_head(self, account: str, request: Request) -> tuple[Key, Callable[[bytes, str], Webhook]]:
        """Return the key to verify the body with, and its reader; raise Rejected before a body is read."""
        if self._closed:
            raise Rejected("unavailable")
        accounts = self._accounts
        if account not in accounts.keys:  # a reload has removed it just now
            raise Rejected("no_such_account")
        key = accounts.keys[account]
        if key.current() is None and not accounts.insecure:
            raise Rejected("no_key")
        read = READERS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        if read is None:
            raise Rejected("content_type")
        return key, read

    async def _store_once(self, account: str, webhook: Webhook, now: float) -> None:
        """Store the webhook unless it was stored before; a duplicate that arrives meanwhile waits for the first."""
        webhook_id = (account, webhook.id)
        if self._replays.knows(webhook_id, now):
            return
        task = self._in_progress.get(webhook_id)
        if task is None:
            task = self._in_progress[webhook_id] = asyncio.create_task(self._store(webhook_id, webhook, now))
            task.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(task)  # a sender that disconnects must not stop it
        except TimeoutError:
            raise Rejected("unavailable") from None

    async def _store(self, webhook_id: WebhookId, webhook: Webhook, now: float) -> None:
        account, _ = webhook_id
        try:
            await self._ingest(account, webhook)
        except LedgerError:
            raise Rejected("unavailable") from None
        except Exception as error:
            log.exception("webhook not stored", extra=fields(account=account))
            raise Rejected("unavailable") from error
        else:
            self._replays.add(webhook_id, now)  # only now: a webhook that failed must be stored when it is sent again
        finally:
            del self._in_progress[webhook_id]


def _verify(key: Key, headers: Headers, body: bytes, now: float) -> None:
    """Raise Rejected unless the body is signed with the account's key, or the account accepts unsigned webhooks."""
    public = key.current()
    if public is None:
        return
    try:
        verify(public, headers.get("telnyx-signature-ed25519"), headers.get("telnyx-timestamp"), body, now)
    except Rejected as error:
        # The key may have been replaced: once the file can be read again, the same webhook may be genuine.
        if error.reason == "bad_signature" and not key.readable:
            raise Rejected("key_file") from None
        raise


def _retrieve(task: "asyncio.Task[None]") -> None:
    # If no sender waits any more, asyncio would log that the exception was never retrieved.
    if not task.cancelled():
        task.exception()
