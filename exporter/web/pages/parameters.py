"""The query parameters of pages and JSON, and their rules; the OpenAPI document is made from the same rows.

An empty parameter counts as absent, because a form without script sends every field that it has.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from exporter.core.catalog import CHECKS, STATES
from exporter.ledger.views.listing import ANY_CHECK, CURSOR_PATTERN, NUMBER_MAX, SessionQuery

TEXT_MAX = 300
LIMIT, LIMIT_MAX = 50, 200


class Parameter(Struct, frozen=True):
    """`schema` is JSON Schema for OpenAPI; `accept` returns the value or raises ValueError with the cure."""

    name: str
    meaning: str
    schema: Mapping[str, Any]
    accept: Callable[[str], Any]


def is_currency(text: str) -> bool:
    """Tell whether a list may be asked for in it; the API's records may have other texts as a currency."""
    return re.fullmatch("[A-Z]{3}|unknown", text) is not None


def _text(name: str, meaning: str) -> Parameter:
    def accept(text: str) -> str:
        if len(text) > TEXT_MAX:
            raise ValueError(f"expected at most {TEXT_MAX} characters; shorten it")
        return text

    return Parameter(name, meaning, {"type": "string", "maxLength": TEXT_MAX}, accept)


def _choice(name: str, meaning: str, words: Sequence[str]) -> Parameter:
    def accept(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}; choose one of them or leave it out")
        return text

    return Parameter(name, meaning, {"type": "string", "enum": ["", *words]}, accept)


def _pattern(name: str, meaning: str, pattern: str, expected: str) -> Parameter:
    def accept(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"expected {expected}; correct it or leave it out")
        return text

    return Parameter(name, meaning, {"type": "string", "pattern": f"^({pattern})?$"}, accept)


def _number(name: str, meaning: str, highest: int) -> Parameter:
    def accept(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not 1 <= int(text) <= highest:
            raise ValueError(f"expected a whole number from 1 to {highest}; correct it or leave it out")
        return int(text)

    return Parameter(name, meaning, {"type": "integer", "minimum": 1, "maximum": highest}, accept)


SESSIONS = (
    _text("q", "The beginning of an event id, or an account, a record type or a state."),
    _text("account", "Sessions of this account."),
    _text("record_type", "Sessions of this record type."),
    _choice("state", "Sessions in this state.", STATES),
    _choice("check", "Sessions whose last tree fails this check, or any.", (ANY_CHECK, *CHECKS)),
    _choice("sort", "The order of the list.", ("changed", "cost", "events")),
    _choice("order", "The largest or newest first (`desc`), or last (`asc`).", ("desc", "asc")),
    _pattern(
        "currency",
        "The currency of a list by cost (ISO 4217); by default the account's own.",
        "[A-Z]{3}|unknown",
        "three capital letters, such as USD",
    ),
    _pattern(
        "after",
        "The `next` of the previous page. A value from a list of another order means the first page.",
        CURSOR_PATTERN,
        "the `next` of the page before",
    ),
    _number("limit", "The most sessions on a page.", LIMIT_MAX),
)

FAILURES = (
    _number("before", "Failed polls before the one with this number: the `next` of the previous page.", NUMBER_MAX),
    _number("limit", "The most failed polls on a page.", LIMIT_MAX),
)

SESSION = (_text("event_id", "The event id, if it can't be part of a path: `.` and `..`."),)


def read(parameters: Iterable[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the values by name; raise ValueError if a parameter is unknown, given twice, or wrong."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            printable = name[:50] if name.isascii() and name[:50].isprintable() else ascii(name[:50])
            raise ValueError(f"unknown parameter {printable}; known here: {', '.join(known) or 'none'}")
        if name in values:
            raise ValueError(f"{name}: given twice; keep one")
        if text:
            try:
                values[name] = known[name].accept(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return values


def session_query(values: Mapping[str, Any], preferred_currencies: tuple[str, ...]) -> SessionQuery:
    return SessionQuery(
        values.get("q", ""),
        values.get("account"),
        values.get("record_type"),
        values.get("state"),
        values.get("check"),
        values.get("sort", "changed"),
        values.get("order", "desc"),
        values.get("currency"),
        preferred_currencies,
        values.get("after"),
        values.get("limit", LIMIT),
    )
