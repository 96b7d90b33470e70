"""The record types: what they are called, what hangs below what, and which costs roll up.

Owns the documented types (package data) and how the API's own metadata is laid over them; names every node of a tree
by its canonical record type. Knows no tree and asks nobody. The surprising fact: a node states its product and event
name, URLs want the record type, and the link that should give it carries the product in Telnyx's own example.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Final, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from exporter.core.model import UNKNOWN

GROUP_UNDOCUMENTED: Final = "other"
"""The API's metadata has no groups; the guide's remaining group takes the types that only the metadata knows."""

_PATH = "session_analysis/"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Name = tuple[str, str]
"""(product, event name), as a node states it."""

_T = TypeVar("_T")


class Relationship(Struct, frozen=True):
    """An edge from a record type to one of its children."""

    child: str
    relationship_type: str
    local_field: str
    """Field of the child's record ..."""
    parent_field: str
    """... that equals this field of the parent's."""
    cost_rollup: bool
    """The parent's cumulative cost includes the child's."""
    traversal_enabled: bool
    """Trees show the child below the parent."""
    description: str


class RecordType(Struct, frozen=True):
    """A category of usage events; `name` is what URLs use."""

    name: str
    group: str
    aliases: tuple[str, ...]
    product: str
    event: str
    description: str
    children: tuple[Relationship, ...]


