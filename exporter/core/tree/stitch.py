"""Turn an answer into a `Session`, and ask for the subtrees that the API cut off.

`TreeReader.session` is a generator: it yields the subtrees to request and is sent the answers, so it needs no network.
An answer never says that it was cut. A leaf at the requested depth whose cumulative cost differs from its own cost, or
a count of events that the nodes don't reach, is the only sign. A cut that stays open is reported, never guessed.
"""

# Worked example: a request with max_depth 3 returns these 4 nodes, and meta.event_count is 6; amounts are in USD.
#
#   depth 1  call-session               cumulative 0.10
#   depth 2    call-control             cumulative 0.10
#   depth 3      ai-voice-assistant A   own cost 0.01, cumulative 0.07
#   depth 3      call-control L         own cost 0.03, cumulative 0.03
#
# 1. A is surely cut: 0.06 of its cumulative cost is below it. The reader yields Subtree("ai-voice-assistant", A, 3).
#    The answer shows A with two LLM turns of 0.03 each. They are grafted below A: 6 nodes, one cut, resolved.
# 2. L may be cut as well, because free events add nothing to its cumulative cost. But all 6 events are there now, so L
#    isn't requested. With event_count 7 the reader would yield Subtree("call-control", L, 3) too.
#
# A poll sends at most `TreeLimits.max_subtree_requests`. If there are more cuts, it leaves the rest unresolved, and the
# caller keeps the answers in `parts`. The next poll uses those whose leaf has the same figures, and asks for the rest.
#
# If A can't be had, or is amended between the two answers (cumulative 0.07, then 0.08), the cut stays unresolved and
# the session is incomplete: its events are booked, but no event counts as vanished and no sum is checked.

import hashlib
import re
from collections.abc import Callable, Generator, Iterable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter import __version__
from exporter.core.errors import TreeError
from exporter.core.model import Event, Mismatch, Session, SessionRef
from exporter.core.money import ZERO, read_amount
from exporter.core.record_types import RecordTypes
from exporter.core.tree.decode import Decoder, TreeResponse
from exporter.core.tree.rollup import SUM_CHECKS, Stated, Verified, identify, verify
from exporter.core.tree.walk import Flat, TreeLimits, flatten

VALUE_SHOWN_MAX = 40
"""Characters of an unreadable cost's form in the detail of its check."""


class Subtree(Struct, frozen=True):
    """A request of the reader: the tree from this event down."""

    record_type: str
    event_id: str
    max_depth: int


Figures = tuple[str, str, Decimal | None, Decimal | None, str]
"""What a leaf states of its subtree: record type, id, own cost, cumulative cost and currency."""
SubtreeParts = dict[tuple[Subtree, Figures], bytes]
"""Answers for cut subtrees, by request and by the figures of the leaf that they fit."""

Stitching = Generator[Subtree, bytes | None, Session]
"""Yields the subtrees to request, is sent each answer (None: the request failed), returns the session."""


class TreeReader:
    """Reads answers under one configuration: the wanted record fields, the known record types, the limits."""

    def __init__(self, record_fields: Iterable[str], record_types: RecordTypes, limits: TreeLimits) -> None:
        self.record_types = record_types
        self.limits = limits
        fields = sorted(set(record_fields))
        self.decoder = Decoder(fields)
        reads = repr((__version__, fields, limits)).encode() + record_types.digest()
        self._salt = hashlib.blake2b(reads, digest_size=32).digest()

    def fingerprint(self, body: bytes, max_depth: int) -> bytes:
        """Return 16 bytes that two answers share only if this reader reads both alike.

        The salt covers everything that reading depends on, so a new version or configuration reads the answer again.
        """
        salt = self._salt + max_depth.to_bytes(2, "big")
        return hashlib.blake2b(body, digest_size=16, key=salt).digest()

    def session(self, ref: SessionRef, body: bytes, max_depth: int, parts: SubtreeParts | None = None) -> Stitching:
        """Read the session in an answer that was requested with `max_depth`.

        `parts` are answers of earlier polls, which are used instead of requests; new ones are added.

        Raises TreeError if the answer can't be read, or the tree is over a limit.
        """
        answer = self.decoder.answer(body)
        stitch = _Stitch(self, ref, answer, max_depth, {} if parts is None else parts)
        yield from stitch.complete()
        rows = stitch.rows
        identified = identify(rows)
        complete = not stitch.unresolved
        stated = Stated(read_amount(answer.cost.total) if answer.cost else None, answer.event_count)
        verified = verify(rows, identified, stated) if complete else Verified()
        mismatches = identified.mismatches + verified.mismatches + _unreadable(rows)
        record = self.decoder.record
        events = [
            Event(
                row.product,
                row.event_name,
                row.id,
                ordinal,
                row.record_type,
                row.parent,
                row.cost,
                row.cumulative,
                row.currency,
                record(row.node),
            )
            for row, ordinal in zip(rows, identified.ordinals, strict=True)
        ]
        return Session(
            ref=ref,
            events=tuple(events),
            complete=complete,
            mismatches=mismatches,
            cuts=stitch.cuts,
            cuts_unresolved=stitch.unresolved,
            adds_up=complete and stated.total is not None and SUM_CHECKS.isdisjoint(each.check for each in mismatches),
            gaps=verified.gaps,
        )


