"""Config -> running exporter: objects, jobs, threads, and their end.

Owns the wiring and the only real clock. Nothing here decides about money or sessions; it hands the rooms to each
other, hands all of them the plan, and sees that each job is called. Start-up doesn't wait for the API, and the API's
state never decides whether the exporter is healthy. The surprising fact: the web surface has a thread and loop of its
own, and gets finished pages, so a scrape never waits for a poll.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from starlette.routing import BaseRoute

from exporter import __version__
from exporter.config import Config
from exporter.core.attributes import AttributeReader
from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import SessionRef
from exporter.explain import Prober
from exporter.ledger import Ledger, TotalsSettings, on_server, open_ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.metrics.zero_series import zero_series
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.ingest import IngestQueue
from exporter.polling.poller import Poller
from exporter.runtime.health import Health
from exporter.runtime.jobs import Jobs
from exporter.runtime.maintenance import Maintenance
from exporter.runtime.metadata import RETRY_SECONDS, Metadata
from exporter.runtime.plan import Plan, Planner, Transport, policy
from exporter.runtime.reload import Origin, Reloader
from exporter.runtime.replicas import FOLLOWED_MAX, FOLLOWED_SECONDS, Replicas, patiently
from exporter.runtime.webhook_ingest import WebhookIngest
from exporter.sources.discovery import Discovery
from exporter.sources.files import LOOK_SECONDS, FileSource
from exporter.telnyx.transport import open_transport
from exporter.web import Pages, ProbeRoute, ReloadRoute, WebServer

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.1
"""A new page is published at most this often."""
RENDER_SERIES = 500
"""So many changed series are rendered at a time, in some 5 ms; then it's the turn of the polls again."""
STOP_SECONDS = 10.0
"""Polls under way get this long to finish; Kubernetes kills after 30 s by default."""


