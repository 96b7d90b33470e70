"""Tell the events of a tree apart, and check the sums that the API states.

Two nodes with the same key are usually one event that is listed twice, sometimes two events; the sum stated above them
decides. The checks (`event_sum`, `root_cumulative`, `node_cumulative`, `event_count`, `currency`, `duplicate_id`) only
report: whatever they find, the events' own costs are booked.
"""

# Worked example: twins. A call lists two LLM turns under one id; amounts are in USD.
#
#   row  node                event_cost  cumulative_cost
#   0    call-session        0           0.0060             cost.total is 0.0060
#   1      call-control      0.0020      0.0060
#   2        inference t1    0.0020      0.0020
#   3        inference t1    0.0020      0.0020
#
# Read as two events, row 1 adds up to 0.0020 + 0.0020 + 0.0020 = 0.0060, exactly what it states; read as one event it
# adds up to 0.0040. So the twins are two events with the ordinals 0 and 1. If row 1 stated 0.0040, row 3 would repeat
# row 2: both get ordinal 0, and the ledger books one event.
#
# Worked example: an amendment. Row 2 falls to 0.0015, and the sums above to 0.0055. The twins' amounts differ now, so
# they can only be two events: 0.0055 fits. Ordinals follow the amounts, not the order of the answer: 0.0015 gets 0,
# 0.0020 gets 1, in whatever order they are listed. The ledger held 0.0020 for both and books one credit of 0.0005.
#
# If the API amends row 2 but not yet the sums above, row 1 adds up to 0.0055 and states 0.0060. Three amounts with 4
# places explain 3 * 0.00005 = 0.00015 of rounding, so no reading fits: `duplicate_id` and the sums fail until it does.

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from exporter.core.model import Mismatch
from exporter.core.money import ZERO, add, amount_text, places, subtract, total
from exporter.core.tree.walk import Flat

_HALF = Decimal("0.5")

SUM_CHECKS = frozenset({"event_sum", "root_cumulative", "node_cumulative", "currency", "duplicate_id"})
"""The checks that compare sums, and those that say that there is nothing to compare."""


class Stated(Struct, frozen=True):
    """The API's own figures for the whole session."""

    total: Decimal | None
    event_count: int | None


class Identified(Struct, frozen=True):
    """The events of a tree; `ordinals[i]` numbers the twins, `repeats` are rows whose event has an earlier row."""

    ordinals: Sequence[int]
    repeats: frozenset[int]
    mismatches: tuple[Mismatch, ...]


class Verified(Struct, frozen=True):
    """The checks that a complete tree fails, each at most once."""

    mismatches: tuple[Mismatch, ...] = ()
    gaps: Mapping[int, Decimal] | None = None
    """As `Session.gaps`."""


class _Below(Struct, frozen=True):
    """Per row, computed from its own subtree alone, so the same in the tree of every root that shows it."""

    cumulative: Sequence[Decimal]
    """Sum of the children's cumulative costs that roll up."""
    events: Sequence[int]
    """Nodes whose cost rolls up to the row, itself included."""
    places: Sequence[int]
    """Most decimal places of any cost in the subtree."""


def _below(rows: Sequence[Flat]) -> _Below:
    cumulative, events = [ZERO] * len(rows), [1] * len(rows)
    most_places = [0 if row.cost is None else places(row.cost) for row in rows]
    for index in range(len(rows) - 1, 0, -1):  # children come after their parents, so backwards is bottom-up
        row, parent = rows[index], rows[index].parent
        most_places[parent] = max(most_places[parent], most_places[index])
        if row.edge_rolls_up:
            cumulative[parent] = add(cumulative[parent], row.cumulative or ZERO)
            events[parent] += events[index]
    return _Below(cumulative, events, most_places)


