"""Whose number, name or address it is: what a person must not read on a page, in an export or in a debug view.

Owns the words for which a field is personal, and the masks. Two things are masked: every value below a field that is
personal by its name, at any depth, and in all other text whatever looks like a phone number, a SIP URI or an address
with an `@`. Knows no configuration: the names are an argument. The surprising fact: a mask is no key. Equal numbers
can't be told from unequal ones, since there are so few phone numbers that any digest of one is soon turned back; of a
number its last two digits stay, of everything else nothing.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate

MASK = "***"

DIGITS_SHOWN = 2
"""Of a phone number; a hundred million numbers share them."""

DIGITS_MIN = 7
"""A shorter number is an extension, of which two digits are most of it."""

DEPTH_MAX = 50
"""Records are flat or nearly so; what lies deeper is masked unread."""

_UUID = r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
_URI = r"""(?P<scheme>\b(?:sips?|tel)(?::|%3A))[^\s<>"'`{}|\\]+"""
_LOCAL = r"[\w.+~-]"
_ADDRESS = rf"(?<!{_LOCAL}){_LOCAL}++(?:@|%40)[\w.\[\]:-]+"  # tried once per word: a megabyte of letters is no address
_INTERNATIONAL = r"(?:\+|%2B)[ (]?\d(?:[ ().\-/\u00a0\u2010-\u2015]{0,3}\d){6,}"
_NATIONAL = r"(?<![0-9A-Za-z])\(?\d{3}\)?[ .\-]{1,2}\d{3}[ .\-]\d{4}(?![0-9A-Za-z-])"
_BARE = r"(?<![0-9A-Za-z])(?<!\d\.)\d{10,15}(?![0-9A-Za-z])(?!\.\d)"

_PERSONAL = re.compile(
    f"(?P<uuid>{_UUID})|{_URI}|(?P<address>{_ADDRESS})|{_INTERNATIONAL}|{_NATIONAL}|{_BARE}", re.IGNORECASE
)
"""What is masked in text; a UUID comes first, because some are made of digits alone."""

_NUMBER = re.compile(r"[\s+().\-/\u00a0\u2010-\u2015]*(?:\d[\s().\-/\u00a0\u2010-\u2015]*)+")

_NO_LETTER = re.compile(r"[\W_]+")


class Redactor:
    """Masks what the given field names, and the looks of a text, say is personal; without any names nothing is."""

    def __init__(self, fields: Iterable[str]) -> None:
        """`fields`: names, in which `*` stands for any letters; case and separators (`_`, `-`) make no difference."""
        names = ["*".join(map(_letters, field.split("*"))) for field in fields]
        self._active = bool(names)
        self._names = re.compile("|".join(map(translate, names))) if names else None

    def hides(self, field: str) -> bool:
        """Whether everything below a field of this name is masked."""
        return self._names is not None and self._names.match(_letters(field)) is not None

    def record(self, record: Mapping[str, object]) -> dict[str, object]:
        """The record with its personal values masked; names that are phone numbers too."""
        return self._fields(record, 0)

    def value(self, field: str, value: object) -> object:
        """What a field of a record may show; its shape stays. Numbers that are no text are masked by name alone."""
        return self._value(field, value, 0)

    def text(self, text: str) -> str:
        """Any text or id, with what looks personal masked."""
        return _PERSONAL.sub(_masked, text) if self._active else text

    def _fields(self, record: Mapping[str, object], depth: int) -> dict[str, object]:
        return {self.text(name): self._value(name, value, depth) for name, value in record.items()}

    def _value(self, field: str, value: object, depth: int) -> object:
        return _hidden(value, depth) if self.hides(field) else self._open(value, depth + 1)

    def _open(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self.text(value)
        if not self._active or not isinstance(value, (Mapping, list, tuple)):
            return value
        if depth > DEPTH_MAX:
            return MASK
        if isinstance(value, Mapping):
            return self._fields({str(name): below for name, below in value.items()}, depth)
        return [self._open(item, depth + 1) for item in value]


def _letters(name: str) -> str:
    return _NO_LETTER.sub("", name).lower()


def _masked(found: "re.Match[str]") -> str:
    if found["uuid"]:
        return found["uuid"]
    if found["scheme"]:
        return found["scheme"] + MASK
    return MASK if found["address"] else _number(found[0])


def _hidden(value: object, depth: int) -> object:
    """The mask of a value, or of each one below it; what is empty or absent stays so, for it names nobody."""
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
