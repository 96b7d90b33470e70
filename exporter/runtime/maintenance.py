"""What has to be done now and then, whoever polls what: births, budgets' windows, forgetting, gauges.

Owns those chores and the exporter's own families that no receipt carries. Each is called again and again by a job. The
surprising fact: a value is shown in two steps, first the mark in the ledger, then the page, since a value that was
once shown must never be 0 again.
"""

import logging
import math
import platform
from collections.abc import Callable, Iterable

from exporter import __version__
from exporter.config import Account
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

log = logging.getLogger(__name__)

RELEASE_SECONDS = 0.5
GAUGES_SECONDS = 5.0
COUNTING_PAUSES = 100
"""Between two counts of the backlog so many times as long as the last one took: a hundredth of the ledger's time."""
COUNTING_SECONDS_MAX = 300.0
"""But no longer: a count may take long because a server was looked for, and an alert goes by it."""
KEEP_SECONDS = 60.0
PRUNE_SESSIONS_MAX = 25
"""Per transaction, some 30 ms of a million sessions, so that neither a batch of polls nor a webhook waits for long."""
DAY_SECONDS = 86_400.0
TASKS = (
    *("balance", "beat", "config", "detail_records", "discover", "expose", "files"),
    *("gauges", "keep", "look_back", "metadata", "pages", "poll", "release"),
)
"""The jobs of the exporter and its pages, as values of the label `task`."""


def _gauges(label: str) -> tuple[str, ...]:
    """Gauges of this process that say how something named by the label is now."""
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
    "telnyx_api_throttled_seconds_total",
    "telnyx_exporter_key_failures_total",
)


