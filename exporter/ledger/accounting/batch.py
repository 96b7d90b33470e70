"""Booking a batch of polls, within one transaction.

Owns the order of the accounting across sessions: which poll may change an event, who owns it, what vanished or was
amended. The rule for one event is `costs.book`, the pace `lifecycle.step`, sessions as a whole are `counting`'s. The
surprising fact: a poll that was claimed earlier may finish later, and then never changes what a later one booked.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec.json import encode
from msgspec.structs import replace

from exporter.core import costs, lifecycle
from exporter.core.attributes import read_time
from exporter.core.model import Event, EventAttributes, FailedCheck, Poll, Receipt, Session, SessionGauges
from exporter.core.money import ZERO, add, amount_text
from exporter.core.tree import identity
from exporter.ledger.accounting.retention import retention_watermark
from exporter.ledger.accounting.sessions import SessionStats
from exporter.ledger.accounting.working_set import WorkingSet
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.queue.sessions import SessionQueue
from exporter.ledger.schema.rows import EventRow, SessionRow, read_owners, read_sessions
from exporter.ledger.totals.accounts import account_seeds
from exporter.ledger.totals.budget_spend import BudgetSpend
from exporter.ledger.totals.totals import Totals, TotalsSettings
from exporter.ledger.views.history import append_poll, record_amendment, record_failures
from exporter.ledger.views.index import SessionIndex
from exporter.ledger.views.trees import write_tree

_ONE = Decimal(1)
WHOLE_TREE_CHECKS = ("event_sum", "root_cumulative", "node_cumulative", "event_count", "vanished_event")
"""Checks that an incomplete tree says nothing about: they keep their last verdict."""


def event_key(seed: str, event: Event) -> bytes:
    """16 bytes that name an event of an account for ever, wherever in however many trees it is seen."""
    product, event_name, event_id = identity(event.record_type, event.product, event.event_name, event.id)
    name = f"{seed}\0{product}\0{event_name}\0{event_id}\0{event.ordinal}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


Seen = dict[bytes, tuple[Event, EventAttributes]]
"""A tree's events by key, each once, with what the records say of them."""


