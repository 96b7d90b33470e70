"""The ledger: one transaction for each call, on either engine.

All calls come from one thread, see `LedgerWorker`. When a call returns, its changes are durable. An engine may run a
transaction more than once, so a transaction changes nothing but the database and the totals in memory, which the engine
has loaded again before it retries.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

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
    StateChange,
    Total,
)
from exporter.ledger.accounting.audit import find_differences
from exporter.ledger.accounting.batch import BatchWriter
from exporter.ledger.accounting.pruned_events import PRUNED
from exporter.ledger.accounting.retention import prune
from exporter.ledger.database import Connection, Engine, Reload
from exporter.ledger.queue import claims
from exporter.ledger.queue.awaited_records import AWAIT_SECONDS, AwaitedRecords, RecordName
from exporter.ledger.queue.detail_records import DetailRecordTable
from exporter.ledger.queue.event_keys import EventNames
from exporter.ledger.queue.sessions import START, QueuePosition, SessionQueue
from exporter.ledger.schema.version import COPYING, UNANSWERED
from exporter.ledger.sharing.leases import LeaseAnswer, acquire
from exporter.ledger.sharing.writers import count_alive, fold_dead
from exporter.ledger.totals.accounts import rename_account
from exporter.ledger.totals.aggregate import TotalsAggregate, TotalsReading
from exporter.ledger.totals.budget_spend import BudgetSpend
from exporter.ledger.totals.totals import Totals, TotalsSettings, change_generation
from exporter.ledger.views.index import recent_sessions

LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"

FINAL_ANSWERS = ("gone", "not_json", "malformed", "too_deep", "too_many_nodes", "body_too_large", "internal")
"""Outcomes and reasons of polls that tell the initial backfill that it needn't wait for the session."""

LEASE_SECONDS = 60.0
"""How long a claim is valid where other processes may poll; the poller renews it."""


