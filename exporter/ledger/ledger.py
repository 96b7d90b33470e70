"""The embedded ledger: one SQLite file, one process, one writing connection.

Owns what can be asked of the ledger and the transaction around each; all methods are called from one thread, the
ledger's. WAL with `synchronous=FULL`: a commit that returned survives the machine losing power; batches make it
affordable. The surprising fact: claims need no lease here, since a lock that the kernel frees at death proves that
nobody else polls.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from exporter import lifecycle
from exporter.known import DETAIL_RECORDS
from exporter.ledger.audit import differences
from exporter.ledger.booking import Batch
from exporter.ledger.file import LedgerFile, MemoryFile
from exporter.ledger.following import START, Following, Place
from exporter.ledger.pruning import prune
from exporter.ledger.recent import recent
from exporter.ledger.records import Records
from exporter.ledger.renaming import rename_account
from exporter.ledger.spend import Spend
from exporter.ledger.totals import Settings, Totals
from exporter.model import Claim, DetailRecord, Followed, Labels, Poll, Receipt, SessionRef, Sighting, Total

LAST_SUCCESS = "telnyx_discovery_last_success_timestamp_seconds"

_CLAIMED = "id, record_type, event_id, date_time, due_at, fingerprint"


class Ledger:
    """Everything durable: the sessions that are followed, the events that were booked, the totals that are shown."""

    def __init__(self, path: Path | None, policy: lifecycle.Policy, settings: Settings) -> None:
        """Without a path it is in memory, and gone when it is closed."""
        self._policy = policy
        self._settings = settings
        self._file = MemoryFile(self._read_totals) if path is None else LedgerFile(path, self._read_totals)
        try:
            self._file.transact(self._free_claims)
        except BaseException:
            self._file.close()
            raise

    def _read_totals(self, connection: sqlite3.Connection) -> None:
        self._totals = Totals(connection, self._settings)
        self._spend = Spend(connection, self._totals, self._settings.budgets)

    def _free_claims(self) -> None:
        """Of a process that died; the file's lock proves that nobody else polls."""
        self._connection.execute("UPDATE sessions SET claim = 0 WHERE claim <> 0")

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._file.connection

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        self._file.close()

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
            return Receipt(self._totals.write(), moves=tuple(following.moves))

        return self._file.transact(work)

    def list_records(self, account: str, records: Iterable[DetailRecord], now: float) -> Receipt:
        """Follow the sessions of detail records that are new or cost more than before, and count what they cost."""
        records = list(records)

        def work() -> Receipt:
            known, following = self._records(account), self._following()
            following.follow(map(known.word, known.news(records, now)), DETAIL_RECORDS, now)
            return Receipt(self._totals.write(), moves=tuple(following.moves))

        return self._file.transact(work)

    def forget_records(self, account: str, before: float) -> None:
        """Detail records of the account from before are not listed again."""
        self._file.transact(lambda: self._records(account).forget(before))

    def _records(self, account: str) -> Records:
        return Records(self._connection, self._totals, account)

    def succeeded(self, source: str, accounts: Iterable[str], now: float) -> Receipt:
        """A source has been asked for all it knows."""

        def work() -> Receipt:
            self._succeed(source, accounts, now)
            return Receipt(self._totals.write())

        return self._file.transact(work)

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
            return Receipt(self._totals.write(), moves=tuple(following.moves))

        return self._file.transact(work)

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
            self._read_totals(self._connection)
            following = self._following()
            following.configure(refs, now)
            self._spend.forget_others()
            self._spend.sum_up(now)
            for family, labels in series:
                self._totals.born(family, labels)
            return Receipt(self._totals.write(), moves=tuple(following.moves))

        try:
            return self._file.transact(work)
        except BaseException:
            self._policy, self._settings = before
            raise

    # Polling

    def claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        """Due sessions for the caller to poll, the longest due first: at most as many of an account as its limit."""
        return self._file.transact(lambda: self._claim(now, limits))

    def _claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        number = int(self._connection.execute("SELECT value FROM meta WHERE key = 'claims'").fetchone()[0])
        claims = []
        for account, limit in limits.items():
            found = self._due("due_at <= ?", account, now, limit)
            found += self._due("due_at > ?", account, now + self._policy.longest, limit - len(found))
            for session, record_type, event_id, date_time, due_at, fingerprint in found:
                number += 1
                ref = SessionRef(account, record_type, event_id, date_time)
                claims.append(Claim(session, number, ref, due_at, fingerprint))
        if claims:
            rows = [(claim.number, claim.session) for claim in claims]
            self._connection.executemany("UPDATE sessions SET claim = ?, hinted_due = NULL WHERE id = ?", rows)
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(number),))
        return claims

    def _due(self, when: str, account: str, moment: float, limit: int) -> list[tuple[Any, ...]]:
        # Two questions, not one with OR: each is answered from the front of the index.
        query = f"SELECT {_CLAIMED} FROM sessions WHERE account = ? AND claim = 0 AND {when} ORDER BY due_at LIMIT ?"  # noqa: S608 - literals of this module
        return self._connection.execute(query, (account, moment, limit)).fetchall()

    def record(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or nothing."""
        polls = list(polls)
        return self._file.transact(lambda: self._batch().book(polls))

    def hasten(self, now: float, after: Place = START) -> Place | None:
        """Have live sessions be due no later than their longest interval from now, as after a clock was set back.

        They are looked through in portions; the place to go on from, None at the end.
        """
        return self._file.transact(lambda: self._following().hasten(now, after))

    def retry(self, now: float) -> bool:
        """Have a portion of the sessions that were given up be due; whether there may be more."""
        return self._file.transact(lambda: self._following().retry(now))

    def put_off(self, claim: Claim, now: float) -> None:
        """Give up a claim without booking: the session is due again after the longest interval of a live one."""
        due_at = now + self._policy.max_interval
        statement = "UPDATE sessions SET claim = 0, due_at = ? WHERE id = ? AND claim = ?"
        values = (due_at, claim.session, claim.number)
        self._file.transact(lambda: self._connection.execute(statement, values))

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
            return Receipt(self._totals.write())

        return self._file.transact(work)

    def prune(self, before: float, limit: int) -> tuple[int, Receipt]:
        """Forget at most `limit` sessions at rest whose latest event is older, with their events; totals stay."""

        def work() -> tuple[int, Receipt]:
            pruned = prune(self._connection, self._totals, before, limit)
            return pruned, Receipt(self._totals.write())

        return self._file.transact(work)

    def check(self) -> list[str]:
        """What in the ledger doesn't agree with itself, a line each; empty when all is well."""

        def work() -> list[str]:
            damage = [text for (text,) in self._connection.execute("PRAGMA integrity_check") if text != "ok"]
            return [*damage, *differences(self._connection, self._totals)]

        return self._file.read(work)

    def rename_account(self, old: str, new: str) -> int:
        """Give an account another name, with all it has booked; returns how many sessions it has."""

        def work() -> int:
            renamed = rename_account(self._connection, old, new)
            self._read_totals(self._connection)
            return renamed

        return self._file.transact(work)

    def empty(self) -> bool:
        """Whether nothing was ever booked."""
        query = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM meta WHERE key = 'horizon')"
        return self._file.read(lambda: not self._connection.execute(query).fetchone()[0])

    def newest(self) -> int:
        """The number of the session that was followed last; 0 if none is."""
        query = "SELECT coalesce(max(id), 0) FROM sessions"
        return self._file.read(lambda: int(self._connection.execute(query).fetchone()[0]))

    def polled(self, newest: int) -> bool:
        """Whether all sessions up to this number were polled at least once."""
        query = "SELECT NOT EXISTS (SELECT 1 FROM sessions WHERE id <= ? AND polls = '[]')"
        return self._file.read(lambda: bool(self._connection.execute(query, (newest,)).fetchone()[0]))

    def release_all(self) -> Receipt:
        """Have every total shown with its value, as history that nothing should count as an increase."""

        def work() -> Receipt:
            self._totals.release(total.row for total in self._totals.all() if not total.released)
            return Receipt(self._totals.write())

        return self._file.transact(work)

    # Showing

    def totals(self) -> tuple[Total, ...]:
        return self._file.read(lambda: self._totals.all())  # noqa: PLW0108 - reading may replace self._totals

    def born(self, series: Iterable[tuple[str, Labels]]) -> Receipt:
        """Have these series exist, at 0 where they are new."""

        def work() -> Receipt:
            for family, labels in series:
                self._totals.born(family, labels)
            return Receipt(self._totals.write())

        return self._file.transact(work)

    def release(self, rows: Iterable[int]) -> Receipt:
        """Mark totals as having been scraped at 0, so that their values may be shown from now on."""

        def work() -> Receipt:
            self._totals.release(rows)
            return Receipt(self._totals.write())

        return self._file.transact(work)

    def followed(self, since: float, limit: int) -> tuple[Followed, ...]:
        """Configured sessions and those changed since, for the per-session gauges after a start."""
        return self._file.read(lambda: recent(self._connection, since, limit))

    def due(self, now: float, accounts: Iterable[str]) -> int:
        """How many sessions of these accounts are due and not claimed; with many it takes some ms, as many are read."""
        far, asked = now + self._policy.longest, list(accounts)

        def count(account: str) -> int:
            # By the index alone, which has no claims; those are few, and have an index of their own.
            query = (
                "SELECT (SELECT count(*) FROM sessions WHERE account = ? AND due_at <= ?)"
                " + (SELECT count(*) FROM sessions WHERE account = ? AND due_at > ?)"
            )
            found = self._connection.execute(query, (account, now, account, far)).fetchone()
            return int(found[0])

        def work() -> int:
            claimed = self._connection.execute("SELECT account, due_at FROM sessions WHERE claim <> 0").fetchall()
            taken = [at for account, at in claimed if account in asked and (at <= now or at > far)]
            return sum(map(count, asked)) - len(taken)

        return self._file.read(work)

    def keep(self, key: str, value: str) -> None:
        """Keep a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._file.transact(lambda: self._connection.execute(statement, (key, value)))

    def kept(self, key: str) -> str | None:
        query = "SELECT value FROM meta WHERE key = ?"
        row = self._file.read(lambda: self._connection.execute(query, (key,)).fetchone())
        return None if row is None else str(row[0])

    @property
    def rescues(self) -> int:
        """How often the file was written again after somebody had removed it."""
        return self._file.rescues

    def size_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())
