"""A session as a whole: when it counts as started and settled, which thresholds it went over, what is observed of it.

Owns the rule that a session is counted once and only as an outermost one, within the caller's batch. Books no money.
The surprising fact: a counter can't be taken back, so what may turn out to be a part of another session waits.
"""

from collections import Counter
from decimal import Decimal

from msgspec.structs import replace

from exporter.core.costs import LedgerEntry
from exporter.core.model import Exemplar, Labels, Poll, Session, SessionAttributes, StateChange
from exporter.core.money import ZERO, add
from exporter.core.tree import identity
from exporter.ledger.accounting.working_set import WorkingSet
from exporter.ledger.database import Connection
from exporter.ledger.schema.rows import SessionRow
from exporter.ledger.schema.version import LIVE, LIVE_STATES
from exporter.ledger.totals.totals import Totals, TotalsSettings

_ONE = Decimal(1)


class SessionStats:
    """Counts the sessions of one batch."""

    def __init__(self, connection: Connection, totals: Totals, books: WorkingSet, settings: TotalsSettings) -> None:
        self._connection = connection
        self._totals = totals
        self._books = books
        self._settings = settings
        self.below: set[bytes] = set()
        """Events that stand below another one in some tree of this batch."""
        self.state_changes: list[StateChange] = []

    def move(self, before: SessionRow, row: SessionRow, poll: Poll, root: bytes | None) -> None:
        """After a poll: from one state to the next; `root` is the key of its tree's root event."""
        old, new = before.standing, row.standing
        account = row.ref.account
        if old.state != new.state:
            self.state_changes.append(StateChange(row.ref, old.state, new.state, poll.reason))
            self._totals.add("telnyx_sessions", (("account", account), ("state", old.state)), -_ONE)
            self._totals.add("telnyx_sessions", (("account", account), ("state", new.state)), _ONE)
        if (old.state == "settled") != (new.state == "settled"):
            sign = -1 if new.state == "settled" else 1
            self._books.move_unsettled(
                account, [(currency, sign * amount) for currency, amount in self._books.owned_net(row.id)]
            )
        session_attributes = poll.session_attributes
        if session_attributes is None or poll.session is None or root is None:
            return
        if old.first_tree_at is None and session_attributes.root_record_type not in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", _root(row, session_attributes), _ONE)
        if new.state == "settled" and not row.observed and poll.session.complete:  # else its counts would lack a part
            self._settle_first(row, poll, poll.session, session_attributes, root)

    def cross(self, row: SessionRow, poll: Poll, session: Session, root: bytes) -> SessionRow:
        """Count the thresholds that the session goes over, each once, while it is live."""
        crossed, session_attributes = set(filter(None, row.crossed.split(","))), poll.session_attributes
        if not self._settings.thresholds or row.standing.state == "settled" or session_attributes is None:
            return row
        if self._absorbed(root):
            return row
        spent = _cost_by_currency(session)
        for threshold in self._settings.thresholds:
            too_dear = threshold.cost is not None and spent.get(threshold.currency, ZERO) > threshold.cost
            too_long = threshold.turns is not None and session_attributes.inference_turns > threshold.turns
            if threshold.name not in crossed and (too_dear or too_long):
                labels = (
                    ("account", row.ref.account),
                    ("threshold", threshold.name),
                    *_root(row, session_attributes)[1:],
                )
                self._totals.add("telnyx_sessions_over_threshold_total", labels, _ONE)
                crossed.add(threshold.name)
        return replace(row, crossed=",".join(sorted(crossed)))

    def _absorbed(self, root: bytes) -> bool:
        event = self._books.events.get(root)
        return event is not None and (event.nested or event.key in self.below)

    def _settle_first(
        self, row: SessionRow, poll: Poll, session: Session, session_attributes: SessionAttributes, root: bytes
    ) -> None:
        """Count the session: now, later if it may turn out to be a part of another one, or never if it is."""
        self._count_unpriced(row)
        absorbed = self._absorbed(root)
        if not absorbed and self._may_be_absorbed(row, session_attributes):
            return
        self._books.sessions[row.id] = replace(row, observed=1)
        if not absorbed:
            self._observe(row, poll, session, session_attributes)

    def _may_be_absorbed(self, row: SessionRow, session_attributes: SessionAttributes) -> bool:
        """A session that may contain this one is live, and there will be another look: a recheck is soon enough.

        A counter can't be taken back, so a leg that is seen before its call must not count before the call is known.
        """
        outer = self._settings.above.get(session_attributes.root_record_type)
        if not outer or row.standing.rechecks or row.due_at is None:
            return False
        account = row.ref.account
        met = (known for known in self._books.sessions.values() if known.ref.account == account)
        if any(known.ref.record_type in outer and known.standing.state in LIVE_STATES for known in met):
            return True
        marks = ",".join("?" * len(outer))
        query = f"SELECT id FROM sessions WHERE account = ? AND record_type IN ({marks}) AND {LIVE} LIMIT ?"  # noqa: S608 - literals
        found = self._connection.execute(query, (account, *sorted(outer), len(self._books.sessions) + 1))
        return any(
            session not in self._books.sessions for (session,) in found
        )  # the table is behind on those of this batch

    def _observe(self, row: SessionRow, poll: Poll, session: Session, session_attributes: SessionAttributes) -> None:
        root = _root(row, session_attributes)
        if session_attributes.root_record_type in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", root, _ONE)
        self._totals.add("telnyx_sessions_settled_total", root, _ONE)

        def observe(family: str, labels: Labels, value: Decimal | float) -> None:
            amount = value if isinstance(value, Decimal) else Decimal(repr(value))
            self._totals.observe(family, labels, amount, Exemplar(session.events[0].id, float(amount), poll.at))

        observe("telnyx_session_events", root, session_attributes.events)
        observe("telnyx_session_inference_turns", root, session_attributes.inference_turns)
        if session_attributes.duration_seconds is not None:
            observe("telnyx_session_duration_seconds", root, session_attributes.duration_seconds)
        settled_at = poll.at if row.standing.closed_at is None else row.standing.closed_at
        settling = max(0.0, round(settled_at - row.standing.discovered_at, 3))  # the clock may have been set back
        observe("telnyx_session_settling_seconds", (root[0], root[2]), settling)
        for currency, cost in _cost_by_currency(session).items():
            observe("telnyx_session_cost", (*root, ("currency", currency)), max(cost, ZERO))

    def _count_unpriced(self, row: SessionRow) -> None:
        self._totals.add_entries(
            LedgerEntry("telnyx_events_settled_unpriced_total", self._totals.labels(event.labels), (), _ONE)
            for event in self._books.settle_unpriced(row.id)
        )


def _root(row: SessionRow, session_attributes: SessionAttributes) -> Labels:
    return (
        ("account", row.ref.account),
        ("root_record_type", session_attributes.root_record_type),
        ("session_kind", session_attributes.session_kind),
    )


def _cost_by_currency(session: Session) -> dict[str, Decimal]:
    costs_of: dict[str, Decimal] = {}
    seen: Counter[tuple[str | int, ...]] = Counter()
    for event in session.events:
        name = (*identity(event.record_type, event.product, event.event_name, event.id), event.ordinal)
        seen[name] += 1
        if event.cost is not None and event.id and seen[name] == 1:
            costs_of[event.currency] = add(costs_of.get(event.currency, ZERO), event.cost)
    return costs_of
