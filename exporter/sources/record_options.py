"""Read `GET /detail_records/options`: the fields by which the list of each type can be filtered.

The endpoint is named in the text of Telnyx's SDK, but no schema of its answer is published. So the answer is searched
for the names of types, and what is found only orders the fields that are tried: `TypeReader` proves the one it uses.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

DEPTH_MAX = 8
NAMING_FIELDS = ("record_type", "type", "name", "product")
"""Fields that may name the type of an entry in a list."""


def listed_fields(body: bytes, types: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the texts that the answer has for each of these types, which include its fields; empty if unreadable."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    found: dict[str, list[str]] = {}
    for name, options in _entries(answer, frozenset(types), 0):
        found.setdefault(name, []).extend(_texts(options, 0))
    return found


def _entries(value: Any, types: frozenset[str], depth: int) -> Iterator[tuple[str, Any]]:
    """Yield what stands under the name of a type, or in one object with it."""
    if depth > DEPTH_MAX:
        return
    if isinstance(value, dict):
        names = [value[field] for field in NAMING_FIELDS if isinstance(value.get(field), str)]
        name = next((name for name in names if name in types), None)
        if name is not None:
            yield name, value
            return
        for key, below in value.items():
            if key in types:
                yield key, below
            else:
                yield from _entries(below, types, depth + 1)
    elif isinstance(value, list):
        for below in value:
            yield from _entries(below, types, depth + 1)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth <= DEPTH_MAX:
        for key, below in value.items():
            yield key
            yield from _texts(below, depth + 1)
    elif isinstance(value, list) and depth <= DEPTH_MAX:
        for below in value:
            yield from _texts(below, depth + 1)