def _unreadable(rows: Iterable[Flat]) -> tuple[Mismatch, ...]:
    """Return the check of costs that the API states in a form that can't be read, with the first of them."""
    found = [row for row in rows if row.cost_is_unreadable]
    if not found:
        return ()
    value = found[0].node.cost.event_cost if found[0].node.cost is not None else None
    # What is no amount may be a caller's data, such as a phone number, so only its form is shown.
    form = re.sub("[0-9]", "0", re.sub(r"[^\W\d_]", "x", str(value)))
    stated = f"of type {type(value).__name__}" if isinstance(value, (dict, list)) else ascii(form)[:VALUE_SHOWN_MAX]
    more = f"; {len(found)} nodes in all" if len(found) > 1 else ""
    return (Mismatch("unreadable_cost", f"the event_cost of {found[0].record_type} {found[0].id} is {stated}{more}"),)


class _Boundary(Struct, frozen=True):
    """A leaf at the requested depth, below which the tree may be cut."""

    leaf: Flat
    path: frozenset[tuple[str, str]]
    """Record types and ids of the cuts above it; a leaf that is among them would make a cycle."""

    @property
    def surely_cut(self) -> bool:
        return self.leaf.cumulative is not None and self.leaf.cumulative != (self.leaf.cost or ZERO)


class _Stitch:
    """Completes one answer: `rows` is the tree so far, `cuts` were found, `unresolved` of them stayed open."""

    def __init__(
        self, reader: TreeReader, ref: SessionRef, answer: TreeResponse[Any], max_depth: int, parts: SubtreeParts
    ) -> None:
        self._reader = reader
        self._requested = (ref.record_type, ref.event_id)
        self._parts = parts
        self._requests = 0
        self._event_count = answer.event_count or 0
        self._bodies: dict[Subtree, bytes | None] = {}
        self.cuts = 0
        self.unresolved = 0
        self._root = answer.root
        self.rows = flatten(answer.root, reader.record_types, reader.limits, self._requested)
        self._nodes = len(self.rows)
        self._max_depth = max_depth
        self._boundaries = self._boundaries_of(self.rows, frozenset())
        self._max_depth = max(2, max_depth)  # with 1 a subtree is its root alone, and asking for it adds nothing

    def complete(self) -> Generator[Subtree, bytes | None, None]:
        """Request what the sums say is missing; then, while events are still missing by count, at other leaves too.

        A subtree that costs nothing, or adds up to zero, shows in the count only. Leaves of types that have children by
        the metadata come first.
        """
        yield from self._rounds(lambda boundary: boundary.surely_cut)
        known = self._reader.record_types
        yield from self._rounds(
            lambda boundary: self._event_count > self._nodes and known.may_have_children(boundary.leaf.record_type)
        )
        # While a cut is unresolved, it explains the missing events.
        yield from self._rounds(lambda _: self._event_count > self._nodes and not self.unresolved)

    def _rounds(self, wanted: Callable[[_Boundary], bool]) -> Generator[Subtree, bytes | None, None]:
        """Graft at the wanted boundaries, then at those that the grafts brought; flatten the tree once per round."""
        waiting, others = self._boundaries, []
        while waiting:
            self._boundaries = []
            for boundary in waiting:
                if wanted(boundary):
                    yield from self._graft(boundary)
                else:
                    others.append(boundary)
            if self._nodes > len(self.rows):
                self.rows = flatten(self._root, self._reader.record_types, self._reader.limits, self._requested)
            waiting = self._boundaries
        self._boundaries = others

    def _boundaries_of(self, rows: list[Flat], path: frozenset[tuple[str, str]]) -> list[_Boundary]:
        return [_Boundary(row, path) for row in rows if row.depth >= self._max_depth and not row.node.children]

    def _graft(self, boundary: _Boundary) -> Generator[Subtree, bytes | None, None]:
        self.cuts += 1
        leaf = boundary.leaf
        address = self._reader.record_types.address(leaf.product, leaf.event_name, leaf.link)
        subtree = Subtree(address, leaf.id, self._max_depth)
        key = (subtree.record_type, subtree.event_id)
        part = (subtree, (leaf.record_type, leaf.id, leaf.cost, leaf.cumulative, leaf.currency))
        askable = subtree.event_id and key not in boundary.path
        # An event may stand at several leaves; its subtree is requested once.
        if askable and subtree not in self._bodies:
            if part in self._parts:
                self._bodies[subtree] = self._parts[part]
            elif self._requests < self._reader.limits.max_subtree_requests:
                self._requests += 1
                self._bodies[subtree] = yield subtree
        body = self._bodies.get(subtree) if askable else None
        if body is not None and self._attach(boundary, body, boundary.path | {key}):
            self._parts[part] = body
        else:
            self.unresolved += 1

    def _attach(self, boundary: _Boundary, body: bytes, path: frozenset[tuple[str, str]]) -> bool:
        """Hang the answer's children below the leaf; return False if the answer doesn't fit the leaf's own figures."""
        try:
            root = self._reader.decoder.answer(body).root
            requested = (boundary.leaf.record_type, boundary.leaf.id)
            below = flatten(root, self._reader.record_types, self._reader.limits, requested)
        except TreeError:
            return False
        if below[0].id != boundary.leaf.id:
            return False
        boundary.leaf.node.children = root.children
        self._boundaries += self._boundaries_of(below, path)
        self._nodes += len(below) - 1
        self._reader.limits.check(self._nodes)
        return below[0].cumulative == boundary.leaf.cumulative  # False: it was amended between the two answers
