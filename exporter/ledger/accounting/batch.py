"""Book a batch of finished polls in one transaction.

`BatchWriter` decides across sessions: which poll may change an event, which session owns it, what vanished or was
amended. The rule for one event is `costs.book`, the next due time is `lifecycle.next_state`, and `SessionStats` counts
sessions as a whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from exporter.core import costs, lifecycle
from exporter.core.attributes import read_time
from exporter.core.model import UNKNOWN, Event, EventAttributes, FailedCheck, Poll, Receipt, SessionGauges
from exporter.core.money import ZERO, add, amount_text, places, subtract
from exporter.ledger.accounting.keyed_tree import Events, KeyedTree, keyed_tree
from exporter.ledger.accounting.pruned_events import find_pruned, retention_watermark
from exporter.ledger.accounting.sessions import PRUNED_ROOT, SessionStats, cost_by_currency
from exporter.ledger.accounting.twins import match_twins, remember_twins, unshown_keys
from exporter.ledger.accounting.working_set import WorkingSet
from exporter.ledger.database import Connection, TransactionConflict
from exporter.ledger.queue.event_keys import EventNames
from exporter.ledger.queue.sessions import SessionQueue
from exporter.ledger.schema.rows import EventRow, SessionRow, read_owners, read_sessions
from exporter.ledger.totals.accounts import account_seeds
from exporter.ledger.totals.budget_spend import BudgetSpend
from exporter.ledger.totals.totals import Totals, TotalsSettings
from exporter.ledger.views.history import append_poll, record_amendment, record_failures
from exporter.ledger.views.index import SessionIndex
from exporter.ledger.views.trees import write_tree

_ONE = Decimal(1)
STATED_COST = "stated_cost"
STATED_PLACES_MIN = 4
"""Telnyx rounds the total in a webhook to as many places, and leaves out zeros at its end."""


class _BookedEvents(Struct, frozen=True):
    """The result of booking the events of one tree."""

    changed: bool
    """The bill of at least one event has changed."""
    overtaken: bool
    """A later poll has booked a newer state of at least one event."""
    owned: int
    """How many events of the tree the session owns."""


class BatchWriter:
    """Books one batch of polls; used once."""

    def __init__(
        self,
        connection: Connection,
        totals: Totals,
        spend: BudgetSpend,
        policy: lifecycle.PollPolicy,
        settings: TotalsSettings,
        *,
        names: EventNames,
    ) -> None:
        self._connection = connection
        self._totals = totals
        self._spend = spend
        self._policy = policy
        self._names = names
        self._working_set = WorkingSet(connection, totals)
        self._stats = SessionStats(connection, totals, self._working_set, settings, recheck_after=policy.recheck_after)
        self._queue = SessionQueue(connection, totals, policy)
        self._index = SessionIndex(connection)
        self._seeds = account_seeds(connection)
        self._watermark = float("-inf")
        self._pruned: set[bytes] = set()
        """Events of this batch that were booked once and pruned."""
        self._gauges: list[SessionGauges] = []
        self._failed_checks: list[FailedCheck] = []

    # Example: a batch of three polls. The sessions s and t are live and share the event e.
    #
    #     session  claim  answer
    #     t        8      t 0.00, e 0.70
    #     s        7      s 0.00, e 0.20
    #     u        5      u 1.00                  u has been claimed again since, as 9
    #
    # 1. u is skipped: claim 5 is no longer valid.
    # 2. s comes first, for its claim is older. s and e are new and owned by s:     cost +0.20, unsettled +0.20
    # 3. t: t is new; e is known at 0.20, and only the difference is booked:        cost +0.50, unsettled +0.50
    #    e stays with its owner, since s is live. The fingerprint of s is deleted, for its last answer shows 0.20.
    # 4. Three events, two sessions and the totals are written; the transaction commits all of it or nothing.
    #
    # If t had been booked by an earlier batch, e would carry claim 8, and step 2 would leave its 0.70 alone.

    def book(self, polls: Iterable[Poll]) -> Receipt:
        """Book the polls whose claim is still valid, in the order of their claims; return what that changed."""
        read = self._read_trees(polls)
        working_set = self._working_set
        owners = self._owners(read) if self._connection.shared else set()
        working_set.lock_sessions({poll.claim.session for poll, _ in read} | owners)
        before = dict(working_set.sessions)
        valid = []
        for poll, tree in read:
            row = before.get(poll.claim.session)
            if row is not None and row.claim == poll.claim.number:
                valid.append((poll, tree))
        # `_read_trees` asked without locks; by now another process may have booked one of these events.
        if any(self._must_be_read(poll, before) for poll, _ in valid):
            raise TransactionConflict("something was booked on the events of an answer that wasn't read")
        working_set.lock_events(_keys(valid))
        twinned = {key: working_set.events[key].further_twins for key in working_set.twinned}
        working_set.lock_events(unshown_keys(valid, twinned))
        # Read after the events, so an event that another process prunes in between is found here.
        self._pruned = find_pruned(self._connection, _keys(valid) - working_set.events.keys())
        self._watermark = retention_watermark(self._connection)
        self._stats.nested = {key for _, tree in valid if tree is not None for key in list(tree.events)[1:]}
        for poll, tree in valid:
            self._book_poll(poll, tree if tree is None else match_twins(tree, working_set, poll.claim.session))

        booked = [poll for poll, _ in valid]
        rows = [working_set.sessions[poll.claim.session] for poll in booked]
        working_set.write(rows)
        self._spend.write(max((poll.at for poll in booked), default=0.0))
        for row in rows:
            self._index.update(before[row.id], row)
        record_failures(self._connection, booked)
        changes = (*self._queue.state_changes, *self._stats.state_changes)
        return Receipt(self._totals.write(), tuple(self._gauges), tuple(self._failed_checks), changes)

    def _read_trees(self, polls: Iterable[Poll]) -> list[tuple[Poll, KeyedTree | None]]:
        """Return the polls with their trees, in the order of their claims.

        An answer that is the same as the last one was not read by the poller. It is read here if the session owns
        events that another answer of this batch shows, or if booking it would change the session.
        """
        read = [(poll, self._keyed(poll)) for poll in sorted(polls, key=lambda poll: poll.claim.number)]
        unread = {poll.claim.session for poll, _ in read if poll.reread is not None}
        if not unread:
            return read
        rows = read_sessions(self._connection, unread, lock=False)
        owners = self._owners(read)
        for i, (poll, _) in enumerate(read):
            if poll.reread is not None and (poll.claim.session in owners or self._must_be_read(poll, rows)):
                reread = poll.reread()
                read[i] = (reread, self._keyed(reread))
        return read

    def _owners(self, read: Iterable[tuple[Poll, KeyedTree | None]]) -> set[int]:
        """Return the sessions that own the events of these trees, or booked twins of them."""
        owners, further_twins = read_owners(self._connection, _keys(read))
        unshown = unshown_keys(read, further_twins)
        return owners | read_owners(self._connection, unshown)[0] if unshown else owners

    def _keyed(self, poll: Poll) -> KeyedTree | None:
        account = poll.claim.ref.account
        return keyed_tree(poll, self._seeds.get(account, account))

    def _must_be_read(self, poll: Poll, rows: Mapping[int, SessionRow]) -> bool:
        """Return whether an unread answer matters: the session settles by it, or its fingerprint was deleted."""
        row = rows.get(poll.claim.session)
        if poll.reread is None or row is None:
            return False
        after = self._state_if_unchanged(row, poll)
        settles = after != row.standing.state or (after == "settled" and not row.observed)
        return settles or row.fingerprint != poll.fingerprint

    def _state_if_unchanged(self, row: SessionRow, poll: Poll) -> lifecycle.State:
        """Return the state that the session has after a poll with an unchanged, complete tree."""
        after, _ = lifecycle.next_state(row.standing, "unchanged", poll.at, self._policy, 0.0)
        return after.state

    # One poll

    def _book_poll(self, poll: Poll, tree: KeyedTree | None) -> None:
        before = row = self._working_set.sessions[poll.claim.session]
        # The session may have got another date while it was polled.
        if poll.date_time_accepted is not None and poll.claim.ref.date_time == row.ref.date_time:
            row = replace(row, date_time_accepted=poll.date_time_accepted)
        outcome: lifecycle.Outcome = (
            "unchanged" if poll.outcome == "tree" or poll.outcome == "same" else poll.outcome  # noqa: PLR1714 - narrows the type
        )
        lags: bool | None = None
        complete = tree is None or tree.session.complete
        if tree is not None:
            row, outcome = self._book_tree(row, poll, tree)
            if before.stated_cost is not None and tree.session.complete:
                lags = row.stated_cost is not None
        # Spread evenly from -1 to 1 by Knuth's multiplicative hash, and the same in every run.
        jitter = (poll.claim.number * 2654435761 % 2**32) / 2**31 - 1
        state, due_at = lifecycle.next_state(
            row.standing, outcome, poll.at, self._policy, jitter, lags=lags, complete=complete
        )
        if row.notice_due is not None:  # a notice came while the session was polled; the poll must not postpone it
            due_at = row.notice_due if due_at is None else min(due_at, row.notice_due)
        polls = append_poll(row.polls, poll.at, outcome, poll.reason)
        row = replace(row, standing=state, due_at=due_at, claim=0, polls=polls)
        self._working_set.sessions[row.id] = row
        self._stats.count_transition(before, row, poll, tree)
        if poll.outcome == "gone":
            self._queue.follow_substitutes(row, poll.at)
        elif before.standing.first_tree_at is None and row.standing.first_tree_at is not None:
            self._queue.forget_substitutes(row.id)

    def _book_tree(self, row: SessionRow, poll: Poll, tree: KeyedTree) -> tuple[SessionRow, lifecycle.Outcome]:
        """Book the events of a tree; return the row of its session and the outcome of the poll."""
        working_set, complete = self._working_set, tree.session.complete
        failed = [(mismatch.check, mismatch.detail) for mismatch in tree.session.mismatches]
        if any(not event.id for event in tree.session.events):
            failed.append(("no_id", "a node without an id cannot be booked"))
        latest = _latest_time(row, poll, tree)
        working_set.sessions[row.id] = row = replace(row, latest_at=latest)
        events, too_old = self._bookable(tree.events, latest)
        if too_old:
            failed.append(("forgotten", f"{too_old} events are older than what the ledger remembers"))

        booked = self._book_events(row, poll, tree, events, failed)
        row = working_set.sessions[row.id]
        if complete and booked.owned < row.owned:
            failed.append(("vanished_event", f"{row.owned - booked.owned} booked events are no longer in the tree"))
        if complete and row.stated_cost is not None:
            row = self._compare_stated_cost(row, poll, tree, failed, changed=booked.changed)
        # The same answer may be skipped next time only if booking it again does nothing. A change of currency fails
        # a check once: when the same answer comes again, the check passes.
        repeatable = complete and booked.owned == len(tree.events) + len(tree.repeats) and not booked.overtaken
        repeatable = repeatable and all(check != "currency" for check, _ in failed)
        row = replace(row, fingerprint=poll.fingerprint if repeatable else None)
        row = self._update_checks(row, failed, complete=complete)
        if tree.root in self._pruned:
            # Kept as long as a new session: a list may name it every minute, and each time it would be polled.
            row = replace(row, observed=PRUNED_ROOT, latest_at=max(latest, poll.at))
        if booked.changed or row.summary is None:
            row = self._store_tree(row, poll, tree, events)
            row = self._stats.count_thresholds(row, tree)
        if booked.changed:
            return row, "changed"
        if not complete:
            return row, "incomplete"
        return row, "pruned" if row.observed == PRUNED_ROOT else "unchanged"

    def _book_events(
        self, row: SessionRow, poll: Poll, tree: KeyedTree, events: Events, failed: list[tuple[str, str]]
    ) -> "_BookedEvents":
        """Book the events of one tree; add the checks that they fail to `failed`."""
        working_set = self._working_set
        unknown = [event for key, (event, _) in events.items() if key not in working_set.events]
        for event in unknown:
            self._names.learn(event)
        changed, overtaken, owned = False, False, 0
        for key, seen in (*events.items(), *tree.repeats.items()):
            known = working_set.events.get(key)
            overtaken |= known is not None and known.claim > poll.claim.number
            changed |= self._book_event(row, poll, key, seen, failed, nested=key != tree.root)
            owned += working_set.events[key].owner == row.id
        remember_twins(tree, working_set)
        if unknown:
            working_set.change_owned(row.id, len(unknown))
            self._totals.add("telnyx_ledger_events", (), Decimal(len(unknown)))
        return _BookedEvents(changed, overtaken, owned)

    # Example: `call.analyzed` states 0.0942 USD, and the events of the tree cost 0.0921 USD, since the recording isn't
    # rated yet. The session is polled again soon, and then as usual. A tree of 0.09415 USD confirms the stated total,
    # which is rounded. If the session settles with 0.0921 USD, the check fails until a recheck finds the rest.

    def _compare_stated_cost(
        self, row: SessionRow, poll: Poll, tree: KeyedTree, failed: list[tuple[str, str]], *, changed: bool
    ) -> SessionRow:
        """Forget the total that a webhook stated if the whole tree has it; else add the check if the session settles.

        `changed` says that this poll has changed the bill, so the session doesn't settle.
        """
        stated, currency = (row.stated_cost or "").split()
        spent = cost_by_currency(tree).get(currency, ZERO)
        off = subtract(spent, Decimal(stated))
        rounding = Decimal(5).scaleb(-1 - max(places(Decimal(stated)), STATED_PLACES_MIN))
        if abs(off) <= rounding:
            return replace(row, stated_cost=None)
        settled = not changed and self._state_if_unchanged(row, poll) == "settled"
        if settled or STATED_COST in row.failing.split(","):
            detail = f"a webhook stated {stated} {currency}: {amount_text(off)} apart"
            failed.append((STATED_COST, f"the events add up to {amount_text(spent)}, {detail}"))
        return row

    def _bookable(self, events: Events, latest: float) -> tuple[Events, int]:
        """Return the events without those that were pruned, and how many may have been.

        A pruned event is never booked again. The memory of pruned events has an end, so an unknown event from before
        the watermark may be one.
        """
        refused, too_old = self._pruned.intersection(events), 0
        for key, (_, attributes) in events.items():
            at = latest if attributes.at is None else attributes.at
            if at < self._watermark and key not in refused and key not in self._working_set.events:
                refused.add(key)
                too_old += 1
        return {key: event for key, event in events.items() if key not in refused} if refused else events, too_old

    # Example: a call c is polled on its own, and as part of the session s, and settles before s is known.
    #
    #     poll of c: c 0.02, owned by c. c settles, so its money does:                unsettled +0.02, then -0.02
    #     poll of s: s is live and c's owner is settled, so s becomes the owner of c:  unsettled +0.02
    #     s settles:                                                                   unsettled -0.02
    #
    # The cost of c is booked once, by the first poll. A live owner keeps its event, however many sessions show it.

    def _book_event(
        self,
        row: SessionRow,
        poll: Poll,
        key: bytes,
        seen: tuple[Event, EventAttributes],
        failed: list[tuple[str, str]],
        *,
        nested: bool,
    ) -> bool:
        """Book one event; add the checks that it fails to `failed`; return whether its bill has changed.

        `nested` says that the event is not the root of this tree.
        """
        working_set = self._working_set
        event, attributes = seen
        known = working_set.events.get(key)
        before, owner = None, row.id
        if known is not None:
            if nested and not known.nested:
                known = working_set.mark_nested(known)
            if known.claim > poll.claim.number:  # a later poll has booked a newer price
                return False
            owner, nested = self._owner(known, row), known.nested
            if owner == known.owner and _is_unchanged(known, event, attributes):
                return False
            before = working_set.booked_event(known)

        if before is None or before.cost_labels is None:  # else the labels and the time of its cost are fixed
            at = attributes.at
            if at is None:  # budgets need a time for each amount
                at = poll.at if row.latest_at is None else row.latest_at
            labels = self._totals.labels(self._totals.intern(attributes.labels))
            attributes = replace(attributes, labels=labels, at=at)
        booking = costs.book(before, event.cost, event.currency, attributes)
        self._totals.add_entries(booking.entries)
        if known is None or booking.after != before or owner != known.owner:
            working_set.store_event(key, booking.after, owner, poll.claim.number, nested=nested)
        self._move_money(row.ref.account, booking, owner)
        if before is not None and before.cost is not None and booking.after.cost != before.cost:
            record_amendment(self._connection, row.id, poll.at, event, before.cost)
        failed += [(check, f"{event.record_type} {event.id}: {detail}") for check, detail in booking.failed]
        return bool(booking.entries)

    def _owner(self, event: EventRow, row: SessionRow) -> int:
        """Return the owner that a known event has from now on; a live session takes it over from a settled one."""
        working_set = self._working_set
        if event.owner == row.id:
            return row.id
        working_set.invalidate_fingerprint(event.owner)
        if working_set.settled(row.id) or not working_set.settled(event.owner):
            return event.owner
        working_set.transfer_owner(event, row)
        return row.id

    def _move_money(self, account: str, booking: costs.Booking, owner: int) -> None:
        """Count the net amounts of a booking as unsettled, if the owner isn't settled, and as spent for budgets."""
        amounts, after = costs.net_amounts(booking.entries), booking.after
        if not self._working_set.settled(owner):
            self._working_set.move_unsettled(account, amounts)
        if after.cost_labels is not None and after.at is not None:
            for currency, amount in amounts:
                self._spend.add(after.cost_labels, after.at, currency, amount)

    def _update_checks(self, row: SessionRow, failed: list[tuple[str, str]], *, complete: bool) -> SessionRow:
        """Count the checks that begin to fail, and keep the gauge of sessions that fail each check."""
        before = set(filter(None, row.failing.split(",")))
        now = {check for check, _ in failed}
        if not complete:  # what failed may be in the part that could not be read
            now |= before
        account = row.ref.account
        for check in sorted(now - before):
            self._totals.add("telnyx_reconciliation_failures_total", (("account", account), ("check", check)), _ONE)
            detail = next(detail for name, detail in failed if name == check)
            self._failed_checks.append(FailedCheck(row.ref, check, detail))
        for check in sorted(now ^ before):
            change = _ONE if check in now else -_ONE
            self._totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), change)
        return replace(row, failing=",".join(sorted(now)))

    def _store_tree(self, row: SessionRow, poll: Poll, tree: KeyedTree, events: Events) -> SessionRow:
        """Write the tree for the pages and the summary of the session for its gauges."""
        nets: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for event, _ in events.values():
            if event.cost is not None:
                product = (event.product, event.currency)
                nets[product] = add(nets[product], event.cost)
        spent = tuple((product, currency, amount) for (product, currency), amount in sorted(nets.items()))
        count, turns = tree.attributes.events, tree.attributes.inference_turns
        self._gauges.append(SessionGauges(row.ref, count, turns, poll.at, spent, row.standing.configured))
        summary = {"events": count, "turns": turns, "costs": [(p, c, amount_text(a)) for p, c, a in spent]}
        write_tree(self._connection, row.id, tree.session)
        self._index.add_root_id(row.id, row.ref, tree.session.events[0].id)
        return replace(row, summary=encode(summary).decode())


