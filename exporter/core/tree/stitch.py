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
# If A can't be had, or is amended between the two answers (cumulative 0.07, then 0.08), the cut stays unresolved and
# the session is incomplete: its events are booked, but no event counts as vanished and no sum is checked.

import hashlib
from collections.abc import Callable, Generator, Iterable
from typing import Any

from msgspec import Struct

from exporter import __version__
from exporter.core.errors import TreeError
from exporter.core.model import Event, Session, SessionRef
from exporter.core.money import ZERO, read_amount
from exporter.core.record_types import RecordTypes
from exporter.core.tree.decode import Decoder, TreeResponse
from exporter.core.tree.rollup import SUM_CHECKS, Stated, Verified, identify, verify
from exporter.core.tree.walk import Flat, TreeLimits, flatten


class Subtree(Struct, frozen=True):
    """A request of the reader: the tree from this event down."""

    record_type: str
    event_id: str
    max_depth: int


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

    def session(self, ref: SessionRef, body: bytes, max_depth: int) -> Stitching:
        """Read the session in an answer that was requested with `max_depth`.

        Raises TreeError if the answer can't be read, or the tree is over a limit.
        """
        answer = self.decoder.answer(body)
        stitch = _Stitch(self, answer, max_depth)
        yield from stitch.complete()
        rows = stitch.rows
        identified = identify(rows)
        complete = not stitch.unresolved
        stated = Stated(read_amount(answer.cost.total) if answer.cost else None, answer.event_count)
        verified = verify(rows, identified, stated) if complete else Verified()
        mismatches = identified.mismatches + verified.mismatches
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

    def __init__(self, reader: TreeReader, answer: TreeResponse[Any], max_depth: int) -> None:
        self._reader = reader
        self._event_count = answer.event_count or 0
        self._bodies: dict[Subtree, bytes | None] = {}
        self.cuts = 0
        self.unresolved = 0
        self._root = answer.root
        self.rows = flatten(answer.root, reader.record_types, reader.limits)
        self._nodes = len(self.rows)
        self._max_depth = max_depth
        self._boundaries = self._boundaries_of(self.rows, frozenset())
        self._max_depth = max(2, max_depth)  # with 1 a subtree is its root alone, and asking for it adds nothing

    def complete(self) -> Generator[Subtree, bytes | None, None]:
        """Request what the sums say is missing; then, while events are still missing by count, at other leaves too."""
        yield from self._rounds(lambda boundary: boundary.surely_cut)
        known = self._reader.record_types
        yield from self._rounds(
            lambda boundary: self._event_count > self._nodes and known.may_have_children(boundary.leaf.record_type)
        )

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
                self.rows = flatten(self._root, self._reader.record_types, self._reader.limits)
            waiting = self._boundaries
        self._boundaries = others

    def _boundaries_of(self, rows: list[Flat], path: frozenset[tuple[str, str]]) -> list[_Boundary]:
        return [_Boundary(row, path) for row in rows if row.depth >= self._max_depth and not row.node.children]

    def _graft(self, boundary: _Boundary) -> Generator[Subtree, bytes | None, None]:
        self.cuts += 1
        subtree = Subtree(boundary.leaf.record_type, boundary.leaf.id, self._max_depth)
        key = (subtree.record_type, subtree.event_id)
        askable = subtree.event_id and key not in boundary.path
        # An event may stand at several leaves; its subtree is requested once.
        if askable and subtree not in self._bodies and len(self._bodies) < self._reader.limits.max_subtree_requests:
            self._bodies[subtree] = yield subtree
        body = self._bodies.get(subtree) if askable else None
        if body is None or not self._attach(boundary, body, boundary.path | {key}):
            self.unresolved += 1

    def _attach(self, boundary: _Boundary, body: bytes, path: frozenset[tuple[str, str]]) -> bool:
        """Hang the answer's children below the leaf; return False if the answer doesn't fit the leaf's own figures."""
        try:
            root = self._reader.decoder.answer(body).root
            below = flatten(root, self._reader.record_types, self._reader.limits)
        except TreeError:
            return False
        if below[0].id != boundary.leaf.id:
            return False
        boundary.leaf.node.children = root.children
        self._boundaries += self._boundaries_of(below, path)
        self._nodes += len(below) - 1
        self._reader.limits.check(self._nodes)
        return below[0].cumulative == boundary.leaf.cumulative  # False: it was amended between the two answers
