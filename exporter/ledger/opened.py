"""The open ledger, and all that it is asked that changes nothing.

Owns the engine, the image of the totals, and the questions; all are asked from one thread, the ledger's. The surprising
fact: where others write as well, the image is only of what this process has added, and what all have added together is
read from the tables.
"""

from collections.abc import Callable, Iterable

from exporter.core import lifecycle
from exporter.core.errors import LedgerError
from exporter.core.model import Followed, Total
from exporter.ledger.accounting.audit import differences
from exporter.ledger.database import Connection, Engine, Image
from exporter.ledger.queue import claims
from exporter.ledger.schema.version import COPYING
from exporter.ledger.totals.aggregate import Reading, Sums
from exporter.ledger.totals.budget_spend import Spend
from exporter.ledger.totals.totals import Settings, Totals
from exporter.ledger.views.recent import recent

LEASE_SECONDS = 60.0
"""How long a claim is good for where others may take it; whoever polls renews it."""


class OpenLedger:
    """An open ledger, as far as it is only asked."""

    def __init__(
        self,
        opened: Callable[[Image], Engine],
        policy: lifecycle.Policy,
        settings: Settings,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`opened` opens the engine, which calls what it is given whenever the image of it must be made anew."""
        self._lease_seconds = lease_seconds
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

    def totals(self) -> tuple[Total, ...]:
        """All, whoever writes them."""
        return self._engine.read(self._all)

    def _all(self) -> tuple[Total, ...]:
        return Sums().read(self._connection).totals if self.shared else self._totals.all()

    def changes(self, *, anew: bool = False) -> Reading:
        """What whoever shows all writers' totals hasn't seen yet, or all anew; all after an error, too."""
        sums, self._sums = Sums() if anew else self._sums, Sums()
        reading = self._engine.read(lambda: sums.read(self._connection))
        self._sums = sums
        return reading

    def followed(self, since: float, limit: int) -> tuple[Followed, ...]:
        """Configured sessions and those changed since, for the per-session gauges."""
        return self._engine.read(lambda: recent(self._connection, since, limit))

    def due(self, now: float, accounts: Iterable[str]) -> int:
        """How many sessions of these accounts are due and not claimed; with many it takes some ms, as many are read."""
        far, asked = now + self._policy.longest, list(accounts)
        return self._engine.read(lambda: claims.due(self._connection, now, far, asked))

    def kept(self, key: str) -> str | None:
        query = "SELECT value FROM meta WHERE key = ?"
        row = self._engine.read(lambda: self._connection.execute(query, (key,)).fetchone())
        return None if row is None else str(row[0])

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

    def check(self) -> list[str]:
        """What in the ledger doesn't agree with itself, a line each; empty when all is well."""

        def work() -> list[str]:
            return [*self._engine.damage(), *differences(self._connection, self._totals, self._all())]

        return self._engine.read(work)

    @property
    def repeats(self) -> int:
        """How many transactions were begun again because others were in the way."""
        return self._engine.repeats

    @property
    def rescues(self) -> int:
        """How often the file was written again after somebody had removed it."""
        return self._engine.rescues

    def size_bytes(self) -> int:
        return self._engine.size_bytes()
