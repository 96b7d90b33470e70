"""The rules that a setting's value must meet, and the functions that make them.

A rule's `accept` returns the value as the exporter uses it, or raises ValueError with the problem. Rules between
settings are in `checks`.
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
"""In seconds. A greater number is a mistake, and sums with it would leave the range of dates."""

LIST_MAX = 10_000
"""Entries of a list; a list written by hand is shorter."""

PORT_MAX = 65_535


class Rule(Struct, frozen=True):
    """The rule of one value; `expected` completes "expected ..." in messages and is shown in docs/configuration.md."""

    expected: str
    accept: Callable[[Any], Any]


def accept_any_list(_values: Sequence[Any]) -> None:
    """Accept any entries: the default check of a list."""


class ListOf(Struct, frozen=True):
    """A list; `check` gets all accepted entries and raises ValueError if they don't fit each other."""

    rule: "AnyRule"
    at_least: int = 0
    at_most: int = LIST_MAX
    check: Callable[[Sequence[Any]], None] = accept_any_list

    @property
    def expected(self) -> str:
        return f"a list, each {self.rule.expected}"


class Section(Struct, frozen=True):
    """A mapping that becomes a `record`. Of each group of keys in `one_of` at most one may be given."""

    record: type[Struct]
    one_of: tuple[tuple[str, ...], ...] = ()

    @property
    def expected(self) -> str:
        return "settings below it (key: value)"


AnyRule = Rule | ListOf | Section


class SettingSpec(Struct, frozen=True):
    """The annotation that makes a field of a record a setting; the field's default is the setting's."""

    rule: AnyRule
    help: str
    unset: str = ""
    """The default as the reference shows it, for settings whose default is None."""
    formerly: str = ""
    """The key's former name, which is refused with the new one as the cure."""
    advanced: bool = False
    """Shown below the others in docs/configuration.md: few users have a reason to change it."""


def number(low: float, high: float | None = None) -> Rule:
    return _number("a number", low, high, (int, Decimal), float)


def whole(low: int, high: int) -> Rule:
    return _number("a whole number", low, high, (int,), int)


def money(low: int, high: int) -> Rule:
    """Return a rule for an amount, which becomes a Decimal exactly as written; prices have at most 12 places."""
    amount = _number("an amount", low, high, (int, Decimal), Decimal)

    def accept(value: Any) -> Decimal:
        accepted: Decimal = amount.accept(value)
        if accepted != round(accepted, 12):
            _reject(f"{amount.expected} with at most 12 decimal places", value)
        return accepted

    return Rule(amount.expected, accept)


def _number(noun: str, low: float, high: float | None, kinds: tuple[type, ...], keep: Callable[[Any], Any]) -> Rule:
    expected = f"{noun} of at least {low}" if high is None else f"{noun} from {low} to {high}"
    floor, ceiling = (Decimal(str(limit)) for limit in (low, TEN_YEARS if high is None else high))

    def accept(value: Any) -> Any:
        if type(value) not in kinds or value < floor:  # both Decimal: 0.05 as written is less than the float 0.05
            _reject(expected, value)
        if value > ceiling:
            _reject(expected if high is not None else f"{noun} of at most {ceiling} (ten years)", value)
        return keep(value or 0)  # -0.0 would be printed as such

    return Rule(expected, accept)


def text(expected: str, pattern: str, *refused: str) -> Rule:
    """Return a rule for text that matches the whole pattern and is none of `refused`."""
    matches = re.compile(pattern, re.ASCII).fullmatch

    def accept(value: Any) -> str:
        accepted = _text(expected, value)
        if not matches(accepted) or accepted in refused:
            _reject(expected, value)
        return accepted

    return Rule(expected, accept)


def printable(longest: int) -> Rule:
    expected = f"text of 1 to {longest} printable characters, with no space at either end"

    def accept(value: Any) -> str:
        accepted = _text(expected, value)
        if not 1 <= len(accepted) <= longest or not accepted.isprintable() or accepted != accepted.strip():
            _reject(expected, value)
        return accepted

    return Rule(expected, accept)