class Maintenance:
    """The chores under the plan of now."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        sharing: Replicas,
        counted: Callable[[], Iterable[tuple[str, tuple[str, ...], int]]],
    ) -> None:
        """`counted` gives families, labels and values of what other threads have counted so far."""
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._sharing = sharing
        self._counted = counted
        self._plan: Plan | None = None
        self._counted_again_at = -math.inf
        for task in TASKS:
            metrics.inc("telnyx_exporter_task_failures_total", (task,), 0)
        metrics.set("telnyx_exporter_build_info", (__version__, platform.python_version()), 1)

    def adopt(self, plan: Plan) -> None:
        """Work by this plan; series of new accounts begin, and what was said of those that left is said no more."""
        before = self._plan.config if self._plan is not None else None
        self._plan = plan
        self._metrics.set("telnyx_series_limit", (), plan.config.metrics.series_max)
        known = {account.name for account in before.accounts} if before is not None else set()
        for account in plan.config.accounts:
            self._zero_series(account, new=account.name not in known)
        for name in known - plan.clients.keys():
            for family in ACCOUNT_GAUGES:
                self._metrics.swap(family, name, {})
        for budget in before.budgets if before is not None else ():
            for family in BUDGET_GAUGES:
                self._metrics.swap(family, budget.name, {})
        self._show_budgets(self._clock.now())

    def jobs(self) -> tuple[tuple[float, str, Job], ...]:
        """The chores by how often they come, in seconds, and the name of their task."""
        return (
            (RELEASE_SECONDS, "release", self.release),
            (GAUGES_SECONDS, "gauges", self.gauges),
            (KEEP_SECONDS, "keep", self.keep),
        )

    async def release(self) -> None:
        """Series that were scraped at 0 for long enough show their value: first the mark, then the page."""
        rows = self._metrics.exposable(self._clock.monotonic())
        if rows and self._sharing.exposing:
            try:
                self._commit_queue.show(await self._ledger.run(Ledger.expose, rows))
            except LedgerError as error:
                self._commit_queue.report_failure(error)

    async def gauges(self) -> None:
        """Facts that no receipt carries."""
        self._metrics.set("telnyx_exporter_exposes_ledger", (), int(self._sharing.exposing))
        self._metrics.set("telnyx_exporter_replicas", (), self._sharing.replicas)
        for family, labels, count in self._counted():
            self._metrics.set(family, labels, count)
        for name, pacer in self._now.pacers.items():
            self._metrics.set("telnyx_api_throttled_seconds_total", (name,), pacer.throttled_seconds)
            if pacer.quota_limit is not None:
                self._metrics.set("telnyx_api_quota_limit", (name,), pacer.quota_limit)
            if pacer.quota_remaining is not None:
                self._metrics.set("telnyx_api_quota_remaining", (name,), pacer.quota_remaining)
        try:
            await self._count_due()
            self._metrics.set("telnyx_ledger_size_bytes", (), await self._ledger.run(Ledger.size_bytes))
            rescues = await self._ledger.run(lambda ledger: ledger.restores)
            self._metrics.set("telnyx_ledger_restores_total", (), rescues)
            repeats = await self._ledger.run(lambda ledger: ledger.retries)
            self._metrics.set("telnyx_ledger_retries_total", (), repeats)
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _count_due(self) -> None:
        """A backlog is counted by looking through it, so a long one is counted less often."""
        monotonic, now, accounts = self._clock.monotonic, self._clock.now(), list(self._now.clients)

        def count(ledger: Ledger) -> tuple[int, float]:
            began = monotonic()  # here, where it no longer waits for its turn
            return ledger.count_due(now, accounts), monotonic() - began

        if monotonic() >= self._counted_again_at:
            due, seconds = await self._ledger.run(count)
            self._metrics.set("telnyx_due_sessions", (), due)
            self._counted_again_at = monotonic() + min(COUNTING_PAUSES * seconds, COUNTING_SECONDS_MAX)

    async def keep(self) -> None:
        """Move the budgets' windows on, and forget what is older than the retention, in small steps."""
        now = self._clock.now()
        before = now - DAY_SECONDS * self._now.config.ledger.retention_days
        try:
            self._commit_queue.show(await self._ledger.run(Ledger.refresh_budgets, now))
            pruned, forgotten = PRUNE_SESSIONS_MAX if self._sharing.holds(PRUNING) else 0, 0
            while pruned == PRUNE_SESSIONS_MAX:
                pruned, receipt = await self._ledger.run(Ledger.prune, before, PRUNE_SESSIONS_MAX)
                self._commit_queue.show(receipt)
                forgotten += pruned
            if forgotten:
                log.info("sessions pruned: they are older than ledger.retention_days", extra=fields(sessions=forgotten))
        except LedgerError as error:
            self._commit_queue.report_failure(error)
        self._show_budgets(now)

    def observe(self, account: str, answered: Answered) -> None:
        """One request to the API ended."""
        self._metrics.inc("telnyx_api_requests_total", (account, answered.endpoint, answered.code))
        self._metrics.observe("telnyx_api_request_duration_seconds", (account, answered.endpoint), answered.seconds)
        if account not in self._now.clients:
            return  # a last answer for an account that is no longer configured
        up = answered.code.isdigit() and answered.code != "401" and not answered.code.startswith("5")
        self._metrics.set("telnyx_api_up", (account,), int(up))
        if answered.code == "200":
            self._metrics.set("telnyx_api_last_success_timestamp_seconds", (account,), self._clock.now())

    def key_failed(self, account: str) -> None:
        """The file of an account's API key can't be read any more."""
        self._metrics.inc("telnyx_exporter_key_failures_total", (account,))

    def _show_budgets(self, now: float) -> None:
        for budget in self._now.config.budgets:
            labels = (budget.name, budget.currency)
            current = current_window(budget.window, budget.timezone, now)
            length = budget.window if isinstance(budget.window, int) else current.end - current.start
            self._metrics.set("telnyx_budget_limit", labels, budget.amount)
            self._metrics.set("telnyx_budget_window_start_timestamp_seconds", labels, current.start)
            self._metrics.set("telnyx_budget_window_seconds", labels, length)

    def _zero_series(self, account: Account, *, new: bool) -> None:
        for family in ACCOUNT_COUNTERS:
            self._metrics.inc(family, (account.name,), 0)
        if new:
            self._metrics.set("telnyx_api_last_success_timestamp_seconds", (account.name,), 0)
        for source in configured_sources(self._now.config, account):
            self._metrics.inc("telnyx_discovery_failures_total", (account.name, source), 0)

    @property
    def _now(self) -> Plan:
        assert self._plan is not None, "adopted before anything runs"
        return self._plan
