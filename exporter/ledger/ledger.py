"""What can be asked of the ledger, whatever engine keeps it.

Owns the questions and the transaction around each; all are asked from one thread, the ledger's. An answer that came
back is durable. The surprising fact: an engine may run a transaction more than once, so nothing in one may change
anything but the database and the image of it, which is made anew.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from exporter.core import lifecycle
from exporter.core.catalog import DETAIL_RECORDS
from exporter.core.errors import LedgerLocked
from exporter.core.model import Claim, DetailRecord, Labels, Poll, Receipt, SessionRef, Sighting
from exporter.ledger.accounting.batch import Batch
from exporter.ledger.accounting.retention import prune
from exporter.ledger.opened import OpenLedger
from exporter.ledger.queue import claims
from exporter.ledger.queue.detail_records import Records
from exporter.ledger.queue.sessions import START, Following, Place
from exporter.ledger.sharing.leases import Answer, take
from exporter.ledger.sharing.writers import alive, fold
from exporter.ledger.totals.accounts import rename_account
from exporter.ledger.totals.totals import Settings, begin_anew

LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"


class Ledger(OpenLedger):
    """Everything durable: the sessions that are followed, the events that were booked, the totals that are shown."""

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

        Money that is booked stays as it is. Budgets are summed up anew, and the series exist. What the sessions are due
        by is another matter: `hasten` and `retry`.
        """
        refs, series, before = list(refs), list(series), (self._policy, self._settings)

        def work() -> Receipt:
            self._policy, self._settings = policy, settings
            self._image(self._engine)
            following = self._following()
            following.configure(refs, now)
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
        lease = self._lease_seconds
        return self._engine.transact(lambda: claims.claim(self._connection, self._policy, now, limits, lease))

    def record(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or nothing."""
        polls = list(polls)
        receipt = self._engine.transact(lambda: self._batch().book(polls))
        return replace(receipt, totals=()) if self.shared else receipt

    def hasten(self, now: float, after: Place = START) -> Place | None:
        """Have live sessions be due no later than their longest interval from now, as after a clock was set back.

        They are looked through in portions; the place to go on from, None at the end.
        """
        return self._engine.transact(lambda: self._following().hasten(now, after))

    def retry(self, now: float) -> bool:
        """Have a portion of the sessions that were given up be due; whether there may be more."""
        return self._engine.transact(lambda: self._following().retry(now))

    def put_back(self, under_way: Iterable[Claim]) -> None:
        """Give up claims of polls that will not be finished: others may poll at once."""
        under_way = list(under_way)
        self._engine.transact(lambda: claims.put_back(self._connection, under_way))

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

    def rename_account(self, old: str, new: str) -> int:
        """Give an account another name, with all it has booked; returns how many sessions it has."""

        def work() -> int:
            if self.shared and alive(self._connection) > 1:
                raise LedgerLocked("other exporters use the ledger; an account is renamed while they are stopped")
            renamed = rename_account(self._connection, old, new)
            begin_anew(self._connection)
            self._image(self._engine)
            return renamed

        return self._engine.transact(work)

    def release_all(self) -> Receipt:
        """Have every total shown with its value, as history that nothing should count as an increase."""

        def work() -> Receipt:
            self._totals.release(total.row for total in self._all() if not total.released)
            return Receipt(self._written())

        return self._engine.transact(work)

    # Among others

    def take_lease(self, name: str, seconds: float) -> Answer | None:
        """Have what only one may have; a file's only process has everything. None: another asks at this moment."""
        if not self.shared:
            return Answer(held=True, first=True)
        return self._engine.transact(lambda: take(self._connection, name, self._engine.writer, seconds))

    def renew(self, under_way: Iterable[Claim]) -> None:
        """Keep the claims of polls that take long."""
        under_way = list(under_way)
        self._engine.transact(lambda: claims.renew(self._connection, under_way, self._lease_seconds))

    def fold(self) -> int:
        """Take over the totals of writers that are gone; returns how many they were."""
        return self._engine.transact(lambda: fold(self._connection)) if self.shared else 0

    def learn(self) -> None:
        """Hear of the series that others have begun; where there are none, nothing is to be learnt."""
        if self.shared:
            self._engine.transact(lambda: self._totals.learn())  # noqa: PLW0108 - a new image may have been made

    def alive(self) -> int:
        """How many processes share the work, this one included, which is seen by asking."""
        return self._engine.transact(lambda: alive(self._connection)) if self.shared else 1

    # Showing

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

    def keep(self, key: str, value: str) -> None:
        """Keep a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._engine.transact(lambda: self._connection.execute(statement, (key, value)))
