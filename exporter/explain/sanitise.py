"""How foreign text reaches a person: masked, on one line, bounded, and unable to do anything.

Owns what is done to each value of a record, an id, or a message before it is shown. Whatever can't be printed (control
characters, escape sequences of terminals, marks that turn the direction of text) is written as an escape, as in Python.
The surprising fact: a text is cut before it is masked, or a megabyte would cost a second, so where it is cut matters:
half of a phone number is no phone number, and would slip through.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

from msgspec import Struct

from exporter.core.model import NONE, OTHER, UNKNOWN, Labels
from exporter.core.privacy import Redactor

LINE_MAX = 200
"""Characters of an id or name; both are shorter."""
TEXT_MAX = 1000
"""Characters of a record's value or a message."""
ITEMS_MAX = 100
"""Of a list, or of a mapping, within a record."""
DEPTH_MAX = 8
ELSE = "..."
"""Stands for what is left out."""

_READ_MAX = 10 * TEXT_MAX
_NUMBER_MAX = 10**40
_EXACT_MAX = 2**53
"""Programs that read JSON keep whole numbers up to here."""


class Sanitiser(Struct, frozen=True):
    """Shows values under one redaction; `personal` are the labels that are taken from a personal field, with it."""

    redactor: Redactor
    personal: Mapping[str, str]

    def masked(self, text: str, longest: int = TEXT_MAX) -> str:
        """The text without what is personal, bounded."""
        masked = self.redactor.text(_readable(text))
        if len(text) > _READ_MAX or len(masked) > longest:
            masked = f"{masked[:longest]}... ({len(text)} characters)"
        return masked.encode("utf-8", "replace").decode()

    def line(self, text: str, longest: int = LINE_MAX) -> str:
        """The same, printable and on one line."""
        return printable(self.masked(text, longest))

    def labels(self, labels: Labels) -> Labels:
        return tuple((name, self._label(name, value)) for name, value in labels)

    def _label(self, name: str, value: str) -> str:
        field = None if value in {NONE, OTHER, UNKNOWN} else self.personal.get(name)
        return self.line(value if field is None else str(self.redactor.value(field, value)))

    def record(self, record: Mapping[str, object]) -> dict[str, Any]:
        """A record as JSON may hold it: masked and bounded, with exact numbers as text where they are no small ones."""
        return {self.masked(name, LINE_MAX): self._worded(name, value, 0) for name, value in record.items()}

    def _worded(self, field: str, value: object, depth: int) -> Any:
        """`field` is the value's own, or the one above it that hides all that is below."""
        if isinstance(value, (list, dict)):
            return self._list(field, value, depth) if isinstance(value, list) else self._fields(field, value, depth)
        if self.redactor.hides(field):
            return self.redactor.value(field, _readable(value) if isinstance(value, str) else value)
        return self.masked(value) if isinstance(value, str) else _number(value)

    def _list(self, field: str, items: list[object], depth: int) -> Any:
        if depth >= DEPTH_MAX:
            return ELSE
        worded = [self._worded(field, item, depth + 1) for item in items[:ITEMS_MAX]]
        return worded if len(items) <= ITEMS_MAX else [*worded, f"{ELSE} ({len(items)} items)"]

    def _fields(self, field: str, fields: dict[str, object], depth: int) -> Any:
        if depth >= DEPTH_MAX:
            return ELSE
        hidden = self.redactor.hides(field)
        worded = {
            self.masked(name, LINE_MAX): self._worded(field if hidden else name, below, depth + 1)
            for name, below in islice(fields.items(), ITEMS_MAX)
        }
        return worded if len(fields) <= ITEMS_MAX else {**worded, ELSE: f"({len(fields)} fields)"}


def printable(text: str) -> str:
    """The text with everything that can't be printed written as Python would escape it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def flat(value: object) -> str:
    """A value of a record that was worded, as one text."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _readable(text: str) -> str:
    """As much of a long text as is read, up to a letter: a cut between two digits would make half a number of one."""
    end = min(len(text), _READ_MAX)
    while len(text) > end > 0 and not text[end - 1].isalpha():
        end -= 1
    return text[:end]


def _number(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) <= _EXACT_MAX:
            return value
        return str(value) if abs(value) < _NUMBER_MAX else f"{ELSE} ({value.bit_length()} bits)"
    return str(value) if isinstance(value, Decimal) else type(value).__name__
