"""Read YAML or JSON text into plain values, or raise one ConfigError with the line.

Size and depth are bounded; duplicate keys, aliases and tags are refused. No setting is known here.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import accumulate
from typing import Any

import yaml
from msgspec import Struct

from exporter.config.quoting import join_path, sanitized
from exporter.core.errors import ConfigError

BYTES_MAX = 1_048_576
"""PyYAML takes seconds for a file of this size; one written by hand is far smaller."""

DEPTH_MAX = 20
"""The deepest setting is at level 4. PyYAML recurses, so the bound is well below Python's own limit."""

_TAG = "tag:yaml.org,2002:"
_JSON_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Possessive and with an optional end, so that a hostile text is read only once from left to right."""
_DEPTH_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class Verbatim(Struct, frozen=True):
    """A scalar that no setting takes, as it was written: a date, `yes`, NaN, a number in hexadecimal.

    YAML 1.1 reads much into plain text: `1:30` is 90, `no` is false. The setting's rule refuses the text as written.
    """

    text: str

    def __str__(self) -> str:
        return self.text


def read_document(content: bytes, name: str) -> dict[str, Any]:
    """Return the mapping at the top of a YAML text; it is empty for an empty text."""
    root = read_yaml(content, name)
    if root is None:
        return {}
    if not isinstance(root, dict):
        raise ConfigError(name, "expected settings such as `polling:` at the top; see the annotated config.yaml")
    return root


def read_yaml(content: bytes, name: str) -> Any:
    """Return a YAML text as str, int, Decimal, None and Verbatim in dicts and lists; None if it is empty."""
    text = _decode(content, name)
    try:
        # PyYAML only composes nodes here and constructs no values, so no tag can run code.
        node = _Loader(text).get_single_node()
        return None if node is None else _yaml_value(node, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        reasons = filter(None, (error.context, error.problem))
        raise ConfigError(place, ", ".join(map(sanitized, reasons))) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{name}, line {line}", "a control character; remove it") from None
    except (ValueError, OverflowError):  # from chr() of "\UFFFFFFFF", or int() of an endless %YAML version
        raise ConfigError(
            name, "an escape or a version in it is no valid YAML; see the annotated config.yaml"
        ) from None


def read_json(content: bytes, name: str) -> Any:
    """Return a JSON text as str, None and Verbatim in dicts and lists.

    No number is converted: an id whose quotes are missing must not be followed in another spelling (`1e3`, `12.10`).
    """
    text = _decode(content, name)
    brackets = re.findall(r"[\[\]{}]", _JSON_STRING.sub("", text))
    if max(accumulate(_DEPTH_STEPS[bracket] for bracket in brackets), default=0) > DEPTH_MAX:
        raise ConfigError(name, f"nested deeper than {DEPTH_MAX} levels; no setting lies that deep")
    try:
        read = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=Verbatim, parse_float=Verbatim, parse_constant=Verbatim
        )
    except json.JSONDecodeError as error:
        place = f"{name}, line {error.lineno}, column {error.colno}"
        raise ConfigError(place, f"{sanitized(error.msg)}; is it JSON, and written to its end?") from None
    return _json_value(read, "")


def _decode(content: bytes, name: str) -> str:
    if len(content) > BYTES_MAX:
        raise ConfigError(name, f"is larger than {BYTES_MAX} bytes; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}, line {line}", "is not UTF-8 text; save the file as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with bounded depth and without aliases."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Without aliases a document is never larger than its text: no cycle, and no "billion laughs".
        if self.check_event(yaml.AliasEvent):
            raise self._refusal("aliases (*name) are not supported; write the value out")
        if self.depth == DEPTH_MAX:
            raise self._refusal(f"nested deeper than {DEPTH_MAX} levels; no setting lies that deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refusal(self, problem: str) -> yaml.MarkedYAMLError:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML has no annotation for it
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _yaml_value(node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key must be plain text, not a list or a mapping"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key, line = key_node.value, key_node.start_mark.line + 1
            where = join_path(path, key)
            if key in values:
                raise ConfigError(where, f"given twice, on lines {lines[key]} and {line}; keep one")
            values[key], lines[key] = _yaml_value(value_node, where), line
        return values
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_yaml_value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.ScalarNode):
        return Verbatim(node.tag)
    try:
        return _YAML_SCALARS[node.tag](node.value)
    except (KeyError, ValueError, ArithmeticError):
        return Verbatim(node.value)


def _finite(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError
    return number


_YAML_SCALARS: Mapping[str, Callable[[str], Any]] = {
    f"{_TAG}str": str,
    f"{_TAG}int": int,
    f"{_TAG}float": _finite,
    f"{_TAG}null": lambda _: None,
}


class _Pairs(list[tuple[str, Any]]):
    """A JSON object before its keys are checked for duplicates."""


def _json_value(value: Any, path: str) -> Any:
    if isinstance(value, _Pairs):
        values: dict[str, Any] = {}
        for key, item in value:
            where = join_path(path, key)
            if key in values:
                raise ConfigError(where, "given twice; keep one")
            values[key] = _json_value(item, where)
        return values
    if isinstance(value, list):
        return [_json_value(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return Verbatim(json.dumps(value)) if isinstance(value, bool) else value
