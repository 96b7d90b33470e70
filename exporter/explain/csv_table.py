"""One session as CSV: a flat row per event, for spreadsheets.

Owns the columns: the event's place in the tree, its names and exact costs, then every kept field of the records. The
surprising fact: a spreadsheet runs what looks like a formula, so a text that begins like one gets an apostrophe before
it; numbers, negative ones too, stay numbers.
"""

import csv
import io
from decimal import Decimal

from exporter.core.model import Event
from exporter.explain.sanitise import TEXT_MAX, flat, printable
from exporter.explain.story import Explanation, with_depths

COLUMNS = (
    *("depth", "id", "parent_id", "record_type", "product", "event_name"),
    *("event_cost", "cumulative_cost", "currency"),
)

RECORD = "record."
"""Begins the name of a column that is a field of the records."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula may begin with, in wide letters too."""


def table(story: Explanation) -> str:
    """RFC 4180, with a header; the root has depth 0, an unpriced event an empty cost."""
    session = story.look.session
    assert session is not None
    records = [story.wording.record(event.record) for event in session.events]
    fields = sorted({name for record in records for name in record})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *(_cell(f"{RECORD}{name}") for name in fields)])
    for (event, depth), record in zip(with_depths(session.events), records, strict=True):
        parent = session.events[event.parent].id if event.parent >= 0 else ""
        row = [str(depth), *_names(story, event, parent)]
        writer.writerow([*row, *(_value(record.get(name)) for name in fields)])
    return text.getvalue()


def _names(story: Explanation, event: Event, parent: str) -> list[str]:
    texts = (event.id, parent, event.record_type, event.product, event.event_name)
    names = [_cell(story.wording.line(text)) for text in texts]
    return [*names, _amount(event.cost), _amount(event.cumulative), _cell(story.wording.line(event.currency))]


def _amount(amount: Decimal | None) -> str:
    return "" if amount is None else format(amount, "f")


def _value(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _cell(printable(flat(value))[:TEXT_MAX])


def _cell(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
