"""Config -> running exporter: objects, jobs, threads, and their end.

Owns the wiring and the only real clock. Nothing here decides about money or sessions; it hands the rooms to each
other and sees that each job is called. Start-up doesn't wait for the API, and the API's state never decides whether
the exporter is healthy. The surprising fact: the web surface has a thread and loop of its own, and gets finished
pages, so a scrape never waits for a poll.
"""

import asyncio
import contextlib
import logging
import platform
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path

import httpx
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from exporter import __version__
from exporter.booker import Booker, Clock
from exporter.budgets import window
from exporter.client import Answered, Client, Limits
from exporter.config import Account, Config
from exporter.discovery import Discovery
from exporter.errors import ConfigError, LedgerError, PollError
from exporter.explain import Prober
from exporter.intake import Intake
from exporter.known import configured_sources, known_series
from exporter.labels import Labeller
from exporter.ledger import Settings, SqliteLedger, open_ledger
from exporter.ledger.thread import LedgerThread
from exporter.lifecycle import Policy
from exporter.log import facts
from exporter.metrics import Metrics
from exporter.model import SessionRef
from exporter.pacing import Pacer
from exporter.poll import Journey, Lane, Poller
from exporter.reception import Reception
from exporter.record_types import RecordTypes
from exporter.sources.files import LOOK_SECONDS, FileSource
from exporter.transport import open_transport
from exporter.tree import Limits as TreeLimits
from exporter.tree import Reader
from exporter.web import Pages, ProbeRoute, Status, WebServer

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.1
"""A new page is published at most this often."""
RELEASE_SECONDS = 0.5
GAUGES_SECONDS = 5.0
METADATA_SECONDS = 86_400.0
METADATA_RETRY_SECONDS = 300.0
KEEP_SECONDS = 60.0
PRUNE_SESSIONS_MAX = 200
"""Per transaction, so that a batch of polls never waits long for a prune."""
STOP_SECONDS = 10.0
"""Polls under way get this long to finish; Kubernetes kills after 30 s by default."""
FOLLOWED_SECONDS = 6 * 3600.0
DAY_SECONDS = 86_400.0

