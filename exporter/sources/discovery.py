"""When the detail records and the balance of each account are requested, and the initial backfill.

The backfill is history, so all of it is booked before any total is shown. If a page showed its series at 0 first,
`increase()` would count yesterday's calls as today's spend. It takes as long as it takes, and resumes after a restart.
"""

import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial

from exporter.config import Account, Config, DetailRecordSettings
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, LedgerError, PollError
from exporter.ledger import Ledger
from exporter.ledger.queue.awaited_records import START, RecordName
from exporter.ledger.sharing.leases import BACKFILL, BALANCE, account_lease
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.sources.balance import hide_balance, show_balance
from exporter.sources.detail_records import DetailRecordSource
from exporter.sources.record_kinds import kinds
from exporter.telnyx.client import TelnyxClient

log = logging.getLogger(__name__)

Job = Callable[[], Coroutine[None, None, None]]

BACKFILL_CHECK_SECONDS = 0.2
BACKFILL_RETRY_SECONDS = 30.0
"""How soon a failed read of detail records is retried while the backfill waits for it."""
BACKFILL_STALLED_SECONDS = 3600.0
"""The backfill ends without what has made no progress for so long, so that it doesn't hide all money."""
PROGRESS_SECONDS = 5.0
"""How often the progress is counted."""
PROGRESS_LOG_SECONDS = 60.0
AWAITED_SECONDS = 60.0
"""How often awaited detail records are looked up among the booked events."""
DUE_SESSIONS_MAX = 30
"""Awaited records are followed only while fewer sessions of their account are due: calls come first."""
PENDING, DONE = "pending", "done"
"""The state of the backfill, in the ledger's metadata under the lease's name. A pending one resumes after a restart."""


