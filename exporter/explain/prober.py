"""Read one session from the API without booking it, on behalf of /probe and the command `session`.

A probe waits for the same request slots as the polls. If it would have to wait too long it takes no slot, because a
slot that is taken in vain delays a poll. A failure of the API is a result, never an exception.
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
from exporter.explain.explanation import Explanation, ProbeResult
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


class Prober:
    """Probes sessions with the clients that poll them; lives on the main loop."""

    def __init__(self, attribute_reader: AttributeReader, clock: Clock, metrics: Metrics) -> None:
        self._attribute_reader = attribute_reader
        self._clock = clock
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timeouts: set[asyncio.Timeout] = set()
        """Those of the probes in progress."""
        self._closed = False

    def apply_config(self, config: Config, policy: PollPolicy, fetchers: Mapping[str, SessionFetcher]) -> None:
        """Use these settings and fetchers for probes from now on."""
        self._config, self._policy, self._fetchers = config, policy, fetchers
        for account in fetchers:
            for outcome in (SUCCEEDED, FAILED, REFUSED):
                self._count(account, outcome, 0)

    def open(self) -> None:
        """Note the running loop as the main loop; call it before the first probe."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End the probes in progress, so that their callers get an answer and the exporter can stop."""
        self._closed = True
        for timeout in self._timeouts:
            timeout.reschedule(-math.inf)

    @property
    def config(self) -> Config:
        return self._config

    def submit(self, ref: SessionRef, seconds: float) -> Future[ProbeResult]:
        """Start a probe on the main loop; from any thread."""
        return asyncio.run_coroutine_threadsafe(self.probe(ref, seconds), self._main)

    def count_refused(self, account: str) -> None:
        """Count a probe that was refused because too many are in progress; from any thread."""
        self._main.call_soon_threadsafe(self._count, account, REFUSED)

    async def probe(self, ref: SessionRef, seconds: float = math.inf) -> ProbeResult:
        """Return the session as the API has it now, or why it can't be read within the time; on the main loop."""
        started = self._clock.monotonic()
        requests = list[Exchange]()
        session, problem = None, ""
        try:
            async with self._timeout(seconds):
                session = await self._fetcher(ref.account).watched(requests.append, started + seconds).session(ref)
        except (PollError, ConfigError) as error:
            cure = next((CURES[kind] for kind in type(error).__mro__ if kind in CURES), "")
            problem = f"{error}; {cure}" if cure else str(error)
        except TimeoutError:
            late = f"the session could not be read within {seconds:.1f} s; try again with more time"
            stopping = "the exporter is stopping; try again once it runs"
            problem = f"{ref.account}: {stopping if self._closed else late}"
        attributes = () if session is None else self._attribute_reader.event_attributes(session)
        result = ProbeResult(
            ref,
            self._clock.now(),
            self._clock.monotonic() - started,
            tuple(requests),
            session,
            attributes,
            None if session is None else self._attribute_reader.session_attributes(session, attributes),
            problem,
        )
        self._count(ref.account, SUCCEEDED if result.succeeded else FAILED)
        return result

    def explain(self, result: ProbeResult) -> Explanation:
        """Return what the result leads to; from any thread but a loop's: a large session takes a second of CPU."""
        return Explanation.of(result, self._config, self._policy)

    @property
    def _main(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "open() comes before the first probe"
        return self._loop

    def _fetcher(self, account: str) -> SessionFetcher:
        fetcher = self._fetchers.get(account)
        if fetcher is None:  # a reload removed the account after the request was checked
            raise ConfigError("account", f"{account} is no longer configured; name another one")
        return fetcher

    def _count(self, account: str, outcome: str, amount: int = 1) -> None:
        self._metrics.inc("telnyx_probes_total", (account, outcome), amount)

    @asynccontextmanager
    async def _timeout(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds) as timeout:
            self._timeouts.add(timeout)
            try:
                if self._closed:
                    raise TimeoutError
                yield
            finally:
                self._timeouts.discard(timeout)
