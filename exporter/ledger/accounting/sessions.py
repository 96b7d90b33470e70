"""Count sessions as a whole: started, settled, over a threshold, and the histograms.

A session counts once, and only if it isn't part of another one. Runs within the transaction of a batch; books no money.
"""

from decimal import Decimal

from msgspec.structs import replace

from exporter.core.costs import AWAITING, BUNDLED, SETTLED_UNPRICED, LedgerEntry
from exporter.core.model import Exemplar, Labels, Poll, StateChange
from exporter.core.money import ZERO, add
from exporter.ledger.accounting.keyed_tree import KeyedTree, bundled_events
from exporter.ledger.accounting.working_set import WorkingSet
from exporter.ledger.database import Connection
from exporter.ledger.schema.rows import SessionRow
from exporter.ledger.schema.version import LIVE, LIVE_STATES
from exporter.ledger.totals.totals import Totals, TotalsSettings

PRUNED_ROOT = 2
"""A value of `SessionRow.observed`: the root event was pruned, so the session was counted before, in every family."""
_ONE = Decimal(1)


class SessionStats:
    """Counts the sessions of one batch."""

    def __init__(
        self, connection: Connection, totals: Totals, working_set: WorkingSet, settings: TotalsSettings
    ) -> None:
        self._connection = connection
        self._totals = totals
        self._working_set = working_set
        self._settings = settings
        self.nested: set[bytes] = set()
        """Events that are not the root of some tree of this batch."""
        self.state_changes: list[StateChange] = []

    def count_transition(self, before: SessionRow, row: SessionRow, poll: Poll, tree: KeyedTree | None) -> None:
        """Count the change of a session's state by a poll, and the session when it starts and when it settles."""
        old, new = before.standing, row.standing
        account = row.ref.account
        if old.state != new.state:
            self.state_changes.append(StateChange(row.ref, old.state, new.state, poll.reason))
            self._totals.add("telnyx_sessions", (("account", account), ("state", old.state)), -_ONE)
            self._totals.add("telnyx_sessions", (("account", account), ("state", new.state)), _ONE)
        if (old.state == "settled") != (new.state == "settled"):
            sign = -1 if new.state == "settled" else 1
            owned = self._working_set.owned_net(row.id)
            self._working_set.move_unsettled(account, [(currency, sign * amount) for currency, amount in owned])
        if tree is None:
            return
        # A root type that may be part of another session counts as started when it settles: see `_may_be_part`.
        new_root = old.first_tree_at is None and row.observed != PRUNED_ROOT
        if new_root and tree.attributes.root_record_type not in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", _root_labels(row, tree), _ONE)
        if new.state != "settled" or row.observed or not tree.session.complete:  # the counts of a part would stay wrong
            return
        for event in self._working_set.settle_unpriced(row.id, bundled_events(tree)):
            labels = self._totals.labels(event.labels)
            self._totals.add_entries([LedgerEntry(BUNDLED if event.bundled else SETTLED_UNPRICED, labels, (), _ONE)])
            if event.bundled:
                self._totals.add_entries([LedgerEntry(AWAITING, labels, (), -_ONE)])
        part = self._is_part(tree)
        if part or not self._may_be_part(row, tree):
            self._working_set.sessions[row.id] = replace(row, observed=1)
            if not part:
                self._observe(row, poll, tree)

    def count_thresholds(self, row: SessionRow, tree: KeyedTree) -> SessionRow:
        """Count the thresholds that a live session exceeds, each once per session."""
        closed = row.standing.state == "settled" or row.observed == PRUNED_ROOT
        if not self._settings.thresholds or closed or self._is_part(tree):
            return row
        exceeded = set(filter(None, row.crossed.split(",")))
        spent = cost_by_currency(tree)
        account, *rest = _root_labels(row, tree)
        for threshold in self._settings.thresholds:
            expensive = threshold.cost is not None and spent.get(threshold.currency, ZERO) > threshold.cost
            long = threshold.turns is not None and tree.attributes.inference_turns > threshold.turns
            if threshold.name not in exceeded and (expensive or long):
                labels = (account, ("threshold", threshold.name), *rest)
                self._totals.add("telnyx_sessions_over_threshold_total", labels, _ONE)
                exceeded.add(threshold.name)
        return replace(row, crossed=",".join(sorted(exceeded)))

    def _is_part(self, tree: KeyedTree) -> bool:
        """Return whether the root event of a session is nested in the tree of another session."""
        event = self._working_set.events.get(tree.root)
        return event is not None and (event.nested or event.key in self.nested)

    def _may_be_part(self, row: SessionRow, tree: KeyedTree) -> bool:
        """Return whether a live session may turn out to contain this one, and there is a recheck to count it at.

        A counter can't be decreased, so a leg that settles before its call is known must not count yet.
        """
        outer = self._settings.above.get(tree.attributes.root_record_type)
        if not outer or row.standing.rechecks or row.due_at is None:
            return False
        account, sessions = row.ref.account, self._working_set.sessions
        for other in sessions.values():
            if other.ref.account == account and other.ref.record_type in outer and other.standing.state in LIVE_STATES:
                return True
        # The table doesn't have the new states of this batch yet, so its rows of these sessions don't count. One row
        # more than there are such sessions is enough to find another one.
        marks = ",".join("?" * len(outer))
        query = f"SELECT id FROM sessions WHERE account = ? AND record_type IN ({marks}) AND {LIVE} LIMIT ?"  # noqa: S608 - literals
        found = self._connection.execute(query, (account, *sorted(outer), len(sessions) + 1))
        return any(session not in sessions for (session,) in found)

    def _observe(self, row: SessionRow, poll: Poll, tree: KeyedTree) -> None:
        """Count a session as settled, and add it to the histograms with its root event as exemplar."""
        root, attributes, root_id = _root_labels(row, tree), tree.attributes, tree.session.events[0].id
        if attributes.root_record_type in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", root, _ONE)
        self._totals.add("telnyx_sessions_settled_total", root, _ONE)

        def observe(family: str, labels: Labels, value: Decimal | float) -> None:
            amount = value if isinstance(value, Decimal) else Decimal(repr(value))
            self._totals.observe(family, labels, amount, Exemplar(root_id, float(amount), poll.at))

        observe("telnyx_session_events", root, attributes.events)
        observe("telnyx_session_inference_turns", root, attributes.inference_turns)
        if attributes.duration_seconds is not None:
            observe("telnyx_session_duration_seconds", root, attributes.duration_seconds)
        settled_at = poll.at if row.standing.closed_at is None else row.standing.closed_at
        settling = max(0.0, round(settled_at - row.standing.discovered_at, 3))  # the clock may have been set back
        observe("telnyx_session_settling_seconds", (root[0], root[2]), settling)
        for currency, cost in cost_by_currency(tree).items():
            observe("telnyx_session_cost", (*root, ("currency", currency)), max(cost, ZERO))


def _root_labels(row: SessionRow, tree: KeyedTree) -> Labels:
    return (
        ("account", row.ref.account),
        ("root_record_type", tree.attributes.root_record_type),
        ("session_kind", tree.attributes.session_kind),
    )


def cost_by_currency(tree: KeyedTree) -> dict[str, Decimal]:
    """Return what all distinct events of a tree cost."""
    spent: dict[str, Decimal] = {}
    for event, _ in tree.events.values():
        if event.cost is not None:
            spent[event.currency] = add(spent.get(event.currency, ZERO), event.cost)
    return spent
