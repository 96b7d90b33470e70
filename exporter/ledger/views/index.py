"""Where each session stands in the lists that people look at: by cost, by last change, by number of events.

Owns the tables that such a list is read from; a facet is one (account, record type, state), and few of them exist.
Runs within the caller's transaction, and is no part of the accounting. The surprising fact: a poll that changed nothing
writes nothing here, which is why these columns and their indexes are no part of `sessions`.
"""

from collections.abc import Iterator
from decimal import Decimal

from msgspec.json import decode

from exporter.core.model import SessionRef
from exporter.core.money import ZERO, add, amount_text
from exporter.ledger.database import Connection
from exporter.ledger.schema.ranks import rank
from exporter.ledger.schema.rows import SessionRow


def costs_of(summary: str | None) -> dict[str, Decimal]:
    """Net cost by currency, as a session's summary has it by product."""
    costs: dict[str, Decimal] = {}
    for _, currency, amount in decode(summary)["costs"] if summary is not None else ():
        costs[currency] = add(costs.get(currency, ZERO), Decimal(amount))
    return costs


class SessionIndex:
    """The lists as one transaction writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers: dict[tuple[str, str, str], int] = {}

    def begin(self, session: int, ref: SessionRef, now: float) -> None:
        """A session that has just been followed."""
        facet = self._number(ref.account, ref.record_type, "discovered")
        self._connection.write("INSERT INTO session_index VALUES (?, ?, ?, 0, 1)", (session, facet, now))

    def write(self, before: SessionRow, after: SessionRow) -> None:
        """Have the lists say what the session has become."""
        old, new = before.standing, after.standing
        if (old.state, old.changed_at, before.summary) != (new.state, new.changed_at, after.summary):
            self.put(after.id, after.ref, new.state, _changed_at(after), after.summary)

    def put(self, session: int, ref: SessionRef, state: str, changed_at: float, summary: str | None) -> None:
        facet, costs = self._number(ref.account, ref.record_type, state), costs_of(summary)
        events = decode(summary)["events"] if summary is not None else 0
        self._connection.write(
            "INSERT INTO session_index (session, session_group, changed_at, events, costless) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (session) DO UPDATE SET session_group = excluded.session_group,"
            " changed_at = excluded.changed_at, events = excluded.events, costless = excluded.costless",
            (session, facet, changed_at, events, int(not costs)),
        )
        self._connection.write("DELETE FROM session_index_costs WHERE session = ?", (session,))
        self._connection.write(
            "INSERT INTO session_index_costs VALUES (?, ?, ?, ?, ?)",
            *[(session, currency, facet, amount_text(cost), rank(cost)) for currency, cost in costs.items()],
        )

    def root(self, session: int, ref: SessionRef, root_id: str) -> None:
        """The id of the session's root event, by which exemplars name it."""
        if root_id not in {ref.event_id, ""}:
            statement = "INSERT INTO root_ids VALUES (?, ?) ON CONFLICT DO NOTHING"
            self._connection.write(statement, (root_id.encode("utf-8", "replace").decode(), session))

    def _number(self, account: str, record_type: str, state: str) -> int:
        named = (account, record_type, state)
        if named not in self._numbers:
            query = "SELECT id FROM session_groups WHERE account = ? AND record_type = ? AND state = ?"
            found = self._connection.execute(query, named).fetchone()
            if found is None:
                self._connection.execute(
                    "INSERT INTO session_groups (account, record_type, state) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    named,
                )
                found = self._connection.execute(query, named).fetchone()
            self._numbers[named] = int(found[0])
        return self._numbers[named]


def check_index(connection: Connection) -> Iterator[str]:
    """A line for each session that does not stand in the lists where it belongs."""
    costs: dict[int, dict[str, Decimal]] = {}
    for session, currency, amount in connection.execute("SELECT session, currency, amount FROM session_index_costs"):
        costs.setdefault(session, {})[currency] = Decimal(amount)
    rows = connection.execute(
        "SELECT sessions.id, summary, session_groups.id IS NOT NULL AND session_index.changed_at ="
        " coalesce(sessions.changed_at, discovered_at), session_index.events"
        " FROM sessions LEFT JOIN session_index ON session_index.session = sessions.id"
        " LEFT JOIN session_groups ON session_groups.id = session_group AND session_groups.account = sessions.account"
        " AND session_groups.record_type = sessions.record_type AND session_groups.state = sessions.state"
    )
    for session, summary, placed, events in rows:
        counted = decode(summary)["events"] if summary is not None else 0
        listed = costs.pop(session, {})
        if not placed or events != counted or listed != costs_of(summary):
            yield f"session {session} does not stand in the lists of the pages as it is"
    yield from (f"session {session} stands in the lists of the pages, and does not exist" for session in costs)


def rename_account_groups(connection: Connection, old: str, new: str) -> None:
    """An account's other name; no session has the new one, but a facet may be left from one that had."""
    connection.execute("DELETE FROM session_groups WHERE account = ?", (new,))
    connection.execute("UPDATE session_groups SET account = ? WHERE account = ?", (new, old))


def _changed_at(row: SessionRow) -> float:
    changed = row.standing.changed_at
    return row.standing.discovered_at if changed is None else changed
