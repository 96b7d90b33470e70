"""Which sessions have series of their own.

Owns the choice and its bound: configured sessions first, then those that changed in the last hours, half of the places
by cost, half by turns. Knows no exposition. The surprising fact: a place once given is kept for a while, since a series
that comes and goes with every poll is no use on a dashboard; only a configured session takes one away earlier.
"""

from collections.abc import Iterable
from decimal import Decimal
from heapq import nlargest
from itertools import chain, zip_longest
from operator import attrgetter

from msgspec import Struct

from exporter.core.model import SessionGauges
from exporter.core.money import ZERO, add

CHANGED_WITHIN_SECONDS = 6 * 3600.0
PLACE_KEPT_SECONDS = 15 * 60.0

CHOSEN_SECONDS = 60.0
"""Time alone moves sessions as well: however little happens, the places are given anew so often."""

KNOWN_PER_PLACE = 8
"""Candidates kept in memory for each place; one that is let go comes back with its next change."""

Key = tuple[str, str, str]
"""Account, record type and event id of a session's root."""


class Candidate(Struct, frozen=True, gc=False):
    """A session that may get a place."""

    key: Key
    followed: SessionGauges
    cost: Decimal
    """In the currency in which it is highest: amounts of two currencies don't add up."""
    turns: int
    changed_at: float

    @classmethod
    def of(cls, followed: SessionGauges) -> "Candidate":
        ref = followed.ref
        nets: dict[str, Decimal] = {}
        for _, currency, amount in followed.costs:
            nets[currency] = add(nets.get(currency, ZERO), amount)
        cost = max(nets.values(), default=ZERO)
        key = (ref.account, ref.record_type, ref.event_id)
        return cls(key, followed, cost, followed.inference_turns, followed.changed_at)


_BY_COST, _BY_TURNS, _BY_CHANGE = attrgetter("cost"), attrgetter("turns"), attrgetter("changed_at")


class TopSessions:
    """The places, and the sessions that compete for them; times are session time."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._candidates: dict[Key, Candidate] = {}
        self._since: dict[Key, float] = {}
        """Who holds a place, and since when."""
        self._now = self._chosen_at = 0.0
        self._moved = False

    def __len__(self) -> int:
        """How many candidates are remembered."""
        return len(self._candidates)

    def update(self, followed: Iterable[SessionGauges], now: float) -> None:
        """Take note of sessions as they are now."""
        self._now = now
        followed = list(followed)
        self._moved |= bool(followed)
        if self.places > 0:
            self._candidates.update((each.key, each) for each in map(Candidate.of, followed))

    def resize(self, places: int) -> None:
        self.places, self._moved = places, True

    def forget(self) -> None:
        """Forget all sessions, but not who holds a place: the ledger is about to say what it knows."""
        self._candidates.clear()
        self._moved = True

    @property
    def due(self) -> bool:
        """Whether another choice may come out than the last time."""
        return self._moved or abs(self._now - self._chosen_at) >= CHOSEN_SECONDS

    def choose(self) -> list[SessionGauges]:
        """Give the places anew; the sessions that have one."""
        self._moved, self._chosen_at = False, self._now
        eligible = [each for each in self._candidates.values() if self._eligible(each)]
        rivals = [each for each in eligible if not each.followed.configured]
        chosen = dict.fromkeys(chain(self._first_served(eligible), _ranked(rivals, self.places)))
        self._since = {key: self._since.get(key, self._now) for key in list(chosen)[: self.places]}
        self._candidates = {each.key: each for each in self._worth_keeping(eligible, rivals)}
        return [self._candidates[key].followed for key in self._since]

    def _eligible(self, candidate: Candidate) -> bool:
        return candidate.followed.configured or candidate.changed_at >= self._now - CHANGED_WITHIN_SECONDS

    def _first_served(self, eligible: list[Candidate]) -> list[Key]:
        configured = sorted((c for c in eligible if c.followed.configured), key=_BY_CHANGE, reverse=True)
        known = {each.key for each in eligible}
        kept = [key for key, since in self._since.items() if key in known and self._young(since)]
        return [each.key for each in configured] + kept

    def _young(self, since: float) -> bool:
        return 0 <= self._now - since < PLACE_KEPT_SECONDS

    def _worth_keeping(self, eligible: list[Candidate], rivals: list[Candidate]) -> Iterable[Candidate]:
        most = KNOWN_PER_PLACE * self.places
        if len(rivals) <= most:
            return eligible
        keys = {*_ranked(rivals, most // 4), *self._since}
        return [each for each in eligible if each.followed.configured or each.key in keys]


def _ranked(candidates: list[Candidate], count: int) -> list[Key]:
    """The dearest and the longest in turn, each of them once."""
    dearest = nlargest(count, candidates, key=_BY_COST)
    longest = nlargest(count, candidates, key=_BY_TURNS)
    pairs = chain.from_iterable(zip_longest(dearest, longest))
    return list(dict.fromkeys(each.key for each in pairs if each is not None))
