"""Which nodes are the same event, and whether the sums that the API states hold.

Owns identity within one tree (`duplicate_id`) and the checks made on a complete one: `event_sum`, `root_cumulative`,
`node_cumulative`, `event_count`, `currency`. It changes no cost: a failed check is reported, the event costs stand.
The surprising fact: two nodes may carry the same key and yet be two events, and only the sum above them tells.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from exporter.core.model import Mismatch
from exporter.core.money import ZERO, add, amount_text, places, subtract, total
from exporter.core.tree.walk import Flat

_HALF = Decimal("0.5")


class Stated(Struct, frozen=True):
    """What the answer says of the whole session."""

    total: Decimal | None
    event_count: int | None


class Identified(Struct, frozen=True):
    """`ordinals[i]` tells twins apart; `repeats` are the rows whose event stands at an earlier row already."""

    ordinals: Sequence[int]
    repeats: frozenset[int]
    mismatches: tuple[Mismatch, ...]


class _Below(Struct, frozen=True):
    """Per row, from its own subtree alone, so that no verdict on it depends on the root that was asked."""

    cumulative: Sequence[Decimal]
    """What its children's cumulative costs add to its own."""
    events: Sequence[int]
    """Nodes whose cost rolls up to it, itself included."""
    places: Sequence[int]
    """Most places that a cost was printed with."""


def _below(rows: Sequence[Flat]) -> _Below:
    cumulative, events = [ZERO] * len(rows), [1] * len(rows)
    most_places = [0 if row.cost is None else places(row.cost) for row in rows]
    for index in range(len(rows) - 1, 0, -1):
        row, parent = rows[index], rows[index].parent
        most_places[parent] = max(most_places[parent], most_places[index])
        if row.edge_rolls_up:
            cumulative[parent] = add(cumulative[parent], row.cumulative or ZERO)
            events[parent] += events[index]
    return _Below(cumulative, events, most_places)


def identify(rows: Sequence[Flat]) -> Identified:
    """The same key is one event, unless the roll-up above its nodes needs each of them."""
    ordinals = [0] * len(rows)
    if len({row.key for row in rows}) == len(rows):
        return Identified(ordinals, frozenset(), ())
    found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        found[row.key].append(index)
    mismatches: list[Mismatch] = []
    below = _below(rows)
    for indexes in found.values():
        if len(indexes) > 1:
            mismatches += _number(indexes, rows, below, ordinals)
    return Identified(ordinals, _repeats(rows, ordinals), tuple(mismatches[:1]))


def _repeats(rows: Sequence[Flat], ordinals: Sequence[int]) -> frozenset[int]:
    seen: set[tuple[object, int]] = set()
    repeats = []
    for index, row in enumerate(rows):
        event = (row.key, ordinals[index])
        if event in seen and row.id:
            repeats.append(index)
        seen.add(event)
    return frozenset(repeats)


def _number(indexes: list[int], rows: Sequence[Flat], below: _Below, ordinals: list[int]) -> list[Mismatch]:
    """Give the nodes of one key their ordinals; what can't be told apart keeps the same and is reported."""
    by_parent: dict[int, list[int]] = defaultdict(list)
    for index in indexes:
        by_parent[rows[index].parent].append(index)
    doubtful = False
    for parent, twins in by_parent.items():
        if len(twins) > 1:
            doubtful |= not _number_twins(parent, twins, rows, below, ordinals)
    for index in indexes:
        above = _same_key_above(index, rows)
        if above is not None and _nested_are_two(above, index, rows, below):
            ordinals[index] += ordinals[above] + 1
    costs_of: dict[int, set[Decimal | None]] = defaultdict(set)
    for index in indexes:
        costs_of[ordinals[index]].add(rows[index].cost)
    if doubtful or any(len(costs) > 1 for costs in costs_of.values()):
        first = rows[indexes[0]]
        return [Mismatch("duplicate_id", f"{first.record_type} {first.id}: {len(indexes)} nodes, no reading fits all")]
    return []


def _number_twins(parent: int, twins: list[int], rows: Sequence[Flat], below: _Below, ordinals: list[int]) -> bool:
    """Twins below one parent: one event or one each, whichever is nearer to the parent's sum; False if neither fits."""
    stated = rows[parent].cumulative
    if stated is None or not all(rows[index].edge_rolls_up for index in twins):
        return len({rows[index].cost for index in twins}) == 1
    amounts = [rows[index].cumulative or ZERO for index in twins]
    each = add(rows[parent].cost or ZERO, below.cumulative[parent])
    off = abs(subtract(each, stated))
    tolerance = _tolerance(below.events[parent], max(below.places[parent], places(stated)))
    if len(set(amounts)) == 1:
        off_as_one = abs(subtract(subtract(each, total(amounts[1:])), stated))
        if off_as_one <= off:
            return off_as_one <= tolerance
    if off > tolerance:
        return False
    for ordinal, index in enumerate(sorted(twins, key=lambda index: (*_by_amounts(rows[index]), index))):
        ordinals[index] = ordinal
    return True


def _by_amounts(row: Flat) -> tuple[bool, Decimal, bool, Decimal]:
    """Orders twins the same in whatever order an answer lists them; what has no amount comes last."""
    return (row.cost is None, row.cost or ZERO, row.cumulative is None, row.cumulative or ZERO)


def _same_key_above(index: int, rows: Sequence[Flat]) -> int | None:
    above = rows[index].parent
    while above >= 0 and rows[above].key != rows[index].key:
        above = rows[above].parent
    return above if above >= 0 else None


