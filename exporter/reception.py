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

from exporter.booker import Booker, Clock
from exporter.config import Config
from exporter.intake import Intake
from exporter.known import HTTP, WEBHOOKS
from exporter.ledger.thread import LedgerThread
from exporter.log import facts
from exporter.metrics import Metrics
from exporter.model import SessionRef
from exporter.sources.public_key import PublicKey
from exporter.sources.webhooks import EVENT_TYPES, Webhook
from exporter.web import REASONS, SessionsRoute, Status, Webhooks

log = logging.getLogger(__name__)


class Reception:
    """The routes by which sources send what they know."""

    def __init__(
        self,
        config: Config,
        *,
        ledger: LedgerThread,
        booker: Booker,
        metrics: Metrics,
        clock: Clock,
        intake: Intake,
        status: Callable[[], Status],
        wall: Callable[[], float],
    ) -> None:
        """`intake` is the main loop's; `wall` is the time by which others sign."""
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._intake = intake
        self._direct = Intake(ledger, booker, clock)
        self._status = status
        self._wall = wall
        self._loop: asyncio.AbstractEventLoop | None = None
        self._counted: deque[tuple[str, tuple[str, ...]]] = deque()
        self._telling = False
        self._webhooks = self._open_webhooks()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for an answer; from any thread."""
        return self._webhooks.waiting > 0

    def routes(self) -> list[BaseRoute]:
        routes = self._webhooks.routes()
        if self._config.discovery.http.enabled:
            names = [account.name for account in self._config.accounts]
            routes.append(SessionsRoute(names, self._status, self._follow, self._list_failed).route())
        return routes

    def open(self) -> None:
        """On the main loop, before anything is served."""
        self._loop = asyncio.get_running_loop()
        self._zero_series()
        unsigned = [account.name for account in self._config.accounts if account.webhook_key is None]
        if self._config.discovery.webhooks.insecure and unsigned:
            log.warning(
                "unsigned webhooks are accepted: whoever reaches this port can have sessions followed",
                extra=facts(accounts=",".join(unsigned)),
            )

    def _zero_series(self) -> None:
        for account in filter(self._config.takes_webhooks, self._config.accounts):
            for event_type in EVENT_TYPES:
                self._metrics.inc("telnyx_webhooks_total", (account.name, event_type), 0)
            for reason in REASONS:
                self._metrics.inc("telnyx_webhook_failures_total", (account.name, reason), 0)

    def _open_webhooks(self) -> Webhooks:
        keys = {
            account.name: PublicKey(
                account,
                self._clock.monotonic,
                partial(self._count, "telnyx_discovery_failures_total", account.name, WEBHOOKS),
            ).current
            for account in self._config.accounts
        }
        return Webhooks(
            keys,
            insecure=self._config.discovery.webhooks.insecure,
            wall=self._wall,
            hand_over=self._take,
            refused=partial(self._count, "telnyx_webhook_failures_total"),
        )

    async def _take(self, account: str, webhook: Webhook) -> None:
        if webhook.sighting is not None:
            await self._direct.take([webhook.sighting], WEBHOOKS)
        self._count("telnyx_webhooks_total", account, webhook.event_type)

    def _follow(self, refs: Sequence[SessionRef]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._intake.take_refs(refs, HTTP), self._main)

    def _list_failed(self) -> None:
        """Whose sessions a list was to name is not known, so it is every account's failure."""
        for account in self._config.accounts:
            self._count("telnyx_discovery_failures_total", account.name, HTTP)

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
