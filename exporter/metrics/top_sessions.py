"""Choose the sessions that have series of their own, at most `session_series_max`.

Configured sessions come first, then those that changed in the last hours: half of the places by cost, half by LLM
turns. A chosen session keeps its place for a while, because a series that comes and goes with every poll is of no use
on a dashboard; only a configured session takes a place earlier.
"""

from collections.abc import Iterable
from decimal import Decimal
from heapq import nlargest
from itertools import chain, zip_longest

from msgspec import Struct

from exporter.core.model import SessionGauges
from exporter.core.money import ZERO, add

CHANGED_WITHIN_SECONDS = 6 * 3600.0
"""A session without a change for longer has no series, unless it is configured."""

KEPT_SECONDS = 15 * 60.0
"""How long a chosen session keeps its place against a more expensive one."""

CHOICE_SECONDS = 60.0
"""Without any change the choice is made anew after this time, since places expire."""

CANDIDATES_PER_PLACE = 8
"""Candidates in memory per place; a dropped one comes back with its next change."""

Key = tuple[str, str, str]
"""Account, record type and event id of a session's root."""


class Candidate(Struct, frozen=True, gc=False):
    """A session that may be chosen."""

    key: Key
    gauges: SessionGauges
    cost: Decimal
    """In the currency with the highest amount: amounts of two currencies don't add up."""

    @classmethod
    def of(cls, gauges: SessionGauges) -> "Candidate":
        ref = gauges.ref
        costs: dict[str, Decimal] = {}
        for _, currency, amount in gauges.costs:
            costs[currency] = add(costs.get(currency, ZERO), amount)
        return cls((ref.account, ref.record_type, ref.event_id), gauges, max(costs.values(), default=ZERO))


class TopSessions:
    """The chosen sessions and their candidates; all times are session time."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._candidates: dict[Key, Candidate] = {}
        self._chosen_since: dict[Key, float] = {}
        self._now = self._chosen_at = 0.0
        self._changed = False

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self._candidates)

    def update(self, sessions: Iterable[SessionGauges], now: float) -> None:
        """Record sessions as they are now."""
        self._now = now
        sessions = list(sessions)
        self._changed |= bool(sessions)
        if self.places > 0:
            self._candidates.update((each.key, each) for each in map(Candidate.of, sessions))

    def resize(self, places: int) -> None:
        """Change the number of places."""
        self.places, self._changed = places, True

    def clear(self) -> None:
        """Drop all candidates before the ledger's sessions are loaded; the chosen ones keep their places."""
        self._candidates.clear()
        self._changed = True

    @property
    def due(self) -> bool:
        """True if the next choice may differ from the last one."""
        return self._changed or abs(self._now - self._chosen_at) >= CHOICE_SECONDS

    def choose(self) -> list[SessionGauges]:
        """Choose anew, and return the chosen sessions."""
        self._changed, self._chosen_at = False, self._now
        oldest = self._now - CHANGED_WITHIN_SECONDS
        eligible = [c for c in self._candidates.values() if c.gauges.configured or c.gauges.changed_at >= oldest]
        configured = [c for c in eligible if c.gauges.configured]
        others = [c for c in eligible if not c.gauges.configured]
        configured.sort(key=lambda candidate: candidate.gauges.changed_at, reverse=True)
        known = {each.key for each in eligible}
        kept = [
            key
            for key, since in self._chosen_since.items()
            # A negative age means that the clock was set back: then no place is kept.
            if key in known and 0 <= self._now - since < KEPT_SECONDS
        ]
        order = dict.fromkeys(chain((each.key for each in configured), kept, _ranked(others, self.places)))
        self._chosen_since = {key: self._chosen_since.get(key, self._now) for key in list(order)[: self.places]}
        most = CANDIDATES_PER_PLACE * self.places
        if len(others) > most:
            best = {*_ranked(others, most // 4), *self._chosen_since}
            eligible = [each for each in eligible if each.gauges.configured or each.key in best]
        self._candidates = {each.key: each for each in eligible}
        return [self._candidates[key].gauges for key in self._chosen_since]


def _ranked(candidates: list[Candidate], count: int) -> list[Key]:
    """Return the most expensive session, the one with the most turns, the second most expensive, and so on."""
    by_cost = nlargest(count, candidates, key=lambda candidate: candidate.cost)
    by_turns = nlargest(count, candidates, key=lambda candidate: candidate.gauges.inference_turns)
    pairs = chain.from_iterable(zip_longest(by_cost, by_turns))
    return list(dict.fromkeys(each.key for each in pairs if each is not None))