Transport = Callable[[Path | None, int], httpx.AsyncBaseTransport]


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
        transport: Transport = open_transport,
        wall: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        """`wall` is the time by which others sign; `clock.now` may be simulated."""
        self.config = config
        self.clock = clock
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._record_types = RecordTypes.documented()
        self.labeller = Labeller(config.metrics.labels)
        self._reader = self._new_reader()
        self._policy = policy(config)
        self.ledger = LedgerThread()
        self.metrics = Metrics(config.metrics)
        self._booker = Booker(self.ledger, self.metrics, clock)
        self.intake = Intake(self.ledger, self._booker, clock)
        self.files = FileSource(config, self.intake, self.metrics, clock)
        self._pacers: dict[str, Pacer] = {}
        self._clients: dict[str, Client] = {}
        self.journeys = {account.name: self._journey(account, transport) for account in config.accounts}
        self.discovery = Discovery(
            config, self._clients, ledger=self.ledger, booker=self._booker, metrics=self.metrics, clock=clock
        )
        lanes = {
            account.name: Lane(self.journeys[account.name], 2 * account.max_in_flight, set())
            for account in config.accounts
        }
        self._reception = Reception(
            config,
            ledger=self.ledger,
            booker=self._booker,
            metrics=self.metrics,
            clock=clock,
            intake=self.intake,
            status=self._status,
            wall=wall,
        )
        self.poller = Poller(
            lanes, self.ledger, self._booker, self.metrics, clock, crowded=lambda: self._reception.crowded
        )
        self.prober = Prober(self.labeller, clock, self.metrics)
        self.prober.adopt(config, self._policy, self.journeys)
        self.started = asyncio.Event()
        """Set when the web surface listens."""
        self._stop = asyncio.Event()
        self._died: BaseException | None = None
        self._metadata_at: float | None = None
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = self._shown = False
        self.web = WebServer(
            listen,
            status=self._status,
            scraped=lambda _: self.metrics.scraped(clock.monotonic()),
            died=self._thread_died,
            further=[
                *self._reception.routes(),
                ProbeRoute(self.prober).route(),
                *Pages(lambda: self.config).routes(),
            ],
        )

    def _new_reader(self) -> Reader:
        tree = self.config.tree
        limits = TreeLimits(tree.nodes_max, tree.subtrees_max, tree.depth_max)
        return Reader(self.labeller.record_fields, self._record_types, limits)

    def _journey(self, account: Account, transport: Transport) -> Journey:
        pacer = self._pacers[account.name] = Pacer(account.requests_per_second, account.max_in_flight)
        client = self._clients[account.name] = Client(
            name=account.name,
            base_url=account.base_url,
            api_key=lambda: account.api_key().reveal(),
            pacer=pacer,
            limits=Limits(
                self.config.tree.body_bytes_max,
                self.config.polling.timeout_seconds,
                self.config.polling.attempts_max,
            ),
            transport=transport(account.ca_file, account.max_in_flight),
            monotonic=self.clock.monotonic,
            sleep=asyncio.sleep,
            random=self._random,
            observe=lambda answered: self._observe(account.name, answered),
        )
        return Journey(
            client,
            lambda: self._reader,
            self.labeller,
            max_depth=self.config.tree.max_depth,
            expand=self.config.tree.expand != "none",
        )

    # Running

    async def run(self) -> None:
        """Run until `stop`; raises what made a thread die, or LedgerError when the ledger can't be opened."""
        self._loop = asyncio.get_running_loop()
        await self.ledger.open(lambda: open_ledger(self.config.ledger.url, self._policy, Settings.of(self.config)))
        try:
            await self._recover()
            self._reception.open()
            self.prober.open()
            self.web.start()
            log.info("listening", extra=facts(port=self.web.port, version=__version__))
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

    def stop(self) -> None:
        """Have `run` end; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def follow(self, refs: Iterable[SessionRef], source: str) -> None:
        """Have these sessions followed; returns when that is durable."""
        await self.intake.take_refs(list(refs), source)

    async def close_clients(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _recover(self) -> None:
        """Memory is what the ledger says; then come the configured sessions and the series known in advance."""
        now = self.clock.now()
        self.metrics.load(await self.ledger.run(SqliteLedger.totals))
        await self.ledger.run(SqliteLedger.hasten, now)
        known = await self.ledger.run(SqliteLedger.followed, now - FOLLOWED_SECONDS, 1000)
        self.metrics.follow(known, now)
        await self._extend_record_types(await self.ledger.run(SqliteLedger.kept, "metadata"))
        self._booker.show(await self.ledger.run(SqliteLedger.configure, list(self.config.session_refs()), now))
        self._booker.show(await self.ledger.run(SqliteLedger.born, list(known_series(self.config, self._record_types))))
        await self.discovery.begin(now)
        self._zero_process_series()
        self._open = True

    async def _work(self) -> None:
        booking = asyncio.create_task(self._booker.run())
        booking.add_done_callback(self._task_died)
        scheduler = self._schedule()
        scheduler.start()
        await self._look_back()
        publishing = asyncio.create_task(self._publish())
        publishing.add_done_callback(self._task_died)
        await self._start_job("_fetch_metadata", self._fetch_metadata)
        await self._start_job("_gauges", self._gauges)
        await self._start_job("_keep", self._keep)
        await self._start_job("look", self.files.look)
        await self._stop.wait()
        log.info("stopping")
        scheduler.pause()
        await self.poller.stop(STOP_SECONDS)
        await self._end_jobs()
        scheduler.shutdown(wait=False)  # it cancels what it has just started, so it comes last
        for task in (booking, publishing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def _schedule(self) -> AsyncIOScheduler:
        # The library's own defaults drop a run that is a second late, without a word.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        for job, seconds in (
            (self.poller.tick, self.config.polling.tick_seconds),
            (self._release, RELEASE_SECONDS),
            (self._gauges, GAUGES_SECONDS),
            (self._fetch_metadata, METADATA_RETRY_SECONDS),
            (self._keep, KEEP_SECONDS),
            (self.files.look, LOOK_SECONDS),
        ):
            scheduler.add_job(self._start_job, "interval", (job.__name__, job), seconds=seconds, id=job.__name__)
        scheduler.add_job(self.discover, "interval", seconds=self.config.polling.tick_seconds, id="discover")
        return scheduler

    async def discover(self) -> None:
        """Start whatever is due to be asked."""
        for name, job in self.discovery.due():
            await self._start_job(name, job)

    async def _start_job(self, name: str, job: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a job unless its last run is still under way."""
        running = self._jobs.get(name)
        if running is None or running.done():
            task = self._jobs[name] = asyncio.get_running_loop().create_task(job())
            task.add_done_callback(_log_failure)

    async def _end_jobs(self) -> None:
        for task in self._jobs.values():
            task.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    async def _look_back(self) -> None:
        """On an empty ledger: nothing is shown, and the exporter not ready, until what was before is booked."""
        if await self.discovery.looks_back():
            log.info("looking back; /metrics waits for it")
            looking = asyncio.create_task(self.discovery.look_back())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (looking, stopping):
                task.cancel()
            if looking.done() and not looking.cancelled() and isinstance(looking.exception(), LedgerError):
                self._booker.failed(LedgerError(str(looking.exception())))
        self._shown = True

    async def _publish(self) -> None:
        while True:
            page = self.metrics.page()
            if page is not None:
                self.web.publish(page)
            await asyncio.sleep(PUBLISH_SECONDS)

    async def _release(self) -> None:
        """Series that were scraped at 0 for long enough show their value: first the mark, then the page."""
        rows = self.metrics.ripe(self.clock.monotonic())
        if rows:
            try:
                self._booker.show(await self.ledger.run(SqliteLedger.release, rows))
            except LedgerError as error:
                self._booker.failed(error)

    async def _gauges(self) -> None:
        """Facts that no receipt carries."""
        for name, pacer in self._pacers.items():
            self.metrics.set("telnyx_api_throttled_seconds_total", (name,), pacer.throttled_seconds)
            if pacer.quota_limit is not None:
                self.metrics.set("telnyx_api_quota_limit", (name,), pacer.quota_limit)
            if pacer.quota_remaining is not None:
                self.metrics.set("telnyx_api_quota_remaining", (name,), pacer.quota_remaining)
        try:
            due = await self.ledger.run(SqliteLedger.due, self.clock.now(), list(self._clients))
            self.metrics.set("telnyx_due_sessions", (), due)
            self.metrics.set("telnyx_ledger_size_bytes", (), await self.ledger.run(SqliteLedger.size_bytes))
        except LedgerError as error:
            self._booker.failed(error)

    async def _keep(self) -> None:
        """Move the budgets' windows on, and forget what is older than the retention, in small steps."""
        now = self.clock.now()
        before = now - DAY_SECONDS * self.config.ledger.retention_days
        try:
            self._booker.show(await self.ledger.run(SqliteLedger.sum_up, now))
            pruned = PRUNE_SESSIONS_MAX
            while pruned == PRUNE_SESSIONS_MAX:
                pruned, receipt = await self.ledger.run(SqliteLedger.prune, before, PRUNE_SESSIONS_MAX)
                self._booker.show(receipt)
        except LedgerError as error:
            self._booker.failed(error)
        for budget in self.config.budgets:
            labels, current = (budget.name, budget.currency), window(budget, now)
            length = budget.window if isinstance(budget.window, int) else current.end - current.start
            self.metrics.set("telnyx_budget_limit", labels, budget.amount)
            self.metrics.set("telnyx_budget_window_start_timestamp_seconds", labels, current.start)
            self.metrics.set("telnyx_budget_window_seconds", labels, length)

    # The API's metadata

    async def _fetch_metadata(self) -> None:
        """Learn record types that came after this version; any account's answer will do."""
        known_at = self._metadata_at
        if known_at is not None and self.clock.monotonic() - known_at < METADATA_SECONDS:
            return
        for name, client in self._clients.items():
            try:
                metadata = (await client.metadata()).decode("utf-8", "replace")
                await self._extend_record_types(metadata)
                await self.ledger.run(SqliteLedger.keep, "metadata", metadata)
            except (ConfigError, PollError, LedgerError) as error:
                log.warning("metadata not fetched", extra=facts(account=name, error=str(error)))
            else:
                self._metadata_at = self.clock.monotonic()
                return

    async def _extend_record_types(self, metadata: str | None) -> None:
        if metadata is not None:
            self._record_types = RecordTypes.documented().extended(metadata.encode())
            self._reader = self._new_reader()

    # The exporter's own families

    def _zero_process_series(self) -> None:
        for account in self.config.accounts:
            for family in (
                "telnyx_polls_total",
                "telnyx_trees_cut_total",
                "telnyx_trees_cut_unresolved_total",
                "telnyx_api_throttled_seconds_total",
            ):
                self.metrics.inc(family, (account.name,), 0)
            self.metrics.set("telnyx_api_last_success_timestamp_seconds", (account.name,), 0)
            for source in configured_sources(self.config, account):
                self.metrics.inc("telnyx_discovery_failures_total", (account.name, source), 0)
        self.metrics.inc("telnyx_ledger_commit_failures_total", (), 0)
        self.metrics.set("telnyx_series_limit", (), self.config.metrics.series_max)
        self.metrics.set("telnyx_exporter_build_info", (__version__, platform.python_version()), 1)
        self.metrics.set("telnyx_exporter_config_last_reload_successful", (), 1)
        self.metrics.set("telnyx_exporter_config_last_reload_success_timestamp_seconds", (), self.clock.now())

    def _observe(self, account: str, answered: Answered) -> None:
        """One request to the API ended."""
        self.metrics.inc("telnyx_api_requests_total", (account, answered.endpoint, answered.code))
        self.metrics.observe("telnyx_api_request_duration_seconds", (account, answered.endpoint), answered.seconds)
        up = answered.code.isdigit() and answered.code != "401" and not answered.code.startswith("5")
        self.metrics.set("telnyx_api_up", (account,), int(up))
        if answered.code == "200":
            self.metrics.set("telnyx_api_last_success_timestamp_seconds", (account,), self.clock.now())

    # Health

    def _status(self) -> Status:
        """Called from the web thread: reads references, changes nothing."""
        late = 10 * self.config.polling.tick_seconds + 30
        ticked = self.poller.ticked_at
        stuck = ticked is not None and self.clock.monotonic() - ticked > late
        healthy = "no tick of the scheduler for long" if stuck else None
        if self._stop.is_set():
            return Status(healthy, "stopping")
        if not self._open or not self.poller.claimed_once:
            return Status(healthy, "starting: the first sessions were not claimed yet")
        if not self._shown:
            return Status(healthy, "starting: looking back at what was before the ledger")
        return Status(healthy, f"ledger: {self._booker.failing}" if self._booker.failing else None)

    def _task_died(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._thread_died(task.exception())

    def _thread_died(self, error: BaseException | None) -> None:
        """A part of the exporter ended that must not: end the process, so that its supervisor starts it again."""
        log.critical("a thread died; the exporter ends", extra=facts(error=repr(error)))
        self._died = error
        self.stop()


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a job failed; it runs again at its next time", exc_info=task.exception())


def policy(config: Config) -> Policy:
    polling = config.polling
    return Policy(
        min_interval=polling.min_interval_seconds,
        max_interval=polling.max_interval_seconds,
        settle_after=polling.settle_after_seconds,
        recheck_after=polling.recheck_after_seconds,
        give_up_after=polling.give_up_after_seconds,
        configured_recheck=polling.configured_recheck_seconds,
        hinted_interval=polling.hinted_interval_seconds,
    )
