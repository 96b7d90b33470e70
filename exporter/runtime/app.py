"""Assemble the exporter from a configuration, run it, reconfigure it, and stop it.

The real clock and the threads start here. The start doesn't wait for the Telnyx API. The web surface has a thread and
an event loop of its own and gets finished pages, so a scrape never waits for a poll.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from exporter import __version__
from exporter.config import Config
from exporter.core.attributes import AttributeReader
from exporter.core.clock import Clock
from exporter.core.errors import LedgerAway, LedgerError
from exporter.explain import Prober
from exporter.ledger import Ledger, TotalsSettings, on_server, open_ledger
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.metrics.zero_series import zero_series
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.ingest import IngestQueue
from exporter.polling.poller import Poller
from exporter.runtime.clock import SYSTEM_CLOCK
from exporter.runtime.health import Health
from exporter.runtime.jobs import Jobs
from exporter.runtime.maintenance import Maintenance
from exporter.runtime.metadata import RETRY_SECONDS, Metadata
from exporter.runtime.plan import Plan, Planner, Transport, policy
from exporter.runtime.publisher import Publisher
from exporter.runtime.reload import Origin, Reloader
from exporter.runtime.replicas import Replicas
from exporter.runtime.webhook_ingest import WebhookIngest
from exporter.sources.discovery import Discovery
from exporter.sources.files import CHECK_SECONDS, FileSource
from exporter.telnyx.transport import open_transport
from exporter.web import Pages, ProbeRoute, ReloadRoute, WebServer

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long running polls may take at a stop; Kubernetes kills after 30 s by default."""
LEDGER_RETRY_SECONDS = 1.0


