"""Bytes -> nodes, tolerantly: what is missing or of another shape costs only itself.

Owns the shape of the API's answer. Numbers keep the places they were printed with (a JSON number becomes a Decimal,
never a float). The surprising fact: a record stays raw until its node is read, so that a free-form field can't fail
the tree around it.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from exporter.errors import TreeError
from exporter.money import read_decimal

_NO_RECORD: Mapping[str, object] = MappingProxyType({})


class Cost(Struct):
    event_cost: Any = None
    cumulative_cost: Any = None
    currency: Any = None
    total: Any = None


class Links(Struct):
    own: Any = msgspec.field(name="self", default=None)


class Node(Struct):
    """An EventNode of the API's OpenAPI description, with the fields that are used."""

    id: Any = None
    product: Any = None
    event_name: Any = None
    cost: Cost | None = None
    links: Links | None = None
    record: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    children: "list[Node] | None" = None


class Meta(Struct):
    event_count: Any = None


class Answer(Struct):
    """A SessionAnalysisResponse."""

    root: Node
    cost: Cost | None = None
    meta: Meta | None = None

    @property
    def event_count(self) -> int | None:
        """Events of the whole session, cut ones included, as the API counts them."""
        count = self.meta.event_count if self.meta is not None else None
        return count if type(count) is int else None


class Decoder:
    """Decodes answers, and of their records only the fields that somebody asked for."""

    def __init__(self, record_fields: Iterable[str]) -> None:
        self._fields = tuple((f"f{i}", name) for i, name in enumerate(sorted(set(record_fields))))
        record = msgspec.defstruct(
            "Record",
            [(attribute, Any, None) for attribute, _ in self._fields],
            rename=dict(self._fields),
        )
        self._answers = msgspec.json.Decoder(Answer, float_hook=read_decimal)
        self._records = msgspec.json.Decoder(record, float_hook=read_decimal)

    def answer(self, body: bytes) -> Answer:
        try:
            return self._answers.decode(body)
        except RecursionError:
            raise _TOO_DEEP from None
        except (msgspec.DecodeError, UnicodeDecodeError):  # also half a surrogate pair, wherever it stands
            return _decode_what_fits(body)

    def record(self, node: Node) -> Mapping[str, object]:
        """The wanted fields that the node's record has; empty for anything that is no record."""
        content = memoryview(node.record)
        if len(content) <= len("{}"):
            return _NO_RECORD
        try:
            record = self._records.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _NO_RECORD
        values = ((name, getattr(record, attribute)) for attribute, name in self._fields)
        return {name: value for name, value in values if value is not None}


_RECORDS = msgspec.json.Encoder(decimal_format="number")

_TOO_DEEP = TreeError("too_deep", "the answer is nested too deeply to be a tree")


def _decode_what_fits(body: bytes) -> Answer:
    """Some part is other than documented: leave out that part, keep the rest."""
    try:
        answer = json.loads(body, parse_float=read_decimal, parse_int=_integer, parse_constant=lambda _: None)
        return msgspec.convert(_scrubbed_answer(answer), Answer)
    except RecursionError:
        raise _TOO_DEEP from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TreeError("not_json", f"the answer is not JSON, or not all of it: {error}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise TreeError("malformed", f"the answer is JSON but no event tree: {error}") from None


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
    if isinstance(node.get("record"), dict):
        scrubbed["record"] = _raw(node["record"])
    children = node.get("children")
    if isinstance(children, list):
        scrubbed["children"] = [_scrubbed_node(child) for child in children if isinstance(child, dict)]
    return scrubbed


def _raw(record: dict[str, object]) -> msgspec.Raw:
    """The record as bytes again; none if it has no bytes, as half of a surrogate pair has none."""
    try:
        return msgspec.Raw(_RECORDS.encode(record))
    except UnicodeEncodeError:
        return msgspec.Raw()
