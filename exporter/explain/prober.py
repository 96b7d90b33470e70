"""One look at one session: what was asked of the API, and what it said.

Owns the way from another thread to the main loop, where the account's client lives, and the time that a look may take.
Books nothing, and never raises for what the API did. The surprising fact: a look has no pace of its own. It waits for
the same slots as the polls, and one that would have to wait too long takes none: slots taken in vain would make polls
late.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager

from exporter.config import Config
from exporter.core.attributes import AttributeReader
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, Denied, ExporterError, NotFound, PollError, Transient, TreeError
from exporter.core.lifecycle import PollPolicy
from exporter.core.model import SessionRef
from exporter.explain.story import Explanation, ProbeResult
from exporter.metrics import Metrics
from exporter.polling.fetcher import SessionFetcher
from exporter.telnyx.client import Exchange

CURES: Mapping[type[ExporterError], str] = {
    NotFound: "check the id and the account; a new session is unknown until its first record is rated",
    Denied: "check record type and id (`record-types` lists the types), and the rights of the account's key",
    Transient: "try again later",
    TreeError: "if a limit was reached, raise it under `tree`",
}
"""What the caller can do, where the message itself doesn't say it."""


SUCCEEDED, FAILED, REFUSED = "succeeded", "failed", "refused"
"""How a look, or the wish for one, can end."""


class Prober:
    """Looks at sessions by the clients that poll them."""

    def __init__(self, attribute_reader: AttributeReader, clock: Clock, metrics: Metrics) -> None:
        self._attribute_reader = attribute_reader
        self._clock = clock
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limits: set[asyncio.Timeout] = set()
        """Of the looks under way."""
        self._closed = False

    def adopt(self, config: Config, policy: PollPolicy, fetchers: Mapping[str, SessionFetcher]) -> None:
        """ProbeResult by these from now on."""
        self._config, self._policy, self._journeys = config, policy, fetchers
        for account in fetchers:
            for outcome in (SUCCEEDED, FAILED, REFUSED):
                self._count(account, outcome, 0)

    def open(self) -> None:
        """On the main loop, before anybody asks."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End what is under way, so that whoever asked is answered and the exporter can stop; on the main loop."""
        self._closed = True
        for limit in self._limits:
            limit.reschedule(-math.inf)

    @property
    def config(self) -> Config:
        return self._config

    def ask(self, ref: SessionRef, seconds: float) -> Future[ProbeResult]:
        """Have the main loop look; from any thread."""
        return asyncio.run_coroutine_threadsafe(self.look(ref, seconds), self._main)

    def refuse(self, account: str) -> None:
        """Take note of a question that nobody had time for; from any thread."""
        self._main.call_soon_threadsafe(self._count, account, REFUSED)

    @property
    def _main(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "opened before anybody asks"
        return self._loop

    def _count(self, account: str, outcome: str, amount: int = 1) -> None:
        self._metrics.inc("telnyx_probes_total", (account, outcome), amount)

    async def look(self, ref: SessionRef, seconds: float = math.inf) -> ProbeResult:
        """The session as the API shows it now, or why it can't be had within the time; on the main loop."""
        look = await self._look(ref, seconds)
        self._count(ref.account, SUCCEEDED if look.succeeded else FAILED)
        return look

    async def _look(self, ref: SessionRef, seconds: float) -> ProbeResult:
        started = self._clock.monotonic()
        asked = list[Exchange]()
        try:
            async with self._limit(seconds):
                session = await self._journey(ref).watched(asked.append, started + seconds).session(ref)
        except (PollError, ConfigError) as error:
            problem = _told(error)
        except TimeoutError:
            late = f"the session could not be had within {seconds:.1f} s; try again with more time"
            stopping = "the exporter is stopping; try again once it runs"
            problem = f"{ref.account}: {stopping if self._closed else late}"
        else:
            facts = self._attribute_reader.event_attributes(session)
            session_attributes = self._attribute_reader.session_attributes(session, facts)
            return ProbeResult(
                ref, self._clock.now(), self._passed(started), tuple(asked), session, facts, session_attributes
            )
        return ProbeResult(ref, self._clock.now(), self._passed(started), tuple(asked), problem=problem)

    def _journey(self, ref: SessionRef) -> SessionFetcher:
        fetcher = self._journeys.get(ref.account)
        if fetcher is None:  # a reload came between the question and this look
            raise ConfigError("account", f"{ref.account} is no longer configured; name another one")
        return fetcher

    @asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds) as limit:
            self._limits.add(limit)
            try:
                if self._closed:
                    raise TimeoutError
                yield
            finally:
                self._limits.discard(limit)

    def _passed(self, started: float) -> float:
        return self._clock.monotonic() - started

    def tell(self, look: ProbeResult) -> Explanation:
        """The whole story of a look: CPU-heavy for a large session, so never on a loop; from any thread."""
        return Explanation.of(look, self._config, self._policy)


def _told(error: ExporterError) -> str:
    cure = next((CURES[kind] for kind in type(error).__mro__ if kind in CURES), "")
    return f"{error}; {cure}" if cure else str(error)
