"""What can be asked of the ledger, whatever engine keeps it.

Owns the questions and the transaction around each; all are asked from one thread, the ledger's. An answer that came
back is durable. The surprising fact: an engine may run a transaction more than once, so nothing in one may change
anything but the database and the image of it, which is made anew.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from exporter.core import lifecycle
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.errors import LedgerError, LedgerLocked
from exporter.core.model import (
    Claim,
    DetailRecord,
    Labels,
    Poll,
    Receipt,
    SessionGauges,
    SessionNotice,
    SessionRef,
    Total,
)
from exporter.ledger.accounting.audit import find_differences
from exporter.ledger.accounting.batch import BatchWriter
from exporter.ledger.accounting.retention import prune
from exporter.ledger.database import Connection, Engine, Reload
from exporter.ledger.queue import claims
from exporter.ledger.queue.detail_records import DetailRecordTable
from exporter.ledger.queue.sessions import START, QueuePosition, SessionQueue
from exporter.ledger.schema.version import COPYING
from exporter.ledger.sharing.leases import LeaseAnswer, acquire
from exporter.ledger.sharing.writers import count_alive, fold_dead
from exporter.ledger.totals.accounts import rename_account
from exporter.ledger.totals.aggregate import TotalsAggregate, TotalsReading
from exporter.ledger.totals.budget_spend import BudgetSpend
from exporter.ledger.totals.totals import Totals, TotalsSettings, change_generation
from exporter.ledger.views.index import recent_sessions

LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"


LEASE_SECONDS = 60.0
"""How long a claim is good for where others may take it; whoever polls renews it."""


class Ledger:
    """Everything durable: the sessions that are followed, the events that were booked, the totals that are shown."""

    def __init__(
        self,
        opened: Callable[[Reload], Engine],
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`opened` opens the engine, which calls what it is given whenever the image of it must be made anew."""
        self._lease_seconds = lease_seconds
        self._policy = policy
        self._settings = settings
        self._sums = TotalsAggregate()
        self._engine = opened(self._image)
        try:
            self._engine.transact(self._begin)
        except BaseException:
            self._engine.close()
            raise

    def _begin(self) -> None:
        if self._connection.execute("SELECT 1 FROM meta WHERE key = ?", (COPYING,)).fetchone():
            raise LedgerError(f"{self.location} is a copy that was not finished; run `ledger copy` again")
        claims.free_claims(self._connection)

    def _image(self, engine: Engine) -> None:
        self._totals = Totals(engine, self._settings)
        self._spend = BudgetSpend(engine.connection, self._totals, self._settings.budgets)

    @property
    def _connection(self) -> Connection:
        return self._engine.connection

    def _written(self) -> tuple[Total, ...]:
        """What the transaction changed of the totals; nothing of it can be shown where others write as well."""
        changed = self._totals.write()
        return () if self.shared else changed

    # Following

    def follow(self, refs: Iterable[SessionRef], source: str, now: float) -> Receipt:
        """Remember sessions; one that is known already keeps its place."""
        return self.report(map(SessionNotice, refs), source, now)

    def report(self, notices: Iterable[SessionNotice], source: str, now: float) -> Receipt:
        """Remember the sessions that a source tells of, and look at them when it says that it is time."""
        notices = list(notices)

        def work() -> Receipt:
            following = self._following()
            following.report(notices, source, now)
            self._succeed(source, {notice.ref.account for notice in notices}, now)
            return Receipt(self._written(), state_changes=tuple(following.state_changes))

        return self._engine.transact(work)

    def ingest_records(self, account: str, records: Iterable[DetailRecord], now: float) -> Receipt:
        """Follow the sessions of detail records that are new or cost more than before, and count what they cost."""
        records = list(records)

        def work() -> Receipt:
            known, following = self._records(account), self._following()
            following.report(map(known.notice_for, known.count_new(records, now)), DETAIL_RECORDS, now)
            return Receipt(self._written(), state_changes=tuple(following.state_changes))

        return self._engine.transact(work)

    def forget_records(self, account: str, before: float) -> None:
        """Detail records of the account from before are not listed again."""
        self._engine.transact(lambda: self._records(account).forget(before))

    def _records(self, account: str) -> DetailRecordTable:
        return DetailRecordTable(self._connection, self._totals, account)

    def mark_success(self, source: str, accounts: Iterable[str], now: float) -> Receipt:
        """A source has been asked for all it knows."""

        def work() -> Receipt:
            self._succeed(source, accounts, now)
            return Receipt(self._written())

        return self._engine.transact(work)

    def _succeed(self, source: str, accounts: Iterable[str], now: float) -> None:
        for account in accounts:
            labels = (("account", account), ("source", source))
            self._totals.set(LAST_SUCCESS, labels, Decimal(repr(round(now, 3))))

    def configure(self, refs: Iterable[SessionRef], now: float) -> Receipt:
        """The sessions that the configuration names now: follow new ones, look daily at these and no others."""
        refs = list(refs)

        def work() -> Receipt:
            following = self._following()
            following.configure(refs, now)
            self._spend.end_unconfigured()
            return Receipt(self._written(), state_changes=tuple(following.state_changes))

        return self._engine.transact(work)

    def reconfigure(
        self,
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
        refs: Iterable[SessionRef],
        series: Iterable[tuple[str, Labels]],
        now: float,
    ) -> Receipt:
        """Go on under another configuration, or, after an error, under the one before; `totals` has what it changed.

        Money that is booked stays as it is. Budgets are summed up anew, and the series exist. What the sessions are due
        by is another matter: `clamp_due` and `requeue_failed`.
        """
        refs, series, before = list(refs), list(series), (self._policy, self._settings)

        def work() -> Receipt:
            self._policy, self._settings = policy, settings
            self._image(self._engine)
            following = self._following()
            following.configure(refs, now)
            self._spend.end_unconfigured()
            self._spend.refresh(now)
            for family, labels in series:
                self._totals.create_series(family, labels)
            return Receipt(self._written(), state_changes=tuple(following.state_changes))

        try:
            return self._engine.transact(work)
        except BaseException:
            self._policy, self._settings = before
            raise

    # Polling

    def claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        """Due sessions for the caller to poll, the longest due first: at most as many of an account as its limit."""
        lease = self._lease_seconds
        return self._engine.transact(lambda: claims.claim(self._connection, self._policy, now, limits, lease))

    def commit(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or nothing."""
        polls = list(polls)
        receipt = self._engine.transact(lambda: self._batch().book(polls))
        return replace(receipt, totals=()) if self.shared else receipt

    def clamp_due(self, now: float, after: QueuePosition = START) -> QueuePosition | None:
        """Have live sessions be due no later than their longest interval from now, as after a clock was set back.

        They are looked through in portions; the place to go on from, None at the end.
        """
        return self._engine.transact(lambda: self._following().clamp_due(now, after))

    def requeue_failed(self, now: float) -> bool:
        """Have a portion of the sessions that were given up be due; whether there may be more."""
        return self._engine.transact(lambda: self._following().requeue_failed(now))

    def release_claims(self, under_way: Iterable[Claim]) -> None:
        """Give up claims of polls that will not be finished: others may poll at once."""
        under_way = list(under_way)
        self._engine.transact(lambda: claims.release_claims(self._connection, under_way))

    def defer(self, claim: Claim, now: float) -> None:
        """Give up a claim without booking: the session is due again after the longest interval of a live one."""
        due_at = now + self._policy.max_interval
        statement = "UPDATE sessions SET claim = 0, due_at = ? WHERE id = ? AND claim = ?"
        values = (due_at, claim.session, claim.number)
        self._engine.transact(lambda: self._connection.execute(statement, values))

    def write_probe(self, moment: float) -> None:
        """Write a byte for its own sake: raises as long as the ledger can't be written."""
        self.put_meta("probe", repr(moment))

    def _batch(self) -> BatchWriter:
        return BatchWriter(self._connection, self._totals, self._spend, self._policy, self._settings)

    def _following(self) -> SessionQueue:
        return SessionQueue(self._connection, self._totals, self._policy)

    # Keeping

    def refresh_budgets(self, now: float) -> Receipt:
        """Sum up the budgets' current windows, which move on with time."""

        def work() -> Receipt:
            self._spend.refresh(now)
            return Receipt(self._written())

        return self._engine.transact(work)

    def prune(self, before: float, limit: int) -> tuple[int, Receipt]:
        """Forget at most `limit` sessions at rest whose latest event is older, with their events; totals stay."""

        def work() -> tuple[int, Receipt]:
            pruned = prune(self._connection, self._totals, before, limit)
            return pruned, Receipt(self._written())

        return self._engine.transact(work)

    def rename_account(self, old: str, new: str) -> int:
        """Give an account another name, with all it has booked; returns how many sessions it has."""

        def work() -> int:
            if self.shared and count_alive(self._connection) > 1:
                raise LedgerLocked("other exporters use the ledger; an account is renamed while they are stopped")
            renamed = rename_account(self._connection, old, new)
            change_generation(self._connection)
            self._image(self._engine)
            return renamed

        return self._engine.transact(work)

    def expose_all(self) -> Receipt:
        """Have every total shown with its value, as history that nothing should count as an increase."""

        def work() -> Receipt:
            self._totals.expose(total.row for total in self._all() if not total.exposed)
            return Receipt(self._written())

        return self._engine.transact(work)

    # Among others

    def acquire_lease(self, name: str, seconds: float) -> LeaseAnswer | None:
        """Have what only one may have; a file's only process has everything. None: another asks at this moment."""
        if not self.shared:
            return LeaseAnswer(held=True, first=True)
        return self._engine.transact(lambda: acquire(self._connection, name, self._engine.writer, seconds))

    def renew_claims(self, under_way: Iterable[Claim]) -> None:
        """Keep the claims of polls that take long."""
        under_way = list(under_way)
        self._engine.transact(lambda: claims.renew_claims(self._connection, under_way, self._lease_seconds))

    def fold_dead_writers(self) -> int:
        """Take over the totals of writers that are gone; returns how many they were."""
        return self._engine.transact(lambda: fold_dead(self._connection)) if self.shared else 0

    def load_new_series(self) -> None:
        """Hear of the series that others have begun; where there are none, nothing is to be learnt."""
        if self.shared:
            self._engine.transact(lambda: self._totals.load_new_series())  # noqa: PLW0108 - a new image may have been made

    def count_replicas(self) -> int:
        """How many processes share the work, this one included, which is seen by asking."""
        return self._engine.transact(lambda: count_alive(self._connection)) if self.shared else 1

    # Showing

    def create_series(self, series: Iterable[tuple[str, Labels]]) -> Receipt:
        """Have these series exist, at 0 where they are new."""

        def work() -> Receipt:
            for family, labels in series:
                self._totals.create_series(family, labels)
            return Receipt(self._written())

        return self._engine.transact(work)

    def expose(self, rows: Iterable[int]) -> Receipt:
        """Mark totals as having been scraped at 0, so that their values may be shown from now on."""

        def work() -> Receipt:
            self._totals.expose(rows)
            return Receipt(self._written())

        return self._engine.transact(work)

    def put_meta(self, key: str, value: str) -> None:
        """Keep a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._engine.transact(lambda: self._connection.execute(statement, (key, value)))

    # Reading

    @property
    def shared(self) -> bool:
        """Whether there may be other writers."""
        return self._engine.shared

    @property
    def location(self) -> str:
        """What messages call it."""
        return self._engine.location

    def close(self) -> None:
        self._engine.close()

    def totals(self) -> tuple[Total, ...]:
        """All, whoever writes them."""
        return self._engine.read(self._all)

    def _all(self) -> tuple[Total, ...]:
        return TotalsAggregate().read(self._connection).totals if self.shared else self._totals.all()

    def changes(self, *, anew: bool = False) -> TotalsReading:
        """What whoever shows all writers' totals hasn't seen yet, or all anew; all after an error, too."""
        sums, self._sums = TotalsAggregate() if anew else self._sums, TotalsAggregate()
        reading = self._engine.read(lambda: sums.read(self._connection))
        self._sums = sums
        return reading

    def recent_sessions(self, since: float, limit: int) -> tuple[SessionGauges, ...]:
        """Configured sessions and those changed since, for the per-session gauges."""
        return self._engine.read(lambda: recent_sessions(self._connection, since, limit))

    def count_due(self, now: float, accounts: Iterable[str]) -> int:
        """How many sessions of these accounts are due and not claimed; with many it takes some ms, as many are read."""
        far, asked = now + self._policy.longest, list(accounts)
        return self._engine.read(lambda: claims.count_due(self._connection, now, far, asked))

    def get_meta(self, key: str) -> str | None:
        query = "SELECT value FROM meta WHERE key = ?"
        row = self._engine.read(lambda: self._connection.execute(query, (key,)).fetchone())
        return None if row is None else str(row[0])

    def is_empty(self) -> bool:
        """Whether nothing was ever booked."""
        query = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM meta WHERE key = 'retention_watermark')"
        return self._engine.read(lambda: not self._connection.execute(query).fetchone()[0])

    def last_session_id(self) -> int:
        """The number of the session that was followed last; 0 if none is."""
        query = "SELECT coalesce(max(id), 0) FROM sessions"
        return self._engine.read(lambda: int(self._connection.execute(query).fetchone()[0]))

    def all_polled_up_to(self, newest: int) -> bool:
        """Whether all sessions up to this number were polled at least once."""
        query = "SELECT NOT EXISTS (SELECT 1 FROM sessions WHERE id <= ? AND polls = '[]')"
        return self._engine.read(lambda: bool(self._connection.execute(query, (newest,)).fetchone()[0]))

    def check(self) -> list[str]:
        """What in the ledger doesn't agree with itself, a line each; empty when all is well."""

        def work() -> list[str]:
            return [*self._engine.damage(), *find_differences(self._connection, self._totals, self._all())]

        return self._engine.read(work)

    @property
    def retries(self) -> int:
        """How many transactions were begun again because others were in the way."""
        return self._engine.retries

    @property
    def restores(self) -> int:
        """How often the file was written again after somebody had removed it."""
        return self._engine.restores

    def size_bytes(self) -> int:
        return self._engine.size_bytes()
