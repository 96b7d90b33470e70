"""What a setting of the web config file may be, where the rules of config.yaml don't fit.

Owns the values that are written differently there: durations as Go writes them, PEM text, hashes, headers; and that
nothing after a colon, or an empty text, is as good as no key. The surprising fact: a value that may be a secret is
never shown, not even when it is of the wrong kind, since a key with a slip in its indentation is one.
"""

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

import bcrypt

from exporter.config.document import Verbatim
from exporter.config.quoting import quoted
from exporter.config.rules import TEN_YEARS, Rule
from exporter.config.secret import Secret

Users = tuple[tuple[str, Secret], ...]
"""Names and bcrypt hashes."""

_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_PART.pattern})+|0")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_HASH = re.compile(r"(\$2[aby]\$)(0[4-9]|[12][0-9]|3[01])(\$[./A-Za-z0-9]{22})[./A-Za-z0-9]{31}")
_CHEAPEST = "04"


def optional(rule: Rule, default: object = None) -> Rule:
    """As the rule, but nothing or an empty text is the default."""
    return Rule(rule.expected, lambda value: default if value is None or value == "" else rule.accept(value))


def pem(what: str) -> Rule:
    """Text in PEM form, kept as a Secret; whether it can be used is seen when it is."""
    expected = f"{what} in PEM form, as text of several lines (key: |)"

    def accept(value: Any) -> Secret:
        if not isinstance(value, str) or "-----BEGIN " not in value:
            raise ValueError(f"expected {expected}; what it holds is not shown")
        return Secret(value)

    return Rule(expected, accept)


def duration() -> Rule:
    """A time as Go writes it, in seconds."""
    expected = "a duration, such as 1s, 500ms or 1m30s; 0 switches the limit off"

    def accept(value: Any) -> float:
        text = str(value) if isinstance(value, (str, int)) else ""
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
        if not _DURATION.fullmatch(text) or seconds > TEN_YEARS:
            raise ValueError(f"expected {expected}, got {quoted(value)}")
        return seconds

    return Rule(expected, accept)


def header(*allowed: str) -> Rule:
    """A header's value: one line of visible ASCII, or one of those that make sense."""
    expected = " or ".join(allowed) if allowed else "one line of printable ASCII"

    def accept(value: Any) -> str:
        text = str(value).strip() if isinstance(value, (str, int, Verbatim)) else ""
        if not re.fullmatch(r"[ -~]+", text) or (allowed and text not in allowed):
            raise ValueError(f"expected {expected}, got {quoted(value)}")
        return text

    return Rule(expected, accept)


def users() -> Rule:
    """Names and bcrypt hashes; no hash is shown, nor what stands where one belongs."""
    expected = "names and bcrypt hashes below it (name: hash)"

    def accept(value: Any) -> Users:
        if not isinstance(value, (Mapping, NoneType)):
            raise ValueError(f"expected {expected}; what it holds is not shown")  # noqa: TRY004 - as every rule
        return tuple((_name(name), _hash(_name(name), text)) for name, text in (value or {}).items())

    return Rule(expected, accept)


def _name(name: str) -> str:
    if name.startswith("$2"):
        raise ValueError("a hash stands where a name belongs; write name: hash")
    if ":" in name:
        raise ValueError(
            f"the name {quoted(name)} has a colon, which ends a name in basic authentication; choose another"
        )
    return name


def _hash(name: str, text: Any) -> Secret:
    found = _HASH.fullmatch(text) if isinstance(text, str) else None
    if found is None or not _is_usable(found[1] + _CHEAPEST + found[3]):
        raise ValueError(
            f"what stands for {quoted(name)} is no bcrypt hash, and not shown; "
            'make one with: htpasswd -nBC 10 "" | tr -d ":\\n"'
        )
    return Secret(found[0])


def _is_usable(salt: str) -> bool:
    """Whether the library takes the salt; tried at the least cost, a millisecond."""
    try:
        bcrypt.hashpw(b"", salt.encode())
    except ValueError:
        return False
    return True
