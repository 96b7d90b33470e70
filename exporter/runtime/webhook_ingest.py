"""Put received webhooks and lists of sessions into the ledger, and count the refused ones.

The routes call this on the web thread. A webhook goes straight from there to the ledger's thread, because the main loop
is busy while polls run at full speed. Metrics are only changed on the main loop.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from starlette.routing import BaseRoute

from exporter.config import Config
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
    """The routes for webhooks and lists of sessions."""

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
        """`ingest` is the main loop's queue; `wall` is the time with which signatures are compared."""
        self._metrics = metrics
        self._clock = clock
        self._ingest = ingest
        self._direct = IngestQueue(ledger, commit_queue, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._counted: deque[tuple[str, tuple[str, ...]]] = deque()
        self._waking = False
        self._config: Config | None = None
        self._warned_of: list[str] = []
        """Accounts that accept unsigned webhooks, as the last warning named them."""
        self._keys: dict[str, FileKey[bytes | None]] = {}
        self._webhooks = WebhookRoutes(
            {},
            insecure=False,
            wall=wall,
            ingest=self._ingest_webhook,
            rejected=partial(self._count, "telnyx_webhook_failures_total"),
        )
        self._lists = SessionsRoute((), status, self._follow, self._list_failed)

    def is_crowded(self) -> bool:
        """Return whether a webhook waits for its answer; from any thread."""
        return self._webhooks.waiting > 0

    def routes(self) -> list[BaseRoute]:
        """Return the routes; a reload only changes their answers."""
        return [*self._webhooks.routes(), self._lists.route()]

    def apply_config(self, config: Config) -> None:
        """Answer by this configuration; requests in progress are answered by the previous one."""
        known = {} if self._config is None else {account.name: account for account in self._config.accounts}
        self._config = config
        keys = {}
        for account in config.accounts:
            unchanged = account.name in known and all(
                getattr(account, name) == getattr(known[account.name], name)
                for name in ("webhook_key", "webhook_public_key_env", "webhook_public_key_file")
            )
            # An unchanged key stays: its file may be unreadable now, and the last good key stays in use.
            failed = partial(self._count, "telnyx_discovery_failures_total", account.name, WEBHOOKS)
            keys[account.name] = (
                self._keys[account.name] if unchanged else webhook_key(account, self._clock.monotonic, failed)
            )
        self._keys = keys
        insecure = config.discovery.webhooks.insecure
        if any(account.webhook_key is not None for account in config.accounts):
            prepare()  # importing takes 50 ms, which the first webhook should not wait
        self._webhooks.apply_config(self._keys, insecure=insecure)
        names = [account.name for account in config.accounts]
        self._lists.set_accounts(names if config.discovery.http.enabled else None)
        for account in filter(config.takes_webhooks, config.accounts):
            for event_type in EVENT_TYPES:
                self._metrics.inc("telnyx_webhooks_total", (account.name, event_type), 0)
            for reason in REASONS:
                self._metrics.inc("telnyx_webhook_failures_total", (account.name, reason), 0)
        unsigned = [account.name for account in config.accounts if account.webhook_key is None]
        accepting = unsigned if insecure else []
        if accepting and accepting != self._warned_of:
            log.warning(
                "unsigned webhooks are accepted: anybody who reaches this port can have sessions followed; configure "
                "webhook_public_key_env or webhook_public_key_file",
                extra=fields(accounts=",".join(unsigned)),
            )
        self._warned_of = accepting

    def open(self) -> None:
        """Connect to the main loop, which calls this before anything is served."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Answer webhooks with 503 from now on, so that they are sent again; from any thread."""
        self._webhooks.close()

    async def _ingest_webhook(self, account: str, webhook: Webhook) -> None:
        if webhook.notice is not None:
            await self._direct.ingest([webhook.notice], WEBHOOKS)
        self._count("telnyx_webhooks_total", account, webhook.event_type)

    def _follow(self, refs: Sequence[SessionRef]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._ingest.ingest_refs(refs, HTTP), self._main)

    def _list_failed(self) -> None:
        """Count a failure for every account: the accounts of a bad list aren't known."""
        for name in self._keys:
            self._count("telnyx_discovery_failures_total", name, HTTP)

    def _count(self, family: str, *labels: str) -> None:
        """Count on the main loop, which is woken once for all that is counted until it runs."""
        self._counted.append((family, labels))
        if not self._waking:
            self._waking = True
            self._main.call_soon_threadsafe(self._show_counted)

    def _show_counted(self) -> None:
        self._waking = False  # before the deque is read, so that a later count wakes the loop again
        while self._counted:
            self._metrics.inc(*self._counted.popleft())

    @property
    def _main(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "`open` is called before anything is served"
        return self._loop