class RecordTypes:
    """All known record types; a lookup for each question that a node raises."""

    def __init__(self, types: Iterable[RecordType], other_names: Mapping[Name, str] | None = None) -> None:
        """`other_names`: products and event names besides those of the types themselves."""
        self._types = {each.name: each for each in types}
        self._by_name = dict(other_names or {})
        for each in self:
            if each.product and each.event:
                self._by_name.setdefault((each.product, each.event), each.name)
        self._by_word = self._words()
        self._by_product = self._unique_products()
        self._rollup = {(each.name, edge.child): edge.cost_rollup for each in self for edge in each.children}
        self._parents = {each.name: any(edge.traversal_enabled for edge in each.children) for each in self}

    @classmethod
    def documented(cls) -> "RecordTypes":
        """The types of Telnyx's guide."""
        data = files(__package__).joinpath("record_types.json").read_bytes()
        return cls(msgspec.json.decode(data, type=tuple[RecordType, ...]))

    def extended(self, metadata: bytes) -> "RecordTypes":
        """These types and what the answer of `GET /session_analysis/metadata` adds to them.

        Types, aliases, names and relationships are only added. Of a relationship that is known already the API's word
        on roll-up and traversal counts, which the guide doesn't state. What can't be read is left out.
        """
        types, names = dict(self._types), dict(self._by_name)
        for entry in _entries(metadata):
            known = types.get(entry.record_type)
            types[entry.record_type] = _merged(known or _bare(entry), entry)
            if entry.product and entry.event:
                names.setdefault((entry.product, entry.event), entry.record_type)
        return RecordTypes(types.values(), names)

    def digest(self) -> bytes:
        """16 bytes that differ if any answer here does."""
        known = msgspec.json.encode((list(self), sorted(self._by_name.items())))
        return hashlib.blake2b(known, digest_size=16).digest()

    def canonical(self, product: str, event_name: str, link: str | None) -> str:
        """The record type of a node; its product's own name where no type fits, `unknown` where it has none.

        `link` is its links.self: a record type or alias in it wins, unless it may as well be the product (`inference`
        is both), in which case product and event name together tell more.
        """
        word = _linked(link)
        linked = self._by_word.get(word)
        named = self._by_name.get((product, event_name))
        if linked and (word != product or not named):
            return linked
        return named or self._by_product.get(product) or product or UNKNOWN

    def rolls_up(self, parent: str, child: str) -> bool:
        """Whether the parent's cumulative cost includes the child's; True for an edge that nobody has described."""
        return self._rollup.get((parent, child), True)

    def may_have_children(self, record_type: str) -> bool:
        return self._parents.get(record_type, True)

    def above(self) -> dict[str, frozenset[str]]:
        """For each type that may stand below another: all types that it may stand below, at any distance."""
        parents: dict[str, set[str]] = defaultdict(set)
        for each in self:
            for edge in each.children:
                if edge.traversal_enabled and edge.child != each.name:
                    parents[edge.child].add(each.name)
        return {name: frozenset(_reachable(name, parents) - {name}) for name in parents}

    def __iter__(self) -> Iterator[RecordType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def get(self, name: str) -> RecordType | None:
        """The type of this name or alias."""
        return self._types.get(self._by_word.get(name, name))

    def _words(self) -> dict[str, str]:
        """Names first: no alias takes the name of another type, nor an alias that an earlier type has."""
        words = {name: name for name in self._types}
        for each in self:
            for alias in each.aliases:
                words.setdefault(alias, each.name)
        return words

    def _unique_products(self) -> dict[str, str]:
        types_of: dict[str, set[str]] = defaultdict(set)
        for (product, _), name in self._by_name.items():
            types_of[product].add(name)
        return {product: names.pop() for product, names in types_of.items() if len(names) == 1}


def _reachable(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        found |= (more := parents.get(waiting.pop(), set()) - found)
        waiting += more
    return found


def _linked(link: str | None) -> str:
    """The first path part behind `session_analysis/`."""
    if not link:
        return ""
    word = link.partition(_PATH)[2].partition("/")[0]
    return unquote(word) if "%" in word else word


class _Via(Struct):
    local_field: str = ""
    parent_field: str = ""


class _Edge(Struct):
    child_record_type: str
    relationship_type: str = "child_of"
    via: _Via | None = None
    cost_rollup: bool | None = None
    traversal_enabled: bool | None = None
    description: str | None = None

    def over(self, known: Relationship | None) -> Relationship:
        """The relationship with what is stated here; what nobody states is taken to hold, as most do."""
        via = self.via or _Via()
        before = known or Relationship(
            child=self.child_record_type,
            relationship_type=self.relationship_type,
            local_field=via.local_field,
            parent_field=via.parent_field,
            cost_rollup=True,
            traversal_enabled=True,
            description=self.description or "",
        )
        rollup, traversal = self.cost_rollup, self.traversal_enabled
        return replace(
            before,
            cost_rollup=before.cost_rollup if rollup is None else rollup,
            traversal_enabled=before.traversal_enabled if traversal is None else traversal,
        )


class _Entry(Struct):
    record_type: str
    aliases: tuple[str, ...] | None = None
    product: str | None = None
    event: str | None = None
    description: str | None = None
    child_relationships: tuple[Raw, ...] | None = None


class _Overview(Struct):
    record_types: tuple[Raw, ...] = ()


def _entries(metadata: bytes) -> list[_Entry]:
    try:
        overview = msgspec.json.decode(metadata, type=_Overview)
    except _UNREADABLE:
        return []
    return [entry for entry in _readable(overview.record_types, _Entry) if entry.record_type]


def _readable(items: Iterable[Raw] | None, kind: type[_T]) -> Iterator[_T]:
    for item in items or ():
        try:
            yield msgspec.json.decode(item, type=kind)
        except _UNREADABLE:
            continue


def _bare(entry: _Entry) -> RecordType:
    return RecordType(
        name=entry.record_type,
        group=GROUP_UNDOCUMENTED,
        aliases=(),
        product=entry.product or "",
        event=entry.event or "",
        description=entry.description or "",
        children=(),
    )


def _merged(known: RecordType, entry: _Entry) -> RecordType:
    children = {edge.child: edge for edge in known.children}
    for edge in _readable(entry.child_relationships, _Edge):
        if edge.child_record_type:
            children[edge.child_record_type] = edge.over(children.get(edge.child_record_type))
    aliases = dict.fromkeys((*known.aliases, *(entry.aliases or ())))
    return replace(known, aliases=tuple(aliases), children=tuple(children.values()))
