"""The laws' own idea of the truth: a small Telnyx, and a bookkeeper who remembers everything he was ever shown.

Owns what must come out, written from docs/accuracy.md and without a line of the exporter's accounting. It is slow and
forgets nothing: net cost is looked up in the answer that was asked for last, a sum is summed anew at each question. The
surprising fact: of all that is counted, only sessions and owners need a memory of their own; the rest is a question to
the answers. Telnyx's prices here are all different, so an answer can't look newer than it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any

from tests.support import trees

Key = tuple[str, str, str, int]
"""Account, record type, id, place among twins."""
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
"""Where the product is not the record type."""
ABOVE = {
    "call-control": {"call-session"},
    "sip-trunking": {"call-session"},
    "recording": {"call-session"},
    "conference-participant": {"call-session", "conference"},
    "ai-voice-assistant": {"call-session", "call-control"},
}
"""What a session of this root type may turn out to be a part of."""
ROOTS = ("call-session", "conference", "message", *ABOVE)
TWINNABLE = ("recording", "inference")
TWIN_DEARER = 10
"""Twins differ by more than any two other prices do, so that the cheaper one stays the cheaper one."""

SETTLE_AFTER, GIVE_UP_AFTER = 3600, 7200


# Telnyx


@dataclass(eq=False)
class Real:
    """An event as it is. `shown[i]` says how the i-th child appears: once, twice, or as twins of one id."""

    account: str
    kind: str
    id: str
    record: dict[str, Any] = field(default_factory=dict)
    price: Decimal | None = None
    currency: str = "USD"
    children: list["Real"] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    vanished: bool = False

    @property
    def ref(self) -> Ref:
        return self.account, self.kind, self.id

    @property
    def product(self) -> str:
        return PRODUCTS.get(self.kind, self.kind)

    def below(self) -> list[tuple["Real", str]]:
        pairs = zip(self.children, self.shown, strict=True)
        return [(child, shown) for child, shown in pairs if not child.vanished]

    def node(self, dearer: int = 0) -> dict[str, Any]:
        """The event with all below it, as the API would print it at unlimited depth."""
        nodes, once_too_many = [], Decimal(0)
        for child, shown in self.below():
            if shown == "twins":
                nodes.append(child.node(TWIN_DEARER))
            nodes.append(child.node())
            if shown == "twice":
                nodes.append(child.node())
                once_too_many += child.price or 0
        price = None if self.price is None else f"{self.price + dearer:f}"
        made = trees.node(f"{self.kind}:{self.id}", price, *nodes, record=self.record)
        made["cost"]["cumulative_cost"] = f"{Decimal(made['cost']['cumulative_cost']) - once_too_many:f}"
        made["cost"]["currency"] = self.currency
        if self.kind == "call-session":
            made["event_name"] = "siptrunking-cdrs"  # a leg's, as its product is
        return made


class Telnyx:
    """What there is. `hidden` roots are answered by 404; the subtrees of `down` can't be had."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self.events: dict[Ref, Real] = {}
        self.hidden: set[Ref] = set()
        self.down: set[Ref] = set()
        self._prices = count(1)
        for account in accounts:
            call = self.add(Real(account, "call-session", "1", {"team": "red"}, self.fresh(0)))
            other = self.add(Real(account, "call-session", "2", {"campaign": "autumn"}, self.fresh(0)))
            leg = self.add(Real(account, "call-control", "1", {"campaign": "spring", "duration_sec": 70}), call)
            self.add(Real(account, "sip-trunking", "1", {"duration_sec": 60}), call)
            self.add(Real(account, "recording", "1", {"duration_sec": 50}, self.fresh(5)), call, "twins")
            self.add(Real(account, "recording", "1"), other, "twins")
            assistant = self.add(Real(account, "ai-voice-assistant", "1", {"team": "blue"}, self.fresh(60)), leg)
            self.add(Real(account, "inference", "1", {"input_tokens": 9, "model": "m"}, self.fresh(1)), assistant)
            conference = self.add(Real(account, "conference", "1", {"campaign": "summer"}))
            participant = self.add(Real(account, "conference-participant", "1"), conference)
            self.add(participant, other)
            self.add(Real(account, "message", "1", {"duration_sec": 5}))

    def all(self) -> list[Real]:
        return list(self.events.values())

    def add(self, event: Real, parent: Real | None = None, shown: str = "once") -> Real:
        event = self.events.setdefault(event.ref, event)
        if parent is not None and event not in parent.children:
            parent.children.append(event)
            parent.shown.append(shown)
        return event

    def fresh(self, amount: int) -> Decimal:
        """A price of up to five that no event ever had."""
        return Decimal(amount * 1000 + next(self._prices)).scaleb(-6)

    def ask(self, ref: Ref, depth: int) -> bytes | None:
        whole = self.events[ref].node()
        if ref in self.down and whole["children"]:
            return None
        return self.answer(ref, depth)

    def answer(self, ref: Ref, depth: int) -> bytes:
        whole = self.events[ref].node()
        return trees.body(trees.answer(trees.cut(whole, depth), event_count=trees.count(whole)))


