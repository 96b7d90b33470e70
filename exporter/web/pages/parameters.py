"""Query parameters -> what is asked of the ledger, or one ValueError with the parameter and the cure.

Owns the parameters of each question and their rules, for pages and JSON alike; the OpenAPI document is made of the same
rows. The surprising fact: an empty parameter is none at all, because a form without script sends every field it has.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from exporter.core.catalog import CHECKS, STATES
from exporter.ledger.views.listing import ANY_CHECK, CURSOR_PATTERN, NUMBER_MAX, SessionQuery

TEXT_MAX = 300
LIMIT, LIMIT_MAX = 50, 200


def is_currency(text: str) -> bool:
    """Whether it can be asked for; what the API may have said instead can't."""
    return re.fullmatch("[A-Z]{3}|unknown", text) is not None


class Parameter(Struct, frozen=True):
    """`schema` is JSON Schema for OpenAPI, `take` the rule: raises ValueError with what was expected."""

    name: str
    meaning: str
    schema: Mapping[str, Any]
    accept: Callable[[str], Any]


def _text(name: str, meaning: str, longest: int = TEXT_MAX) -> Parameter:
    def accept(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f"expected at most {longest} characters; shorten it")
        return text

    return Parameter(name, meaning, {"type": "string", "maxLength": longest}, accept)


def _choice(name: str, meaning: str, words: Sequence[str]) -> Parameter:
    def accept(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}; choose one of them or leave it out")
        return text

    return Parameter(name, meaning, {"type": "string", "enum": ["", *words]}, accept)


def _number(name: str, meaning: str, highest: int) -> Parameter:
    expected = f"expected a whole number from 1 to {highest}; correct it or leave it out"

    def accept(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not 1 <= int(text) <= highest:
            raise ValueError(expected)
        return int(text)

    return Parameter(name, meaning, {"type": "integer", "minimum": 1, "maximum": highest}, accept)


_CURRENCY = Parameter(
    "currency",
    "The currency that a list by cost is of (ISO 4217); without it, the account's own.",
    {"type": "string", "pattern": "^([A-Z]{3}|unknown)?$"},
    lambda text: text if is_currency(text) else _unfit("three capital letters, such as USD"),
)

_AFTER = Parameter(
    "after",
    "The place where the page before ended: its `next`. A place of another order is the beginning.",
    {"type": "string", "pattern": f"^({CURSOR_PATTERN})?$"},
    lambda text: text if re.fullmatch(CURSOR_PATTERN, text, re.ASCII) else _unfit("the `next` of the page before"),
)

SESSIONS = (
    _text("q", "The beginning of an event id, or an account, a record type or a state."),
    _text("account", "Sessions of this account."),
    _text("record_type", "Sessions of this record type."),
    _choice("state", "Sessions in this state.", STATES),
    _choice("check", "Sessions whose last tree fails this check, or any.", (ANY_CHECK, *CHECKS)),
    _choice("sort", "By what the list is sorted.", ("changed", "cost", "events")),
    _choice("order", "Whether the largest or newest comes first, or last.", ("desc", "asc")),
    _CURRENCY,
    _AFTER,
    _number("limit", "How many at most.", LIMIT_MAX),
)

FAILURES = (
    _number("before", "Failed polls before that of this number: the `next` of the page before.", NUMBER_MAX),
    _number("limit", "How many at most.", LIMIT_MAX),
)

SESSION = (_text("event_id", "The event id, if it can't be part of a path: `.` and `..`."),)


def read(parameters: Iterable[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values by name; ValueError if one is unknown, twice there, or wrong."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            raise ValueError(f"unknown parameter {_bare(name)}; known here: {', '.join(known) or 'none'}")
        if name in values:
            raise ValueError(f"{name}: given twice; keep one")
        if text:
            try:
                values[name] = known[name].accept(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return values


def query(values: Mapping[str, Any], preferred: tuple[str, ...]) -> SessionQuery:
    """The list that is asked for."""
    return SessionQuery(
        values.get("q", ""),
        values.get("account"),
        values.get("record_type"),
        values.get("state"),
        values.get("check"),
        values.get("sort", "changed"),
        values.get("order", "desc"),
        values.get("currency"),
        preferred,
        values.get("after"),
        values.get("limit", LIMIT),
    )


def _bare(name: str) -> str:
    return name[:50] if name.isascii() and name[:50].isprintable() else ascii(name[:50])


def _unfit(expected: str) -> Any:
    raise ValueError(f"expected {expected}; correct it or leave it out")