class SystemClock:
    """The real clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class App:
    """One running exporter; `run` returns when `stop` was called and everything is durable."""

    def __init__(
        self,
        config: Config,
        *,
        listen: str,
        clock: Clock,
        origin: Origin | None = None,
        transport: Transport = open_transport,
        wall: Callable[[], float] = time.time,
        seed: int | None = None,
        web_config: Path | None = None,
    ) -> None:
        """`origin` is where the configuration came from; `wall` the time by which others sign, where `clock.now` may
        be simulated.
        """
        self.clock = clock
        self.attribute_reader = AttributeReader(config.metrics.labels)
        self.ledger = LedgerWorker()
        self.metrics = Metrics(config.metrics)
        self._commit_queue = CommitQueue(self.ledger, self.metrics, clock)
        self.ingest = IngestQueue(self.ledger, self._commit_queue, clock)
        self.files = FileSource(self.ingest, self.metrics, clock)
        core = (self.ledger, self._commit_queue, self.metrics, clock)
        self.sharing = Replicas(*core, under_way=lambda: self.poller.claims)
        self.discovery = Discovery(*core, self.sharing.holds)
        self.maintenance = Maintenance(*core, sharing=self.sharing, counted=lambda: self.web.counts())  # noqa: PLW0108 - there is no web yet
        self._metadata = Metadata(*core, self.attribute_reader.record_fields)
        self.poller = Poller({}, *core, crowded=lambda: self._webhook_ingest.crowded)
        self._health = Health(self.ledger, self._commit_queue, clock, self.poller)
        self._webhook_ingest = WebhookIngest(*core, ingest=self.ingest, status=self._health.status, wall=wall)
        self._planner = Planner(
            self.attribute_reader,
            lambda: self._metadata.reader,
            clock=clock,
            observe=self.maintenance.observe,
            key_failed=self.maintenance.key_failed,
            transport=transport,
            seed=seed,
        )
        self._jobs = Jobs(lambda task: self.metrics.inc("telnyx_exporter_task_failures_total", (task,)))
        origin = origin or Origin(lambda: config)
        self.reloader = Reloader(
            origin, running=lambda: self.config, enter=self._enter, metrics=self.metrics, clock=clock
        )
        if origin.look_seconds > 0:
            self._jobs.every(origin.look_seconds, "config", self.reloader.look)
        self.prober = Prober(self.attribute_reader, clock, self.metrics)
        self.started = asyncio.Event()
        """Set when the ledger is open and the web surface listens."""
        self.shown = asyncio.Event()
        """Set when /metrics has its first page."""
        self._stop = asyncio.Event()
        self._died: BaseException | None = None
        self._looks_back = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.web = self._web(listen, web_config, lifecycle=origin.lifecycle)
        self._adopt(self._planner.plan(config))

    def _web(self, listen: str, web_config: Path | None, *, lifecycle: bool) -> WebServer:
        return WebServer(
            listen,
            status=self._health.status,
            on_scrape=lambda _: self.metrics.scraped(self.clock.monotonic()),
            exposes=self.sharing.exposes,
            on_crash=self._thread_died,
            extra_routes=self._routes(lifecycle=lifecycle),
            web_config=web_config,
        )

    def _routes(self, *, lifecycle: bool) -> list[BaseRoute]:
        return [
            *self._webhook_ingest.routes(),
            ProbeRoute(self.prober).route(),
            ReloadRoute(self.reloader.from_outside if lifecycle else None).route(),
            *Pages(lambda: self.config, self._page_failed).routes(),
        ]

    @property
    def config(self) -> Config:
        """The configuration that is in effect."""
        return self.plan.config

    def _adopt(self, plan: Plan) -> None:
        """Have every room work by the plan; nothing here waits, so none sees it earlier than another."""
        self.plan = plan
        plan.pace()
        self.sharing.adopt(plan)
        self.metrics.apply_config(plan.config.metrics)
        self._metadata.adopt(plan)
        self.poller.apply_config(plan.lanes())
        self.discovery.adopt(plan.config, plan.clients)
        self.maintenance.adopt(plan)
        self.files.adopt(plan.config)
        self._health.adopt(plan.config)
        self.prober.apply_config(plan.config, policy(plan.config), plan.fetchers)
        self._webhook_ingest.adopt(plan.config)
        for seconds, task, job in (
            (plan.config.polling.scheduler_interval_seconds, "poll", self.poller.tick),
            (plan.config.polling.scheduler_interval_seconds, "discover", self.discover),
            (RETRY_SECONDS, "metadata", self._metadata.fetch),
            *self.sharing.jobs(),
            *self.maintenance.jobs(),
            (LOOK_SECONDS, "files", self.files.look),
        ):
            self._jobs.every(seconds, task, job)

    async def _enter(self, config: Config) -> None:
        """Go on under another configuration; raises ConfigError or LedgerError, and then all is as it was."""
        if self._stop.is_set():
            raise LedgerError("the exporter is stopping")
        before, plan, now = self.plan, self._planner.plan(config, self.plan), self.clock.now()
        series = list(zero_series(config, self._metadata.record_types))
        refs = list(config.session_refs())
        async with self.poller.between_claims():
            receipt = await self.ledger.run(
                Ledger.reconfigure, policy(config), TotalsSettings.of(config), refs, series, now
            )
            self._adopt(plan)
        self._commit_queue.show(receipt)
        self._planner.retire(before, plan, self.poller.under_way | self._jobs.under_way)
        try:
            await self.poller.look_again(now)
            await self._recall(now)
        except LedgerError as error:  # all is entered; it is shown when the ledger can be read again
            self._commit_queue.report_failure(error)

    # Running

    async def run(self) -> None:
        """Run until `stop`; raises what made a thread die, or LedgerError when the ledger can't be opened."""
        self._loop = asyncio.get_running_loop()
        try:
            self._webhook_ingest.open()
            self.prober.open()
            waits = on_server(self.config.ledger.url)
            if waits:  # for a server that is away, perhaps for long: whoever asks must hear of it
                self._listen()
            if await patiently(self._open, self._commit_queue.report_failure, self._stop):
                self._health.begin()
                if not waits:
                    self._listen()
                self.started.set()
                await self._work()
        finally:
            self.prober.close()
            # Beside this loop, not on it: what the last requests brought has still to come into the ledger.
            await asyncio.to_thread(self.web.stop, STOP_SECONDS)
            await self.ledger.close()
            await self.close_clients()
        if self._died is not None:
            raise self._died

    def _listen(self) -> None:
        self.web.start()
        log.info("listening", extra=fields(port=self.web.port, version=__version__))

    def stop(self) -> None:
        """Have `run` end; from any thread."""
        self._health.stopping = True
        self._webhook_ingest.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def follow(self, refs: Iterable[SessionRef], source: str) -> None:
        """Have these sessions followed; returns when that is durable."""
        await self.ingest.ingest_refs(list(refs), source)

    async def discover(self) -> None:
        """Start whatever is due to be asked."""
        for task, job, account in self.discovery.due():
            await self._jobs.start(task, job, account)

    async def close_clients(self) -> None:
        await self._planner.close(self.plan)

    async def _open(self) -> None:
        if not self.ledger.alive:
            place, settings = self.config.ledger, TotalsSettings.of(self.config)
            opened = partial(open_ledger, place.url, policy(self.config), settings)
            await self.ledger.open(partial(opened, place.lease_seconds, place.password_file))
        await self._recover()

    async def _recover(self) -> None:
        """The configured sessions and the series known in advance are entered; then memory is what the ledger says."""
        now = self.clock.now()
        await self._metadata.recover()
        self._commit_queue.show(await self.ledger.run(Ledger.configure, list(self.config.session_refs()), now))
        await self.ledger.run(Ledger.create_series, list(zero_series(self.config, self._metadata.record_types)))
        await self.sharing.begin()
        await self._recall(now)
        await self.discovery.begin(now)
        self._looks_back = await self.discovery.looks_back()
        await self.reloader.begin()
        self._health.recovered = True

    async def _recall(self, now: float) -> None:
        """Show what the ledger has."""
        if self.sharing.shared:
            return  # it is read when this process exposes it
        self.metrics.load(await self.ledger.run(Ledger.totals))
        known = await self.ledger.run(Ledger.recent_sessions, now - FOLLOWED_SECONDS, FOLLOWED_MAX)
        self.metrics.reload_sessions(known, now)

    async def _work(self) -> None:
        booking = asyncio.create_task(self._commit_queue.run())
        booking.add_done_callback(self._task_died)
        self._jobs.begin()
        await self._look_back()
        publishing = asyncio.create_task(self._publish())
        publishing.add_done_callback(self._task_died)
        for task, job in (
            ("metadata", self._metadata.fetch),
            ("gauges", self.maintenance.gauges),
            ("keep", self.maintenance.keep),
            ("files", self.files.look),
        ):
            await self._jobs.start(task, job)
        await self._stop.wait()
        log.info("stopping")
        self._jobs.pause()
        self.reloader.end()
        await self.poller.stop(STOP_SECONDS)
        await self._jobs.end()
        for ending in (booking, publishing):
            ending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await ending

    async def _look_back(self) -> None:
        """On an empty ledger: nothing is shown, and the exporter not ready, until what was before is booked."""
        if self._looks_back:
            looking = await self._jobs.start("look_back", self.discovery.look_back)
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
        self._health.shown = True

    async def _publish(self) -> None:
        while True:
            while not self.metrics.render(RENDER_SERIES):  # noqa: ASYNC110 - nothing to wait for, others have a turn
                await asyncio.sleep(0)
            page = self.metrics.page()
            if page is not None:
                self.web.publish(page)
                self.shown.set()
            await asyncio.sleep(PUBLISH_SECONDS)

    def _page_failed(self) -> None:
        """From the web thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.metrics.inc, "telnyx_exporter_task_failures_total", ("pages",))

    def _task_died(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._thread_died(task.exception())

    def _thread_died(self, error: BaseException | None) -> None:
        """A part of the exporter ended that must not: end the process, so that its supervisor starts it again."""
        log.critical("a thread died; the exporter ends", extra=fields(error=repr(error)))
        self._died = error
        self.stop()
