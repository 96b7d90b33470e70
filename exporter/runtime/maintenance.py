"""The repeated work beside polling: new series, budget windows, retention, and the exporter's own gauges."""

import logging
import math
import platform

from exporter import __version__
from exporter.core.budgets import current_window
from exporter.core.catalog import FAMILIES
from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.ledger import Ledger
from exporter.ledger.sharing.leases import PRUNING
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.metrics.zero_series import configured_sources
from exporter.polling.commit_queue import CommitQueue
from exporter.runtime.jobs import Job
from exporter.runtime.plan import Plan
from exporter.runtime.replicas import Replicas
from exporter.telnyx.client import Answered
from exporter.telnyx.pacing import ENDPOINTS
from exporter.web import WebServer

log = logging.getLogger(__name__)

ZERO_START_SECONDS = 0.5
GAUGES_SECONDS = 5.0
MAINTAIN_SECONDS = 60.0
COUNT_PAUSE_FACTOR = 100
"""The pause between two counts of due sessions is this many times the last count: a hundredth of the ledger's time."""
COUNT_PAUSE_SECONDS_MAX = 300.0
"""The longest pause: a count may only have been slow because a server was unavailable, and an alert needs the gauge."""
PRUNE_SESSIONS_MAX = 25
"""Sessions per transaction, about 30 ms with a million of them, so that polls and webhooks don't wait for long."""
DAY_SECONDS = 86_400.0
TASKS = (
    *("awaited_records", "backfill", "balance", "config", "detail_records", "discover", "expose", "files"),
    *("gauges", "heartbeat", "maintenance", "metadata", "pages", "poll", "zero_start"),
)
"""The values of the label `task`: the exporter's jobs and its pages."""


def _gauges(label: str) -> tuple[str, ...]:
    """Return the process gauges whose first label is this one."""
    return tuple(
        family.name
        for family in FAMILIES
        if (family.home, family.kind) == ("process", "gauge") and family.labels[:1] == (label,)
    )


ACCOUNT_GAUGES, BUDGET_GAUGES = _gauges("account"), _gauges("budget")
ACCOUNT_COUNTERS = (
    "telnyx_polls_total",
    "telnyx_trees_cut_total",
    "telnyx_trees_cut_unresolved_total",
    "telnyx_exporter_key_failures_total",
)


