"""Decode an answer of the Session Analysis API into nodes.

A JSON number becomes a Decimal with its printed places, never a float. Decoding is tolerant: a part that is missing or
has another type is left out, and the rest of the answer is kept.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from exporter.core.errors import TreeError
from exporter.core.money import read_decimal

INT_DIGITS_MAX = 640
"""A longer integer becomes a Decimal: Python refuses to read an int of some thousand digits.

Ids are shorter, and may be numbers. They must be read alike by both decoders.
"""

_NO_RECORD: Mapping[str, object] = MappingProxyType({})
_Record = TypeVar("_Record")


class NodeCost(Struct, gc=False):
    event_cost: Any = None
    cumulative_cost: Any = None
    currency: Any = None
    total: Any = None


class Links(Struct, gc=False):
    own: Any = msgspec.field(name="self", default=None)


class ResponseNode(Struct, Generic[_Record], gc=False):
    """An EventNode of the API's OpenAPI description, with the fields that the exporter uses."""

    id: Any = None
    product: Any = None
    event_name: Any = None
    cost: NodeCost | None = None
    links: Links | None = None
    record: _Record | None = None
    children: "list[ResponseNode[_Record]] | None" = None


class Meta(Struct, gc=False):
    event_count: Any = None


class TreeResponse(Struct, Generic[_Record], gc=False):
    """A SessionAnalysisResponse."""

    root: ResponseNode[_Record]
    cost: NodeCost | None = None
    meta: Meta | None = None

    @property
    def event_count(self) -> int | None:
        """The API's count of the events in the whole session, including those below a cut."""
        count = self.meta.event_count if self.meta is not None else None
        return count if type(count) is int else None


class Decoder:
    """Decodes answers; of each detail record it keeps only the given fields."""

    def __init__(self, record_fields: Iterable[str]) -> None:
        self._names = tuple(sorted(set(record_fields)))
        # Field names come from the configuration and may be no Python identifiers, so attributes are f0, f1, ...
        attributes = {f"f{i}": name for i, name in enumerate(self._names)}
        record = msgspec.defstruct("Record", [(attribute, Any, None) for attribute in attributes], rename=attributes)
        self._type = TreeResponse[record]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(self._type, float_hook=read_decimal)

    def answer(self, body: bytes) -> TreeResponse[Any]:
        """Decode a whole answer.

        Raises TreeError with the reason `not_json`, `malformed` or `too_deep`.
        """
        try:
            try:
                return self._decoder.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                # Some part has an undocumented type, or text holds half a surrogate pair. Decode again with the
                # slow, tolerant decoder, and drop only the parts that don't fit.
                answer = json.loads(body, parse_float=read_decimal, parse_int=_integer, parse_constant=lambda _: None)
                return msgspec.convert(_fitting_answer(answer), self._type)
        except RecursionError:
            raise TreeError("too_deep", "the answer is nested too deeply to be a tree") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TreeError("not_json", f"the answer is not JSON, or is cut off: {error}") from None
        except (ValueError, msgspec.ValidationError) as error:
            raise TreeError("malformed", f"the answer is JSON but not an event tree: {error}") from None

    def record(self, node: ResponseNode[Any]) -> Mapping[str, object]:
        """Return the wanted fields that the node's record has."""
        if node.record is None:
            return _NO_RECORD
        return {name: value for name, value in zip(self._names, astuple(node.record), strict=True) if value is not None}


def _integer(text: str) -> int | Decimal | None:
    return int(text) if len(text) <= INT_DIGITS_MAX else read_decimal(text)


def _fitting_answer(answer: object) -> object:
    if not isinstance(answer, dict):
        return answer
    parts = {key: answer[key] for key in ("cost", "meta") if isinstance(answer.get(key), dict)}
    return parts | {"root": _fitting_node(answer.get("root"))}


def _fitting_node(node: object) -> object:
    """Return the node without the parts of a wrong type. Python's recursion limit bounds the recursion."""
    if not isinstance(node, dict):
        return node
    fitting = {key: value for key, value in node.items() if key in {"id", "product", "event_name"}}
    fitting |= {key: node[key] for key in ("cost", "links") if isinstance(node.get(key), dict)}
    if isinstance(node.get("record"), dict) and _is_encodable(node["record"]):
        fitting["record"] = node["record"]
    if isinstance(node.get("children"), list):
        fitting["children"] = [_fitting_node(child) for child in node["children"] if isinstance(child, dict)]
    return fitting


def _is_encodable(record: dict[str, object]) -> bool:
    """Return False if a text in the record holds half a surrogate pair, which UTF-8 can't encode."""
    try:
        msgspec.json.encode(record)
    except UnicodeEncodeError:
        return False
    return True
