"""Make text from the API safe to show: masked, bounded, on one line, and unable to control a terminal.

Characters that can't be printed (control characters, escape sequences, marks that change the direction of text) are
written as Python escapes.
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
"""Characters of an id or name; real ones are shorter."""
TEXT_MAX = 1000
"""Characters of a record's value or a message."""
ITEMS_MAX = 100
"""Items of a list, or fields of a mapping, within a record."""
DEPTH_MAX = 8
OMITTED = "..."

_READ_MAX = 10 * TEXT_MAX
_INTEGER_MAX = 10**40
_JSON_INTEGER_MAX = 2**53
"""The largest integer that every JSON reader keeps exactly."""


class Sanitiser(Struct, frozen=True):
    """Masks and bounds values; `personal` maps a label to the personal field from which it is taken."""

    redactor: Redactor
    personal: Mapping[str, str]

    def masked(self, text: str, longest: int = TEXT_MAX) -> str:
        """Return the text without personal data, cut to `longest` characters."""
        masked = self.redactor.text(_readable(text))
        if len(text) > _READ_MAX or len(masked) > longest:
            masked = f"{masked[:longest]}... ({len(text)} characters)"
        return masked.encode("utf-8", "replace").decode()

    def line(self, text: str, longest: int = LINE_MAX) -> str:
        """Return the masked text, printable and on one line."""
        return printable(self.masked(text, longest))

    def labels(self, labels: Labels) -> Labels:
        """Return the labels with masked values; none, other and unknown are no one's data."""
        sanitised = []
        for name, value in labels:
            field = None if value in {NONE, OTHER, UNKNOWN} else self.personal.get(name)
            sanitised.append((name, self.line(value if field is None else str(self.redactor.value(field, value)))))
        return tuple(sanitised)

    def record(self, record: Mapping[str, object]) -> dict[str, Any]:
        """Return a record that JSON can hold: masked and bounded, numbers that JSON readers would round as text."""
        return {self.masked(name, LINE_MAX): self._value(name, value, 0) for name, value in record.items()}

    def _value(self, field: str, value: object, depth: int) -> Any:
        """`field` is the value's own field, or the personal one above it, which hides everything below."""
        if isinstance(value, (list, dict)):
            if depth >= DEPTH_MAX:
                return OMITTED
            return self._list(field, value, depth) if isinstance(value, list) else self._fields(field, value, depth)
        if self.redactor.hides(field):
            return self.redactor.value(field, _readable(value) if isinstance(value, str) else value)
        return self.masked(value) if isinstance(value, str) else _number(value)

    def _list(self, field: str, items: list[object], depth: int) -> list[Any]:
        values = [self._value(field, item, depth + 1) for item in items[:ITEMS_MAX]]
        return values if len(items) <= ITEMS_MAX else [*values, f"{OMITTED} ({len(items)} items)"]

    def _fields(self, field: str, fields: dict[str, object], depth: int) -> dict[str, Any]:
        hidden = self.redactor.hides(field)
        values = {
            self.masked(name, LINE_MAX): self._value(field if hidden else name, value, depth + 1)
            for name, value in islice(fields.items(), ITEMS_MAX)
        }
        return values if len(fields) <= ITEMS_MAX else {**values, OMITTED: f"({len(fields)} fields)"}


def printable(text: str) -> str:
    """Return the text with every unprintable character as Python would escape it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_text(value: object) -> str:
    """Return a value of a sanitised record as one text."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _readable(text: str) -> str:
    # A long text is cut before it is masked, since masking a megabyte takes a second. The cut is after a letter: half
    # of a phone number would not be recognised as one, and would be shown.
    end = min(len(text), _READ_MAX)
    while len(text) > end > 0 and not text[end - 1].isalpha():
        end -= 1
    return text[:end]


def _number(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) <= _JSON_INTEGER_MAX:
            return value
        return str(value) if abs(value) < _INTEGER_MAX else f"{OMITTED} ({value.bit_length()} bits)"
    return str(value) if isinstance(value, Decimal) else type(value).__name__