class Ledger:
    """Everything durable: followed sessions, booked events, totals."""

    def __init__(
        self,
        open_engine: Callable[[Reload], Engine],
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`open_engine` is given a function that the engine calls whenever the totals must be loaded again."""
        self._lease_seconds = lease_seconds
        self._policy = policy
        self._settings = settings
        self._aggregate = TotalsAggregate()
        self._engine = open_engine(self._load)
        try:
            self._engine.transact(self._prepare)
        except BaseException:
            self._engine.close()
            raise

    def _prepare(self) -> None:
        if self._connection.execute("SELECT 1 FROM meta WHERE key = ?", (COPYING,)).fetchone():
            raise LedgerError(f"{self.location} is a copy that was not finished; run `ledger copy` again")
        claims.free_claims(self._connection)

    def _load(self, engine: Engine) -> None:
        self._totals = Totals(engine, self._settings)
        self._spend = BudgetSpend(engine.connection, self._totals, self._settings.budgets)
        self._names = EventNames(engine)

    @property
    def _connection(self) -> Connection:
        return self._engine.connection

    def _transact(self, work: Callable[[SessionQueue], object]) -> Receipt:
        """Run a transaction that may change sessions and totals; return what it changed of both."""

        def transaction() -> Receipt:
            queue = self._queue()
            work(queue)
            return self._receipt(queue.state_changes)

        return self._engine.transact(transaction)

    def _queue(self) -> SessionQueue:
        return SessionQueue(self._connection, self._totals, self._policy)

    def _receipt(self, state_changes: Iterable[StateChange] = ()) -> Receipt:
        totals = self._totals.write()
        # One writer's totals are no sums: where several write, the page reads those by `changes`.
        return Receipt(() if self.shared else totals, state_changes=tuple(state_changes))

    # Discovery: sessions that sources report, and the configuration

    def follow(self, refs: Iterable[SessionRef], source: str, now: float) -> Receipt:
        """Follow new sessions; known ones stay as they are."""
        return self.report(map(SessionNotice, refs), source, now)

    def report(self, notices: Iterable[SessionNotice], source: str, now: float) -> Receipt:
        """Follow the reported sessions, and have them polled when the kind of notice says so."""
        notices = list(notices)

        def work(queue: SessionQueue) -> None:
            queue.report(notices, source, now)
            self._set_last_success(source, {notice.ref.account for notice in notices}, now)

        return self._transact(work)

    def ingest_records(self, account: str, records: Iterable[DetailRecord], now: float) -> Receipt:
        """Follow the sessions of detail records that are new or cost more than before; count what they cost.

        Records whose event a tree is expected to bring are noted, and followed later: see `follow_awaited`.
        """
        records = list(records)

        def work(queue: SessionQueue) -> None:
            table = DetailRecordTable(self._connection, self._totals, account)
            new = table.count_new(records, now)
            queue.report(filter(None, map(table.notice_for, new)), DETAIL_RECORDS, now)
            self._awaited(account).note((record for record in new if record.notice is None), now)

        return self._transact(work)

    def _awaited(self, account: str) -> AwaitedRecords:
        return AwaitedRecords(self._connection, self._totals, account)

    def drop_booked_records(self, account: str, after: RecordName) -> tuple[RecordName, Receipt]:
        """Forget awaited records whose events are booked by now.

        One call does a portion; it returns the position to continue from, the first one at the end.
        """
        return self._engine.transact(lambda: (self._awaited(account).drop_booked(after), self._receipt()))

    def follow_awaited(self, account: str, now: float, limit: int, *, at_once: bool = False) -> tuple[bool, Receipt]:
        """Follow awaited records that no tree has brought in time, oldest first; return whether there are more.

        At most as many as leave no more than `limit` sessions of the account due, so they never crowd out calls.
        `at_once` follows them before their time: every session that could bring them was polled.
        """
        due_until = now + AWAIT_SECONDS if at_once else now

        def transaction() -> tuple[bool, Receipt]:
            queue, awaited = self._queue(), self._awaited(account)
            if awaited.has_due(due_until):
                backlog = claims.count_due(self._connection, now, now + self._policy.longest, [account])
                refs = awaited.pop_due(due_until, max(0, limit - backlog))
                queue.report([SessionNotice(ref, "final") for ref in refs], DETAIL_RECORDS, now)
            return awaited.has_due(due_until), self._receipt(queue.state_changes)

        return self._engine.transact(transaction)

    def forget_records(self, account: str, before: Mapping[str, float]) -> None:
        """Delete detail records from before these times, by record type: their lists aren't read that far again."""
        # Records that an older version listed have no type.
        oldest = [("", min(before.values()))] if before else []
        rows = [(account, at, record_type) for record_type, at in (*before.items(), *oldest)]
        statement = "DELETE FROM records WHERE account = ? AND at < ? AND record_type = ?"
        self._engine.transact(lambda: self._connection.executemany(statement, rows))

    def record_times(self, account: str, record_type: str, since: float, until: float) -> list[float]:
        """Return the times of the detail records that discovery has listed, in no order."""
        query = "SELECT at FROM records WHERE account = ? AND at >= ? AND at < ? AND record_type = ?"
        values = (account, since, until, record_type)
        return self._engine.read(lambda: [at for (at,) in self._connection.execute(query, values).fetchall()])

    def mark_success(self, source: str, accounts: Iterable[str], now: float) -> Receipt:
        """Note that a source has reported all it has for these accounts."""
        return self._transact(lambda _: self._set_last_success(source, accounts, now))

    def _set_last_success(self, source: str, accounts: Iterable[str], now: float) -> None:
        for account in accounts:
            labels = (("account", account), ("source", source))
            self._totals.set(LAST_SUCCESS, labels, Decimal(repr(round(now, 3))))

    def configure(self, refs: Iterable[SessionRef], now: float) -> Receipt:
        """Follow the sessions that the configuration names; only these are polled daily from now on."""
        refs = list(refs)

        def work(queue: SessionQueue) -> None:
            queue.configure(refs, now)
            self._spend.end_unconfigured()

        return self._transact(work)

    def reconfigure(
        self,
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
        refs: Iterable[SessionRef],
        series: Iterable[tuple[str, Labels]],
        now: float,
    ) -> Receipt:
        """Apply another configuration; after an error the one before stays in use.

        Booked money stays as it is, budgets are summed up again, and `series` are created. Due times stay, too: see
        `clamp_due` and `requeue_failed`.
        """
        refs, series, before = list(refs), list(series), (self._policy, self._settings)

        def transaction() -> Receipt:
            self._policy, self._settings = policy, settings
            self._load(self._engine)
            queue = self._queue()
            queue.configure(refs, now)
            self._spend.end_unconfigured()
            self._spend.refresh(now)
            for family, labels in series:
                self._totals.create_series(family, labels)
            return self._receipt(queue.state_changes)

        try:
            return self._engine.transact(transaction)
        except BaseException:
            self._policy, self._settings = before
            raise

    # Polling

    def claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        """Claim due sessions for the caller to poll, the longest due first, at most as many as an account's limit."""
        lease = self._lease_seconds
        return self._engine.transact(lambda: claims.claim(self._connection, self._policy, now, limits, lease))

    def renew_claims(self, held: Iterable[Claim]) -> None:
        """Extend the claims of polls that are still running."""
        held = list(held)
        self._engine.transact(lambda: claims.renew_claims(self._connection, held, self._lease_seconds))

    def release_claims(self, held: Iterable[Claim]) -> None:
        """Release claims of polls that won't be finished: the sessions are due as before, for any process."""
        held = list(held)
        self._engine.transact(lambda: claims.release_claims(self._connection, held))

    def defer(self, claim: Claim, now: float) -> None:
        """Release a claim whose poll can't be booked: the session is due again after `max_interval`."""
        statement = "UPDATE sessions SET claim = 0, due_at = ? WHERE id = ? AND claim = ?"
        values = (now + self._policy.max_interval, claim.session, claim.number)
        self._engine.transact(lambda: self._connection.execute(statement, values))

    def commit(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or none of them."""
        polls = list(polls)

        def transaction() -> Receipt:
            core = (self._connection, self._totals, self._spend, self._policy, self._settings)
            writer = BatchWriter(*core, names=self._names)
            return writer.book(polls)

        receipt = self._engine.transact(transaction)
        return replace(receipt, totals=()) if self.shared else receipt

    def clamp_due(self, now: float, after: QueuePosition = START) -> QueuePosition | None:
        """Have live sessions be due no later than `max_interval` from now, as after the clock was set back.

        One call does a portion; it returns the position to continue from, None at the end.
        """
        return self._engine.transact(lambda: self._queue().clamp_due(now, after))

    def requeue_failed(self, now: float) -> bool:
        """Have a portion of the missing and denied sessions be due; return whether there may be more."""
        return self._engine.transact(lambda: self._queue().requeue_failed(now))

    def count_due(self, now: float, accounts: Iterable[str]) -> int:
        """Return how many sessions of these accounts are due and not claimed; a large backlog takes some ms."""
        too_far, asked = now + self._policy.longest, list(accounts)
        return self._engine.read(lambda: claims.count_due(self._connection, now, too_far, asked))

    def last_session_id(self) -> int:
        """Return the id of the session that was discovered last; 0 if there is none."""
        return int(self._read_value("SELECT coalesce(max(id), 0) FROM sessions"))

    def count_unanswered(self, accounts: Collection[str], up_to: int | None = None) -> int:
        """Return how many sessions of these accounts may have history that the API hasn't shown yet.

        With `up_to` only those up to this id. A poll that failed is no answer, unless it would fail again: the session
        has no tree that can be read.
        """
        marks, unlike = ",".join("?" * len(accounts)), " AND polls NOT LIKE ?" * len(FINAL_ANSWERS)
        condition = f"{UNANSWERED} AND account IN ({marks}) AND id <= ?{unlike}"
        values = (*accounts, 2**62 if up_to is None else up_to, *(f'%"{answer}"%' for answer in FINAL_ANSWERS))
        return int(self._read_value(f"SELECT count(*) FROM sessions WHERE {condition}", *values))  # noqa: S608 - literals

    def count_sessions(self) -> int:
        return int(self._read_value("SELECT count(*) FROM sessions"))

    # Totals

    def totals(self) -> tuple[Total, ...]:
        """Return all totals, summed up over all writers."""
        return self._engine.read(self._all_totals)

    def _all_totals(self) -> tuple[Total, ...]:
        return TotalsAggregate().read(self._connection).totals if self.shared else self._totals.all()

    def changes(self, *, anew: bool = False) -> TotalsReading:
        """Return what has changed of all writers' totals since the last call; all with `anew` or after an error."""
        aggregate, self._aggregate = TotalsAggregate() if anew else self._aggregate, TotalsAggregate()
        reading = self._engine.read(lambda: aggregate.read(self._connection))
        self._aggregate = aggregate
        return reading

    def create_series(self, series: Iterable[tuple[str, Labels]]) -> Receipt:
        """Create these series at 0 where they don't exist."""

        def work(_: SessionQueue) -> None:
            for family, labels in series:
                self._totals.create_series(family, labels)

        return self._transact(work)

    def load_new_series(self) -> None:
        """Load the series that other writers have created."""
        if self.shared:
            self._engine.transact(lambda: self._totals.load_new_series())  # noqa: PLW0108 - totals may be loaded anew

    def expose(self, rows: Iterable[int]) -> Receipt:
        """Have the values of totals shown from now on, as they were scraped at 0."""
        return self._transact(lambda _: self._totals.expose(rows))

    def expose_all(self) -> Receipt:
        """Have every total shown with its value, as history that doesn't count as an increase."""
        return self._transact(
            lambda _: self._totals.expose(total.row for total in self._all_totals() if not total.exposed)
        )

    def refresh_budgets(self, now: float) -> Receipt:
        """Sum up the current windows of the budgets, which move on with time."""
        return self._transact(lambda _: self._spend.refresh(now))

    def recent_sessions(self, since: float, limit: int) -> tuple[SessionGauges, ...]:
        """Return configured sessions and those that have changed since, for the per-session gauges."""
        return self._engine.read(lambda: recent_sessions(self._connection, since, limit))

    # Several writers

    @property
    def shared(self) -> bool:
        """Whether other processes may write, too."""
        return self._engine.shared

    def acquire_lease(self, name: str, seconds: float) -> LeaseAnswer | None:
        """Acquire or extend a lease; None if another process is just doing so. A file's only process has them all."""
        if not self.shared:
            return LeaseAnswer(held=True, first=True)
        return self._engine.transact(lambda: acquire(self._connection, name, self._engine.writer, seconds))

    def fold_dead_writers(self) -> int:
        """Add the totals of dead writers to those of writer 0; return how many writers were dead."""
        return self._engine.transact(lambda: fold_dead(self._connection)) if self.shared else 0

    def count_replicas(self) -> int:
        """Return how many processes share the work, this one included; the call itself marks it as alive."""
        return self._engine.transact(lambda: count_alive(self._connection)) if self.shared else 1

    # Maintenance

    def prune(self, before: float, limit: int, oldest: float = -math.inf) -> tuple[int, Receipt]:
        """Delete at most `limit` closed sessions whose latest event is older, with their events; totals stay.

        Events are remembered as pruned until their session is older than `oldest`.
        """
        return self._engine.transact(
            lambda: (prune(self._connection, self._totals, before, limit, oldest), self._receipt())
        )

    def rename_account(self, old: str, new: str) -> int:
        """Rename an account with all that it has booked; return how many sessions it has."""

        def transaction() -> int:
            if self.shared and count_alive(self._connection) > 1:
                raise LedgerLocked("other exporters use the ledger; an account is renamed while they are stopped")
            renamed = rename_account(self._connection, old, new)
            change_generation(self._connection)
            self._load(self._engine)
            return renamed

        return self._engine.transact(transaction)

    def check(self) -> list[str]:
        """Return a line for each thing in the ledger that contradicts another; empty if all is well."""
        return self._engine.read(
            lambda: [
                *self._engine.damage(),
                *find_differences(self._connection, self._totals, self._all_totals()),
            ]
        )

    def is_empty(self) -> bool:
        """Return whether no event was ever booked."""
        events = "EXISTS (SELECT 1 FROM events)"
        return not self._read_value(f"SELECT {events} OR {PRUNED}")

    def write_probe(self, moment: float) -> None:
        """Write a value that nobody reads: raises as long as the ledger can't be written."""
        self.put_meta("probe", repr(moment))

    def get_meta(self, key: str) -> str | None:
        """Return the text that `put_meta` has stored; None if there is none."""
        value = self._read_value("SELECT max(value) FROM meta WHERE key = ?", key)
        return None if value is None else str(value)

    def put_meta(self, key: str, value: str) -> None:
        """Store a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._engine.transact(lambda: self._connection.execute(statement, (key, value)))

    def _read_value(self, query: str, *values: object) -> Any:
        return self._engine.read(lambda: self._connection.execute(query, values).fetchone()[0])

    @property
    def location(self) -> str:
        """The file or server for messages; holds no password."""
        return self._engine.location

    @property
    def retries(self) -> int:
        """How many transactions ran again because of conflicts with other processes."""
        return self._engine.retries

    @property
    def restores(self) -> int:
        """How often the file was written again after it had been removed."""
        return self._engine.restores

    def size_bytes(self) -> int:
        return self._engine.size_bytes()

    def close(self) -> None:
        self._engine.close()
