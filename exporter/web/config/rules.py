"""Rules for values of the web config file that config.yaml doesn't have: Go durations, PEM text, hashes, headers.

As with exporter-toolkit, an empty value counts as absent. A value that may be a secret is never shown, not even if it
is of the wrong kind: a key with wrong indentation is still a key.
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
_LOWEST_COST = "04"


def optional(rule: Rule, default: object = None) -> Rule:
    """Return the rule with a default for an absent or empty value."""
    return Rule(rule.expected, lambda value: default if value is None or value == "" else rule.accept(value))


def pem(kind: str) -> Rule:
    """Accept text in PEM form as a Secret; whether OpenSSL can use it is checked later."""
    expected = f"{kind} in PEM form, as text of several lines (key: |)"

    def accept(value: Any) -> Secret:
        if not isinstance(value, str) or "-----BEGIN " not in value:
            raise ValueError(f"expected {expected}; the value is not shown")
        return Secret(value)

    return Rule(expected, accept)


def duration() -> Rule:
    """Accept a duration as Go writes it, and return seconds."""
    expected = "a duration, such as 1s, 500ms or 1m30s; 0 switches the limit off"

    def accept(value: Any) -> float:
        text = str(value) if isinstance(value, (str, int)) else ""
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
        if not _DURATION.fullmatch(text) or seconds > TEN_YEARS:
            raise ValueError(f"expected {expected}, got {quoted(value)}")
        return seconds

    return Rule(expected, accept)


def header(*allowed: str) -> Rule:
    """Accept a header's value: one line of printable ASCII, or one of the allowed values."""
    expected = " or ".join(allowed) if allowed else "one line of printable ASCII"

    def accept(value: Any) -> str:
        text = str(value).strip() if isinstance(value, (str, int, Verbatim)) else ""
        if not re.fullmatch(r"[ -~]+", text) or (allowed and text not in allowed):
            raise ValueError(f"expected {expected}, got {quoted(value)}")
        return text

    return Rule(expected, accept)


def users() -> Rule:
    """Accept a mapping of names to bcrypt hashes; errors show no value, since a wrong one may be a password."""
    expected = "names and bcrypt hashes below it (name: hash)"

    def accept(value: Any) -> Users:
        if not isinstance(value, (Mapping, NoneType)):
            raise ValueError(f"expected {expected}; the value is not shown")  # noqa: TRY004 - as every rule
        return tuple((_name(name), _hash(_name(name), text)) for name, text in (value or {}).items())

    return Rule(expected, accept)


def _name(name: str) -> str:
    if name.startswith("$2"):
        raise ValueError("a hash stands where a name belongs; write name: hash")
    if ":" in name:
        problem = f"the name {quoted(name)} has a colon, which ends a name in basic authentication"
        raise ValueError(f"{problem}; choose another")
    return name


def _hash(name: str, text: Any) -> Secret:
    found = _HASH.fullmatch(text) if isinstance(text, str) else None
    if found is None or not _is_usable(found[1] + _LOWEST_COST + found[3]):
        cure = 'make one with: htpasswd -nBC 10 "" | tr -d ":\\n"'
        raise ValueError(f"the value for {quoted(name)} is not a bcrypt hash, and is not shown; {cure}")
    return Secret(found[0])


def _is_usable(salt: str) -> bool:
    # The library refuses some salts that the pattern accepts. At the lowest cost a try takes a millisecond.
    try:
        bcrypt.hashpw(b"", salt.encode())
    except ValueError:
        return False
    return True