def _latest_time(row: SessionRow, poll: Poll, tree: KeyedTree) -> float:
    """Return the latest known time of the session's events.

    Only records state times, and a date with which the API found the session is right; any other may be off by years.
    Without either it is the time of the first poll.
    """
    times = [attributes.at for _, attributes in tree.events.values() if attributes.at is not None]
    if row.latest_at is not None:
        times.append(row.latest_at)
    if not times and row.date_time_accepted:
        times += filter(None, [read_time(row.ref.date_time)])
    return max(times, default=poll.at)


def _is_unchanged(row: EventRow, event: Event, attributes: EventAttributes) -> bool:
    """Return whether `costs.book` would change nothing: most polls see what they saw before, and this is quicker."""
    return (
        event.cost == row.cost
        and (row.cost is None or event.currency in {row.currency, UNKNOWN})
        and (attributes.input_tokens is None or attributes.input_tokens == row.input_tokens)
        and (attributes.cached_input_tokens is None or attributes.cached_input_tokens == row.cached_input_tokens)
        and (attributes.output_tokens is None or attributes.output_tokens == row.output_tokens)
        and (attributes.characters is None or attributes.characters == row.characters)
        and (attributes.billed_seconds is None or attributes.billed_seconds == row.billed_seconds)
        and (attributes.at is None or row.at is not None)
    )


def _keys(read: Iterable[tuple[Poll, KeyedTree | None]]) -> set[bytes]:
    return {key for _, tree in read if tree is not None for key in tree.events}
