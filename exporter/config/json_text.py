"""JSON text -> plain values, or one ConfigError with the place.

Owns the syntax and its traps: keys given twice, depth, size, NaN. Knows no setting. The surprising fact: no number is
ever converted. An id that lost its quotes must not be followed in another spelling (`1e3`, `12.10`), so a number stays
`Verbatim`, as it was written, for the rule of the setting to refuse.
"""

import json
import re
from itertools import accumulate
from typing import Any

from exporter.config.document import DEPTH_MAX, Verbatim, decode
from exporter.config.quoting import join_path, sanitized
from exporter.core.errors import ConfigError

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Possessive, and with an open end: a hostile text is still read once from left to right."""

_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class _Pairs(list[tuple[str, Any]]):
    """An object before its keys are looked at."""


def read_json(content: bytes, name: str) -> Any:
    """What a text holds: text, None and Odd in dicts and lists."""
    text = decode(content, name)
    if _depth(text) > DEPTH_MAX:
        raise ConfigError(name, f"nested deeper than {DEPTH_MAX} levels; no setting lies that deep")
    try:
        read = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=Verbatim, parse_float=Verbatim, parse_constant=Verbatim
        )
    except json.JSONDecodeError as error:
        place = f"{name}, line {error.lineno}, column {error.colno}"
        raise ConfigError(place, f"{sanitized(error.msg)}; is it JSON, and written to its end?") from None
    return _plain(read, "")


def _depth(text: str) -> int:
    brackets = re.findall(r"[\[\]{}]", _STRING.sub("", text))
    return max(accumulate(_STEPS[bracket] for bracket in brackets), default=0)


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, _Pairs):
        return _mapping(value, path)
    if isinstance(value, list):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return Verbatim(json.dumps(value)) if isinstance(value, bool) else value


def _mapping(pairs: _Pairs, path: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        where = join_path(path, key)
        if key in values:
            raise ConfigError(where, "given twice; keep one")
        values[key] = _plain(value, where)
    return values