def identify(rows: Sequence[Flat]) -> Identified:
    """Tell the events apart: nodes of one key are one event, unless the stated sums need each of them."""
    ordinals = [0] * len(rows)
    if len({row.key for row in rows}) == len(rows):  # almost every tree
        return Identified(ordinals, frozenset(), ())
    indexes_of: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        indexes_of[row.key].append(index)
    mismatches: list[Mismatch] = []
    below = _below(rows)
    for indexes in indexes_of.values():
        if len(indexes) > 1 and not _number(indexes, rows, below, ordinals):
            first = rows[indexes[0]]
            detail = f"{first.record_type} {first.id}: {len(indexes)} nodes, no reading fits all"
            mismatches.append(Mismatch("duplicate_id", detail))
    seen: set[tuple[object, int]] = set()
    repeats = []
    for index, row in enumerate(rows):
        event = (row.key, ordinals[index])
        if event in seen and row.id:  # an empty id says nothing about which event it is
            repeats.append(index)
        seen.add(event)
    return Identified(ordinals, frozenset(repeats), tuple(mismatches[:1]))


def _number(indexes: list[int], rows: Sequence[Flat], below: _Below, ordinals: list[int]) -> bool:
    """Set the ordinals of the nodes of one key; return False if no reading fits all of them."""
    by_parent: dict[int, list[int]] = defaultdict(list)
    for index in indexes:
        by_parent[rows[index].parent].append(index)
    fits = True
    for parent, twins in by_parent.items():
        if len(twins) > 1:
            fits &= _number_twins(parent, twins, rows, below, ordinals)
    for index in indexes:
        above = rows[index].parent
        while above >= 0 and rows[above].key != rows[index].key:
            above = rows[above].parent
        if above >= 0 and _nested_are_two(above, index, rows, below):
            ordinals[index] += ordinals[above] + 1
    costs_of: dict[int, set[Decimal | None]] = defaultdict(set)
    for index in indexes:
        costs_of[ordinals[index]].add(rows[index].cost)
    return fits and all(len(costs) == 1 for costs in costs_of.values())  # one event has one cost


def _number_twins(parent: int, twins: list[int], rows: Sequence[Flat], below: _Below, ordinals: list[int]) -> bool:
    """Read siblings of one key as one event or as one each, whichever is nearer to the parent's sum.

    Returns False if neither is within rounding.
    """
    stated = rows[parent].cumulative
    if stated is None or not all(rows[index].edge_rolls_up for index in twins):
        return len({rows[index].cost for index in twins}) == 1  # no sum to go by: equal amounts are one event
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

    def amount_order(index: int) -> tuple[bool, Decimal, bool, Decimal, int]:
        row = rows[index]
        return row.cost is None, row.cost or ZERO, row.cumulative is None, row.cumulative or ZERO, index

    # By amount, so that twins keep their ordinals when the API lists them in another order.
    for ordinal, index in enumerate(sorted(twins, key=amount_order)):
        ordinals[index] = ordinal
    return True


def _nested_are_two(upper: int, lower: int, rows: Sequence[Flat], below: _Below) -> bool:
    """Return whether nodes of one key on one path are two events: the upper one's sum is nearer to both than to one."""
    cost, stated, nested = rows[upper].cost, rows[upper].cumulative, rows[lower].cost
    if cost == nested == ZERO or stated is None:
        return False
    off = subtract(add(cost or ZERO, below.cumulative[upper]), stated)
    off_as_one = subtract(off, nested or ZERO)
    tolerance = _tolerance(below.events[upper], max(below.places[upper], places(stated)))
    return abs(off) <= tolerance and abs(off) <= abs(off_as_one)


def verify(rows: Sequence[Flat], identified: Identified, stated: Stated) -> Verified:
    """Compare a complete tree with the sums that the API states."""
    count: list[Mismatch] = []
    if stated.event_count is not None and stated.event_count != len(rows):
        detail = f"{len(rows)} nodes in the tree, meta.event_count is {stated.event_count}"
        count.append(Mismatch("event_count", detail))
    currencies = {row.currency for row in rows if row.cost}
    if len(currencies) > 1:  # amounts of two currencies don't add up, so no sum can be checked
        return Verified((Mismatch("currency", f"one session in {', '.join(sorted(currencies))}"), *count))
    totals = [] if stated.total is None else _check_totals(rows, identified, stated.total)
    nodes, gaps = _check_nodes(rows, identified)
    return Verified((*totals, *nodes, *count), gaps)


