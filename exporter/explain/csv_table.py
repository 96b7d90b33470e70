"""One session as CSV for spreadsheets: a row per event with its names, exact costs and every kept field of its record.

A spreadsheet runs a text that looks like a formula, so such a text gets an apostrophe before it. Numbers stay numbers.
"""

import csv
import io

from exporter.explain.explanation import Explanation, exact, with_depths
from exporter.explain.sanitise import TEXT_MAX, one_text, printable

COLUMNS = (
    *("depth", "id", "parent_id", "record_type", "product", "event_name"),
    *("event_cost", "cumulative_cost", "currency"),
)

RECORD_PREFIX = "record."
"""Starts the name of a column that holds a field of the records."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The first characters of a formula, in full-width forms too."""


def csv_table(explanation: Explanation) -> str:
    """Return RFC 4180 with a header row; the root has depth 0, an unpriced event an empty cost."""
    session, sanitiser = explanation.result.session, explanation.sanitiser
    assert session is not None
    records = [sanitiser.record(event.record) for event in session.events]
    fields = sorted({name for record in records for name in record})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *(_cell(f"{RECORD_PREFIX}{name}") for name in fields)])
    for (event, depth), record in zip(with_depths(session.events), records, strict=True):
        parent = session.events[event.parent].id if event.parent >= 0 else ""
        names = (event.id, parent, event.record_type, event.product, event.event_name)
        row = [str(depth), *(_cell(sanitiser.line(name)) for name in names)]
        row += [exact(event.cost) or "", exact(event.cumulative) or "", _cell(sanitiser.line(event.currency))]
        writer.writerow([*row, *(_value(record.get(name)) for name in fields)])
    return text.getvalue()


def _value(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _cell(printable(one_text(value))[:TEXT_MAX])


def _cell(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
