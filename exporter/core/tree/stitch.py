"""An answer -> a `Session`, asking for what was cut.

Owns the order of it: decode, see the cuts, ask again at each, graft, identify, verify. A generator: it yields the
subtrees to ask for and is sent the answers, so the network stays outside. The surprising fact: an answer never says
that it was cut; a leaf at the asked depth whose cumulative cost exceeds its own, or a count of events that the nodes
don't reach, is all there is to see. What could not be completed is never guessed: the session says so.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable
from typing import Any

from msgspec import Struct

from exporter import __version__
from exporter.core.errors import TreeError
from exporter.core.model import Event, Session, SessionRef
from exporter.core.money import ZERO, read_amount
from exporter.core.record_types import RecordTypes
from exporter.core.tree.decode import Decoder, ResponseNode, TreeResponse
from exporter.core.tree.rollup import Identified, Stated, identify, verify
from exporter.core.tree.walk import Flat, TreeLimits, flatten


class Subtree(Struct, frozen=True):
    """What the stitching asks for: the tree below this event."""

    record_type: str
    event_id: str
    max_depth: int


Stitching = Generator[Subtree, bytes | None, Session]
"""Yields the subtrees to ask for, is sent each answer (None: it could not be had), returns the session."""


class TreeReader:
    """Reads the answers of one configuration: its record fields, the known record types, its limits."""

    def __init__(self, record_fields: Iterable[str], record_types: RecordTypes, limits: TreeLimits) -> None:
        self.record_types = record_types
        self._decoder = Decoder(fields := sorted(set(record_fields)))
        self.limits = limits
        reads = repr((__version__, fields, limits)).encode() + record_types.digest()
        self._salt = hashlib.blake2b(reads, digest_size=32).digest()

    def fingerprint(self, body: bytes, max_depth: int) -> bytes:
        """16 bytes: the same for an answer that this reader, or one that reads alike, would read as it read another."""
        salt = self._salt + max_depth.to_bytes(2, "big")
        return hashlib.blake2b(body, digest_size=16, key=salt).digest()

    def session(self, ref: SessionRef, body: bytes, max_depth: int) -> Stitching:
        """The session in an answer that was asked with `max_depth`; TreeError if it can't be read at all."""
        answer = self._decoder.answer(body)
        stitch = _Stitch(self, answer, max_depth)
        yield from stitch.complete()
        rows = stitch.rows
        identified = identify(rows)
        complete = not stitch.unresolved
        stated = Stated(read_amount(answer.cost.total) if answer.cost else None, answer.event_count)
        failed = verify(rows, identified, stated) if complete else ()
        return Session(
            ref=ref,
            events=self._events(rows, identified),
            complete=complete,
            mismatches=identified.mismatches + failed,
            cuts=stitch.cuts,
            cuts_unresolved=stitch.unresolved,
        )

    def rows(self, root: ResponseNode[Any]) -> list[Flat]:
        return flatten(root, self.record_types, self.limits)

    def answer(self, body: bytes) -> TreeResponse[Any]:
        return self._decoder.answer(body)

    def _events(self, rows: list[Flat], identified: Identified) -> tuple[Event, ...]:
        record = self._decoder.record
        return tuple(
            [
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
        )


class _Edge(Struct, frozen=True):
    """A leaf at the asked depth: perhaps the tree goes on below it. `path` holds the cuts above, to see a cycle."""

    leaf: Flat
    path: frozenset[tuple[str, str]]

    @property
    def surely_cut(self) -> bool:
        return self.leaf.cumulative is not None and self.leaf.cumulative != (self.leaf.cost or ZERO)


class _Stitch:
    """The work on one answer: `rows` is the tree so far; `cuts` were found, `unresolved` of them stayed open."""

    def __init__(self, reader: TreeReader, answer: TreeResponse[Any], max_depth: int) -> None:
        self._reader = reader
        self._max_depth = max_depth
        self._event_count = answer.event_count or 0
        self._bodies: dict[Subtree, bytes | None] = {}
        self.cuts = 0
        self.unresolved = 0
        self._root = answer.root
        self.rows = reader.rows(answer.root)
        self._nodes = len(self.rows)
        self._edges = self._edges_of(self.rows, frozenset())
        self._max_depth = max(2, max_depth)  # with 1 an answer is its root alone, and asking again leads nowhere

    def complete(self) -> Generator[Subtree, bytes | None, None]:
        """Ask where sums say that something is missing; then, while the count says so, at the other edges too."""
        yield from self._rounds(lambda edge: edge.surely_cut)
        known = self._reader.record_types
        yield from self._rounds(
            lambda edge: self._event_count > self._nodes and known.may_have_children(edge.leaf.record_type)
        )

    def _rounds(self, wanted: Callable[[_Edge], bool]) -> Generator[Subtree, bytes | None, None]:
        """Graft at the wanted edges, then at those that this brought to light; the tree is flattened once a round."""
        waiting, others = self._edges, []
        while waiting:
            self._edges = []
            for edge in waiting:
                if wanted(edge):
                    yield from self._graft(edge)
                else:
                    others.append(edge)
            if self._nodes > len(self.rows):
                self.rows = self._reader.rows(self._root)
            waiting = self._edges
        self._edges = others

    def _edges_of(self, rows: list[Flat], path: frozenset[tuple[str, str]]) -> list[_Edge]:
        return [_Edge(row, path) for row in rows if row.depth >= self._max_depth and not row.node.children]

    def _graft(self, edge: _Edge) -> Generator[Subtree, bytes | None, None]:
        self.cuts += 1
        subtree = Subtree(edge.leaf.record_type, edge.leaf.id, self._max_depth)
        key = (subtree.record_type, subtree.event_id)
        askable = subtree.event_id and key not in edge.path
        if askable and subtree not in self._bodies and len(self._bodies) < self._reader.limits.max_subtree_requests:
            self._bodies[subtree] = yield subtree
        body = self._bodies.get(subtree) if askable else None
        if body is None or not self._attach(edge, body, edge.path | {key}):
            self.unresolved += 1

    def _attach(self, edge: _Edge, body: bytes, path: frozenset[tuple[str, str]]) -> bool:
        """Hang the answer's children below the cut; False if it doesn't fit what the cut node said of itself."""
        try:
            root = self._reader.answer(body).root
            below = self._reader.rows(root)
        except TreeError:
            return False
        if below[0].id != edge.leaf.id:
            return False
        edge.leaf.node.children = root.children
        self._edges += self._edges_of(below, path)
        self._nodes += len(below) - 1
        self._reader.limits.check(self._nodes)
        return below[0].cumulative == edge.leaf.cumulative  # else it was amended between the two answers
