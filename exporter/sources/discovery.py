"""What the API is asked for besides sessions: detail records and the balance, account by account.

Owns when each is due, by session time, and the first look back. The surprising fact: what a first look back finds is
history, so it is booked before anything is shown; a page that had the series at 0 first would make yesterday's calls
look like today's spend.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial

from exporter.config import Account, Config, DetailRecordSettings
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, LedgerError, PollError
from exporter.ledger import Ledger
from exporter.ledger.sharing.leases import BACKFILL, BALANCE
from exporter.ledger.sharing.leases import account_lease as leased
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.commit_queue import CommitQueue
from exporter.sources.balance import forget_balance, show_balance
from exporter.sources.detail_records import DetailRecordSource
from exporter.sources.record_kinds import kinds
from exporter.telnyx.client import TelnyxClient

log = logging.getLogger(__name__)

Job = Callable[[], Coroutine[None, None, None]]

LOOK_BACK_SECONDS_MAX = 600.0
"""An API that can't be asked for so long (real time) keeps /metrics back no longer: what it tells later is new then."""
LOOK_BACK_RETRY_SECONDS = 5.0
BOOKED_SECONDS = 0.2
"""How often it is looked whether all that a look back found is booked."""
PENDING, DONE = "pending", "done"
"""Kept in the ledger under the name of the lease: a look back that a crash interrupts is begun again."""


class Discovery:
    """The sources that are asked."""

    def __init__(
        self,
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        holds: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`holds` says of the name of a lease whether what it is for is this process's to do."""
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

    def adopt(self, config: Config, clients: Mapping[str, TelnyxClient]) -> None:
        """Ask by this configuration, through these clients by account; what is as it was goes on where it is."""
        settings = config.discovery.detail_records
        kept = self._records if settings == self._settings else {}
        self._accounts, self._settings, self._clients = config.accounts, settings, dict(clients)
        self._records = {name: kept.get(name) or self._source(name) for name in clients}
        for name, source in self._records.items():
            source.client = clients[name]
        for account in self._accounts:
            if not _balance_wanted(account):
                forget_balance(self._metrics, account.name)

    def _source(self, account: str) -> DetailRecordSource:
        return DetailRecordSource(
            account,
            self._clients[account],
            kinds(self._settings),
            self._settings,
            ledger=self._ledger,
            show=self._commit_queue.show,
            metrics=self._metrics,
            clock=self._clock,
        )

    @property
    def idle(self) -> bool:
        """No detail records are due or being read."""
        return not self._running and not any(source.due for source in self._held().values())

    def _held(self) -> dict[str, DetailRecordSource]:
        """The sources that are asked by this process; what it knows of the others is in the ledger by now."""
        held = {name: source for name, source in self._records.items() if self._holds(leased(name, DETAIL_RECORDS))}
        for name in self._records.keys() - held.keys():
            self._records[name].forget()
        return held

    def due(self) -> Iterator[tuple[str, Job, str]]:
        """What is to be asked now, as task, job and account."""
        for name, source in self._held().items():
            if source.due:
                yield "detail_records", partial(self._look, source), name
        for account in self._accounts:
            if self._balance_due(account):
                yield "balance", partial(self._fetch_balance, account.name), account.name

    async def begin(self, now: float) -> None:
        """Remember where the first look starts; raises LedgerError."""
        if await self._ledger.run(Ledger.get_meta, BACKFILL) is None:
            empty = await self._ledger.run(Ledger.is_empty)
            state = PENDING if empty and self._settings.first_lookback_seconds > 0 else DONE
            await self._ledger.run(Ledger.put_meta, BACKFILL, state)
        for source in self._records.values():
            await source.begin(now)

    async def looks_back(self) -> bool:
        """Whether the ledger still has to learn what was before it."""
        return await self._ledger.run(Ledger.get_meta, BACKFILL) == PENDING

    async def _ours_or_done(self) -> bool:
        """Whether this process is to look back, or another has; one that dies while it does leaves it to others."""
        return self._holds(BACKFILL) or not await self.looks_back()

    async def look_back(self) -> None:
        """Find and book what was before the ledger, then have all of it shown."""
        try:
            await self._look_back()
        except LedgerError as error:
            self._commit_queue.report_failure(error)

    async def _look_back(self) -> None:
        log.info("looking back; /metrics waits for it")
        try:
            async with asyncio.timeout(LOOK_BACK_SECONDS_MAX):
                await _until(self._ours_or_done, BOOKED_SECONDS)
                if not await self.looks_back():
                    return
                for source in list(self._records.values()):
                    await _until(source.look, LOOK_BACK_RETRY_SECONDS)
                found = await self._ledger.run(Ledger.last_session_id)
                await _until(partial(self._ledger.run, Ledger.all_polled_up_to, found), BOOKED_SECONDS)
        except TimeoutError:
            log.warning("the first look back did not come to its end; what it finds later counts as new")
            self._metrics.inc("telnyx_exporter_task_failures_total", ("look_back",))
        self._commit_queue.show(await self._ledger.run(Ledger.expose_all))
        await self._ledger.run(Ledger.put_meta, BACKFILL, DONE)
        log.info("looked back")

    async def _look(self, source: DetailRecordSource) -> None:
        self._running += 1
        try:
            await source.look()
        except LedgerError as error:
            self._commit_queue.report_failure(error)
        finally:
            self._running -= 1

    def _balance_due(self, account: Account) -> bool:
        interval, asked_at = account.balance_interval_seconds, self._balance_at.get(account.name)
        if not self._holds(leased(account.name, BALANCE)):
            if self._balance_at.pop(account.name, None) is not None:
                forget_balance(self._metrics, account.name)  # another process shows it
            return False
        return _balance_wanted(account) and (asked_at is None or not 0 <= self._clock.now() - asked_at < interval)

    async def _fetch_balance(self, account: str) -> None:
        self._balance_at[account] = self._clock.now()
        try:
            answer = await self._clients[account].balance()
            wanted = any(known.name == account and _balance_wanted(known) for known in self._accounts)
            if wanted and self._holds(leased(account, BALANCE)):  # still
                show_balance(self._metrics, account, answer)
        except (ConfigError, PollError) as error:
            log.warning("balance not fetched", extra=fields(account=account, error=str(error)))
            self._metrics.inc("telnyx_exporter_task_failures_total", ("balance",))


def _balance_wanted(account: Account) -> bool:
    return account.balance_interval_seconds > 0


async def _until(asked: Callable[[], Coroutine[None, None, bool]], seconds: float) -> None:
    while not await asked():  # noqa: ASYNC110 - nobody tells; it is asked for
        await asyncio.sleep(seconds)
