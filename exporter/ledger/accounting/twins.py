"""Recognise booked twins: nodes of one key that the roll-up has shown to be different events.

An answer numbers its twins by amount, so the numbers shift when one of them vanishes or is amended. `match_twins` gives
each node the key of the booked twin that it is, and finds those twins that the API had listed by mistake.
"""

# Worked example: the cheaper one vanishes. Booked are the ordinals 0 at 0.05 and 1 at 0.10. An answer shows one node,
# of 0.10 and with the ordinal 0. By its cost it is the booked 1. So 0 is not shown: it keeps its 0.05, as every
# vanished event does, and fails `vanished_event`.
#
# Worked example: a repeat. A call lists a recording twice in one answer; amounts are in USD.
#
#     answer  nodes of the recording  the call's sum  booked
#     1       0.25, 0.25              0.50            ordinals 0 and 1, cost +0.50
#     2       0.25                    0.25            1 is a repeat: credits +0.25, net 0.25
#     3       0.25                    0.25            nothing, and no check fails
#     4       0.25, 0.25              0.50            1 is shown again: cost +0.25, net 0.50
#
# Had answer 2 stated 0.50 for the call, the second recording would be missing in the list, not in the bill: it would
# keep its 0.25.

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain

from msgspec.structs import replace

from exporter.core.model import UNKNOWN, Event, EventAttributes, Poll
from exporter.core.money import ZERO, subtract
from exporter.ledger.accounting.keyed_tree import Events, KeyedTree, twin_key
from exporter.ledger.accounting.working_set import WorkingSet
from exporter.ledger.schema.rows import EventRow


def unshown_keys(polls: Iterable[tuple[Poll, KeyedTree | None]], further_twins: Mapping[bytes, int]) -> set[bytes]:
    """Return the keys of booked twins that a tree with another node of their key doesn't show.

    `further_twins` has the highest booked ordinal by the key of the ordinal 0.
    """
    if not further_twins:  # almost every batch
        return set()
    return {
        twin
        for _, tree in polls
        if tree is not None
        for key in tree.events.keys() & further_twins.keys()
        for twin in _twin_keys(tree, key, further_twins[key])
        if twin not in tree.events
    }


def match_twins(tree: KeyedTree, working_set: WorkingSet, session: int) -> KeyedTree:
    """Return the tree with its twins under the keys that they are booked under, and with its repeats.

    `session` is the one that was polled.
    """
    if not tree.further_twins and not working_set.twinned:  # almost every tree
        return tree
    firsts = tree.further_twins.keys() | (tree.events.keys() & working_set.twinned)
    if not firsts:
        return tree
    matching = _Matching(tree, working_set, session)
    for first in sorted(firsts):
        matching.match(first)
    return matching.result()


def remember_twins(tree: KeyedTree, working_set: WorkingSet) -> None:
    """Mark the booked twins of a tree, so that later answers can be matched with them."""
    for first, (further, shown) in tree.twins.items():
        working_set.mark_twins(first, further, shown)


