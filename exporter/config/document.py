"""YAML text -> plain values, or one ConfigError with the line.

Owns the syntax and its traps: duplicate keys, aliases, depth, size, tags. Knows no setting. It takes PyYAML's node tree
and never lets PyYAML construct anything; the surprising fact is how much YAML 1.1 reads into plain text (`1:30` is 90,
`no` is false, `2026-03-17` a date), so all but plain decimal numbers, text and null stay `Verbatim`, as written,
for the rule of the setting to refuse.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import yaml
from msgspec import Struct

from exporter.config.quoting import join_path, sanitized
from exporter.core.errors import ConfigError

BYTES_MAX = 1_048_576
"""A file of this size takes PyYAML seconds; nobody writes one by hand."""

DEPTH_MAX = 20
"""The deepest setting lies at 4; PyYAML recurses, so depth is bounded well before Python's own limit."""

_TAG = "tag:yaml.org,2002:"


class Verbatim(Struct, frozen=True):
    """A value that no setting takes, as it was written: a date, a yes, a NaN, a number in hexadecimal."""

    text: str

    def __str__(self) -> str:
        return self.text


def read_document(content: bytes, name: str) -> dict[str, Any]:
    """The top-level mapping; an empty file is an empty one."""
    root = read_yaml(content, name)
    if root is None:
        return {}
    if not isinstance(root, dict):
        raise ConfigError(name, "expected settings such as `polling:` at the top; see the annotated config.yaml")
    return root


def read_yaml(content: bytes, name: str) -> Any:
    """What a text holds: text, int, Decimal, None and Odd in dicts and lists; None if it is empty."""
    return _read(decode(content, name), name)


def decode(content: bytes, name: str) -> str:
    """Bytes of a bounded size as text."""
    if len(content) > BYTES_MAX:
        raise ConfigError(name, f"is larger than {BYTES_MAX} bytes; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}, line {line}", "is not UTF-8 text; save the file as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, bounded in depth and without aliases."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Without aliases a document is never larger than its text: no cycle, and no "billion laughs".
        if self.check_event(yaml.AliasEvent):
            raise self._refused("aliases (*name) are not supported; write the value out")
        if self.depth == DEPTH_MAX:
            raise self._refused(f"nested deeper than {DEPTH_MAX} levels; no setting lies that deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refused(self, problem: str) -> yaml.MarkedYAMLError:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it bare
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _read(text: str, name: str) -> Any:
    try:
        node = _Loader(text).get_single_node()
        return None if node is None else _plain(node, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        reasons = filter(None, (error.context, error.problem))
        raise ConfigError(place, ", ".join(map(sanitized, reasons))) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{name}, line {line}", "a control character; remove it") from None
    except (ValueError, OverflowError):  # PyYAML lets chr() and int() fail on "\UFFFFFFFF" and an endless %YAML version
        raise ConfigError(
            name, "an escape or a version in it is no valid YAML; see the annotated config.yaml"
        ) from None


def _plain(node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return _mapping(node, path)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
    return _scalar(node) if isinstance(node, yaml.ScalarNode) else Verbatim(node.tag)


def _mapping(node: yaml.MappingNode, path: str) -> dict[str, Any]:
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
        values[key], lines[key] = _plain(value_node, where), line
    return values


def _scalar(node: yaml.ScalarNode) -> Any:
    try:
        return _SCALARS[node.tag](node.value)
    except (KeyError, ValueError, ArithmeticError):
        return Verbatim(node.value)


def _finite(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError
    return number


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    f"{_TAG}str": str,
    f"{_TAG}int": int,
    f"{_TAG}float": _finite,
    f"{_TAG}null": lambda _: None,
}
