"""A second, naive implementation of the accounting: a small Telnyx, and a ledger that keeps every answer.

It follows docs/accuracy.md and shares no code with the exporter's accounting. It is slow and simple: the net cost of an
event comes from the answer with the last poll, and every sum is computed anew. All prices differ, so an older answer is
never equal to a newer one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from exporter.config import Budget
from tests.support import trees

Key = tuple[str, str, str, int]
"""Account, record type, id, index among twins."""
Ref = tuple[str, str, str]
"""Account, record type, id."""
Row = tuple[str, frozenset[tuple[str, str]]]
"""A family and the labels of one of its series."""

CHILDREN = {
    "call-session": ("call-control", "sip-trunking", "recording", "conference-participant"),
    "call-control": ("ai-voice-assistant", "speech-to-text", "of-tomorrow"),
    "ai-voice-assistant": ("inference", "summarization"),
    "conference": ("conference-participant",),
}
PRODUCTS = {
    "call-session": "siptrunking-cdrs",
    "call-control": "callcontrol-cdrs",
    "sip-trunking": "siptrunking-cdrs",
    "recording": "recording-cdrs",
    "conference-participant": "conference",
    "summarization": "inference",
    "message": "messaging",
}
"""Products of the record types whose product has another name."""
ABOVE = {
    "call-control": {"call-session"},
    "sip-trunking": {"call-session"},
    "recording": {"call-session"},
    "conference-participant": {"call-session", "conference"},
    "ai-voice-assistant": {"call-session", "call-control"},
}
"""Root types that may be part of another session, with the root types of that session."""
ROOTS = ("call-session", "conference", "message", *ABOVE)
TWINNABLE = ("recording", "inference")
TWIN_PRICE_GAP = 10
"""Larger than the difference of any two prices, so the cheaper twin stays the cheaper one."""

USAGE = {
    "input_tokens": True,
    "output_tokens": True,
    "cached_user_prompt_tokens": True,
    "number_of_characters": False,
    "billed_sec": False,
}
"""Fields of records with usage; True: only an LLM turn has it."""

SETTLE_AFTER, GIVE_UP_AFTER, RECHECK_AFTER = 3600, 7200, 86_400
QUARTER, DAY = 900, 86_400
"""Seconds. A sliding window begins with a quarter of an hour."""


def time_text(at: float) -> str:
    """Return a time as a record states it."""
    return datetime.fromtimestamp(at, UTC).isoformat()


# Telnyx


@dataclass(eq=False)
class RealEvent:
    """An event at Telnyx. `shown[i]` is how the i-th child appears: once, twice, or as twins with one id."""

    account: str
    kind: str
    id: str
    record: dict[str, Any] = field(default_factory=dict)
    price: Decimal | None = None
    currency: str = "USD"
    children: list["RealEvent"] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    vanished: bool = False

    @property
    def ref(self) -> Ref:
        return self.account, self.kind, self.id

    @property
    def product(self) -> str:
        return PRODUCTS.get(self.kind, self.kind)

    def children_shown(self) -> list[tuple["RealEvent", str]]:
        pairs = zip(self.children, self.shown, strict=True)
        return [(child, shown) for child, shown in pairs if not child.vanished]

    def node(self, added: int = 0) -> dict[str, Any]:
        """Return the event with its subtree, as the API returns it at unlimited depth."""
        nodes, counted_twice = [], Decimal(0)
        for child, shown in self.children_shown():
            if shown == "twins":
                nodes.append(child.node(TWIN_PRICE_GAP))
            nodes.append(child.node())
            if shown == "twice":
                nodes.append(child.node())
                counted_twice += child.price or 0
        price = None if self.price is None else f"{self.price + added:f}"
        made = trees.node(f"{self.kind}:{self.id}", price, *nodes, record=self.record)
        made["cost"]["cumulative_cost"] = f"{Decimal(made['cost']['cumulative_cost']) - counted_twice:f}"
        made["cost"]["currency"] = self.currency
        if self.kind == "call-session":
            made["event_name"] = "siptrunking-cdrs"  # the name of a leg, as for its product
        return made


class Telnyx:
    """All events. The API answers 404 for roots in `hidden`, and fails for subtrees of events in `down`."""

    def __init__(self, accounts: Iterable[str], start: float) -> None:
        self.events: dict[Ref, RealEvent] = {}
        self.hidden: set[Ref] = set()
        self.down: set[Ref] = set()
        self._prices = count(1)
        dated = {"started_at": time_text(start - 600)}
        for account in accounts:
            call = self.add(RealEvent(account, "call-session", "1", {"team": "red"} | dated, self.fresh(0)))
            other = self.add(RealEvent(account, "call-session", "2", {"campaign": "autumn"}, self.fresh(0)))
            leg = self.add(RealEvent(account, "call-control", "1", {"campaign": "spring", "duration_sec": 70}), call)
            self.add(RealEvent(account, "sip-trunking", "1", {"duration_sec": 60}), call)
            self.add(RealEvent(account, "recording", "1", {"duration_sec": 50}, self.fresh(5)), call, "twins")
            self.add(RealEvent(account, "recording", "1"), other, "twins")
            assistant = self.add(RealEvent(account, "ai-voice-assistant", "1", {"team": "blue"}, self.fresh(60)), leg)
            self.add(RealEvent(account, "inference", "1", {"input_tokens": 9, "model": "m"}, self.fresh(1)), assistant)
            conference = self.add(RealEvent(account, "conference", "1", {"campaign": "summer"}))
            participant = self.add(RealEvent(account, "conference-participant", "1"), conference)
            self.add(participant, other)
            self.add(RealEvent(account, "message", "1", {"duration_sec": 5, "started_at": time_text(start - DAY)}))

    def all(self) -> list[RealEvent]:
        return list(self.events.values())

    def add(self, event: RealEvent, parent: RealEvent | None = None, shown: str = "once") -> RealEvent:
        event = self.events.setdefault(event.ref, event)
        if parent is not None and event not in parent.children:
            parent.children.append(event)
            parent.shown.append(shown)
        return event

    def fresh(self, amount: int) -> Decimal:
        """Return a price that no event has had before; `amount` is in tenths of a cent."""
        return Decimal(amount * 1000 + next(self._prices)).scaleb(-6)

    def ask(self, ref: Ref, depth: int) -> bytes | None:
        whole = self.events[ref].node()
        if ref in self.down and whole["children"]:
            return None
        return self.answer(ref, depth)

    def answer(self, ref: Ref, depth: int) -> bytes:
        whole = self.events[ref].node()
        return trees.body(trees.answer(trees.cut(whole, depth), event_count=trees.count(whole)))


# What an answer contains


@dataclass(frozen=True)
class SeenEvent:
    """One event in one answer."""

    price: Decimal | None
    currency: str
    usage: tuple[int, ...]
    """As in USAGE."""
    labels: Mapping[str, str]
    in_conversation: bool
    """It is below an assistant, or a voice."""
    time: float | None = None
    """When it happened, as its record states it."""


@dataclass(frozen=True)
class Answer:
    """The result of one poll; has events only if its outcome is `tree`."""

    ref: Ref
    number: int
    at: float
    outcome: str
    events: Mapping[Key, SeenEvent] = field(default_factory=dict)
    complete: bool = True
    duration: int | None = None
    adds_up: bool = False
    """All stated sums fit; tests/core/test_tree.py says when."""


def seen_at_depth(telnyx: Telnyx, ref: Ref, claim: tuple[int, float], depth: int, names: Iterable[str]) -> Answer:
    """Return the result of a poll now: below the depth, it contains only subtrees that can be read.

    `claim` is its number and time; `names` are the labels that are configured.
    """
    number, at = claim
    root = telnyx.events[ref]
    seen: dict[Key, SeenEvent] = {}
    durations: list[int] = []
    missing: list[Ref] = []

    def walk(event: RealEvent, shown: str, left: int, team: str, *, assisted: bool) -> None:
        record, turn = event.record, event.kind == "inference"
        team = record.get("team", team)
        labels = {
            "account": event.account,
            "record_type": event.kind,
            "product": event.product,
            "model": record.get("model", "unknown") if turn else "none",
        }
        own = {"team": team, "campaign": root.record.get("campaign", "none"), "direction": record.get("direction")}
        labels |= {name: own[name] or "none" for name in names}
        usage = tuple(record.get(name, 0) if turn or not of_turns else 0 for name, of_turns in USAGE.items())
        time = datetime.fromisoformat(record["started_at"]).timestamp() if "started_at" in record else None
        twins = 2 if shown == "twins" and event.price is not None else 1
        for twin in range(twins):
            price = None if event.price is None else event.price + twin * TWIN_PRICE_GAP
            seen.setdefault((*event.ref, twin), SeenEvent(price, event.currency, usage, labels, assisted, time))
        durations.extend(filter(None, [record.get("duration_sec")]))
        children_shown = event.children_shown()
        if left == 1 and children_shown:
            if event.ref in telnyx.down:
                missing.append(event.ref)
                return
            left = max(2, depth)
        below = assisted or event.kind == "ai-voice-assistant"
        for child, how in children_shown:
            walk(child, how, left - 1, team, assisted=below or child.kind == "speech-to-text")

    walk(root, "once", depth, "none", assisted=False)
    duration = root.record.get("duration_sec", max(durations, default=None))
    return Answer(ref, number, at, "tree", seen, not missing, duration)


# The naive ledger


@dataclass
class NaiveEvent:
    """A booked event: its content in each answer, by claim number."""

    owner: Ref
    labels: Mapping[str, str]
    time: float
    """Never changes: its money counts as spent then."""
    cost_labels: Mapping[str, str] | None = None
    seen_by_claim: dict[int, SeenEvent] = field(default_factory=dict)
    changed_by: int = 0
    settled_unpriced: bool = False
    bundled: bool = False
    pruned: bool = False
    """It stays as it is for ever, and only the totals still show it."""

    @property
    def cost(self) -> tuple[Decimal, str] | None:
        """Return the price and currency in the answer with the last poll."""
        priced = [number for number, report in self.seen_by_claim.items() if report.price is not None]
        last = self.seen_by_claim[max(priced)] if priced else None
        return None if last is None or last.price is None else (last.price, last.currency)

    @property
    def usage(self) -> tuple[int, ...]:
        """Return the maximum of each kind of usage."""
        return tuple(map(max, zip(*(report.usage for report in self.seen_by_claim.values()), strict=True)))


@dataclass
class NaiveSession:
    """The state of a session, as docs/accuracy.md describes it."""

    discovered_at: float
    state: str = "discovered"
    changed_at: float | None = None
    settled_at: float = 0.0
    seen: bool = False
    counted: bool = False
    claim: int = 0
    latest_at: float | None = None
    """The latest time that a record of its answers stated; without any, the time of its first tree."""
    configured: bool = False

    def move(self, answer: Answer, *, changed: bool, pruned: bool) -> None:
        """`pruned` says that the root was pruned: with nothing new beside it, the session settles at once."""
        now, known_since = answer.at, self.discovered_at if self.changed_at is None else self.changed_at
        if pruned and answer.complete and not changed and self.changed_at is None:
            self.state, self.settled_at = "settled", now
        elif answer.outcome == "tree" and (changed or (answer.complete and self.changed_at is None)):
            self.state, self.changed_at = "active", now
        elif self.state == "settled":
            return
        elif answer.outcome == "tree" and answer.complete:
            self.state = "settled" if now - known_since >= SETTLE_AFTER else "active"
            self.settled_at = now
        elif answer.outcome == "denied":
            self.state = "denied"
        elif answer.outcome == "gone" and now - known_since >= GIVE_UP_AFTER:
            self.state = "missing"


class NaiveLedger:
    """A ledger that keeps every booked answer and computes all totals from these."""

    def __init__(
        self, bounds: Mapping[str, Iterable[float]], names: Iterable[str], budgets: Iterable[Budget], now: float
    ) -> None:
        self.names = tuple(names)
        """The labels that are configured."""
        self.budgets = tuple(budgets)
        self.budgets_at = now
        """The windows of the budgets are those of this moment."""
        self.sessions: dict[Ref, NaiveSession] = {}
        self.events: dict[Key, NaiveEvent] = {}
        self.nested: set[Key] = set()
        """Events that were below the root in at least one booked answer."""
        self.bounds = bounds
        self.counters: dict[Row, Decimal] = defaultdict(Decimal)
        self.kept: dict[Row, Decimal] = defaultdict(Decimal)
        """What earlier configurations booked, less what today's would have booked of the same."""
        self.observed: dict[Row, list[Decimal]] = defaultdict(list)

    def follow(self, ref: Ref, now: float, *, configured: bool) -> None:
        self.sessions.setdefault(ref, NaiveSession(now, configured=configured))

    def reload(self, names: Iterable[str], budgets: Iterable[Budget], now: float) -> None:
        """Use other labels and budgets from now on: totals stay, and only changes get today's labels."""
        before = self._computed()
        self.names, self.budgets, self.budgets_at = tuple(names), tuple(budgets), now
        after = self._computed()
        for row in before.keys() | after.keys():
            if row[0] != "telnyx_budget_spent":
                self.kept[row] += before.get(row, Decimal(0)) - after.get(row, Decimal(0))

    def prune(self, before: float) -> int:
        """Forget closed sessions whose latest event is older; return how many."""
        old = {
            ref
            for ref, session in self.sessions.items()
            if session.state in {"settled", "missing", "denied"} and not session.configured and not session.claim
            if (session.discovered_at if session.latest_at is None else session.latest_at) < before
        }
        for event in self.events.values():
            event.pruned |= event.owner in old
        for ref in old:
            del self.sessions[ref]
        return len(old)

    def book(self, answers: Iterable[Answer]) -> None:
        """Book a batch: each claim counts once, the earlier claim first."""
        held = {a.number: a for a in answers if a.ref in self.sessions and self.sessions[a.ref].claim == a.number}
        current = [answer for _, answer in sorted(held.items())]
        for answer in current:
            self.nested |= set(list(answer.events)[1:])
        for answer in current:
            session = self.sessions[answer.ref]
            session.claim = 0
            if answer.outcome == "tree":
                times = [session.latest_at, *(report.time for report in answer.events.values())]
                session.latest_at = max((time for time in times if time is not None), default=answer.at)
            changed = [key for key, report in answer.events.items() if self._book_event(key, report, answer, session)]
            pruned = answer.outcome == "tree" and self._root_was_pruned(answer.ref)
            if pruned:
                session.counted, session.latest_at = True, max(session.latest_at or answer.at, answer.at)
            session.move(answer, changed=bool(changed), pruned=pruned)
            if answer.outcome == "tree":
                self._count_session(session, answer)

    def _book_event(self, key: Key, report: SeenEvent, answer: Answer, session: NaiveSession) -> bool:
        time = report.time if report.time is not None else session.latest_at
        event = self.events.setdefault(key, NaiveEvent(answer.ref, report.labels, time or answer.at))
        if event.pruned:
            return False
        before = (event.cost, event.usage) if event.seen_by_claim else None
        event.seen_by_claim[answer.number] = report
        if event.cost is not None:
            event.cost_labels = event.cost_labels or report.labels
            if event.settled_unpriced:
                event.settled_unpriced = event.bundled = False
                self._add("telnyx_events_priced_late_total", event.labels, "account record_type product")
        changed = before != (event.cost, event.usage)
        taken = self.sessions[event.owner].state == "settled" != session.state and answer.number > event.changed_by
        if taken:
            event.owner = answer.ref
        if changed or taken:
            event.changed_by = answer.number
        return changed

    def _count_session(self, session: NaiveSession, answer: Answer) -> None:
        account, kind, _ = answer.ref
        kinds = [key[1] for key in answer.events]
        root = {"account": account, "root_record_type": kind, "session_kind": session_kind(kind, kinds)}
        if not session.seen and kind not in ABOVE and not self._root_was_pruned(answer.ref):
            self._add("telnyx_sessions_started_total", root)
        session.seen = True
        if session.state != "settled" or session.counted or not answer.complete:
            return
        for key, event in self.events.items():
            open_price = event.cost is None and not event.settled_unpriced and not event.pruned
            if event.owner == answer.ref and open_price:
                event.settled_unpriced, report = True, answer.events.get(key)
                conversation = "ai-voice-assistant" in kinds and report is not None and report.in_conversation
                event.bundled = answer.adds_up and conversation and report is not None and report.price is None
                how = "bundled" if event.bundled else "settled_unpriced"
                self._add(f"telnyx_events_{how}_total", event.labels, "account record_type product")
        absorbed = (*answer.ref, 0) in self.nested
        rechecked = answer.at >= session.settled_at + RECHECK_AFTER
        if absorbed or rechecked or not self._may_be_absorbed(account, kind):
            session.counted = True
            if not absorbed:
                self._observe(session, answer, root, kinds)

    def _root_was_pruned(self, ref: Ref) -> bool:
        root = self.events.get((*ref, 0))
        return root is not None and root.pruned

    def _may_be_absorbed(self, account: str, kind: str) -> bool:
        live = {ref[1] for ref, s in self.sessions.items() if ref[0] == account and s.state in {"discovered", "active"}}
        return bool(ABOVE.get(kind, set()) & live)

    def _observe(self, session: NaiveSession, answer: Answer, root: Mapping[str, str], kinds: list[str]) -> None:
        if answer.ref[1] in ABOVE:
            self._add("telnyx_sessions_started_total", root)
        self._add("telnyx_sessions_settled_total", root)
        observe = self._observe_one
        observe("telnyx_session_events", root, Decimal(len(kinds)))
        observe("telnyx_session_inference_turns", root, Decimal(kinds.count("inference")))
        if answer.duration is not None:
            observe("telnyx_session_duration_seconds", root, Decimal(answer.duration))
        without_root = {name: root[name] for name in ("account", "session_kind")}
        observe(
            "telnyx_session_settling_seconds", without_root, Decimal(str(session.settled_at - session.discovered_at))
        )
        costs: dict[str, Decimal] = defaultdict(Decimal)
        for report in answer.events.values():
            if report.price is not None:
                costs[report.currency] += report.price
        for currency, cost in costs.items():
            observe("telnyx_session_cost", {**root, "currency": currency}, max(cost, Decimal(0)))

    def _add(self, family: str, labels: Mapping[str, str], names: str = "") -> None:
        wanted = names.split() or list(labels)
        self.counters[family, frozenset((name, labels[name]) for name in wanted)] += 1

    def _observe_one(self, family: str, labels: Mapping[str, str], value: Decimal) -> None:
        self.observed[family, frozenset(labels.items())].append(value)

    # Totals

    def values(self) -> dict[Row, Decimal]:
        """Return every total but histograms and zeros; `net` and `inference net` are costs minus credits."""
        found: dict[Row, Decimal] = defaultdict(Decimal, self.counters)
        for rows in (self.kept, self._computed()):
            for row, amount in rows.items():
                found[row] += amount
        return {row: amount for row, amount in found.items() if amount}

    def _computed(self) -> dict[Row, Decimal]:
        """Return all that follows from the booked events and the configuration."""
        found: dict[Row, Decimal] = defaultdict(Decimal)
        for (account, *_), event in self.events.items():
            for family, labels, amount in self._shares(account, event):
                found[family, frozenset(labels.items())] += amount
        for (account, *_), session in self.sessions.items():
            found["telnyx_sessions", frozenset({("account", account), ("state", session.state)})] += 1
        for budget in self.budgets:
            row = frozenset({("budget", budget.name), ("currency", budget.currency)})
            first, end = self._window(budget)
            for time, cost in self._costs_of(budget):
                found["budget net", row] += cost
                found["telnyx_budget_spent", row] += cost if first <= time < end else 0
        return found

    def _shares(self, account: str, event: NaiveEvent) -> Iterator[tuple[str, dict[str, str], Decimal]]:
        def of(labels: Mapping[str, str], names: str) -> dict[str, str]:
            return {name: labels[name] for name in ("account", *names.split())}

        def with_own(labels: Mapping[str, str], names: str) -> dict[str, str]:
            return of(labels, names) | {name: labels.get(name, "none") for name in self.names}

        turn = event.labels["record_type"] == "inference"
        yield "telnyx_ledger_pruned_events" if event.pruned else "telnyx_ledger_events", {}, Decimal(1)
        yield "telnyx_events_total", with_own(event.labels, "record_type product"), Decimal(1)
        cached, characters, seconds = map(Decimal, event.usage[2:])
        yield "telnyx_billed_seconds_total", of(event.labels, "record_type"), seconds
        yield "telnyx_characters_total", of(event.labels, "record_type"), characters
        if turn:
            yield "telnyx_inference_turns_total", with_own(event.labels, "model"), Decimal(1)
            yield "telnyx_inference_cached_input_tokens_total", of(event.labels, "model"), cached
            for way, tokens_of in zip(("input", "output"), event.usage[:2], strict=True):
                labels = of(event.labels, "model") | {"token_direction": way}
                yield "telnyx_inference_tokens_total", labels, Decimal(tokens_of)
        if event.cost is None or event.cost_labels is None:
            awaits = Decimal(0 if event.bundled or event.pruned else 1)
            yield "telnyx_events_awaiting_price", of(event.labels, "record_type product"), awaits
            return
        cost, currency = event.cost
        in_currency = {"currency": currency}
        yield "net", with_own(event.cost_labels, "record_type product") | in_currency, cost
        if turn:
            yield "inference net", with_own(event.cost_labels, "model") | in_currency, cost
        if not event.pruned and self.sessions[event.owner].state != "settled":
            yield "telnyx_unsettled_cost", {"account": account} | in_currency, cost

    def _window(self, budget: Budget) -> tuple[float, float]:
        if budget.window == "day":
            midnight = self.budgets_at - self.budgets_at % DAY
            return midnight, midnight + DAY
        first = self.budgets_at - float(budget.window)
        return first - first % QUARTER, float("inf")

    def _costs_of(self, budget: Budget) -> Iterator[tuple[float, Decimal]]:
        """Return the time and the cost of each event that counts for a budget."""
        for event in self.events.values():
            cost, labels = event.cost, event.cost_labels or {}
            if cost is not None and cost[1] == budget.currency and dict(budget.match).items() <= labels.items():
                yield event.time, cost[0]

    def histograms(self) -> dict[Row, tuple[list[int], Decimal]]:
        """Return the cumulative buckets and the sum of each histogram."""
        return {
            row: (
                [sum(value <= Decimal(str(bound)) for value in values) for bound in self.bounds[row[0]]]
                + [len(values)],
                sum(values, Decimal(0)),
            )
            for row, values in self.observed.items()
        }


def session_kind(root: str, kinds: Iterable[str]) -> str:
    if root == "inference":
        return "inference"
    if {"ai-voice-assistant", "inference"} & set(kinds):
        return "ai"
    named = {"message": "messaging", "conference": "conference", "conference-participant": "conference"}
    return named.get(root, "voice")


def outermost(events: Iterable[RealEvent], followed: Iterable[Ref]) -> set[Ref]:
    """Return the followed roots that are not part of another followed root's tree."""
    inner: set[Ref] = set()

    def enter(event: RealEvent) -> None:
        for child, _ in event.children_shown():
            inner.add(child.ref)
            enter(child)

    followed = set(followed)
    for event in events:
        if event.ref in followed:
            enter(event)
    return followed - inner