class _Matching:
    """Matches the twins of one tree, key by key."""

    def __init__(self, tree: KeyedTree, working_set: WorkingSet, session: int) -> None:
        self._tree = tree
        self._working_set = working_set
        self._session = session
        self._gaps = None if tree.session.gaps is None else dict(tree.session.gaps)
        """Less those twins that a sum has though they are not shown."""
        self._names: dict[bytes, bytes] = {}
        self._free: Events = {}
        self._twins: dict[bytes, tuple[int, list[bytes]]] = {}
        self._repeats: Events = {}

    def match(self, first: bytes) -> None:
        """Match the nodes with the key whose ordinal 0 is `first`."""
        tree, rows = self._tree, self._working_set.events
        booked_twins = rows[first].further_twins if first in rows else 0
        keys = _twin_keys(tree, first, max(booked_twins, tree.further_twins.get(first, 0)))
        shown = [key for key in keys if key in tree.events]
        nodes = [tree.events[key] for key in shown]
        booked = [rows[key] for key in keys if key in rows]
        # Twins that are all free now can't be told from one event. The booked ones say how many there are.
        nodes += tree.free_repeats.get(first, [])[: max(len(booked) - len(shown), 0)]
        free = (key for key in keys if key not in rows)
        matched = [next(free) if row is None else row.key for row in _match([event for event, _ in nodes], booked)]
        self._names |= zip(shown, matched, strict=False)
        self._free |= zip(matched[len(shown) :], nodes[len(shown) :], strict=True)
        taken = set(matched)
        ordinals = [ordinal for ordinal, key in enumerate(keys) if key in taken]
        self._twins[first] = max(booked_twins, *ordinals), [keys[ordinal] for ordinal in ordinals]
        for row in booked:
            if row.key not in taken:
                self._find_repeat(row, *nodes[0])

    def _find_repeat(self, row: EventRow, event: Event, attributes: EventAttributes) -> None:
        """Note whether a booked twin that isn't shown is a repeat; `event` is one of those that are shown."""
        settled, credited = self._working_set.settled, row.alike and not row.cost and row.cost is not None
        if not credited and (self._in_the_bill(row, event) or not row.alike):
            return
        # Else a poll of the session that owns it decides: its tree is the one that has shown the twin.
        if row.owner == self._session or (settled(row.owner) and not settled(self._session)):
            free = replace(event, cost=ZERO, currency=row.currency or event.currency)
            self._repeats[row.key] = free, EventAttributes(attributes.labels)

    def _in_the_bill(self, row: EventRow, event: Event) -> bool:
        """Return whether the sum above the twins is as near to one with this twin, or says nothing of it."""
        above = event.parent
        if self._gaps is None or above < 0 or self._tree.session.events[above].cumulative is None:
            return True
        gap = self._gaps.get(above, ZERO)
        without = subtract(gap, _amount(row))
        if not row.cost or abs(gap) < abs(without):
            return False
        self._gaps[above] = without
        return True

    def result(self) -> KeyedTree:
        """Return the tree as matched."""
        tree, names = self._tree, self._names
        return replace(
            tree,
            root=names.get(tree.root, tree.root),
            events={names.get(key, key): seen for key, seen in tree.events.items()} | self._free,
            twins=self._twins,
            repeats=self._repeats,
        )


def _twin_keys(tree: KeyedTree, first: bytes, further: int) -> list[bytes]:
    """Return the keys of the ordinals from 0 to `further`."""
    event, _ = tree.events[first]
    return [first, *(twin_key(tree.seed, event, ordinal) for ordinal in range(1, further + 1))]


def _match(events: Sequence[Event], rows: Sequence[EventRow]) -> list[EventRow | None]:
    """Return the booked twin of each node; None of a new one.

    That of the same cost comes first, then the nearest. Those that may have been listed by mistake come last.
    """
    found: dict[int, EventRow] = {}
    sure, doubtful = _by_cost(row for row in rows if not row.alike), _by_cost(row for row in rows if row.alike)
    _take_equal(events, sure, found)
    left = sorted(chain.from_iterable(sure.values()), key=_amount)
    waiting = [index for index in range(len(events)) if index not in found]
    some_vanished = len(left) > len(waiting)
    for index in waiting[: len(left)]:
        # In the order of amounts, if each has a node: no twin's cost moves further than it must.
        found[index] = left.pop(_nearest(left, _amount(events[index])) if some_vanished else 0)
    _take_equal(events, doubtful, found)
    rest = chain.from_iterable(doubtful.values())
    return [found.get(index) or next(rest, None) for index in range(len(events))]


def _by_cost(rows: Iterable[EventRow]) -> dict[Decimal | None, list[EventRow]]:
    by_cost: dict[Decimal | None, list[EventRow]] = defaultdict(list)
    for row in rows:
        by_cost[row.cost].append(row)
    return by_cost


def _take_equal(
    events: Sequence[Event], rows: dict[Decimal | None, list[EventRow]], found: dict[int, EventRow]
) -> None:
    """Move those rows to `found` that have the cost and currency of a node which isn't found yet."""
    for index, event in enumerate(events):
        same = rows[event.cost] if index not in found else []
        for place, row in enumerate(same):
            if row.cost is None or event.currency in {row.currency, UNKNOWN}:
                found[index] = same.pop(place)
                break


def _nearest(rows: Sequence[EventRow], amount: Decimal) -> int:
    """Return the index of the row with the nearest amount; the rows are in the order of their amounts."""
    at = bisect_left(rows, amount, key=_amount)
    return min(range(max(at - 1, 0), min(at + 1, len(rows))), key=lambda i: abs(subtract(_amount(rows[i]), amount)))


def _amount(priced: Event | EventRow) -> Decimal:
    return priced.cost or ZERO