class App:
    """One running exporter; `run` returns after `stop`, when everything is durable."""

    def __init__(
        self,
        config: Config,
        *,
        listen: str,
        clock: Clock,
        origin: Origin | None = None,
        transport: Transport = open_transport,
        wall: Callable[[], float] = SYSTEM_CLOCK.now,
        seed: int | None = None,
        web_config: Path | None = None,
    ) -> None:
        """Build all parts; raises ConfigError.

        `origin` is where a reload reads the configuration; `wall` is the time of webhook signatures, which is real
        even if `clock` is simulated.
        """
        origin = origin or Origin(lambda: config)
        self.clock = clock
        self.attribute_reader = AttributeReader(config.metrics.labels)
        self.ledger = LedgerWorker()
        self.metrics = Metrics(config.metrics)
        self._commit_queue = CommitQueue(self.ledger, self.metrics, clock)
        core = (self.ledger, self._commit_queue, self.metrics, clock)

        # Each part needs only parts above it; the health check, which the web routes need, watches the poller later.
        self.ingest = IngestQueue(self.ledger, self._commit_queue, clock)
        self.files = FileSource(self.ingest, self.metrics, clock)
        self._health = Health(self.ledger, self._commit_queue, clock)
        self._webhook_ingest = WebhookIngest(*core, ingest=self.ingest, status=self._health.status, wall=wall)
        self.poller = Poller({}, *core, crowded=self._webhook_ingest.is_crowded)
        self.replicas = Replicas(*core, poller=self.poller)
        self.discovery = Discovery(*core, holds=self.replicas.holds)
        self._health.watch(self.poller, self.discovery)
        self._metadata = Metadata(*core, record_fields=self.attribute_reader.record_fields)
        self.prober = Prober(self.attribute_reader, clock, self.metrics)
        self.reloader = Reloader(origin, self._current_config, self._reconfigure, self.metrics, clock)
        self.web = WebServer(
            listen,
            status=self._health.status,
            on_scrape=self._scraped,
            exposes=self.replicas.exposes,
            on_crash=self._thread_died,
            extra_routes=[
                *self._webhook_ingest.routes(),
                ProbeRoute(self.prober).route(),
                ReloadRoute(self.reloader.reload_from_thread if origin.lifecycle else None).route(),
                *Pages(self._current_config, self._page_failed).routes(),
            ],
            web_config=web_config,
        )
        self.publisher = Publisher(self.metrics, self.web)
        self.maintenance = Maintenance(*core, replicas=self.replicas, web=self.web)
        self._planner = Planner(
            self.attribute_reader,
            self._metadata.tree_reader,
            clock=clock,
            observe=self.maintenance.observe,
            key_failed=self.maintenance.count_key_failure,
            transport=transport,
            seed=seed,
        )
        self._jobs = Jobs(self.metrics)

        self.started = asyncio.Event()
        """Set when the ledger is open and the web surface listens."""
        self._stop = asyncio.Event()
        self._died: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if origin.check_seconds > 0:
            self._jobs.every(origin.check_seconds, "config", self.reloader.check)
        self._apply_plan(self._planner.plan(config))

    @property
    def config(self) -> Config:
        """The effective configuration."""
        return self.plan.config

    def _current_config(self) -> Config:
        return self.plan.config

    def _apply_plan(self, plan: Plan) -> None:
        """Hand the plan to every part. Nothing here awaits, so no part works by an older plan than another."""
        self.plan = plan
        plan.apply_rates()
        self.replicas.apply_plan(plan)
        self.metrics.apply_config(plan.config.metrics)
        self._metadata.apply_plan(plan)
        self.poller.apply_config(plan.account_slots())
        self.discovery.apply_config(plan.config, plan.clients)
        self.maintenance.apply_plan(plan)
        self.files.apply_config(plan.config)
        self._health.apply_config(plan.config)
        self.prober.apply_config(plan.config, policy(plan.config), plan.fetchers)
        self._webhook_ingest.apply_config(plan.config)
        for seconds, task, job in (
            (plan.config.polling.scheduler_interval_seconds, "poll", self.poller.tick),
            (plan.config.polling.scheduler_interval_seconds, "discover", self.discover),
            (RETRY_SECONDS, "metadata", self._metadata.fetch),
            *self.replicas.jobs(),
            *self.maintenance.jobs(),
            (CHECK_SECONDS, "files", self.files.check),
        ):
            self._jobs.every(seconds, task, job)

    async def _reconfigure(self, config: Config) -> None:
        """Apply another configuration; on ConfigError or LedgerError nothing has changed."""
        if self._stop.is_set():
            raise LedgerError("the exporter is stopping")
        before, plan, now = self.plan, self._planner.plan(config, self.plan), self.clock.now()
        series = list(zero_series(config, self._metadata.record_types))
        refs, totals = list(config.session_refs()), TotalsSettings.of(config)
        async with self.poller.between_claims():
            receipt = await self.ledger.run(Ledger.reconfigure, policy(config), totals, refs, series, now)
            self._apply_plan(plan)
        self._commit_queue.show(receipt)
        self._planner.retire(before, plan, self.poller.under_way | self._jobs.running)
        try:
            await self.poller.reschedule(now)
            await self.replicas.load_metrics(now)
        except LedgerError as error:  # the configuration is applied; the page follows when the ledger can be read
            self._commit_queue.report_failure(error)

    # Start, run and stop

    async def run(self) -> None:
        """Run until `stop`; raises the error of a thread that died, and LedgerError if the ledger can't be opened."""
        self._loop = asyncio.get_running_loop()
        try:
            self._webhook_ingest.open()
            self.prober.open()
            # A server may be unavailable for long: the web surface shows that meanwhile. A file can only be wrong, so
            # the exporter doesn't listen before it is open.
            listens_first = on_server(self.config.ledger.url)
            if listens_first:
                self._listen()
            if await self._open_when_available():
                self._health.start()
                if not listens_first:
                    self._listen()
                self.started.set()
                await self._work()
        finally:
            self.prober.close()
            # In another thread, because the last requests still need this loop to get into the ledger.
            await asyncio.to_thread(self.web.stop, STOP_SECONDS)
            await self.ledger.close()
            await self.close_clients()
        if self._died is not None:
            raise self._died

    def _listen(self) -> None:
        self.web.start()
        log.info("listening", extra=fields(port=self.web.port, version=__version__))

    def stop(self) -> None:
        """Let `run` return; from any thread."""
        self._health.stopping = True
        self._webhook_ingest.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def discover(self) -> None:
        """Start the requests of `discovery` that are due."""
        for task, job, account in self.discovery.due():
            await self._jobs.start(task, job, account)

    async def close_clients(self) -> None:
        await self._planner.close(self.plan)

    async def _open_when_available(self) -> bool:
        """Open the ledger, again and again while its server is unavailable; return False if stopped meanwhile."""
        while not self._stop.is_set():
            try:
                if not self.ledger.alive:
                    settings, totals = self.config.ledger, TotalsSettings.of(self.config)
                    opened = partial(open_ledger, settings.url, policy(self.config), totals)
                    await self.ledger.open(partial(opened, settings.lease_seconds, settings.password_file))
                await self._recover()
            except LedgerAway as error:
                self._commit_queue.report_failure(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), LEDGER_RETRY_SECONDS)
            else:
                return True
        return False

    async def _recover(self) -> None:
        """Add the configured sessions and zero series to the ledger, then load what it has."""
        now = self.clock.now()
        await self._metadata.recover()
        self._commit_queue.show(await self.ledger.run(Ledger.configure, list(self.config.session_refs()), now))
        await self.ledger.run(Ledger.create_series, list(zero_series(self.config, self._metadata.record_types)))
        await self.discovery.start(now)
        if self.discovery.backfill_pending:
            self.replicas.hold_back()
        await self.replicas.start()
        await self.replicas.load_metrics(now)
        await self.reloader.start()
        self._health.recovered = True

    async def _work(self) -> None:
        committing = asyncio.create_task(self._commit_queue.run())
        committing.add_done_callback(self._task_died)
        self._jobs.start_scheduler()
        publishing = asyncio.create_task(self.publisher.run())
        publishing.add_done_callback(self._task_died)
        for task, job in (
            *([("backfill", self._backfill)] if self.discovery.backfill_pending else []),
            ("metadata", self._metadata.fetch),
            ("gauges", self.maintenance.update_gauges),
            ("maintenance", self.maintenance.maintain),
            ("files", self.files.check),
        ):
            await self._jobs.start(task, job)
        await self._stop.wait()
        log.info("stopping")
        self._jobs.pause()
        self.reloader.stop()
        await self.poller.stop(STOP_SECONDS)
        await self._jobs.stop()
        for running in (committing, publishing):
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await running

    async def _backfill(self) -> None:
        await self.discovery.backfill()
        self.replicas.release()

    def _scraped(self, _page: object) -> None:
        self.metrics.scraped(self.clock.monotonic())

    def _page_failed(self) -> None:
        """Count a page that could not be made; called on the web thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._jobs.count_failure, "pages")

    def _task_died(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._thread_died(task.exception())

    def _thread_died(self, error: BaseException | None) -> None:
        """Stop the process, so that its supervisor starts it again; without this part the exporter doesn't work."""
        log.critical("a background task or thread failed; the exporter stops", extra=fields(error=repr(error)))
        self._died = error
        self.stop()
