"""The embedded ledger: one SQLite file, one process, one writing connection.

Owns the file, its lock and every transaction on it. All methods are called from one thread, the ledger's. WAL with
`synchronous=FULL`: a commit that returned survives the machine losing power; batches make it affordable. The
surprising fact: claims need no lease here, since a lock that the kernel frees at death proves that nobody else polls.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from exporter import lifecycle
from exporter.errors import LedgerCorrupt, LedgerError, LedgerTooNew
from exporter.ledger.audit import differences
from exporter.ledger.booking import Batch
from exporter.ledger.lock import FileLock
from exporter.ledger.migrations import migrate
from exporter.ledger.pruning import horizon, prune
from exporter.ledger.renaming import rename_account
from exporter.ledger.schema import SCHEMA_VERSION, metadata
from exporter.ledger.spend import Spend
from exporter.ledger.totals import Settings, Totals
from exporter.model import Claim, Followed, Labels, Poll, Receipt, SessionRef, Total

_ONE = Decimal(1)
_Result = TypeVar("_Result")

_CLAIMED = "id, record_type, event_id, date_time, due_at"

CONFIGURED = "config"
"""The source of sessions that the configuration names."""


class SqliteLedger:
    """Everything durable: the sessions that are followed, the events that were booked, the totals that are shown."""

    def __init__(self, path: Path, policy: lifecycle.Policy, settings: Settings) -> None:
        self.path = path
        self._policy = policy
        self._settings = settings
        self._lock = FileLock(path)
        try:
            self._connection = self._open()
            self._totals = Totals(self._connection, settings)
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise _translated(error, path) from error
        except LedgerError:
            self._lock.release()
            raise

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=5, check_same_thread=False)
        version = _inspected(connection, self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("BEGIN IMMEDIATE")
        if version is None:
            _create(connection)
        elif version < SCHEMA_VERSION:
            migrate(connection, version)
        connection.execute("UPDATE sessions SET claim = 0 WHERE claim <> 0")
        connection.execute("COMMIT")
        return connection

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def _transact(self, work: Callable[[], _Result]) -> _Result:
        """Run in one transaction; after any error nothing of it is booked, and the totals are read again."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = work()
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._recover()
            if isinstance(error, sqlite3.Error):
                raise _translated(error, self.path) from error
            raise
        return result

    def _recover(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._totals = Totals(self._connection, self._settings)
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    # Following

    def follow(self, refs: Iterable[SessionRef], source: str, now: float) -> Receipt:
        """Remember sessions; one that is known already keeps its place, and becomes configured if it is now."""
        return self._transact(lambda: self._follow(list(refs), source, now))

    def _follow(self, refs: list[SessionRef], source: str, now: float) -> Receipt:
        configured = int(source == CONFIGURED)
        for ref in refs:
            inserted = self._connection.execute(
                "INSERT INTO sessions (account, record_type, event_id, date_time, source, configured, due_at, claim,"
                " state, interval, followed_at, rechecks, observed, owned, failing, polls)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'discovered', 0, ?, 0, 0, 0, '', '[]') ON CONFLICT DO NOTHING",
                (ref.account, ref.record_type, ref.event_id, ref.date_time, source, configured, now, now),
            ).rowcount
            if inserted:
                account = ("account", ref.account)
                self._totals.add("telnyx_sessions", (account, ("state", "discovered")), _ONE)
                self._totals.add("telnyx_discovered_sessions_total", (account, ("source", source)), _ONE)
        return Receipt(self._totals.write())

    def configure(self, refs: Iterable[SessionRef], now: float) -> Receipt:
        """The sessions that the configuration names now: follow new ones, look daily at these and no others."""
        refs = list(refs)

        def work() -> Receipt:
            self._connection.execute("UPDATE sessions SET configured = 0 WHERE configured = 1")
            receipt = self._follow(refs, CONFIGURED, now)
            self._connection.executemany(
                "UPDATE sessions SET configured = 1, due_at = coalesce(due_at, ?)"
                " WHERE account = ? AND record_type = ? AND event_id = ?",
                [(now, ref.account, ref.record_type, ref.event_id) for ref in refs],
            )
            return receipt

        return self._transact(work)

    # Polling

    def claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        """Due sessions for the caller to poll, the longest due first: at most as many of an account as its limit."""
        return self._transact(lambda: self._claim(now, limits))

    def _claim(self, now: float, limits: Mapping[str, int]) -> list[Claim]:
        number = int(self._connection.execute("SELECT value FROM meta WHERE key = 'claims'").fetchone()[0])
        claims = []
        for account, limit in limits.items():
            found = self._due("due_at <= ?", account, now, limit)
            found += self._due("due_at > ?", account, now + self._policy.longest, limit - len(found))
            for session, record_type, event_id, date_time, due_at in found:
                number += 1
                claims.append(Claim(session, number, SessionRef(account, record_type, event_id, date_time), due_at))
        if claims:
            rows = [(claim.number, claim.session) for claim in claims]
            self._connection.executemany("UPDATE sessions SET claim = ? WHERE id = ?", rows)
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(number),))
        return claims

    def _due(self, when: str, account: str, moment: float, limit: int) -> list[tuple[Any, ...]]:
        # Two questions, not one with OR: each is answered from the front of the index.
        query = f"SELECT {_CLAIMED} FROM sessions WHERE account = ? AND claim = 0 AND {when} ORDER BY due_at LIMIT ?"  # noqa: S608 - literals of this module
        return self._connection.execute(query, (account, moment, limit)).fetchall()

    def record(self, polls: Iterable[Poll]) -> Receipt:
        """Book finished polls, all or nothing."""
        polls = list(polls)
        return self._transact(lambda: self._batch().book(polls))

    def _batch(self) -> Batch:
        return Batch(self._connection, self._totals, self._policy, self._settings, horizon(self._connection))

    # Keeping

    def sum_up(self, now: float) -> Receipt:
        """Sum up the budgets' current windows, which move on with time."""

        def work() -> Receipt:
            Spend(self._connection, self._totals, self._settings.budgets).sum_up(now)
            return Receipt(self._totals.write())

        return self._transact(work)

    def prune(self, before: float, limit: int) -> tuple[int, Receipt]:
        """Forget at most `limit` sessions at rest whose latest event is older, with their events; totals stay."""

        def work() -> tuple[int, Receipt]:
            pruned = prune(self._connection, self._totals, before, limit)
            return pruned, Receipt(self._totals.write())

        return self._transact(work)

    def check(self) -> list[str]:
        """What in the ledger doesn't agree with itself, a line each; empty when all is well."""
        damage = [text for (text,) in self._connection.execute("PRAGMA integrity_check") if text != "ok"]
        return [*damage, *differences(self._connection, self._totals)]

    def rename_account(self, old: str, new: str) -> int:
        """Give an account another name, with all it has booked; returns how many sessions it has."""

        def work() -> int:
            renamed = rename_account(self._connection, old, new)
            self._totals = Totals(self._connection, self._settings)
            return renamed

        return self._transact(work)

    # Showing

    def totals(self) -> tuple[Total, ...]:
        return self._totals.all()

    def born(self, series: Iterable[tuple[str, Labels]]) -> Receipt:
        """Have these series exist, at 0 where they are new."""

        def work() -> Receipt:
            for family, labels in series:
                self._totals.born(family, labels)
            return Receipt(self._totals.write())

        return self._transact(work)

    def release(self, rows: Iterable[int]) -> Receipt:
        """Mark totals as having been scraped at 0, so that their values may be shown from now on."""

        def work() -> Receipt:
            self._totals.release(rows)
            return Receipt(self._totals.write())

        return self._transact(work)

    def followed(self, since: float, limit: int) -> tuple[Followed, ...]:
        """Configured sessions and those changed since, for the per-session gauges after a start."""
        found = self._connection.execute(
            "SELECT account, record_type, event_id, configured, changed_at, summary FROM sessions"
            " WHERE summary IS NOT NULL AND (configured = 1 OR changed_at >= ?)"
            " ORDER BY configured DESC, changed_at DESC LIMIT ?",
            (since, limit),
        )
        return tuple(_followed(row) for row in found)

    def due(self, now: float, accounts: Iterable[str]) -> int:
        """How many sessions of these accounts are due and not claimed."""
        query = "SELECT count(*) FROM sessions WHERE account = ? AND claim = 0 AND (due_at <= ? OR due_at > ?)"
        far = now + self._policy.longest
        return sum(self._connection.execute(query, (account, now, far)).fetchone()[0] for account in accounts)

    def keep(self, key: str, value: str) -> None:
        """Keep a small text for the next start."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._transact(lambda: self._connection.execute(statement, (key, value)))

    def kept(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def size_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, as far as nobody reads it."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _followed(row: tuple[Any, ...]) -> Followed:
    account, record_type, event_id, configured, at, summary = row
    known = json.loads(summary)
    costs = tuple((product, currency, Decimal(amount)) for product, currency, amount in known["costs"])
    ref = SessionRef(account, record_type, event_id)
    return Followed(ref, known["events"], known["turns"], at or 0.0, costs, bool(configured))


def _inspected(connection: sqlite3.Connection, path: Path) -> int | None:
    """The schema's version, None in an empty file; refuses, before a byte is written, what is no ledger of ours."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if not tables >= {"meta", "totals"}:
        raise LedgerCorrupt(f"{path} is a database, but not a ledger of this exporter; set ledger.url to another file")
    version = int(connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise LedgerTooNew(
            f"{path} was written by a newer version of the exporter (schema {version}, this one knows"
            f" {SCHEMA_VERSION}); run that version, or restore an older copy"
        )
    return version


def _create(connection: sqlite3.Connection) -> None:
    for table in metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=dialect.dialect())))
        for index in table.indexes:
            connection.execute(str(CreateIndex(index).compile(dialect=dialect.dialect())))
    values = {"schema_version": str(SCHEMA_VERSION), "ledger_id": uuid.uuid4().hex, "claims": "0"}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", list(values.items()))


def _translated(error: sqlite3.Error, path: Path) -> LedgerError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return LedgerCorrupt(f"{path} is not a SQLite file or is damaged ({text}); restore a copy or move it away")
    if not os.access(path.parent, os.W_OK):
        return LedgerError(f"{path}: its folder cannot be written ({text}); mend its permissions")
    return LedgerError(f"{path}: {text}")