# What an answer shows


@dataclass(frozen=True)
class Sight:
    """One event in one answer."""

    price: Decimal | None
    currency: str
    usage: tuple[int, int, int]
    """Input tokens, output tokens and billed seconds."""
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What came of one poll; without events unless its outcome is `tree`."""

    ref: Ref
    number: int
    at: float
    outcome: str
    events: Mapping[Key, Sight] = field(default_factory=dict)
    complete: bool = True
    duration: int | None = None


def look(telnyx: Telnyx, ref: Ref, number: int, at: float, depth: int) -> Answer:
    """The session as it can be seen now: below a node at the cut only what its subtree shows when it can be had."""
    root = telnyx.events[ref]
    seen: dict[Key, Sight] = {}
    durations: list[int] = []
    missing: list[Ref] = []

    def walk(event: Real, shown: str, left: int, team: str) -> None:
        record, turn = event.record, event.kind == "inference"
        team = record.get("team", team)
        labels = {
            "account": event.account,
            "record_type": event.kind,
            "product": event.product,
            "model": record.get("model", "unknown") if turn else "none",
            "team": team,
            "campaign": root.record.get("campaign", "none"),
            "direction": record.get("direction", "none"),
        }
        tokens = (record.get("input_tokens", 0), record.get("output_tokens", 0)) if turn else (0, 0)
        usage = (*tokens, record.get("billed_sec", 0))
        twins = 2 if shown == "twins" and event.price is not None else 1
        for place in range(twins):
            price = None if event.price is None else event.price + place * TWIN_DEARER
            seen.setdefault((*event.ref, place), Sight(price, event.currency, usage, labels))
        durations.extend(filter(None, [record.get("duration_sec")]))
        below = event.below()
        if left == 1 and below:
            if event.ref in telnyx.down:
                missing.append(event.ref)
                return
            left = max(2, depth)
        for child, how in below:
            walk(child, how, left - 1, team)

    walk(root, "once", depth, "none")
    duration = root.record.get("duration_sec", max(durations, default=None))
    return Answer(ref, number, at, "tree", seen, not missing, duration)


# The bookkeeper


@dataclass
class Known:
    """An event that was booked: every sight of it by the number of its claim."""

    owner: Ref
    labels: Mapping[str, str]
    cost_labels: Mapping[str, str] | None = None
    sights: dict[int, Sight] = field(default_factory=dict)
    changed_by: int = 0
    settled_unpriced: bool = False

    @property
    def cost(self) -> tuple[Decimal, str] | None:
        """What the answer says that was asked for last."""
        priced = [number for number, report in self.sights.items() if report.price is not None]
        last = self.sights[max(priced)] if priced else None
        return None if last is None or last.price is None else (last.price, last.currency)

    @property
    def usage(self) -> tuple[int, int, int]:
        """The most that was seen of each."""
        inputs, outputs, seconds = zip(*(report.usage for report in self.sights.values()), strict=True)
        return max(inputs), max(outputs), max(seconds)


@dataclass
class Followed:
    """A session's life, as docs/accuracy.md tells it."""

    followed_at: float
    state: str = "discovered"
    changed_at: float | None = None
    settled_at: float = 0.0
    looks: int = 0
    """Times that it was looked at since it settled."""
    seen: bool = False
    counted: bool = False
    claim: int = 0

    def move(self, answer: Answer, *, changed: bool) -> None:
        now, known_since = answer.at, self.followed_at if self.changed_at is None else self.changed_at
        if answer.outcome == "tree" and (changed or (answer.complete and self.changed_at is None)):
            self.state, self.changed_at = "active", now
        elif self.state == "settled":
            self.looks += answer.outcome in {"gone", "denied"} or (answer.outcome == "tree" and answer.complete)
        elif answer.outcome == "tree" and answer.complete:
            self.state = "settled" if now - known_since >= SETTLE_AFTER else "active"
            self.settled_at, self.looks = now, 0
        elif answer.outcome == "denied":
            self.state = "denied"
        elif answer.outcome == "gone" and now - known_since >= GIVE_UP_AFTER:
            self.state = "missing"


