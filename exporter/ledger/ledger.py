"""What can be asked of the ledger, whatever engine keeps it.

Owns the questions and the transaction around each; all are asked from one thread, the ledger's. An answer that came
back is durable. The surprising fact: an engine may run a transaction more than once, so nothing in one may change
anything but the database and the image of it, which is made anew.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from exporter import lifecycle
from exporter.errors import LedgerError
from exporter.known import DETAIL_RECORDS
from exporter.ledger import claims
from exporter.ledger.audit import differences
from exporter.ledger.booking import Batch
from exporter.ledger.connection import Connection, Engine, Image
from exporter.ledger.following import Following
from exporter.ledger.leases import Answer, take
from exporter.ledger.pruning import prune
from exporter.ledger.records import Records
from exporter.ledger.renaming import rename_account
from exporter.ledger.spend import Spend
from exporter.ledger.sums import Reading, Sums
from exporter.ledger.totals import Settings, Totals, begin_anew
from exporter.ledger.version import COPYING
from exporter.ledger.writers import alive, fold
from exporter.model import Claim, DetailRecord, Followed, Labels, Poll, Receipt, SessionRef, Sighting, Total

LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"


class Ledger:
    """Everything durable: the sessions that are followed, the events that were booked, the totals that are shown."""

    def __init__(self, opened: Callable[[Image], Engine], policy: lifecycle.Policy, settings: Settings) -> None:
        """`opened` opens the engine, which calls what it is given whenever the image of it must be made anew."""
        self._policy = policy
        self._settings = settings
        self._sums = Sums()
        self._engine = opened(self._image)
        try:
            self._engine.transact(self._begin)
        except BaseException:
            self._engine.close()
            raise

    def _begin(self) -> None:
        if self._connection.execute("SELECT 1 FROM meta WHERE key = ?", (COPYING,)).fetchone():
            raise LedgerError(f"{self.place} is a copy that was not finished; run `ledger copy` again")
        claims.free_claims(self._connection)

    def _image(self, engine: Engine) -> None:
        self._totals = Totals(engine, self._settings)
        self._spend = Spend(engine.connection, self._totals, self._settings.budgets)

    @property
    def _connection(self) -> Connection:
        return self._engine.connection

    def _written(self) -> tuple[Total, ...]:
        """What the transaction changed of the totals; nothing of it can be shown where others write as well."""
        changed = self._totals.write()
        return () if self.shared else changed

    @property
    def shared(self) -> bool:
        """Whether there may be other writers."""
        return self._engine.shared

    @property
    def place(self) -> str:
        """What messages call it."""
        return self._engine.place

    def close(self) -> None:
        self._engine.close()

    # Following

    def follow(self, refs: Iterable[SessionRef], source: str, now: float) -> Receipt:
        """Remember sessions; one that is known already keeps its place."""
        return self.sight(map(Sighting, refs), source, now)

    def sight(self, sightings: Iterable[Sighting], source: str, now: float) -> Receipt:
        """Remember the sessions that a source tells of, and look at them when it says that it is time."""
        sightings = list(sightings)

        def work() -> Receipt:
            following = self._following()
            following.follow(sightings, source, now)
            self._succeed(source, {sighting.ref.account for sighting in sightings}, now)
            return Receipt(self._written(), moves=tuple(following.moves))

        return self._engine.transact(work)

    def list_records(self, account: str, records: Iterable[DetailRecord], now: float) -> Receipt:
        """Follow the sessions of detail records that are new or cost more than before, and count what they cost."""
        records = list(records)

        def work() -> Receipt:
            known, following = self._records(account), self._following()
            following.follow(map(known.word, known.news(records, now)), DETAIL_RECORDS, now)
            return Receipt(self._written(), moves=tuple(following.moves))

        return self._engine.transact(work)

    def forget_records(self, account: str, before: float) -> None:
        """Detail records of the account from before are not listed again."""
        self._engine.transact(lambda: self._records(account).forget(before))

    def _records(self, account: str) -> Records:
        return Records(self._connection, self._totals, account)

    def succeeded(self, source: str, accounts: Iterable[str], now: float) -> Receipt:
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
            self._spend.forget_others()
            return Receipt(self._written(), moves=tuple(following.moves))

        return self._engine.transact(work)

    def reconfigure(
        self,
        policy: lifecycle.Policy,
        settings: Settings,
        refs: Iterable[SessionRef],
        series: Iterable[tuple[str, Labels]],
        now: float,
    ) -> Receipt:
        """Go on under another configuration, or, after an error, under the one before; `totals` has what it changed.

        Money that is booked stays as it is. Budgets are summed up anew, sessions that were given up are due, and the
        series exist.
        """
        refs, series, before = list(refs), list(series), (self._policy, self._settings)

        def work() -> Receipt:
            self._policy, self._settings = policy, settings
            self._image(self._engine)
            following = self._following()
            following.configure(refs, now)
            following.hasten(now)
            following.retry(now)
            self._spend.forget_others()
            self._spend.sum_up(now)
            for family, labels in series:
                self._totals.born(family, labels)
            return Receipt(self._written(), moves=tuple(following.moves))

        try:
            return self._engine.transact(work)
        except BaseException:
            self._policy, self._settings = before
            raise

    # Polling

    def claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        """Due sessions for the caller to poll, the longest due first: at most as many of an account as its limit."""
        return self._engine.transact(lambda: claims.claim(self._connection, self._policy, now, limits))

    def record(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or nothing."""
        polls = list(polls)
        return self._engine.transact(lambda: self._batch().book(polls))

    def hasten(self, now: float) -> None:
        """After the clock was set back: live sessions are due no later than their longest interval from now."""
        self._engine.transact(lambda: self._following().hasten(now))

    def put_off(self, claim: Claim, now: float) -> None:
        """Give up a claim without booking: the session is due again after the longest interval of a live one."""
        due_at = now + self._policy.max_interval
        statement = "UPDATE sessions SET claim = 0, due_at = ? WHERE id = ? AND claim = ?"
        values = (due_at, claim.session, claim.number)
        self._engine.transact(lambda: self._connection.execute(statement, values))

    def probe(self, moment: float) -> None:
        """Write a byte for its own sake: raises as long as the ledger can't be written."""
        self.keep("probe", repr(moment))

    def _batch(self) -> Batch:
        return Batch(self._connection, self._totals, self._spend, self._policy, self._settings)

    def _following(self) -> Following:
        return Following(self._connection, self._totals, self._policy)

    # Keeping

    def sum_up(self, now: float) -> Receipt:
        """Sum up the budgets' current windows, which move on with time."""

        def work() -> Receipt:
            self._spend.sum_up(now)
            return Receipt(self._written())

        return self._engine.transact(work)

    def prune(self, before: float, limit: int) -> tuple[int, Receipt]:
        """Forget at most `limit` sessions at rest whose latest event is older, with their events; totals stay."""

        def work() -> tuple[int, Receipt]:
            pruned = prune(self._connection, self._totals, before, limit)
            return pruned, Receipt(self._written())

        return self._engine.transact(work)

    def check(self) -> list[str]:
        """What in the ledger doesn't agree with itself, a line each; empty when all is well."""

        def work() -> list[str]:
            return [*self._engine.damage(), *differences(self._connection, self._totals, self._all())]

        return self._engine.read(work)

    def rename_account(self, old: str, new: str) -> int:
        """Give an account another name, with all it has booked; returns how many sessions it has."""

        def work() -> int:
            renamed = rename_account(self._connection, old, new)
            begin_anew(self._connection)
            self._image(self._engine)
            return renamed

        return self._engine.transact(work)

    def empty(self) -> bool:
        """Whether nothing was ever booked."""
        query = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM meta WHERE key = 'horizon')"
        return self._engine.read(lambda: not self._connection.execute(query).fetchone()[0])

    def newest(self) -> int:
        """The number of the session that was followed last; 0 if none is."""
        query = "SELECT coalesce(max(id), 0) FROM sessions"
        return self._engine.read(lambda: int(self._connection.execute(query).fetchone()[0]))

    def polled(self, newest: int) -> bool:
        """Whether all sessions up to this number were polled at least once."""
        query = "SELECT NOT EXISTS (SELECT 1 FROM sessions WHERE id <= ? AND polls = '[]')"
        return self._engine.read(lambda: bool(self._connection.execute(query, (newest,)).fetchone()[0]))

    def release_all(self) -> Receipt:
        """Have every total shown with its value, as history that nothing should count as an increase."""

        def work() -> Receipt:
            self._totals.release(total.row for total in self._all() if not total.released)
            return Receipt(self._written())

        return self._engine.transact(work)

    # Among others

    def take_lease(self, name: str, seconds: float) -> Answer:
        """Have what only one may have; a file's only process has everything."""
        if not self.shared:
            return Answer(held=True, first=True)
        return self._engine.transact(lambda: take(self._connection, name, self._engine.writer, seconds))

    def renew(self, under_way: Iterable[Claim]) -> None:
        """Keep the claims of polls that take long."""
        under_way = list(under_way)
        self._engine.transact(lambda: claims.renew(self._connection, under_way))

    def fold(self) -> int:
        """Take over the totals of writers that are gone; returns how many they were."""
        return self._engine.transact(lambda: fold(self._connection)) if self.shared else 0

    def alive(self) -> int:
        """How many processes share the work, this one included, which is seen by asking."""
        return self._engine.transact(lambda: alive(self._connection)) if self.shared else 1

    # Showing

    def totals(self) -> tuple[Total, ...]:
        """All, whoever writes them."""
        return self._engine.read(self._all)

    def _all(self) -> tuple[Total, ...]:
        return Sums().read(self._connection).totals if self.shared else self._totals.all()

    def changes(self, *, anew: bool = False) -> Reading:
        """What whoever shows all writers' totals hasn't seen yet, or all anew."""
        sums = Sums() if anew else self._sums
        reading = self._engine.read(lambda: sums.read(self._connection))
        self._sums = sums
        return reading

    def born(self, series: Iterable[tuple[str, Labels]]) -> Receipt:
        """Have these series exist, at 0 where they are new."""

        def work() -> Receipt:
            for family, labels in series:
                self._totals.born(family, labels)
            return Receipt(self._written())

        return self._engine.transact(work)

    def release(self, rows: Iterable[int]) -> Receipt:
        """Mark totals as having been scraped at 0, so that their values may be shown from now on."""

        def work() -> Receipt:
            self._totals.release(rows)
            return Receipt(self._written())

        return self._engine.transact(work)

    def followed(self, since: float, limit: int) -> tuple[Followed, ...]:
        """Configured sessions and those changed since, for the per-session gauges after a start."""
        query = (
            "SELECT account, record_type, event_id, configured, changed_at, summary FROM sessions"
            " WHERE summary IS NOT NULL AND (configured = 1 OR changed_at >= ?)"
            " ORDER BY configured DESC, changed_at DESC LIMIT ?"
        )
        return self._engine.read(lambda: tuple(map(_followed, self._connection.execute(query, (since, limit)))))

    def due(self, now: float, accounts: Iterable[str]) -> int:
        """How many sessions of these accounts are due and not claimed."""
        query = "SELECT count(*) FROM sessions WHERE account = ? AND claim = 0 AND (due_at <= ? OR due_at > ?)"
        far = now + self._policy.longest

        def count(account: str) -> int:
            return int(self._connection.execute(query, (account, now, far)).fetchone()[0])

        return self._engine.read(lambda: sum(map(count, accounts)))

    def keep(self, key: str, value: str) -> None:
        """Keep a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._engine.transact(lambda: self._connection.execute(statement, (key, value)))

    def kept(self, key: str) -> str | None:
        query = "SELECT value FROM meta WHERE key = ?"
        row = self._engine.read(lambda: self._connection.execute(query, (key,)).fetchone())
        return None if row is None else str(row[0])

    @property
    def rescues(self) -> int:
        """How often the file was written again after somebody had removed it."""
        return self._engine.rescues

    def size_bytes(self) -> int:
        return self._engine.size_bytes()


def _followed(row: tuple[Any, ...]) -> Followed:
    account, record_type, event_id, configured, at, summary = row
    known = json.loads(summary)
    costs = tuple((product, currency, Decimal(amount)) for product, currency, amount in known["costs"])
    ref = SessionRef(account, record_type, event_id)
    return Followed(ref, known["events"], known["turns"], at or 0.0, costs, bool(configured))