def _nested_are_two(upper: int, lower: int, rows: Sequence[Flat], below: _Below) -> bool:
    """Nodes of one key on one path: two events if the sum at the upper one is nearer to both than to one of them."""
    cost, stated, nested = rows[upper].cost, rows[upper].cumulative, rows[lower].cost
    if cost == nested == ZERO or stated is None:
        return False
    off = subtract(add(cost or ZERO, below.cumulative[upper]), stated)
    off_as_one = subtract(off, nested or ZERO)
    tolerance = _tolerance(below.events[upper], max(below.places[upper], places(stated)))
    return abs(off) <= tolerance and abs(off) <= abs(off_as_one)


def verify(rows: Sequence[Flat], identified: Identified, stated: Stated) -> tuple[Mismatch, ...]:
    """The checks that failed on a complete tree, each at most once, with what differed by how much."""
    currencies = {row.currency for row in rows if row.cost}
    if len(currencies) > 1:  # then no sum over the tree means anything
        return (Mismatch("currency", f"one session in {', '.join(sorted(currencies))}"), *_check_count(rows, stated))
    return (
        *_check_sum(rows, identified, stated),
        *_check_root(rows, stated),
        *_check_nodes(rows, identified),
        *_check_count(rows, stated),
    )


def _check_sum(rows: Sequence[Flat], identified: Identified, stated: Stated) -> list[Mismatch]:
    if stated.total is None:
        return []
    first = total(row.cost for row in rows if row.cost is not None)
    if first == stated.total and not identified.repeats:  # the usual case, and the quick one
        return []
    events = [row for index, row in enumerate(rows) if index not in identified.repeats]
    readings = (events, [row for row in events if row.rolled_up], rows, [row for row in rows if row.rolled_up])
    sums = [total(row.cost or ZERO for row in reading) for reading in readings]
    tolerance = _tolerance(len(rows), max(places(stated.total), *(places(row.cost or ZERO) for row in rows)))
    if any(abs(subtract(amount, stated.total)) <= tolerance for amount in sums):
        return []
    return [Mismatch("event_sum", _differ("the events add up to", sums[0], "cost.total is", stated.total))]


def _check_root(rows: Sequence[Flat], stated: Stated) -> list[Mismatch]:
    cumulative = rows[0].cumulative
    if stated.total is None or cumulative is None or cumulative == stated.total:
        return []
    if abs(subtract(cumulative, stated.total)) <= _tolerance(len(rows), max(places(stated.total), places(cumulative))):
        return []
    return [Mismatch("root_cumulative", _differ("the root's is", cumulative, "cost.total is", stated.total))]


def _check_nodes(rows: Sequence[Flat], identified: Identified) -> list[Mismatch]:
    sums, sizes = _sums_below(rows, identified)
    off = [
        index for index, row in enumerate(rows) if row.cumulative is not None and sums[index] != row.cumulative
    ]  # to the last digit; few trees have any
    if not off:
        return []
    printed = _below(rows).places
    failed = [index for index in off if _is_beyond(rows[index].cumulative, sums[index], sizes[index], printed[index])]
    if not failed:
        return []
    row = rows[failed[0]]
    detail = _differ(f"below {row.record_type} {row.id} is", sums[failed[0]], "its cumulative_cost is", row.cumulative)
    return [Mismatch("node_cumulative", detail + (f"; {len(failed)} nodes in all" if len(failed) > 1 else ""))]


def _is_beyond(stated: Decimal | None, found: Decimal, count: int, most_places: int) -> bool:
    """Whether a sum of so many amounts differs from the stated one by more than rounding explains."""
    stated = stated or ZERO
    return abs(subtract(found, stated)) > _tolerance(count, max(most_places, places(stated)))


def _sums_below(rows: Sequence[Flat], identified: Identified) -> tuple[list[Decimal], list[int]]:
    """Per row: the sum of the distinct events whose cost rolls up to it, its own included, and their number."""
    if identified.repeats:
        return _distinct_sums_below(rows, identified)
    sums, sizes = [row.cost or ZERO for row in rows], [1] * len(rows)
    for index in range(len(rows) - 1, 0, -1):
        row = rows[index]
        if row.edge_rolls_up:
            sums[row.parent] = add(sums[row.parent], sums[index])
            sizes[row.parent] += sizes[index]
    return sums, sizes


def _distinct_sums_below(rows: Sequence[Flat], identified: Identified) -> tuple[list[Decimal], list[int]]:
    """The same where one event stands at several rows, and counts once below each of them."""
    sums, sizes = [ZERO] * len(rows), [0] * len(rows)
    counted: set[tuple[int, object]] = set()
    for index, row in enumerate(rows):
        at, event = index, (row.key, identified.ordinals[index])
        while True:
            if (at, event) not in counted:
                sums[at] = add(sums[at], row.cost or ZERO)
                sizes[at] += 1
                counted.add((at, event))
            if not rows[at].edge_rolls_up or rows[at].parent < 0:
                break
            at = rows[at].parent
    return sums, sizes


def _check_count(rows: Sequence[Flat], stated: Stated) -> list[Mismatch]:
    if stated.event_count is None or stated.event_count == len(rows):
        return []
    return [Mismatch("event_count", f"{len(rows)} nodes in the tree, meta.event_count is {stated.event_count}")]


def _tolerance(count: int, most_places: int) -> Decimal:
    """Each printed amount may be half a unit of its last place away from what it was computed from."""
    return count * _HALF.scaleb(-most_places)


def _differ(left: str, one: Decimal, right: str, other: Decimal | None) -> str:
    other = other or ZERO
    return f"{left} {amount_text(one)}, {right} {amount_text(other)}: {amount_text(subtract(one, other))} apart"
