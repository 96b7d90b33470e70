"""The record types: their names, which types stand below which, and which costs roll up.

The documented types are package data; the API's own metadata is merged over them. A node states its product and event
name, while URLs need the record type. The link that should name it carries the product in Telnyx's own example, so
`RecordTypes.canonical` weighs all three.
"""

import hashlib
import re
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
"""The group of types that only the API's metadata knows: it has no groups."""

_PATH = "session_analysis/"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""A record type that can be requested; a link's path may be anything."""
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Name = tuple[str, str]
"""(product, event name), as a node states it."""

_T = TypeVar("_T")


class Relationship(Struct, frozen=True):
    """An edge from a record type to one of its children."""

    child: str
    relationship_type: str
    local_field: str
    """Field of the child's record that equals `parent_field` of the parent's."""
    parent_field: str
    cost_rollup: bool
    """The parent's cumulative cost includes the child's."""
    traversal_enabled: bool
    """Trees show the child below the parent."""
    description: str


class RecordType(Struct, frozen=True):
    """A category of usage events; `name` is the one that URLs use."""

    name: str
    group: str
    aliases: tuple[str, ...]
    product: str
    event: str
    description: str
    children: tuple[Relationship, ...]


class RecordTypes:
    """All known record types, indexed for the questions that a tree raises."""

    def __init__(self, types: Iterable[RecordType], other_names: Mapping[Name, str] | None = None) -> None:
        """`other_names` maps further products and event names to record types."""
        self._types = {each.name: each for each in types}
        self._by_name = dict(other_names or {})
        self._by_word = {name: name for name in self._types}  # first, so that no alias takes another type's name
        types_of: dict[str, set[str]] = defaultdict(set)
        for each in self:
            if each.product and each.event:
                self._by_name.setdefault((each.product, each.event), each.name)
            for alias in each.aliases:
                self._by_word.setdefault(alias, each.name)
        for (product, _), name in self._by_name.items():
            types_of[product].add(name)
        self._by_product = {product: names.pop() for product, names in types_of.items() if len(names) == 1}
        self._rollup = {(each.name, edge.child): edge.cost_rollup for each in self for edge in each.children}
        self._parents = {each.name: any(edge.traversal_enabled for edge in each.children) for each in self}

    @classmethod
    def documented(cls) -> "RecordTypes":
        """Return the types of Telnyx's guide."""
        data = files(__package__).joinpath("record_types.json").read_bytes()
        return cls(msgspec.json.decode(data, type=tuple[RecordType, ...]))

    def extended(self, metadata: bytes) -> "RecordTypes":
        """Return these types merged with the answer of `GET /session_analysis/metadata`.

        Types, aliases, names and relationships are only added. For a known relationship the API's values of roll-up
        and traversal count, because the guide doesn't state them. Parts that can't be read are left out.
        """
        types, names = dict(self._types), dict(self._by_name)
        try:
            entries = msgspec.json.decode(metadata, type=_Overview).record_types
        except _UNREADABLE:
            entries = ()
        for entry in _readable(entries, _Entry):
            if not entry.record_type:
                continue
            known = types.get(entry.record_type)
            types[entry.record_type] = entry.merged_into(known)
            if entry.product and entry.event:
                names.setdefault((entry.product, entry.event), entry.record_type)
        return RecordTypes(types.values(), names)

    def digest(self) -> bytes:
        """Return 16 bytes that differ if any lookup here does."""
        known = msgspec.json.encode((list(self), sorted(self._by_name.items())))
        return hashlib.blake2b(known, digest_size=16).digest()

    def canonical(self, product: str, event_name: str, link: str | None) -> str:
        """Return the record type of a node; if no type fits, its product or `unknown`.

        `link` is its links.self. A record type or alias in it wins, unless it equals the product: `inference` is both,
        and then product and event name together are more precise.
        """
        word = _linked(link)
        linked = self._by_word.get(word)
        named = self._by_name.get((product, event_name))
        if linked and (word != product or not named):
            return linked
        return named or self._by_product.get(product) or product or UNKNOWN

    def address(self, product: str, event_name: str, link: str | None) -> str:
        """Return the record type for a request for this node; for one of an unknown type it is the link's.

        The product of an unknown type is no address, though `canonical` has no better name for it.
        """
        word = _linked(link)
        known = word in self._by_word or (product, event_name) in self._by_name or not _WORD.fullmatch(word)
        return self.canonical(product, event_name, link) if known else word

    def rolls_up(self, parent: str, child: str) -> bool:
        """Return whether the parent's cumulative cost includes the child's; True for an undescribed edge."""
        return self._rollup.get((parent, child), True)

    def may_have_children(self, record_type: str) -> bool:
        """Return whether trees show anything below this type; True for an unknown type."""
        return self._parents.get(record_type, True)

    def above(self) -> dict[str, frozenset[str]]:
        """Return for each type that may stand below another all types above it, at any distance."""
        parents: dict[str, set[str]] = defaultdict(set)
        for each in self:
            for edge in each.children:
                if edge.traversal_enabled and edge.child != each.name:
                    parents[edge.child].add(each.name)
        above: dict[str, frozenset[str]] = {}
        for name in list(parents):
            found: set[str] = set()
            waiting = [name]
            while waiting:
                found |= (more := parents.get(waiting.pop(), set()) - found)
                waiting += more
            above[name] = frozenset(found - {name})
        return above

    def __iter__(self) -> Iterator[RecordType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def get(self, name: str) -> RecordType | None:
        """Return the type of this name or alias."""
        return self._types.get(self._by_word.get(name, name))


def _linked(link: str | None) -> str:
    """Return the first path part behind `session_analysis/`."""
    if not link:
        return ""
    word = link.partition(_PATH)[2].partition("/")[0]
    return unquote(word) if "%" in word else word


# The API's metadata. Entries and relationships are decoded one by one, so that a bad one costs only itself.


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

    def merged_into(self, known: Relationship | None) -> Relationship:
        """Return the relationship with the values stated here; roll-up and traversal default to True."""
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

    def merged_into(self, known: RecordType | None) -> RecordType:
        """Return the type with the aliases and relationships stated here."""
        before = known or RecordType(
            name=self.record_type,
            group=GROUP_UNDOCUMENTED,
            aliases=(),
            product=self.product or "",
            event=self.event or "",
            description=self.description or "",
            children=(),
        )
        children = {edge.child: edge for edge in before.children}
        for edge in _readable(self.child_relationships, _Edge):
            if edge.child_record_type:
                children[edge.child_record_type] = edge.merged_into(children.get(edge.child_record_type))
        aliases = dict.fromkeys((*before.aliases, *(self.aliases or ())))
        return replace(before, aliases=tuple(aliases), children=tuple(children.values()))


class _Overview(Struct):
    record_types: tuple[Raw, ...] = ()


def _readable(items: Iterable[Raw] | None, kind: type[_T]) -> Iterator[_T]:
    for item in items or ():
        try:
            yield msgspec.json.decode(item, type=kind)
        except _UNREADABLE:
            continue


INNER = RecordTypes.documented().above().keys()
"""The documented types that may stand below another one: an LLM turn is part of a call."""
