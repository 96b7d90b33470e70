"""Bytes -> nodes, tolerantly: what is missing or of another shape costs only itself.

Owns the shape of the API's answer. Numbers keep the places they were printed with (a JSON number becomes a Decimal,
never a float). The surprising fact: every field may be anything, and an answer of which some part still doesn't fit is
decoded once more, slowly and without that part; the usual one is read in a single pass.
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
    """An EventNode of the API's OpenAPI description, with the fields that are used."""

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
        """Events of the whole session, cut ones included, as the API counts them."""
        count = self.meta.event_count if self.meta is not None else None
        return count if type(count) is int else None


class Decoder:
    """Decodes answers, and of their records only the fields that somebody asked for."""

    def __init__(self, record_fields: Iterable[str]) -> None:
        self._names = tuple(sorted(set(record_fields)))
        attributes = {f"f{i}": name for i, name in enumerate(self._names)}
        record = msgspec.defstruct("Record", [(attribute, Any, None) for attribute in attributes], rename=attributes)
        self._answer = TreeResponse[record]  # type: ignore[valid-type]  # made of what the configuration asks for
        self._answers = msgspec.json.Decoder(self._answer, float_hook=read_decimal)

    def answer(self, body: bytes) -> TreeResponse[Any]:
        try:
            return self._answers.decode(body)
        except RecursionError:
            raise _TOO_DEEP from None
        except (msgspec.DecodeError, UnicodeDecodeError):  # also half a surrogate pair, wherever it stands
            return self._what_fits(body)

    def record(self, node: ResponseNode[Any]) -> Mapping[str, object]:
        """The wanted fields that the node's record has."""
        if node.record is None:
            return _NO_RECORD
        return {name: value for name, value in zip(self._names, astuple(node.record), strict=True) if value is not None}

    def _what_fits(self, body: bytes) -> TreeResponse[Any]:
        """Some part is other than documented: leave out that part, keep the rest."""
        try:
            answer = json.loads(body, parse_float=read_decimal, parse_int=_integer, parse_constant=lambda _: None)
            return msgspec.convert(_scrubbed_answer(answer), self._answer)
        except RecursionError:
            raise _TOO_DEEP from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TreeError("not_json", f"the answer is not JSON, or not all of it: {error}") from None
        except (ValueError, msgspec.ValidationError) as error:
            raise TreeError("malformed", f"the answer is JSON but no event tree: {error}") from None


_TOO_DEEP = TreeError("too_deep", "the answer is nested too deeply to be a tree")


def _integer(text: str) -> int | Decimal | None:
    longest_int = 18
    return int(text) if len(text) <= longest_int else read_decimal(text)


def _scrubbed_answer(answer: object) -> object:
    if not isinstance(answer, dict):
        return answer
    parts = {key: answer[key] for key in ("cost", "meta") if isinstance(answer.get(key), dict)}
    return parts | {"root": _scrubbed_node(answer.get("root"))}


def _scrubbed_node(node: object) -> object:
    """The node without the parts whose shape is wrong; recursion is bounded by Python's own limit."""
    if not isinstance(node, dict):
        return node
    scrubbed = {key: value for key, value in node.items() if key in {"id", "product", "event_name"}}
    scrubbed |= {key: node[key] for key in ("cost", "links") if isinstance(node.get(key), dict)}
    if isinstance(node.get("record"), dict) and _has_bytes(node["record"]):
        scrubbed["record"] = node["record"]
    children = node.get("children")
    if isinstance(children, list):
        scrubbed["children"] = [_scrubbed_node(child) for child in children if isinstance(child, dict)]
    return scrubbed


def _has_bytes(record: dict[str, object]) -> bool:
    """Whether it can be written: half of a surrogate pair can't."""
    try:
        msgspec.json.encode(record)
    except UnicodeEncodeError:
        return False
    return True