def _check_totals(rows: Sequence[Flat], identified: Identified, stated: Decimal) -> list[Mismatch]:
    """Compare `cost.total` with the sum of the events and with the root's cumulative cost."""
    failed = []
    if identified.repeats or total(row.cost for row in rows if row.cost is not None) != stated:
        # The API doesn't document which events its total counts: accept any of the four readings.
        events = [row for index, row in enumerate(rows) if index not in identified.repeats]
        readings = (events, [row for row in events if row.rolled_up], rows, [row for row in rows if row.rolled_up])
        sums = [total(row.cost or ZERO for row in reading) for reading in readings]
        tolerance = _tolerance(len(rows), max(places(stated), *(places(row.cost or ZERO) for row in rows)))
        if all(abs(subtract(amount, stated)) > tolerance for amount in sums):
            failed.append(Mismatch("event_sum", _difference("the events add up to", sums[0], "cost.total is", stated)))
    root = rows[0].cumulative
    if root is not None and root != stated:
        tolerance = _tolerance(len(rows), max(places(stated), places(root)))
        if abs(subtract(root, stated)) > tolerance:
            failed.append(Mismatch("root_cumulative", _difference("the root's is", root, "cost.total is", stated)))
    return failed


def _check_nodes(rows: Sequence[Flat], identified: Identified) -> tuple[list[Mismatch], dict[int, Decimal]]:
    """Compare each node's cumulative cost with the sum of the events below it; return the check and all gaps."""
    sums, sizes = _sums_below(rows, identified)
    # Compare exactly first: few trees have any difference, and rounding needs a second walk.
    gaps = {
        index: subtract(row.cumulative, sums[index])
        for index, row in enumerate(rows)
        if row.cumulative is not None and row.cumulative != sums[index]
    }
    most_places = _below(rows).places if gaps else ()
    failed = []
    for index, gap in gaps.items():
        cumulative = rows[index].cumulative or ZERO
        if abs(gap) > _tolerance(sizes[index], max(most_places[index], places(cumulative))):
            failed.append(index)
    if not failed:
        return [], gaps
    row, found = rows[failed[0]], sums[failed[0]]
    detail = _difference(f"below {row.record_type} {row.id} is", found, "its cumulative_cost is", row.cumulative)
    detail += f"; {len(failed)} nodes in all" if len(failed) > 1 else ""
    return [Mismatch("node_cumulative", detail)], gaps


def _sums_below(rows: Sequence[Flat], identified: Identified) -> tuple[list[Decimal], list[int]]:
    """Return per row the sum of the distinct events that roll up to it, its own included, and their number."""
    if not identified.repeats:  # the usual case; the general way below makes reading a tree a fifth slower
        sums, sizes = [row.cost or ZERO for row in rows], [1] * len(rows)
        for index in range(len(rows) - 1, 0, -1):
            row = rows[index]
            if row.edge_rolls_up:
                sums[row.parent] = add(sums[row.parent], sums[index])
                sizes[row.parent] += sizes[index]
        return sums, sizes
    sums, sizes = [ZERO] * len(rows), [0] * len(rows)
    counted: set[tuple[int, object]] = set()
    for index, row in enumerate(rows):
        at, event = index, (row.key, identified.ordinals[index])
        while True:  # up to the root; an event with several rows counts once at each node above them
            if (at, event) not in counted:
                sums[at] = add(sums[at], row.cost or ZERO)
                sizes[at] += 1
                counted.add((at, event))
            if not rows[at].edge_rolls_up or rows[at].parent < 0:
                break
            at = rows[at].parent
    return sums, sizes


def _tolerance(count: int, most_places: int) -> Decimal:
    """Return how far rounding may move a sum: each printed amount is off by up to half a unit of its last place."""
    return count * _HALF.scaleb(-most_places)


def _difference(left: str, one: Decimal, right: str, other: Decimal | None) -> str:
    other = other or ZERO
    return f"{left} {amount_text(one)}, {right} {amount_text(other)}: {amount_text(subtract(one, other))} apart"
