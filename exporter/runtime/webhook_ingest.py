"""What is sent to the exporter: webhooks of Telnyx, and lists of sessions from programs beside it.

Owns the way from a checked request to the ledger, and the counting of what was refused. Everything here is called on
the web thread. The surprising fact: a webhook goes straight to the ledger, for the way over the main loop is long while
polls run at full speed; only what it changed is shown there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from starlette.routing import BaseRoute

from exporter.config import Account, Config
from exporter.core.catalog import HTTP, WEBHOOKS
from exporter.core.clock import Clock
from exporter.core.model import SessionRef
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.ingest import IngestQueue
from exporter.sources.webhooks import EVENT_TYPES, Webhook, prepare
from exporter.telnyx.keys import FileKey, webhook_key
from exporter.web import REASONS, HealthStatus, SessionsRoute, WebhookRoutes

log = logging.getLogger(__name__)


class WebhookIngest:
    """The routes by which sources send what they know."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        ingest: IngestQueue,
        status: Callable[[], HealthStatus],
        wall: Callable[[], float],
    ) -> None:
        """`intake` is the main loop's; `wall` is the time by which others sign."""
        self._metrics = metrics
        self._clock = clock
        self._ingest = ingest
        self._direct = IngestQueue(ledger, commit_queue, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._counted: deque[tuple[str, tuple[str, ...]]] = deque()
        self._telling = False
        self._config: Config | None = None
        self._open_to_all: list[str] = []
        """Accounts whose webhooks need no signature, which was said."""
        self._keys: dict[str, FileKey[bytes | None]] = {}
        self._webhooks = WebhookRoutes(
            {},
            insecure=False,
            wall=wall,
            ingest=self._take,
            rejected=partial(self._count, "telnyx_webhook_failures_total"),
        )
        self._lists = SessionsRoute((), status, self._follow, self._list_failed)

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for an answer; from any thread."""
        return self._webhooks.waiting > 0

    def routes(self) -> list[BaseRoute]:
        """They stay as they are: what a reload changes is how they answer."""
        return [*self._webhooks.routes(), self._lists.route()]

    def adopt(self, config: Config) -> None:
        """Answer by this configuration; requests under way keep the answer they would have had."""
        known = {} if self._config is None else {account.name: account for account in self._config.accounts}
        self._config = config
        self._keys = {
            account.name: self._keys[account.name]
            if account.name in known and _same_key(account, known[account.name])
            else self._key(account)
            for account in config.accounts
        }
        insecure = config.discovery.webhooks.insecure
        if any(account.webhook_key is not None for account in config.accounts):
            prepare()
        self._webhooks.apply_config({name: key.current for name, key in self._keys.items()}, insecure=insecure)
        names = [account.name for account in config.accounts]
        self._lists.set_accounts(names if config.discovery.http.enabled else None)
        self._zero_series(config)
        unsigned = [account.name for account in config.accounts if account.webhook_key is None]
        open_to_all = unsigned if insecure else []
        if open_to_all and open_to_all != self._open_to_all:
            log.warning(
                "unsigned webhooks are accepted: whoever reaches this port can have sessions followed",
                extra=fields(accounts=",".join(unsigned)),
            )
        self._open_to_all = open_to_all

    def open(self) -> None:
        """On the main loop, before anything is served."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Have senders of webhooks come again later; from any thread."""
        self._webhooks.close()

    def _zero_series(self, config: Config) -> None:
        for account in filter(config.takes_webhooks, config.accounts):
            for event_type in EVENT_TYPES:
                self._metrics.inc("telnyx_webhooks_total", (account.name, event_type), 0)
            for reason in REASONS:
                self._metrics.inc("telnyx_webhook_failures_total", (account.name, reason), 0)

    def _key(self, account: Account) -> FileKey[bytes | None]:
        failed = partial(self._count, "telnyx_discovery_failures_total", account.name, WEBHOOKS)
        return webhook_key(account, self._clock.monotonic, failed)

    async def _take(self, account: str, webhook: Webhook) -> None:
        if webhook.notice is not None:
            await self._direct.ingest([webhook.notice], WEBHOOKS)
        self._count("telnyx_webhooks_total", account, webhook.event_type)

    def _follow(self, refs: Sequence[SessionRef]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._ingest.ingest_refs(refs, HTTP), self._main)

    def _list_failed(self) -> None:
        """Whose sessions a list was to name is not known, so it is every account's failure."""
        for name in self._keys:
            self._count("telnyx_discovery_failures_total", name, HTTP)

    def _count(self, family: str, *labels: str) -> None:
        """The metrics are the main thread's, which is woken once for all that is counted until it comes to it."""
        self._counted.append((family, labels))
        if not self._telling:
            self._telling = True
            self._main.call_soon_threadsafe(self._show_counted)

    def _show_counted(self) -> None:
        self._telling = False  # before the first is taken: whoever counts from now on wakes us again
        while self._counted:
            self._metrics.inc(*self._counted.popleft())

    @property
    def _main(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "opened before anything is served"
        return self._loop


def _same_key(account: Account, before: Account) -> bool:
    """Whether the account's webhooks are signed as before: a key that was read since the start is not forgotten."""
    settings = ("webhook_key", "webhook_public_key_env", "webhook_public_key_file")
    return all(getattr(account, name) == getattr(before, name) for name in settings)
