"""Split a session's cost for its page: the tree in rows, sums by record type, and an icicle chart per currency.

Nothing here is booked. Sums are exact up to the last division. The chart adds up the events' own costs and not the
API's cumulative costs, so it is also right where a cost doesn't roll up.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from msgspec import Struct

from exporter.core.money import ZERO, add, amount_text
from exporter.ledger.views.trees import StoredNode

ROWS_MAX = 1000
"""Events on a page; JSON has all events of a larger tree."""
BLOCKS_MAX = 600
"""Blocks of a chart."""
LEVELS_MAX = 24
MIN_WIDTH = Decimal("0.1")
"""Per cent of the chart's width; a narrower block can't be seen."""
COLOURS = 8
"""Record types beyond the eighth share colours."""

_WIDTH_DIGITS, _SHARE_DIGITS = Decimal("0.001"), Decimal("0.1")


class BreakdownRow(Struct, frozen=True):
    """One event in the table."""

    node: StoredNode
    level: int
    """1 at the root."""
    colour: int
    """That of its record type."""
    share: str | None
    """Per cent of the session's cost in this currency, credits aside; None if the event is unpriced or a credit."""


class BreakdownShare(Struct, frozen=True):
    """The cost of all events of one record type in one currency."""

    record_type: str
    currency: str
    colour: int
    events: int
    unpriced: int
    cost: Decimal
    share: str | None


class ChartBlock(Struct, frozen=True):
    """An event with everything below it. `x` and `width` are per cent of the chart, levels count from 0."""

    node: StoredNode
    colour: int
    x: str
    width: str
    level: int
    cost: Decimal
    """Its own cost and the costs below it."""


class CostChart(Struct, frozen=True):
    currency: str
    total: Decimal
    levels: int
    blocks: tuple[ChartBlock, ...]
    has_credits: bool
    """Events with a negative cost are left out of the chart."""


class CostBreakdown:
    """The breakdown of one tree; the nodes are in the ledger's order, parents before children."""

    def __init__(self, nodes: Sequence[StoredNode]) -> None:
        self._nodes = nodes
        self._parents = [node.parent if 0 <= node.parent < index else -1 for index, node in enumerate(nodes)]
        self._colours: dict[str, int] = {}
        self._levels: list[int] = []
        self._paid: dict[str, Decimal] = {}
        """Sum of the events' own costs by currency, credits aside: the whole of every share."""
        for node, parent in zip(nodes, self._parents, strict=True):
            self._colours.setdefault(node.record_type, len(self._colours) % COLOURS)
            self._levels.append(self._levels[parent] + 1 if parent >= 0 else 1)
            if node.cost is not None:
                self._paid[node.currency] = add(self._paid.get(node.currency, ZERO), max(node.cost, ZERO))

    def rows(self) -> Iterator[BreakdownRow]:
        """Yield the first events, parents before children."""
        for node, level in zip(self._nodes[:ROWS_MAX], self._levels, strict=False):
            yield BreakdownRow(node, level, self._colours[node.record_type], self._share(node.cost, node.currency))

    def shares(self) -> list[BreakdownShare]:
        """Return the costs by record type, the most expensive first, one currency after the other."""
        by_type: dict[tuple[str, str], list[StoredNode]] = {}
        for node in self._nodes:
            by_type.setdefault((node.currency, node.record_type), []).append(node)
        shares = []
        for (currency, record_type), nodes in by_type.items():
            cost = ZERO
            for node in nodes:
                cost = add(cost, node.cost or ZERO)
            unpriced = sum(node.cost is None for node in nodes)
            share, colour = self._share(cost, currency), self._colours[record_type]
            shares.append(BreakdownShare(record_type, currency, colour, len(nodes), unpriced, cost, share))
        return sorted(shares, key=lambda share: (share.currency, -share.cost, share.record_type))

    def charts(self) -> list[CostChart]:
        """Return a chart for each currency in which the session cost anything."""
        return [self._chart(currency, total) for currency, total in sorted(self._paid.items()) if total]

    def _share(self, cost: Decimal | None, currency: str) -> str | None:
        whole = self._paid.get(currency)
        return _percent(cost, whole, _SHARE_DIGITS) if cost is not None and cost >= 0 and whole else None

    def _chart(self, currency: str, total: Decimal) -> CostChart:
        """Lay out the blocks.

        Example: a root that cost 1 itself, with children that cost 2 and 1, is 100 % wide. Its children start at 0 %
        and 50 % and are 50 % and 25 % wide; the last 25 % below the root stay empty for its own cost.
        """
        sums = [
            max(node.cost, ZERO) if node.cost is not None and node.currency == currency else ZERO
            for node in self._nodes
        ]
        for index in range(len(sums) - 1, 0, -1):  # backwards, since children come after their parents
            if self._parents[index] >= 0:
                sums[self._parents[index]] = add(sums[self._parents[index]], sums[index])
        next_start: dict[int, Decimal] = {-1: ZERO}  # by parent: where its next child starts
        blocks: list[ChartBlock] = []
        for index, node in enumerate(self._nodes):
            parent = self._parents[index]
            start = next_start[index] = next_start[parent]
            next_start[parent] = add(start, sums[index])
            level = self._levels[index] - 1
            width = _percent(sums[index], total)
            if Decimal(width) >= MIN_WIDTH and level < LEVELS_MAX and len(blocks) < BLOCKS_MAX:
                colour = self._colours[node.record_type]
                blocks.append(ChartBlock(node, colour, _percent(start, total), width, level, sums[index]))
        levels = max((block.level for block in blocks), default=0) + 1
        has_credits = any(n.cost is not None and n.cost < 0 for n in self._nodes if n.currency == currency)
        return CostChart(currency, total, levels, tuple(blocks), has_credits)


def _percent(part: Decimal, whole: Decimal, digits: Decimal = _WIDTH_DIGITS) -> str:
    return amount_text((part * 100 / whole).quantize(digits, ROUND_HALF_EVEN))
