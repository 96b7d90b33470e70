"""What a setting may be: the kinds of rule, and the small factories that make them.

Owns single values and lists of them; what two settings must agree on stands in `checks`. Knows no setting by name. A
rule's `take` returns the value as it is kept or raises ValueError with the problem, so a new kind of setting is a
factory here and never a branch in the reader.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct

from exporter.config.quoting import is_key_shaped, quoted

TEN_YEARS = 315_360_000
"""In seconds: past it a number is a slip, and sums with it would leave the range of dates."""

LIST_MAX = 10_000
"""Entries of any one list; more sessions than that are not named by hand."""

PORT_MAX = 65_535


class Rule(Struct, frozen=True):
    """One value: `expected` completes "expected ..." in messages and describes the setting in the reference."""

    expected: str
    accept: Callable[[Any], Any]


def accept_any_list(_values: Sequence[Any]) -> None:
    """The check of a list whose entries need not agree with each other."""


class ListOf(Struct, frozen=True):
    """A list; `check` sees the accepted entries together and raises ValueError with the problem."""

    rule: "AnyRule"
    at_least: int = 0
    at_most: int = LIST_MAX
    check: Callable[[Sequence[Any]], None] = accept_any_list

    @property
    def expected(self) -> str:
        return f"a list, each {self.rule.expected}"


class Section(Struct, frozen=True):
    """A mapping, kept as `record`; of each group in `one_of` at most one key is given, and then the others are None."""

    record: type[Struct]
    one_of: tuple[tuple[str, ...], ...] = ()

    @property
    def expected(self) -> str:
        return "settings below it (key: value)"


AnyRule = Rule | ListOf | Section


class SettingSpec(Struct, frozen=True):
    """The annotation that makes a field of a record a setting."""

    rule: AnyRule
    help: str
    unset: str = ""
    """The default as the reference shows it, for settings whose default is None."""
    formerly: str = ""
    """The key's former name, which is refused with the new one as the cure."""


def number(low: float, high: float | None = None) -> Rule:
    return _number("a number", low, high, (int, Decimal), float)


def whole(low: int, high: int) -> Rule:
    return _number("a whole number", low, high, (int,), int)


def money(low: int, high: int) -> Rule:
    """A number kept as Decimal, exactly as it is written; as in prices, at most 12 places."""
    amount = _number("an amount", low, high, (int, Decimal), Decimal)

    def accept(value: Any) -> Decimal:
        accepted: Decimal = amount.accept(value)
        if accepted != round(accepted, 12):
            _unfit(f"{amount.expected} with at most 12 decimal places", value)
        return accepted

    return Rule(amount.expected, accept)


def _number(noun: str, low: float, high: float | None, kinds: tuple[type, ...], keep: Callable[[Any], Any]) -> Rule:
    expected = f"{noun} of at least {low}" if high is None else f"{noun} from {low} to {high}"
    floor, ceiling = (Decimal(str(limit)) for limit in (low, TEN_YEARS if high is None else high))

    def accept(value: Any) -> Any:
        if type(value) not in kinds or value < floor:  # as written: 0.05 is not below the float 0.05
            _unfit(expected, value)
        if value > ceiling:
            _unfit(expected if high is not None else f"{noun} of at most {ceiling} (ten years)", value)
        return keep(value or 0)  # -0.0 is 0, also where it is printed

    return Rule(expected, accept)


def text(expected: str, pattern: str, *refused: str) -> Rule:
    """Text that matches the whole pattern and is none of `refused`."""
    matches = re.compile(pattern, re.ASCII).fullmatch

    def accept(value: Any) -> str:
        accepted = _text(expected, value)
        if not matches(accepted) or accepted in refused:
            _unfit(expected, value)
        return accepted

    return Rule(expected, accept)


def printable(longest: int) -> Rule:
    expected = f"text of 1 to {longest} printable characters, with no space at either end"

    def accept(value: Any) -> str:
        accepted = _text(expected, value)
        if not 1 <= len(accepted) <= longest or not accepted.isprintable() or accepted != accepted.strip():
            _unfit(expected, value)
        return accepted

    return Rule(expected, accept)


def choice(*words: str) -> Rule:
    return text(f"{', '.join(words[:-1])} or {words[-1]}", "|".join(map(re.escape, words)))


