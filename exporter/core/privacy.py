"""Mask personal data: what must not show on a page, in an export or in a debug view.

Two things are masked: every value below a field whose name is personal, at any depth, and in all other text whatever
looks like a phone number, a SIP URI or an address with an `@`. A mask hides whether two values are equal: there are so
few phone numbers that any digest of one can be reversed by trying them all.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate

MASK = "***"

DIGITS_SHOWN = 2
"""Last digits of a phone number that stay readable; a hundred million numbers share them."""

DIGITS_MIN = 7
"""A shorter number is an extension, and two of its digits would show most of it."""

DEPTH_MAX = 50
"""Records are nearly flat; a value below this depth is masked whatever it is."""

_UUID = r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
_URI = r"""(?P<scheme>\b(?:sips?|tel)(?::|%3A))[^\s<>"'`{}|\\]+"""
_LOCAL = r"[\w.+~-]"
# Possessive `++`: a megabyte of letters is tried once, not once per letter.
_ADDRESS = rf"(?<!{_LOCAL}){_LOCAL}++(?:@|%40)[\w.\[\]:-]+"
_INTERNATIONAL = r"(?:\+|%2B)[ (]?\d(?:[ ().\-/\u00a0\u2010-\u2015]{0,3}\d){6,}"
_NATIONAL = r"(?<![0-9A-Za-z])\(?\d{3}\)?[ .\-]{1,2}\d{3}[ .\-]\d{4}(?![0-9A-Za-z-])"
_BARE = r"(?<![0-9A-Za-z])(?<!\d\.)\d{10,15}(?![0-9A-Za-z])(?!\.\d)"

_PERSONAL = re.compile(
    f"(?P<uuid>{_UUID})|{_URI}|(?P<address>{_ADDRESS})|{_INTERNATIONAL}|{_NATIONAL}|{_BARE}", re.IGNORECASE
)
"""Personal data in text. A UUID is matched first and kept: some consist of digits alone and look like numbers."""

_NUMBER = re.compile(r"[\s+().\-/\u00a0\u2010-\u2015]*(?:\d[\s().\-/\u00a0\u2010-\u2015]*)+")

_NO_LETTER = re.compile(r"[\W_]+")


class Redactor:
    """Masks values by field name and by appearance; without any field names it masks nothing."""

    def __init__(self, fields: Iterable[str]) -> None:
        """`fields` are names, with `*` for any letters; case and separators (`_`, `-`) make no difference."""
        names = ["*".join(map(_letters, field.split("*"))) for field in fields]
        self._active = bool(names)
        self._names = re.compile("|".join(map(translate, names))) if names else None

    def hides(self, field: str) -> bool:
        """Return whether everything below a field of this name is masked."""
        return self._names is not None and self._names.match(_letters(field)) is not None

    def record(self, record: Mapping[str, object]) -> dict[str, object]:
        """Return the record with its personal values masked, and names that are phone numbers too."""
        return self._fields(record, 0)

    def value(self, field: str, value: object) -> object:
        """Return a field's value with personal data masked, in its shape. JSON numbers are masked by name only."""
        return self._value(field, value, 0)

    def text(self, text: str) -> str:
        """Return a text or id with everything masked that looks personal."""
        return _PERSONAL.sub(_masked, text) if self._active else text

    def _fields(self, record: Mapping[str, object], depth: int) -> dict[str, object]:
        return {self.text(name): self._value(name, value, depth) for name, value in record.items()}

    def _value(self, field: str, value: object, depth: int) -> object:
        return _hidden(value, depth) if self.hides(field) else self._visible(value, depth + 1)

    def _visible(self, value: object, depth: int) -> object:
        """Return a value whose field isn't personal, with its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if not self._active or not isinstance(value, (Mapping, list, tuple)):
            return value
        if depth > DEPTH_MAX:
            return MASK
        if isinstance(value, Mapping):
            return self._fields({str(name): below for name, below in value.items()}, depth)
        return [self._visible(item, depth + 1) for item in value]


def _letters(name: str) -> str:
    return _NO_LETTER.sub("", name).lower()


def _masked(found: "re.Match[str]") -> str:
    if found["uuid"]:
        return found["uuid"]
    if found["scheme"]:
        return found["scheme"] + MASK
    return MASK if found["address"] else _number(found[0])


def _hidden(value: object, depth: int) -> object:
    """Mask a value and each value below it; an empty or absent one stays, as it names no person."""
    if value in (None, "", [], {}):
        return value
    if depth > DEPTH_MAX:
        return MASK
    if isinstance(value, Mapping):
        return {name: _hidden(below, depth + 1) for name, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden(item, depth + 1) for item in value]
    text = str(value)
    return _number(text) if _NUMBER.fullmatch(text) else MASK


def _number(text: str) -> str:
    digits = [character for character in text if character.isdigit()]
    return MASK + "".join(digits[-DIGITS_SHOWN:]) if len(digits) >= DIGITS_MIN else MASK