def choice(*words: str) -> Rule:
    return text(f"{', '.join(words[:-1])} or {words[-1]}", "|".join(map(re.escape, words)))


def switch() -> Rule:
    """Return a rule for true or false; YAML 1.1's other words for them (yes, on) and quoted text are refused."""
    expected = "true or false"

    def accept(value: Any) -> bool:
        if isinstance(value, str) or str(value) not in {"true", "false"}:
            _reject(expected, value)
        return str(value) == "true"

    return Rule(expected, accept)


def file_path() -> Rule:
    expected = "the path of a file"
    accepted = printable(4096)

    def accept(value: Any) -> Path:
        try:
            return Path(accepted.accept(value))
        except ValueError:
            _reject(expected, value)

    return Rule(expected, accept)


def variable() -> Rule:
    """Return a rule for the name of an environment variable; a wrong value is not shown, since it may be the key."""
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
        except ValueError:  # as for the 31st of February
            _reject(shape.expected, value)
        return accepted

    return Rule(shape.expected, accept)


_URL = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?", re.ASCII
)


def web_url() -> Rule:
    """Return a rule for an http or https URL without credentials, query or fragment; its last slash is removed."""
    expected = "an http or https URL, such as https://api.telnyx.com/v2"

    def accept(value: Any) -> str:
        url = _text(expected, value)
        _without(url, "@?#", "expected a URL without credentials, query or fragment; they are not shown")
        match = _URL.fullmatch(url)
        if not match or int(match["port"] or 0) > PORT_MAX:
            _reject(expected, value)
        return url.rstrip("/")

    return Rule(expected, accept)


def ledger_url() -> Rule:
    expected = "sqlite:/// and the path of a file, such as sqlite:///telnyx-sessions.sqlite, or postgresql://USER@HOST/DATABASE"

    def accept(value: Any) -> str:
        if isinstance(value, str) and value.startswith("postgres"):
            if (
                not re.fullmatch(r"postgres(ql)?://([^/?#@\s]*@)?[^/?#@\s]*/[^/?#\s]+(\?[^#\s]*)?", value)
                or re.search(r"%(?![0-9A-Fa-f]{2})", value)
                or not value.isprintable()
            ):
                # The value isn't shown, since there may be a password in it.
                raise ValueError(
                    "expected postgresql://USER@HOST:PORT/DATABASE, perhaps with ?sslmode=verify-full and other"
                    " settings of libpq; in a password %, /, ?, # and @ are written as %25, %2F, %3F, %23 and %40"
                )
            return value
        url = _text(expected, value)
        if not url.startswith("sqlite:"):
            _without(url, "@=", f"expected {expected}; what it holds is not shown, for there may be a password in it")
        _without(url, "@?#", "expected a URL without credentials, query or fragment; they are not shown")
        if not re.fullmatch(r"sqlite:///(?!:memory:|/*$).+", url) or not url.isprintable():
            _reject(expected, value)
        return url

    return Rule(expected, accept)


def ascending(numbers: Sequence[Any]) -> None:
    """Check that each number is greater than the one before."""
    for before, after in pairwise(numbers):
        if after <= before:
            raise ValueError(f"expected each number to be greater than the one before, got {after:g} after {before:g}")


def distinct(values: Sequence[Any]) -> None:
    """Check that no entry is given twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{quoted(value)} is given twice; keep one")


def _text(expected: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (list, dict)):
        _reject(expected, value)
    raise ValueError(
        f"expected {expected}, got {quoted(value)}; text that can be taken for something else needs quotes"
    )


def _without(url: str, characters: str, problem: str) -> None:
    if any(character in url for character in characters):
        raise ValueError(problem)


def _reject(expected: str, value: Any) -> NoReturn:
    cure = "; remove the key to have its default" if value is None else ""
    raise ValueError(f"expected {expected}, got {quoted(value)}{cure}")