class BatchWriter:
    """One batch of polls being booked; used once."""

    def __init__(
        self,
        connection: Connection,
        totals: Totals,
        spend: BudgetSpend,
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
    ) -> None:
        self._connection = connection
        self._totals = totals
        self._policy = policy
        self._horizon = float("-inf")
        self._spend = spend
        self._books = WorkingSet(connection, totals)
        self._counting = SessionStats(connection, totals, self._books, settings)
        self._following = SessionQueue(connection, totals, policy)
        self._index = SessionIndex(connection)
        self._seeds = account_seeds(connection)
        self._followed: list[SessionGauges] = []
        self._notices: list[FailedCheck] = []

    def book(self, polls: Iterable[Poll]) -> Receipt:
        """Book all polls whose claim is still theirs, in the order of their claims."""
        seen = self._seen(polls)
        self._books.lock_sessions({poll.claim.session for poll, _ in seen}, _keys(seen))
        before = dict(self._books.sessions)
        held = [(poll, events) for poll, events in seen if self._holds(poll)]
        if any(self._needs_reading(poll, before) for poll, _ in held):
            raise TransactionConflict("something was booked on the events of an answer that wasn't read")
        self._books.lock_events(_keys(held))
        self._horizon = retention_watermark(
            self._connection
        )  # after the events: one that is pruned meanwhile is behind it
        self._counting.below = {key for _, events in held for key in list(events)[1:]}
        for poll, events in held:
            self._book_poll(poll, events)
        current = [poll for poll, _ in held]
        self._write(before, current)
        moves = (*self._following.state_changes, *self._counting.state_changes)
        return Receipt(self._totals.write(), tuple(self._followed), tuple(self._notices), moves)

    def _write(self, before: Mapping[int, SessionRow], current: Sequence[Poll]) -> None:
        rows = [self._books.sessions[poll.claim.session] for poll in current]
        self._books.write(rows)
        self._spend.write(max((poll.at for poll in current), default=0.0))
        for row in rows:
            self._index.update(before[row.id], row)
        record_failures(self._connection, current)

    def _seen(self, polls: Iterable[Poll]) -> list[tuple[Poll, Seen]]:
        """Each poll with its events; of the last answer again nothing is read, unless others have met its events."""
        seen = [(poll, self._distinct(poll)) for poll in sorted(polls, key=lambda poll: poll.claim.number)]
        unread = {poll.claim.session for poll, _ in seen if poll.reread is not None}
        if not unread:
            return seen
        rows = read_sessions(self._connection, unread, lock=False)
        met = read_owners(self._connection, _keys(seen))
        for place, (poll, _) in enumerate(seen):
            if poll.reread is not None and (poll.claim.session in met or self._needs_reading(poll, rows)):
                opened = poll.reread()
                seen[place] = (opened, self._distinct(opened))
        return seen

    def _needs_reading(self, poll: Poll, rows: Mapping[int, SessionRow]) -> bool:
        """Whether booking an unread answer would do more than to note that nothing has changed."""
        row = rows.get(poll.claim.session)
        if poll.reread is None or row is None:
            return False
        standing, _ = lifecycle.next_state(row.standing, "unchanged", poll.at, self._policy, 0.0)
        rests = standing.state != row.standing.state or (standing.state == "settled" and not row.observed)
        return rests or row.fingerprint != poll.fingerprint

    def _key(self, account: str, event: Event) -> bytes:
        return event_key(self._seeds.get(account, account), event)

    def _distinct(self, poll: Poll) -> Seen:
        """The session's events by key, each once: the first node of an event stands for it."""
        if poll.session is None:
            return {}
        account = poll.session.ref.account
        seed = self._seeds.get(account, account)
        found: Seen = {}
        for seen in zip(poll.session.events, poll.attributes, strict=True):
            if seen[0].id:
                found.setdefault(event_key(seed, seen[0]), seen)
        return found

    def _holds(self, poll: Poll) -> bool:
        row = self._books.sessions.get(poll.claim.session)
        return row is not None and row.claim == poll.claim.number

    def _book_poll(self, poll: Poll, events: Seen) -> None:
        row = self._books.sessions[poll.claim.session]
        before = row
        outcome: lifecycle.Outcome = (
            "unchanged" if poll.outcome == "tree" or poll.outcome == "same" else poll.outcome  # noqa: PLR1714 - narrows the type
        )
        root = None
        if poll.session is not None and poll.session_attributes is not None:
            root = self._key(row.ref.account, poll.session.events[0])
            row, outcome = self._book_tree(row, poll, poll.session, events, root)
        jitter = (poll.claim.number * 2654435761 % 2**32) / 2**31 - 1  # spread evenly, and the same in every run
        standing, due_at = lifecycle.next_state(row.standing, outcome, poll.at, self._policy, jitter)
        if row.notice_due is not None:
            due_at = row.notice_due if due_at is None else min(due_at, row.notice_due)
        polls = append_poll(row.polls, poll.at, outcome, poll.reason)
        row = replace(row, standing=standing, due_at=due_at, claim=0, polls=polls)
        self._books.sessions[row.id] = row
        self._counting.move(before, row, poll, root)
        if poll.outcome == "gone":
            self._following.follow_substitutes(row, poll.at)
        elif before.standing.first_tree_at is None and row.standing.first_tree_at is not None:
            self._following.forget_substitutes(row.id)

    # The tree

    def _book_tree(
        self, row: SessionRow, poll: Poll, session: Session, events: Seen, root: bytes
    ) -> tuple[SessionRow, lifecycle.Outcome]:
        failed: list[tuple[str, str]] = [(m.check, m.detail) for m in session.mismatches]
        if any(not event.id for event in session.events):
            failed.append(("no_id", "a node without an id cannot be booked"))
        latest = _latest(row, events)
        self._books.sessions[row.id] = row = replace(row, latest_at=latest)
        forgotten = self._forgotten(events, latest)
        if forgotten:
            failed.append(("forgotten", f"{len(forgotten)} events are older than what the ledger remembers"))
            events = {key: seen for key, seen in events.items() if key not in forgotten}
        changed, late, new, met = False, False, 0, 0
        for key, (event, facts) in events.items():
            known = self._books.events.get(key)
            late |= known is not None and known.claim > poll.claim.number
            if known is None:
                self._book_new(row, poll, key, event, facts, nested=key != root)
                new += 1
            else:
                change, problems = self._book_known(row, poll, known, event, facts)
                changed |= change
                failed += problems
                if key != root:
                    self._books.mark_nested(key)
            met += self._books.events[key].owner == row.id
        if new:
            changed = True
            self._books.change_owned(row.id, new)
            self._totals.add("telnyx_ledger_events", (), Decimal(new))
        row = self._books.sessions[row.id]
        alone = met == len(events) and not forgotten and not late
        once = any(check == "currency" for check, _ in failed)  # a change fails it, the same answer again doesn't
        row = replace(row, fingerprint=poll.fingerprint if alone and session.complete and not once else None)
        if session.complete and met < row.owned:
            failed.append(("vanished_event", f"{row.owned - met} booked events are no longer in the tree"))
        row = self._judge(row, failed, complete=session.complete)
        if changed or row.summary is None:
            row = self._remember(row, poll, session, events)
            row = self._counting.cross(row, poll, session, root)
        outcome: lifecycle.Outcome = "changed" if changed else "unchanged"
        return row, outcome if changed or session.complete else "incomplete"

    def _book_new(
        self, row: SessionRow, poll: Poll, key: bytes, event: Event, facts: EventAttributes, *, nested: bool
    ) -> None:
        booking = costs.book(None, event.cost, event.currency, self._placed(facts, row, poll))
        self._totals.add_entries(booking.entries)
        self._books.insert_event(key, booking.after, row.id, poll.claim.number, nested=nested)
        self._move_money(row.ref.account, booking, settled=self._books.settled(row.id))

    def _book_known(
        self, row: SessionRow, poll: Poll, known: EventRow, event: Event, facts: EventAttributes
    ) -> tuple[bool, list[tuple[str, str]]]:
        """Whether it changed anything, and the checks that it fails."""
        if known.claim > poll.claim.number:
            return False, []
        if known.owner != row.id:
            self._books.invalidate_fingerprint(known.owner)
        before = self._books.booked_event(known)
        owner = known.owner
        if owner != row.id and self._books.settled(owner) and not self._books.settled(row.id):
            owner = self._books.transfer_owner(known, row)
        elif costs.is_unchanged(before, event.cost, event.currency, facts):
            return False, []
        if before.cost_labels is None:  # else its labels are fixed
            facts = self._placed(facts, row, poll)
        booking = costs.book(before, event.cost, event.currency, facts)
        self._totals.add_entries(booking.entries)
        if booking.after != before or owner != known.owner:
            self._books.update_event(known.key, booking.after, owner, poll.claim.number, nested=known.nested)
        self._move_money(row.ref.account, booking, settled=self._books.settled(owner))
        if before.cost is not None and booking.after.cost != before.cost:
            record_amendment(self._connection, row.id, poll.at, event, before.cost)
        failed = [(check, f"{event.record_type} {event.id}: {detail}") for check, detail in booking.failed]
        return bool(booking.entries), failed

    def _placed(self, facts: EventAttributes, row: SessionRow, poll: Poll) -> EventAttributes:
        """The facts under their label set, folded if need be, and with a time: money is always spent some time."""
        labels = self._totals.labels(self._totals.intern(facts.labels))
        at = facts.at
        if at is None:
            at = poll.at if row.latest_at is None else row.latest_at
        return EventAttributes(labels, facts.input_tokens, facts.output_tokens, facts.billed_seconds, at)

    def _forgotten(self, events: Seen, latest: float | None) -> set[bytes]:
        """New events that are older than what was pruned: they may have been booked already."""
        if self._horizon == float("-inf"):
            return set()
        dated = {key: latest if facts.at is None else facts.at for key, (_, facts) in events.items()}
        return {
            key for key, at in dated.items() if key not in self._books.events and at is not None and at < self._horizon
        }

    def _move_money(self, account: str, booking: costs.Booking, *, settled: bool) -> None:
        moved = costs.net_amounts(booking.entries)
        if not moved:
            return
        if not settled:
            self._books.move_unsettled(account, moved)
        after = booking.after
        if after.cost_labels is not None and after.at is not None:
            for currency, amount in moved:
                self._spend.add(after.cost_labels, after.at, currency, amount)

    # Checks

    def _judge(self, row: SessionRow, failed: list[tuple[str, str]], *, complete: bool) -> SessionRow:
        before = set(filter(None, row.failing.split(",")))
        now = {check for check, _ in failed}
        if not complete:
            now |= before.intersection(WHOLE_TREE_CHECKS)
        account = row.ref.account
        for check in sorted(now - before):
            self._totals.add("telnyx_reconciliation_failures_total", (("account", account), ("check", check)), _ONE)
            self._notices += [FailedCheck(row.ref, check, detail) for name, detail in failed if name == check][:1]
        for check in sorted(now ^ before):
            change = _ONE if check in now else -_ONE
            self._totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), change)
        return replace(row, failing=",".join(sorted(now)))

    # The session as a whole

    def _remember(self, row: SessionRow, poll: Poll, session: Session, events: Seen) -> SessionRow:
        nets: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for event, _ in events.values():
            if event.cost is not None:
                place = (event.product, event.currency)
                nets[place] = add(nets[place], event.cost)
        spent = tuple((product, currency, amount) for (product, currency), amount in sorted(nets.items()))
        session_attributes = poll.session_attributes
        turns, count = (
            (session_attributes.inference_turns, session_attributes.events)
            if session_attributes is not None
            else (0, 0)
        )
        self._followed.append(SessionGauges(row.ref, count, turns, poll.at, spent, row.standing.configured))
        summary = {"events": count, "turns": turns, "costs": [(p, c, amount_text(a)) for p, c, a in spent]}
        write_tree(self._connection, row.id, session)
        self._index.add_root_id(row.id, row.ref, session.events[0].id)
        return replace(row, summary=encode(summary).decode())


def _latest(row: SessionRow, events: Seen) -> float | None:
    """The latest readable time of the session: of its events, else of the reference that named it."""
    named = read_time(row.ref.date_time)
    times = [row.latest_at, *(facts.at for _, facts in events.values())]
    return max((at for at in times if at is not None), default=named)


def _keys(seen: Iterable[tuple[Poll, Seen]]) -> set[bytes]:
    return {key for _, events in seen for key in events}