class Bookkeeper:
    """Remembers every answer that was booked, and counts from that."""

    def __init__(self, bounds: Mapping[str, Iterable[float]]) -> None:
        self.sessions: dict[Ref, Followed] = {}
        self.events: dict[Key, Known] = {}
        self.below: set[Key] = set()
        """Events that stood below another one in a booked answer."""
        self.bounds = bounds
        self.counters: dict[Row, Decimal] = defaultdict(Decimal)
        self.observed: dict[Row, list[Decimal]] = defaultdict(list)

    def follow(self, ref: Ref, now: float) -> None:
        self.sessions.setdefault(ref, Followed(now))

    def book(self, answers: Iterable[Answer]) -> None:
        """A batch: each claim counts once, the earlier claim first."""
        held = {a.number: a for a in answers if self.sessions[a.ref].claim == a.number}
        current = [answer for _, answer in sorted(held.items())]
        for answer in current:
            self.below |= set(list(answer.events)[1:])
        for answer in current:
            session = self.sessions[answer.ref]
            session.claim = 0
            changed = [key for key, report in answer.events.items() if self._see(key, report, answer, session)]
            session.move(answer, changed=bool(changed))
            if answer.outcome == "tree":
                self._count_session(session, answer)

    def _see(self, key: Key, report: Sight, answer: Answer, session: Followed) -> bool:
        event = self.events.setdefault(key, Known(answer.ref, report.labels))
        before = (event.cost, event.usage) if event.sights else None
        event.sights[answer.number] = report
        if event.cost is not None:
            event.cost_labels = event.cost_labels or report.labels
            if event.settled_unpriced:
                event.settled_unpriced = False
                self._add("telnyx_events_priced_late_total", event.labels, "account record_type product")
        changed = before != (event.cost, event.usage)
        taken = self.sessions[event.owner].state == "settled" != session.state and answer.number > event.changed_by
        if taken:
            event.owner = answer.ref
        if changed or taken:
            event.changed_by = answer.number
        return changed

    def _count_session(self, session: Followed, answer: Answer) -> None:
        account, kind, _ = answer.ref
        kinds = [key[1] for key in answer.events]
        root = {"account": account, "root_record_type": kind, "session_kind": session_kind(kind, kinds)}
        if not session.seen and kind not in ABOVE:
            self._add("telnyx_sessions_started_total", root)
        session.seen = True
        if session.state != "settled" or session.counted or not answer.complete:
            return
        for event in self.events.values():
            if event.owner == answer.ref and event.cost is None and not event.settled_unpriced:
                event.settled_unpriced = True
                self._add("telnyx_events_settled_unpriced_total", event.labels, "account record_type product")
        absorbed = (*answer.ref, 0) in self.below
        if absorbed or session.looks or not self._may_be_absorbed(account, kind):
            session.counted = True
            if not absorbed:
                self._observe(session, answer, root, kinds)

    def _may_be_absorbed(self, account: str, kind: str) -> bool:
        live = {ref[1] for ref, s in self.sessions.items() if ref[0] == account and s.state in {"discovered", "active"}}
        return bool(ABOVE.get(kind, set()) & live)

    def _observe(self, session: Followed, answer: Answer, root: Mapping[str, str], kinds: list[str]) -> None:
        if answer.ref[1] in ABOVE:
            self._add("telnyx_sessions_started_total", root)
        self._add("telnyx_sessions_settled_total", root)
        observe = self._observe_one
        observe("telnyx_session_events", root, Decimal(len(kinds)))
        observe("telnyx_session_inference_turns", root, Decimal(kinds.count("inference")))
        if answer.duration is not None:
            observe("telnyx_session_duration_seconds", root, Decimal(answer.duration))
        without_root = {name: root[name] for name in ("account", "session_kind")}
        observe("telnyx_session_settling_seconds", without_root, Decimal(str(session.settled_at - session.followed_at)))
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

    # What must be shown

    def values(self) -> dict[Row, Decimal]:
        """Every total that is no histogram, without zeros; `net` and `inference net` are costs less credits."""
        found: dict[Row, Decimal] = defaultdict(Decimal, self.counters)
        for (account, *_), event in self.events.items():
            for family, labels, amount in self._shares(account, event):
                found[family, frozenset(labels.items())] += amount
        for (account, *_), session in self.sessions.items():
            found["telnyx_sessions", frozenset({("account", account), ("state", session.state)})] += 1
        return {row: amount for row, amount in found.items() if amount}

    def _shares(self, account: str, event: Known) -> Iterator[tuple[str, dict[str, str], Decimal]]:
        def of(labels: Mapping[str, str], names: str) -> dict[str, str]:
            return {name: labels[name] for name in ("account", *names.split())}

        turn = event.labels["record_type"] == "inference"
        yield "telnyx_ledger_events", {}, Decimal(1)
        yield "telnyx_events_total", of(event.labels, "record_type product team campaign direction"), Decimal(1)
        *tokens, seconds = event.usage
        yield "telnyx_billed_seconds_total", of(event.labels, "record_type"), Decimal(seconds)
        if turn:
            yield "telnyx_inference_turns_total", of(event.labels, "model team campaign direction"), Decimal(1)
            for way, tokens_of in zip(("input", "output"), tokens, strict=True):
                labels = of(event.labels, "model") | {"token_direction": way}
                yield "telnyx_inference_tokens_total", labels, Decimal(tokens_of)
        if event.cost is None or event.cost_labels is None:
            yield "telnyx_events_awaiting_price", of(event.labels, "record_type product"), Decimal(1)
            return
        cost, currency = event.cost
        in_currency = {"currency": currency}
        yield "net", of(event.cost_labels, "record_type product team campaign direction") | in_currency, cost
        if turn:
            yield "inference net", of(event.cost_labels, "model team campaign direction") | in_currency, cost
        if self.sessions[event.owner].state != "settled":
            yield "telnyx_unsettled_cost", {"account": account} | in_currency, cost

    def histograms(self) -> dict[Row, tuple[list[int], Decimal]]:
        """For each, how many observations are not above each bound and in all, and their sum."""
        return {
            row: (
                [sum(value <= Decimal(str(bound)) for value in values) for bound in self.bounds[row[0]]]
                + [len(values)],
                sum(values, Decimal(0)),
            )
            for row, values in self.observed.items()
        }


def session_kind(root: str, kinds: Iterable[str]) -> str:
    if {"ai-voice-assistant", "inference"} & set(kinds):
        return "ai"
    named = {"message": "messaging", "conference": "conference", "conference-participant": "conference"}
    return named.get(root, "voice")


def outermost(events: Iterable[Real], followed: Iterable[Ref]) -> set[Ref]:
    """The followed roots that stand below no other followed root."""
    inner: set[Ref] = set()

    def enter(event: Real) -> None:
        for child, _ in event.below():
            inner.add(child.ref)
            enter(child)

    followed = set(followed)
    for event in events:
        if event.ref in followed:
            enter(event)
    return followed - inner
