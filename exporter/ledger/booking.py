"""Booking a batch of polls, within one transaction.

Owns the order of the accounting across sessions: which poll may change an event, who owns it, what vanished, when a
session counts as started and settled. The rule for one event is `costs.book`, the pace is `lifecycle.step`. The
surprising fact: a poll that was claimed earlier may finish later, and then never changes what a later one booked.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec.json import encode
from msgspec.structs import replace

from exporter import costs, lifecycle
from exporter.costs import Booked, Entry
from exporter.labels import read_time
from exporter.ledger.connection import Connection, Overtaken
from exporter.ledger.facets import Facets
from exporter.ledger.failures import history, remember
from exporter.ledger.following import Following
from exporter.ledger.pruning import horizon
from exporter.ledger.renaming import seeds
from exporter.ledger.rows import (
    EventRow,
    SessionRow,
    forget_fingerprints,
    read_events,
    read_owners,
    read_sessions,
    write_events,
    write_sessions,
)
from exporter.ledger.spend import Spend
from exporter.ledger.totals import Settings, Totals
from exporter.ledger.trees import write_tree
from exporter.ledger.version import LIVE, LIVE_STATES
from exporter.model import Event, Exemplar, Facts, Followed, Labels, Move, Notice, Poll, Profile, Receipt, Session
from exporter.money import ZERO, add, amount_text
from exporter.tree import identity

_ONE = Decimal(1)
AMENDMENTS_KEPT = 100
"""Amendments kept per session; a bill that moves more often is one to look at from its newest end."""

WHOLE_TREE_CHECKS = ("event_sum", "root_cumulative", "node_cumulative", "event_count", "vanished_event")
"""Checks that an incomplete tree says nothing about: they keep their last verdict."""


def event_key(seed: str, event: Event) -> bytes:
    """16 bytes that name an event of an account for ever, wherever in however many trees it is seen."""
    product, event_name, event_id = identity(event.record_type, event.product, event.event_name, event.id)
    name = f"{seed}\0{product}\0{event_name}\0{event_id}\0{event.ordinal}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Batch:
    """One batch of polls being booked; used once."""

    def __init__(
        self, connection: Connection, totals: Totals, spend: Spend, policy: lifecycle.Policy, settings: Settings
    ) -> None:
        self._connection = connection
        self._totals = totals
        self._policy = policy
        self._settings = settings
        self._horizon = float("-inf")
        self._spend = spend
        self._following = Following(connection, totals, policy)
        self._facets = Facets(connection)
        self._seeds = seeds(connection)
        self._sessions: dict[int, SessionRow] = {}
        self._events: dict[bytes, EventRow] = {}
        self._dirty: set[bytes] = set()
        self._disturbed: set[int] = set()
        """Sessions whose last answer would change something if it were booked again."""
        self._new: set[bytes] = set()
        """Events that the table doesn't have yet."""
        self._unsettled: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        """What of the money of this batch may still move, by account and currency."""
        self._below: set[bytes] = set()
        """Events that stand below another one in some tree of this batch."""
        self._followed: list[Followed] = []
        self._notices: list[Notice] = []
        self._moves: list[Move] = []

    def book(self, polls: Iterable[Poll]) -> Receipt:
        """Book all polls whose claim is still theirs, in the order of their claims."""
        seen = self._seen(polls)
        wanted = {poll.claim.session for poll, _ in seen}
        if self._connection.shared:  # all are locked in one order: whoever changes an event holds its owner
            wanted |= read_owners(self._connection, {key for _, events in seen for key in events})
        self._sessions = read_sessions(self._connection, wanted)
        before = dict(self._sessions)
        keyed = [(poll, events) for poll, events in seen if self._holds(poll)]
        if any(self._needs_reading(poll, self._sessions) for poll, _ in keyed):
            raise Overtaken("something was booked on the events of an answer that wasn't read")
        current = [poll for poll, _ in keyed]
        self._events = read_events(self._connection, {key for _, events in keyed for key in events})
        self._horizon = horizon(self._connection)  # after the events: one that is pruned meanwhile is behind it
        self._below = {key for _, events in keyed for key in list(events)[1:]}
        owners = {row.owner for row in self._events.values()} - wanted
        if owners and self._connection.shared:  # locked now, they would be out of order
            raise Overtaken("an event of this batch has got another owner")
        self._sessions |= read_sessions(self._connection, owners)
        for poll, events in keyed:
            self._book_poll(poll, events)
        self._flush()
        for (account, currency), amount in self._unsettled.items():
            self._move_unsettled(account, [(currency, amount)])
        self._spend.write(max((poll.at for poll in current), default=0.0))
        self._write_sessions(before, current)
        moves = (*self._following.moves, *self._moves)
        return Receipt(self._totals.write(), tuple(self._followed), tuple(self._notices), moves)

    def _seen(self, polls: Iterable[Poll]) -> list[tuple[Poll, dict[bytes, tuple[Event, Facts]]]]:
        """Each poll with its events; of the last answer again nothing is read, unless others have met its events."""
        seen = [(poll, self._distinct(poll)) for poll in sorted(polls, key=lambda poll: poll.claim.number)]
        unread = {poll.claim.session for poll, _ in seen if poll.read is not None}
        if not unread:
            return seen
        rows = read_sessions(self._connection, unread, lock=False)
        met = read_owners(self._connection, {key for _, events in seen for key in events})
        for place, (poll, _) in enumerate(seen):
            if poll.read is not None and (poll.claim.session in met or self._needs_reading(poll, rows)):
                opened = poll.read()
                seen[place] = (opened, self._distinct(opened))
        return seen

    def _needs_reading(self, poll: Poll, rows: Mapping[int, SessionRow]) -> bool:
        """Whether booking an unread answer would do more than to note that nothing has changed."""
        row = rows.get(poll.claim.session)
        if poll.read is None or row is None:
            return False
        standing, _ = lifecycle.step(row.standing, "unchanged", poll.at, self._policy, 0.0)
        rests = standing.state != row.standing.state or (standing.state == "settled" and not row.observed)
        return rests or row.fingerprint != poll.fingerprint

    def _write_sessions(self, before: Mapping[int, SessionRow], current: Sequence[Poll]) -> None:
        rows = [self._sessions[poll.claim.session] for poll in current]
        write_sessions(self._connection, rows)
        forget_fingerprints(self._connection, self._disturbed - {row.id for row in rows})
        for row in rows:
            self._facets.write(before[row.id], row)
        remember(self._connection, current)

    def _key(self, account: str, event: Event) -> bytes:
        return event_key(self._seeds.get(account, account), event)

    def _distinct(self, poll: Poll) -> dict[bytes, tuple[Event, Facts]]:
        """The session's events by key, each once: the first node of an event stands for it."""
        if poll.session is None:
            return {}
        account = poll.session.ref.account
        seed = self._seeds.get(account, account)
        found: dict[bytes, tuple[Event, Facts]] = {}
        for seen in zip(poll.session.events, poll.facts, strict=True):
            if seen[0].id:
                found.setdefault(event_key(seed, seen[0]), seen)
        return found

    def _holds(self, poll: Poll) -> bool:
        row = self._sessions.get(poll.claim.session)
        return row is not None and row.claim == poll.claim.number

    def _book_poll(self, poll: Poll, events: dict[bytes, tuple[Event, Facts]]) -> None:
        row = self._sessions[poll.claim.session]
        before = row
        outcome: lifecycle.Outcome = (
            "unchanged" if poll.outcome == "tree" or poll.outcome == "same" else poll.outcome  # noqa: PLR1714 - narrows the type
        )
        if poll.session is not None and poll.profile is not None:
            row, outcome = self._book_tree(row, poll, poll.session, events)
        jitter = (poll.claim.number * 2654435761 % 2**32) / 2**31 - 1  # spread evenly, and the same in every run
        standing, due_at = lifecycle.step(row.standing, outcome, poll.at, self._policy, jitter)
        if row.hinted_due is not None:
            due_at = row.hinted_due if due_at is None else min(due_at, row.hinted_due)
        polls = history(row.polls, poll.at, outcome, poll.reason)
        row = replace(row, standing=standing, due_at=due_at, claim=0, polls=polls)
        self._sessions[row.id] = row
        self._move_state(before, row, poll)
        if poll.outcome == "gone":
            self._following.fall_back(row, poll.at)
        elif before.standing.first_tree_at is None and row.standing.first_tree_at is not None:
            self._following.forget_fallbacks(row.id)

    # The tree

    def _book_tree(
        self, row: SessionRow, poll: Poll, session: Session, events: dict[bytes, tuple[Event, Facts]]
    ) -> tuple[SessionRow, lifecycle.Outcome]:
        failed: list[tuple[str, str]] = [(m.check, m.detail) for m in session.mismatches]
        if any(not event.id for event in session.events):
            failed.append(("no_id", "a node without an id cannot be booked"))
        root = self._key(row.ref.account, session.events[0])
        latest = _latest(row, events)
        self._sessions[row.id] = row = replace(row, latest_at=latest)
        forgotten = self._forgotten(events, latest)
        if forgotten:
            failed.append(("forgotten", f"{len(forgotten)} events are older than what the ledger remembers"))
            events = {key: seen for key, seen in events.items() if key not in forgotten}
        changed, late, new, met = False, False, 0, 0
        for key, (event, facts) in events.items():
            known = self._events.get(key)
            late |= known is not None and known.claim > poll.claim.number
            if known is None:
                self._book_new(row, poll, key, event, facts, nested=key != root)
                new += 1
            else:
                change, problems = self._book_known(row, poll, known, event, facts)
                changed |= change
                failed += problems
                self._events[key] = self._marked(key, nested=key != root)
            met += self._events[key].owner == row.id
        if new:
            changed = True
            self._own(row.id, new)
            self._totals.add("telnyx_ledger_events", (), Decimal(new))
        row = self._sessions[row.id]
        alone = met == len(events) and not forgotten and not late
        row = replace(row, fingerprint=poll.fingerprint if alone and session.complete else None)
        if session.complete and met < row.owned:
            failed.append(("vanished_event", f"{row.owned - met} booked events are no longer in the tree"))
        row = self._judge(row, failed, complete=session.complete)
        if changed or row.summary is None:
            row = self._remember(row, poll, session, events)
            row = self._cross(row, poll, session)
        outcome: lifecycle.Outcome = "changed" if changed else "unchanged"
        return row, outcome if changed or session.complete else "incomplete"

    def _book_new(self, row: SessionRow, poll: Poll, key: bytes, event: Event, facts: Facts, *, nested: bool) -> None:
        self._new.add(key)
        booking = costs.book(None, event.cost, event.currency, self._placed(facts, row, poll))
        self._totals.enter(booking.entries)
        self._put(key, booking.after, row.id, poll.claim.number, nested=nested)
        self._move_money(row.ref.account, booking, settled=self._settled(row.id))

    def _book_known(
        self, row: SessionRow, poll: Poll, known: EventRow, event: Event, facts: Facts
    ) -> tuple[bool, list[tuple[str, str]]]:
        """Whether it changed anything, and the checks that it fails."""
        if known.claim > poll.claim.number:
            return False, []
        if known.owner != row.id:
            self._disturb(known.owner)
        before = self._booked(known)
        owner = known.owner
        if owner != row.id and self._settled(owner) and not self._settled(row.id):
            owner = self._take_over(known, row)
        elif costs.says_nothing_new(before, event.cost, event.currency, facts):
            return False, []
        if before.cost_labels is None:  # else its labels are fixed
            facts = self._placed(facts, row, poll)
        booking = costs.book(before, event.cost, event.currency, facts)
        self._totals.enter(booking.entries)
        if booking.after != before or owner != known.owner:
            self._put(known.key, booking.after, owner, poll.claim.number, nested=known.nested)
        self._move_money(row.ref.account, booking, settled=self._settled(owner))
        if before.cost is not None and booking.after.cost != before.cost:
            self._amend(row, poll.at, event, before)
        failed = [(check, f"{event.record_type} {event.id}: {detail}") for check, detail in booking.failed]
        return bool(booking.entries), failed

    def _placed(self, facts: Facts, row: SessionRow, poll: Poll) -> Facts:
        """The facts under their label set, folded if need be, and with a time: money is always spent some time."""
        labels = self._totals.labels(self._totals.intern(facts.labels))
        at = facts.at
        if at is None:
            at = poll.at if row.latest_at is None else row.latest_at
        return Facts(labels, facts.input_tokens, facts.output_tokens, facts.billed_seconds, at)

    def _forgotten(self, events: dict[bytes, tuple[Event, Facts]], latest: float | None) -> set[bytes]:
        """New events that are older than what was pruned: they may have been booked already."""
        if self._horizon == float("-inf"):
            return set()
        dated = {key: latest if facts.at is None else facts.at for key, (_, facts) in events.items()}
        return {key for key, at in dated.items() if key not in self._events and at is not None and at < self._horizon}

    def _move_money(self, account: str, booking: costs.Booking, *, settled: bool) -> None:
        moved = costs.net(booking.entries)
        if not moved:
            return
        if not settled:
            for currency, amount in moved:
                place = (account, currency)
                self._unsettled[place] = add(self._unsettled[place], amount)
        after = booking.after
        if after.cost_labels is not None and after.at is not None:
            for currency, amount in moved:
                self._spend.move(after.cost_labels, after.at, currency, amount)

    def _booked(self, row: EventRow) -> Booked:
        cost_labels = self._totals.labels(row.cost_labels) if row.cost_labels is not None else None
        return Booked(
            self._totals.labels(row.labels),
            cost_labels,
            row.cost,
            row.currency,
            row.input_tokens,
            row.output_tokens,
            row.billed_seconds,
            row.at,
            row.settled_unpriced,
        )

    def _put(self, key: bytes, booked: Booked, owner: int, claim: int, *, nested: bool) -> None:
        cost_labels = self._totals.intern(booked.cost_labels) if booked.cost_labels is not None else None
        self._events[key] = EventRow(
            key,
            owner,
            claim,
            self._totals.intern(booked.labels),
            cost_labels,
            booked.cost,
            booked.currency,
            booked.input_tokens,
            booked.output_tokens,
            booked.billed_seconds,
            booked.at,
            booked.settled_unpriced,
            nested,
        )
        self._dirty.add(key)

    def _marked(self, key: bytes, *, nested: bool) -> EventRow:
        """Remember that the event stands below another one: followed on its own, its session is absorbed."""
        row = self._events[key]
        if nested and not row.nested:
            self._dirty.add(key)
            return replace(row, nested=True)
        return row

    # Owners and unsettled money

    def _settled(self, session: int) -> bool:
        row = self._sessions.get(session)
        return row is None or row.standing.state == "settled"

    def _own(self, session: int, change: int) -> None:
        row = self._sessions.get(session)
        if row is not None:
            self._sessions[session] = replace(row, owned=row.owned + change)

    def _disturb(self, session: int) -> None:
        row = self._sessions.get(session)
        if row is not None:
            self._sessions[session] = replace(row, fingerprint=None)
            self._disturbed.add(session)

    def _take_over(self, event: EventRow, row: SessionRow) -> int:
        """A live session takes an event over from a settled one; its money is unsettled again."""
        self._own(event.owner, -1)
        self._own(row.id, +1)
        if event.owner in self._sessions:
            write_sessions(self._connection, [self._sessions[event.owner]])
        if event.cost is not None:
            self._move_unsettled(row.ref.account, [(event.currency, event.cost)])
        return row.id

    def _move_unsettled(self, account: str, amounts: Iterable[tuple[str, Decimal]]) -> None:
        for currency, amount in amounts:
            self._totals.add("telnyx_unsettled_cost", (("account", account), ("currency", currency)), amount)

    def _owned_net(self, session: int) -> list[tuple[str, Decimal]]:
        self._flush()
        found = self._connection.execute("SELECT currency, cost FROM events WHERE owner = ?", (session,))
        nets: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for currency, cost in found:
            if cost is not None:
                nets[currency] = add(nets[currency], Decimal(cost))
        return list(nets.items())

    # Checks

    def _judge(self, row: SessionRow, failed: list[tuple[str, str]], *, complete: bool) -> SessionRow:
        before = set(filter(None, row.failing.split(",")))
        now = {check for check, _ in failed}
        if not complete:
            now |= before.intersection(WHOLE_TREE_CHECKS)
        account = row.ref.account
        for check in sorted(now - before):
            self._totals.add("telnyx_reconciliation_failures_total", (("account", account), ("check", check)), _ONE)
            self._notices += [Notice(row.ref, check, detail) for name, detail in failed if name == check][:1]
        for check in sorted(now ^ before):
            change = _ONE if check in now else -_ONE
            self._totals.add("telnyx_unreconciled_sessions", (("account", account), ("check", check)), change)
        return replace(row, failing=",".join(sorted(now)))

    def _amend(self, row: SessionRow, at: float, event: Event, before: Booked) -> None:
        amounts = (before.cost, event.cost)
        texts = [amount_text(amount) if amount is not None else None for amount in amounts]
        self._connection.execute(
            "INSERT INTO amendments (session, at, record_type, event_id, before, after, currency)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.id, at, event.record_type, event.id, *texts, event.currency),
        )
        self._connection.execute(
            "DELETE FROM amendments WHERE session = ? AND id <="
            " (SELECT id FROM amendments WHERE session = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (row.id, row.id, AMENDMENTS_KEPT),
        )

    # The session as a whole

    def _remember(
        self, row: SessionRow, poll: Poll, session: Session, events: dict[bytes, tuple[Event, Facts]]
    ) -> SessionRow:
        nets: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
        for event, _ in events.values():
            if event.cost is not None:
                place = (event.product, event.currency)
                nets[place] = add(nets[place], event.cost)
        spent = tuple((product, currency, amount) for (product, currency), amount in sorted(nets.items()))
        profile = poll.profile
        turns, count = (profile.inference_turns, profile.events) if profile is not None else (0, 0)
        self._followed.append(Followed(row.ref, count, turns, poll.at, spent, row.standing.configured))
        summary = {"events": count, "turns": turns, "costs": [(p, c, amount_text(a)) for p, c, a in spent]}
        write_tree(self._connection, row.id, session)
        self._facets.root(row.id, row.ref, session.events[0].id)
        return replace(row, summary=encode(summary).decode())

    def _cross(self, row: SessionRow, poll: Poll, session: Session) -> SessionRow:
        """Count the thresholds that the session goes over, each once, while it is live."""
        crossed, profile = set(filter(None, row.crossed.split(","))), poll.profile
        if not self._settings.thresholds or row.standing.state == "settled" or profile is None:
            return row
        if self._absorbed(row, session):
            return row
        spent = _cost_by_currency(session)
        for threshold in self._settings.thresholds:
            too_dear = threshold.cost is not None and spent.get(threshold.currency, ZERO) > threshold.cost
            too_long = threshold.turns is not None and profile.inference_turns > threshold.turns
            if threshold.name not in crossed and (too_dear or too_long):
                labels = (("account", row.ref.account), ("threshold", threshold.name), *_root(row, profile)[1:])
                self._totals.add("telnyx_sessions_over_threshold_total", labels, _ONE)
                crossed.add(threshold.name)
        return replace(row, crossed=",".join(sorted(crossed)))

    def _move_state(self, before: SessionRow, row: SessionRow, poll: Poll) -> None:
        old, new = before.standing, row.standing
        account = row.ref.account
        if old.state != new.state:
            self._moves.append(Move(row.ref, old.state, new.state, poll.reason))
            self._totals.add("telnyx_sessions", (("account", account), ("state", old.state)), -_ONE)
            self._totals.add("telnyx_sessions", (("account", account), ("state", new.state)), _ONE)
        if (old.state == "settled") != (new.state == "settled"):
            sign = -1 if new.state == "settled" else 1
            self._move_unsettled(account, [(currency, sign * amount) for currency, amount in self._owned_net(row.id)])
        profile = poll.profile
        if profile is None or poll.session is None:
            return
        if old.first_tree_at is None and profile.root_record_type not in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", _root(row, profile), _ONE)
        if new.state == "settled" and not row.observed and poll.session.complete:  # else its counts would lack a part
            self._settle_first(row, poll, poll.session, profile)

    def _absorbed(self, row: SessionRow, session: Session) -> bool:
        event = self._events.get(self._key(row.ref.account, session.events[0]))
        return event is not None and (event.nested or event.key in self._below)

    def _settle_first(self, row: SessionRow, poll: Poll, session: Session, profile: Profile) -> None:
        """Count the session: now, later if it may turn out to be a part of another one, or never if it is."""
        self._count_unpriced(row)
        absorbed = self._absorbed(row, session)
        if not absorbed and self._may_be_absorbed(row, profile):
            return
        self._sessions[row.id] = replace(row, observed=1)
        if not absorbed:
            self._observe(row, poll, session, profile)

    def _may_be_absorbed(self, row: SessionRow, profile: Profile) -> bool:
        """A session that may contain this one is live, and there will be another look: a recheck is soon enough.

        A counter can't be taken back, so a leg that is seen before its call must not count before the call is known.
        """
        outer = self._settings.above.get(profile.root_record_type)
        if not outer or row.standing.rechecks or row.due_at is None:
            return False
        account = row.ref.account
        met = (known for known in self._sessions.values() if known.ref.account == account)
        if any(known.ref.record_type in outer and known.standing.state in LIVE_STATES for known in met):
            return True
        marks = ",".join("?" * len(outer))
        query = f"SELECT id FROM sessions WHERE account = ? AND record_type IN ({marks}) AND {LIVE} LIMIT ?"  # noqa: S608 - literals
        found = self._connection.execute(query, (account, *sorted(outer), len(self._sessions) + 1))
        return any(session not in self._sessions for (session,) in found)  # the table is behind on those of this batch

    def _observe(self, row: SessionRow, poll: Poll, session: Session, profile: Profile) -> None:
        root = _root(row, profile)
        if profile.root_record_type in self._settings.above:
            self._totals.add("telnyx_sessions_started_total", root, _ONE)
        self._totals.add("telnyx_sessions_settled_total", root, _ONE)

        def observe(family: str, labels: Labels, value: Decimal | float) -> None:
            amount = value if isinstance(value, Decimal) else Decimal(repr(value))
            self._totals.observe(family, labels, amount, Exemplar(session.events[0].id, float(amount), poll.at))

        observe("telnyx_session_events", root, profile.events)
        observe("telnyx_session_inference_turns", root, profile.inference_turns)
        if profile.duration_seconds is not None:
            observe("telnyx_session_duration_seconds", root, profile.duration_seconds)
        settled_at = poll.at if row.standing.rested_at is None else row.standing.rested_at
        settling = max(0.0, round(settled_at - row.standing.followed_at, 3))  # the clock may have been set back
        observe("telnyx_session_settling_seconds", (root[0], root[2]), settling)
        for currency, cost in _cost_by_currency(session).items():
            observe("telnyx_session_cost", (*root, ("currency", currency)), max(cost, ZERO))

    def _count_unpriced(self, row: SessionRow) -> None:
        self._flush()
        found = self._connection.execute(
            "SELECT key FROM events WHERE owner = ? AND cost IS NULL", (row.id,)
        ).fetchall()
        for key, event in read_events(self._connection, {key for (key,) in found}).items():
            if not event.settled_unpriced:
                labels = self._totals.labels(event.labels)
                self._totals.enter([Entry("telnyx_events_settled_unpriced_total", labels, (), _ONE)])
                self._events[key] = replace(event, settled_unpriced=True)
                self._dirty.add(key)

    def _flush(self) -> None:
        write_events(self._connection, [self._events[key] for key in sorted(self._dirty)], self._new)
        self._new -= self._dirty
        self._dirty.clear()


def _root(row: SessionRow, profile: Profile) -> Labels:
    return (
        ("account", row.ref.account),
        ("root_record_type", profile.root_record_type),
        ("session_kind", profile.session_kind),
    )


def _latest(row: SessionRow, events: dict[bytes, tuple[Event, Facts]]) -> float | None:
    """The latest readable time of the session: of its events, else of the reference that named it."""
    named = read_time(row.ref.date_time)
    times = [row.latest_at, *(facts.at for _, facts in events.values())]
    return max((at for at in times if at is not None), default=named)


def _cost_by_currency(session: Session) -> dict[str, Decimal]:
    costs_of: dict[str, Decimal] = {}
    seen: Counter[tuple[str | int, ...]] = Counter()
    for event in session.events:
        name = (*identity(event.record_type, event.product, event.event_name, event.id), event.ordinal)
        seen[name] += 1
        if event.cost is not None and event.id and seen[name] == 1:
            costs_of[event.currency] = add(costs_of.get(event.currency, ZERO), event.cost)
    return costs_of
