"""Where a session's money went: the tree in rows, sums by record type, and the picture of it.

Owns the arithmetic of shares and rectangles, exact up to the last division; nothing here is booked. The surprising
fact: the picture is made of the events' own costs, not of the cumulative ones that the API prints, so that it is right
where a relationship doesn't roll up, and each currency has a picture of its own.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from msgspec import Struct

from exporter.core.money import ZERO, add, amount_text
from exporter.ledger.views.trees import StoredNode

ROWS_MAX = 1000
"""Events that a page shows; a larger tree is whole in JSON."""
BLOCKS_MAX = 600
"""Rectangles of a picture."""
LEVELS_MAX = 24
THINNEST = Decimal("0.1")
"""Per cent of the picture's width below which a rectangle can't be seen."""
KINDS = 8
"""Colours; record types share them in turn."""

_HUNDRED = Decimal(100)
_WIDTH, _SHARE = Decimal("0.001"), Decimal("0.1")
"""Places of a rectangle's width, and of a share that is printed."""


class BreakdownRow(Struct, frozen=True):
    """One event in the table."""

    node: StoredNode
    level: int
    """1 at the root."""
    kind: int
    """The colour of its record type."""
    share: str | None
    """Per cent of all that the session cost in this currency; None without a price, or of a credit."""


class BreakdownShare(Struct, frozen=True):
    """What the events of one record type cost in one currency."""

    record_type: str
    currency: str
    kind: int
    events: int
    unpriced: int
    cost: Decimal
    share: str | None


class PictureBlock(Struct, frozen=True):
    """One rectangle: an event with all below it. Widths are per cent, levels count from 0."""

    node: StoredNode
    kind: int
    x: str
    width: str
    level: int
    cost: Decimal
    """Its own and what is below."""


class CostPicture(Struct, frozen=True):
    currency: str
    total: Decimal
    levels: int
    blocks: tuple[PictureBlock, ...]
    credited: bool
    """Events with a negative cost are left out."""


class CostBreakdown:
    """One tree, taken apart."""

    def __init__(self, nodes: Sequence[StoredNode]) -> None:
        self._nodes = nodes
        self._parents = [node.parent if 0 <= node.parent < index else -1 for index, node in enumerate(nodes)]
        self._kinds: dict[str, int] = {}
        self._levels: list[int] = []
        self.totals: dict[str, Decimal] = {}
        """Own costs by currency, credits subtracted."""
        self._positive: dict[str, Decimal] = {}
        for node, parent in zip(nodes, self._parents, strict=True):
            self._kinds.setdefault(node.record_type, len(self._kinds) % KINDS)
            self._levels.append(self._levels[parent] + 1 if parent >= 0 else 1)
            if node.cost is not None:
                self.totals[node.currency] = add(self.totals.get(node.currency, ZERO), node.cost)
                paid = max(node.cost, ZERO)
                self._positive[node.currency] = add(self._positive.get(node.currency, ZERO), paid)

    def lines(self) -> Iterator[BreakdownRow]:
        """The events, parents before children."""
        for node, level in zip(self._nodes[:ROWS_MAX], self._levels, strict=False):
            yield BreakdownRow(node, level, self._kinds[node.record_type], self._share(node.cost, node.currency))

    def parts(self) -> list[BreakdownShare]:
        """The dearest first, one currency after the other."""
        events: dict[tuple[str, str], list[StoredNode]] = {}
        for node in self._nodes:
            events.setdefault((node.currency, node.record_type), []).append(node)
        parts = []
        for (currency, record_type), nodes in events.items():
            cost = ZERO
            for node in nodes:
                cost = add(cost, node.cost or ZERO)
            unpriced = sum(node.cost is None for node in nodes)
            share, kind = self._share(cost, currency), self._kinds[record_type]
            parts.append(BreakdownShare(record_type, currency, kind, len(nodes), unpriced, cost, share))
        return sorted(parts, key=lambda part: (part.currency, -part.cost, part.record_type))

    def pictures(self) -> list[CostPicture]:
        return [self._picture(currency, total) for currency, total in sorted(self._positive.items()) if total]

    def _share(self, cost: Decimal | None, currency: str) -> str | None:
        whole = self._positive.get(currency)
        return _percent(cost, whole, _SHARE) if cost is not None and cost >= 0 and whole else None

    def _picture(self, currency: str, total: Decimal) -> CostPicture:
        below = self._sums(currency)
        starts: list[Decimal] = []
        free: dict[int, Decimal] = {-1: ZERO}
        blocks: list[PictureBlock] = []
        for index, node in enumerate(self._nodes):
            start = free[self._parents[index]]
            starts.append(start)
            free[self._parents[index]] = add(start, below[index])
            free[index] = start
            level = self._levels[index] - 1
            width = _percent(below[index], total)
            if Decimal(width) >= THINNEST and level < LEVELS_MAX and len(blocks) < BLOCKS_MAX:
                kind = self._kinds[node.record_type]
                blocks.append(PictureBlock(node, kind, _percent(start, total), width, level, below[index]))
        levels = max((block.level for block in blocks), default=0) + 1
        credited = any(node.cost is not None and node.cost < 0 for node in self._nodes if node.currency == currency)
        return CostPicture(currency, total, levels, tuple(blocks), credited)

    def _sums(self, currency: str) -> list[Decimal]:
        """Per event: its own cost and those below it, credits aside."""
        sums = [
            max(node.cost, ZERO) if node.cost is not None and node.currency == currency else ZERO
            for node in self._nodes
        ]
        for index in range(len(sums) - 1, 0, -1):
            parent = self._parents[index]
            if parent >= 0:
                sums[parent] = add(sums[parent], sums[index])
        return sums


def _percent(part: Decimal, whole: Decimal, place: Decimal = _WIDTH) -> str:
    share = (part * _HUNDRED / whole).quantize(place, ROUND_HALF_EVEN)
    return amount_text(share)