def switch() -> Rule:
    """True or false, and none of the other words that YAML 1.1 takes for them; quoted, they are text."""
    expected = "true or false"

    def accept(value: Any) -> bool:
        if isinstance(value, str) or str(value) not in {"true", "false"}:
            _unfit(expected, value)
        return str(value) == "true"

    return Rule(expected, accept)


def file_path() -> Rule:
    expected = "the path of a file"
    accepted = printable(4096)

    def accept(value: Any) -> Path:
        try:
            return Path(accepted.accept(value))
        except ValueError:
            _unfit(expected, value)

    return Rule(expected, accept)


def variable() -> Rule:
    """The name of an environment variable; what is there instead is never shown, for it may be the key."""
    expected = "the name of an environment variable, such as TELNYX_API_KEY"

    def accept(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
            raise ValueError(f"expected {expected}; what it holds is not shown, for it may be the key itself")
        if is_key_shaped(value):
            raise ValueError(f"expected {expected}, got what looks like the key itself; keep the key out of this file")
        return value

    return Rule(expected, accept)


def date_or_time() -> Rule:
    shape = text(
        "an ISO 8601 date or date-time, such as 2026-03-17 or 2026-03-17T09:30:00Z",
        r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?",
    )

    def accept(value: Any) -> str:
        accepted: str = shape.accept(value)
        try:
            datetime.fromisoformat(accepted)
        except ValueError:  # the shape is right, the 31st of February is not
            _unfit(shape.expected, value)
        return accepted

    return Rule(shape.expected, accept)


_URL = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?", re.ASCII
)


def web_url() -> Rule:
    """An http or https URL without credentials, query or fragment; kept without a trailing slash."""
    expected = "an http or https URL, such as https://api.telnyx.com/v2"

    def accept(value: Any) -> str:
        url = _text(expected, value)
        _without(url, "@?#", "expected a URL without credentials, query or fragment; they are not shown")
        match = _URL.fullmatch(url)
        if not match or int(match["port"] or 0) > PORT_MAX:
            _unfit(expected, value)
        return url.rstrip("/")

    return Rule(expected, accept)


def ledger_url() -> Rule:
    expected = "sqlite:/// and the path of a file, such as sqlite:///telnyx-sessions.sqlite, or postgresql://USER@HOST/DATABASE"

    def accept(value: Any) -> str:
        if isinstance(value, str) and value.startswith("postgres"):
            return _server_url(value)
        url = _text(expected, value)
        if not url.startswith("sqlite:"):
            _without(url, "@=", f"expected {expected}; what it holds is not shown, for there may be a password in it")
        _without(url, "@?#", "expected a URL without credentials, query or fragment; they are not shown")
        if not re.fullmatch(r"sqlite:///(?!:memory:|/*$).+", url) or not url.isprintable():
            _unfit(expected, value)
        return url

    return Rule(expected, accept)


def _server_url(url: str) -> str:
    """Never says what it got: there may be a password in it."""
    if (
        not re.fullmatch(r"postgres(ql)?://([^/?#@\s]*@)?[^/?#@\s]*/[^/?#\s]+(\?[^#\s]*)?", url)
        or re.search(r"%(?![0-9A-Fa-f]{2})", url)
        or not url.isprintable()
    ):
        raise ValueError(
            "expected postgresql://USER@HOST:PORT/DATABASE, perhaps with ?sslmode=verify-full and other settings of"
            " libpq; in a password %, /, ?, # and @ are written as %25, %2F, %3F, %23 and %40"
        )
    return url


def ascending(numbers: Sequence[Any]) -> None:
    for before, after in pairwise(numbers):
        if after <= before:
            raise ValueError(f"expected each number to be greater than the one before, got {after:g} after {before:g}")


def distinct(values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{quoted(value)} is given twice; keep one")


def _text(expected: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (list, dict)):
        _unfit(expected, value)
    raise ValueError(
        f"expected {expected}, got {quoted(value)}; text that can be taken for something else needs quotes"
    )


def _without(url: str, characters: str, problem: str) -> None:
    if any(character in url for character in characters):
        raise ValueError(problem)


def _unfit(expected: str, value: Any) -> NoReturn:
    cure = "; remove the key to have its default" if value is None else ""
    raise ValueError(f"expected {expected}, got {quoted(value)}{cure}")