class Maintenance:
    """The repeated work under the current plan."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        replicas: Replicas,
        web: WebServer,
    ) -> None:
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._replicas = replicas
        self._web = web
        self._plan: Plan | None = None
        self._count_due_at = -math.inf
        for task in TASKS:
            metrics.inc("telnyx_exporter_task_failures_total", (task,), 0)
        metrics.set("telnyx_exporter_build_info", (__version__, platform.python_version()), 1)

    def apply_plan(self, plan: Plan) -> None:
        """Work by this plan: start new accounts' series, and remove the gauges of removed accounts and budgets."""
        before = self._plan.config if self._plan is not None else None
        self._plan = plan
        self._metrics.set("telnyx_series_limit", (), plan.config.metrics.series_max)
        known = {account.name for account in before.accounts} if before is not None else set()
        for account in plan.config.accounts:
            # A series that starts at 0 lets `increase()` see its first value.
            for family in ACCOUNT_COUNTERS:
                self._metrics.inc(family, (account.name,), 0)
            for endpoint in ENDPOINTS:
                self._metrics.inc("telnyx_api_throttled_seconds_total", (account.name, endpoint), 0)
            if account.name not in known:
                self._metrics.set("telnyx_api_last_success_timestamp_seconds", (account.name,), 0)
            for source in configured_sources(plan.config, account):
                self._metrics.inc("telnyx_discovery_failures_total", (account.name, source), 0)
        for name in known - plan.clients.keys():
            for family in ACCOUNT_GAUGES:
                self._metrics.swap(family, name, {})
        for budget in before.budgets if before is not None else ():
            for family in BUDGET_GAUGES:
                self._metrics.swap(family, budget.name, {})
        self._set_budgets(self._clock.now())

    def jobs(self) -> tuple[tuple[float, str, Job], ...]:
        """Return the jobs: interval in seconds, task, job."""
        return (
            (ZERO_START_SECONDS, "zero_start", self.expose_series),
            (GAUGES_SECONDS, "gauges", self.update_gauges),
            (MAINTAIN_SECONDS, "maintenance", self.maintain),
        )

    async def expose_series(self) -> None:
        """Show the value of series that were scraped at 0 for long enough.

        The ledger is marked before the page shows it: after a crash in between, a value that was shown must not be 0
        again.
        """
        rows = self._metrics.exposable(self._clock.monotonic())
        if rows and self._replicas.exposing:
            try:
                self._commit_queue.show(await self._ledger.run(Ledger.expose, rows))
            except LedgerError as error:
                self._commit_queue.report_failure(error)

    async def update_gauges(self) -> None:
        """Set the gauges and counters that no receipt of the ledger carries."""
        self._metrics.set("telnyx_exporter_exposes_ledger", (), int(self._replicas.exposing))
        self._metrics.set("telnyx_exporter_replicas", (), self._replicas.count)
        for family, labels, count in self._web.counts():
            self._metrics.set(family, labels, count)
        for account, pacers in self._current_plan.pacers.items():
            for endpoint, pacer in pacers.items():
                labels = (account, endpoint)
                self._metrics.set("telnyx_api_throttled_seconds_total", labels, pacer.throttled_seconds)
                if pacer.quota_limit is not None:
                    self._metrics.set("telnyx_api_quota_limit", labels, pacer.quota_limit)
                if pacer.quota_remaining is not None:
                    self._metrics.set("telnyx_api_quota_remaining", labels, pacer.quota_remaining)
        try:
            await self._count_due()
            size, restores, retries = await self._ledger.run(
                lambda ledger: (ledger.size_bytes(), ledger.restores, ledger.retries)
            )
        except LedgerError as error:
            self._commit_queue.report_failure(error)
        else:
            self._metrics.set("telnyx_ledger_size_bytes", (), size)
            self._metrics.set("telnyx_ledger_restores_total", (), restores)
            self._metrics.set("telnyx_ledger_retries_total", (), retries)

    async def _count_due(self) -> None:
        """Count due sessions; counting a long backlog is slow, so it is done less often."""
        monotonic, now, accounts = self._clock.monotonic, self._clock.now(), list(self._current_plan.clients)

        def count(ledger: Ledger) -> tuple[int, float]:
            started_at = monotonic()  # on the ledger's thread: waiting for it doesn't count
            return ledger.count_due(now, accounts), monotonic() - started_at

        if monotonic() >= self._count_due_at:
            due, seconds = await self._ledger.run(count)
            self._metrics.set("telnyx_due_sessions", (), due)
            self._count_due_at = monotonic() + min(COUNT_PAUSE_FACTOR * seconds, COUNT_PAUSE_SECONDS_MAX)

    async def maintain(self) -> None:
        """Move the budgets' windows on, and prune sessions older than the retention, in small transactions."""
        now = self._clock.now()
        settings = self._current_plan.config.ledger
        remembered_days = max(settings.retention_days, settings.pruned_events_days)
        before, oldest = now - DAY_SECONDS * settings.retention_days, now - DAY_SECONDS * remembered_days
        try:
            self._commit_queue.show(await self._ledger.run(Ledger.refresh_budgets, now))
            pruned, total = PRUNE_SESSIONS_MAX if self._replicas.holds(PRUNING) else 0, 0
            while pruned == PRUNE_SESSIONS_MAX:
                pruned, receipt = await self._ledger.run(Ledger.prune, before, PRUNE_SESSIONS_MAX, oldest)
                self._commit_queue.show(receipt)
                total += pruned
            if total:
                log.info("sessions pruned: they are older than ledger.retention_days", extra=fields(sessions=total))
        except LedgerError as error:
            self._commit_queue.report_failure(error)
        self._set_budgets(now)

    def observe(self, account: str, answered: Answered) -> None:
        """Count a request to the API that has ended."""
        self._metrics.inc("telnyx_api_requests_total", (account, answered.endpoint, answered.code))
        self._metrics.observe("telnyx_api_request_duration_seconds", (account, answered.endpoint), answered.seconds)
        if account not in self._current_plan.clients:
            return  # the account was removed, and with it its gauges
        up = answered.code.isdigit() and answered.code != "401" and not answered.code.startswith("5")
        self._metrics.set("telnyx_api_up", (account,), int(up))
        if answered.code == "200":
            self._metrics.set("telnyx_api_last_success_timestamp_seconds", (account,), self._clock.now())

    def count_key_failure(self, account: str) -> None:
        """Count that the file of the account's API key has become unreadable."""
        self._metrics.inc("telnyx_exporter_key_failures_total", (account,))

    def _set_budgets(self, now: float) -> None:
        for budget in self._current_plan.config.budgets:
            labels = (budget.name, budget.currency)
            current = current_window(budget.window, budget.timezone, now)
            length = budget.window if isinstance(budget.window, int) else current.end - current.start
            self._metrics.set("telnyx_budget_limit", labels, budget.amount)
            self._metrics.set("telnyx_budget_window_start_timestamp_seconds", labels, current.start)
            self._metrics.set("telnyx_budget_window_seconds", labels, length)

    @property
    def _current_plan(self) -> Plan:
        assert self._plan is not None, "the app applies a plan before anything runs"
        return self._plan