class Discovery:
    """The polled sources of all accounts."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        holds: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Poll what this process has the lease for: `holds` returns whether it has the lease of that name."""
        self._ledger = ledger
        self._holds = holds
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._balance_at: dict[str, float] = {}
        self._running = 0
        self._accounts: tuple[Account, ...] = ()
        self._settings = DetailRecordSettings()
        self._clients = dict[str, TelnyxClient]()
        self._records: dict[str, DetailRecordSource] = {}
        self._awaited_at: dict[str, float] = {}
        self._awaited_after: dict[str, RecordName] = {}
        """By account: the awaited record to continue from."""
        self.backfill_pending = False
        """Whether the initial backfill is not booked yet."""
        self.backfill_progress: str | None = None
        """In words for people, while the backfill is pending."""

    def apply_config(self, config: Config, clients: Mapping[str, TelnyxClient]) -> None:
        """Use this configuration and these clients by account; sources with unchanged settings keep their state."""
        settings = config.discovery.detail_records
        unchanged = self._records if settings == self._settings else {}
        self._accounts, self._settings, self._clients = config.accounts, settings, dict(clients)
        self._records = {
            name: unchanged.get(name)
            or DetailRecordSource(
                name,
                client,
                kinds(settings),
                settings,
                ledger=self._ledger,
                show=self._commit_queue.show,
                metrics=self._metrics,
                clock=self._clock,
            )
            for name, client in clients.items()
        }
        for name, source in self._records.items():
            source.use_client(clients[name])
        for account in self._accounts:
            if not _balance_wanted(account):
                hide_balance(self._metrics, account.name)

    def note(self) -> str | None:
        """Return what a person should know of the sources, in words; from any thread."""
        failing = [
            f"{name}: {', '.join(types)}" for name, each in self._records.items() if (types := each.failing_types())
        ]
        unread = f"Detail records that can't be read: {'; '.join(failing)}." if failing else None
        return " ".join(filter(None, (self.backfill_progress, unread))) or None

    @property
    def idle(self) -> bool:
        """No detail records are due or being read, and none that wait."""
        held = self._held()
        listing = bool(self._settings.record_types)  # without it nothing new is awaited
        due = (source.due or (listing and self._awaited_due(name)) for name, source in held.items())
        return not self._running and not self.backfill_pending and not any(due)

    def _held(self) -> dict[str, DetailRecordSource]:
        """Return the sources that this process polls; the states of the others change in the ledger."""
        held = {
            name: source for name, source in self._records.items() if self._holds(account_lease(name, DETAIL_RECORDS))
        }
        for name in self._records.keys() - held.keys():
            self._records[name].forget_states()
        return held

    def due(self) -> Iterator[tuple[str, Job, str]]:
        """Yield the requests that are due: task, job, account."""
        for name, source in self._held().items():
            if source.due or (self.backfill_pending and source.unfinished_since(BACKFILL_RETRY_SECONDS)):
                yield "detail_records", partial(self._run, source.poll), name
            if self._awaited_due(name):
                yield "awaited_records", partial(self._run, partial(self._follow_awaited, name)), name
        for account in self._accounts:
            if self._balance_due(account):
                yield "balance", partial(self._fetch_balance, account.name), account.name

    async def start(self, now: float) -> None:
        """Store where the first polls start and whether there is a backfill; raises LedgerError."""
        if await self._ledger.run(Ledger.get_meta, BACKFILL) is None:
            empty = await self._ledger.run(Ledger.is_empty)
            wanted = bool(self._settings.record_types) and self._settings.first_lookback_seconds > 0
            state = PENDING if empty and wanted else DONE
            await self._ledger.run(Ledger.put_meta, BACKFILL, state)
        for source in self._records.values():
            await source.load_states(now)
        self.backfill_pending = not await self._backfilled()

    async def _backfilled(self) -> bool:
        return await self._ledger.run(Ledger.get_meta, BACKFILL) != PENDING

    async def backfill(self) -> None:
        """Wait until what was before the ledger is booked, then expose all of it; never raises LedgerError."""
        log.info("initial backfill started; /metrics shows no totals until it is finished")
        while self.backfill_pending:
            try:
                await self._backfill()
            except LedgerError as error:
                self._commit_queue.report_failure(error)
                await self._clock.sleep(BACKFILL_CHECK_SECONDS)

    async def _backfill(self) -> None:
        progress = _Progress(self._clock)
        unread = await self._read_all(progress)
        if not await self._backfilled():
            unanswered = await self._poll_all(progress)
            for account in list(self._records):
                while not await self._follow_at_once(account):
                    await self._report(progress, 1.0)
            unanswered = max(unanswered, await self._poll_all(progress))
            if unread or unanswered:
                log.warning(
                    "initial backfill finished without some records or sessions; their later costs count as new",
                    extra=fields(types=", ".join(unread) or None, sessions=unanswered or None),
                )
                self._metrics.inc("telnyx_exporter_task_failures_total", ("backfill",))
            self._commit_queue.show(await self._ledger.run(Ledger.expose_all))
            await self._ledger.run(Ledger.put_meta, BACKFILL, DONE)
            log.info("initial backfill finished")
        self.backfill_pending, self.backfill_progress = False, None

    async def _read_all(self, progress: "_Progress") -> list[str]:
        """Wait until the history of all types is read; return the types that are given up, with their accounts.

        Returns early if another replica has finished the backfill.
        """
        before, moved_at = -1.0, self._clock.monotonic()
        while not await self._backfilled():
            unread: list[str] = []
            shares = []
            for name, source in self._records.items():
                share, types = await source.history()
                self._metrics.set("telnyx_backfill_records_ratio", (name,), share)
                shares.append(share)
                unread += [f"{name}/{record_type}" for record_type in types]
            share = sum(shares) / len(shares)
            if share != before:
                before, moved_at = share, self._clock.monotonic()
            stalled = self._clock.monotonic() - moved_at > BACKFILL_STALLED_SECONDS
            if self._holds(BACKFILL) and (not unread or stalled):
                return unread
            await self._report(progress, share)
        return []

    async def _poll_all(self, progress: "_Progress") -> int:
        """Wait until the API has answered for all sessions that are known by now; return how many are given up."""
        last = await self._ledger.run(Ledger.last_session_id)
        before, moved_at = -1, self._clock.monotonic()
        while left := await self._ledger.run(Ledger.count_unanswered, list(self._records), last):
            if left != before:
                before, moved_at = left, self._clock.monotonic()
            if self._clock.monotonic() - moved_at > BACKFILL_STALLED_SECONDS:
                return left
            await self._report(progress, 1.0)
        return 0

    async def _report(self, progress: "_Progress", share: float) -> None:
        """Report the progress if it is time, and wait for the next check."""
        if progress.is_due():
            found = await self._ledger.run(Ledger.count_sessions)
            polled = found - await self._ledger.run(Ledger.count_unanswered, list(self._records))
            self._metrics.set("telnyx_backfill_sessions", ("found",), found)
            self._metrics.set("telnyx_backfill_sessions", ("polled",), polled)
            words = f"records {100 * share:.0f} %, sessions {polled} of {found}"
            self.backfill_progress = f"Initial backfill: {words}. /metrics shows totals when it is finished."
            if progress.log_is_due():
                log.info("initial backfill", extra=fields(progress=words))
        await self._clock.sleep(BACKFILL_CHECK_SECONDS)

    async def _follow_at_once(self, account: str) -> bool:
        """Follow a portion of the awaited records, which are history too; return whether these were the last."""
        now = self._clock.now()
        more, receipt = await self._ledger.run(Ledger.follow_awaited, account, now, DUE_SESSIONS_MAX, at_once=True)
        self._commit_queue.show(receipt)
        return not more

    def _awaited_due(self, account: str) -> bool:
        followed_at = self._awaited_at.get(account)
        waits = followed_at is not None and 0 <= self._clock.now() - followed_at < AWAITED_SECONDS
        return not waits and not self.backfill_pending

    async def _follow_awaited(self, account: str) -> None:
        """Forget awaited records that trees have brought, and follow those that none has brought in time."""
        now = self._clock.now()
        after = self._awaited_after.get(account, START)
        self._awaited_after[account], receipt = await self._ledger.run(Ledger.drop_booked_records, account, after)
        self._commit_queue.show(receipt)
        more, receipt = await self._ledger.run(Ledger.follow_awaited, account, now, DUE_SESSIONS_MAX)
        self._commit_queue.show(receipt)
        if not more:  # else the next portion follows as soon as these are polled
            self._awaited_at[account] = now

    async def _run(self, job: Callable[[], Coroutine[None, None, object]]) -> None:
        self._running += 1
        try:
            await job()
        except LedgerError as error:
            self._commit_queue.report_failure(error)
        finally:
            self._running -= 1

    def _balance_due(self, account: Account) -> bool:
        interval, fetched_at = account.balance_interval_seconds, self._balance_at.get(account.name)
        if not self._holds(account_lease(account.name, BALANCE)):
            if self._balance_at.pop(account.name, None) is not None:
                hide_balance(self._metrics, account.name)  # another replica shows it now
            return False
        return _balance_wanted(account) and (fetched_at is None or not 0 <= self._clock.now() - fetched_at < interval)

    async def _fetch_balance(self, account: str) -> None:
        self._balance_at[account] = self._clock.now()
        try:
            answer = await self._clients[account].balance()
            # A reload or a lost lease may have ended this meanwhile.
            wanted = any(known.name == account and _balance_wanted(known) for known in self._accounts)
            if wanted and self._holds(account_lease(account, BALANCE)):
                show_balance(self._metrics, account, answer)
        except (ConfigError, PollError) as error:
            log.warning(
                "balance not fetched; retried at the next interval", extra=fields(account=account, error=str(error))
            )
            self._metrics.inc("telnyx_exporter_task_failures_total", ("balance",))


def _balance_wanted(account: Account) -> bool:
    return account.balance_interval_seconds > 0


class _Progress:
    """When the progress of the backfill is counted, and when it is logged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counted_at = self._logged_at = -math.inf

    def is_due(self) -> bool:
        now = self._clock.monotonic()
        if now - self._counted_at < PROGRESS_SECONDS:
            return False
        self._counted_at = now
        return True

    def log_is_due(self) -> bool:
        now = self._clock.monotonic()
        if now - self._logged_at < PROGRESS_LOG_SECONDS:
            return False
        self._logged_at = now
        return True
