"""One look through the detail records of one type, page by page.

Owns which page is asked for next and when the look ends; pure: parameters out, bytes in. The list moves while it is
paged through, so pages are not counted on: each next question starts at the time of the last record seen, and what
comes twice is known to the ledger. The surprising fact: with an end that is fixed at the start, a list that grows as
fast as it is read is still read to its end.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from exporter.core.attributes import read_time
from exporter.core.errors import TreeError
from exporter.core.model import DetailRecord
from exporter.core.money import read_decimal
from exporter.sources.record_kinds import RecordKind

PAGE_SIZE = 50
"""The API's maximum."""
PAGES_MAX = 2_000
"""Of one look: 100,000 records. What is left is for the next look, which goes on from there."""


class _Page(Struct):
    data: tuple[Raw, ...]


_PAGES = msgspec.json.Decoder(_Page)
_RECORDS = msgspec.json.Decoder(dict[str, Any], float_hook=read_decimal)


class RecordPages:
    """One look, from `since` to `until` (seconds since the epoch), by one of the kind's time fields."""

    def __init__(self, account: str, kind: RecordKind, field: str, since: float, until: float) -> None:
        self._account = account
        self._kind = kind
        self._field = field
        self._from = _text(since)
        self._page = 1
        self._pages = 0
        self._until = until
        self.reached = since
        """All records up to this time were seen."""
        self.ended = False
        self.unreadable = 0
        """Records that say nothing that can be followed."""

    def params(self) -> Mapping[str, str]:
        """The query of the next page."""
        return {
            "filter[record_type]": self._kind.name,
            f"filter[{self._field}][gte]": self._from,
            "sort": self._field,
            "page[number]": str(self._page),
            "page[size]": str(PAGE_SIZE),
        }

    def take(self, body: bytes) -> list[DetailRecord]:
        """The records of a page; raises TreeError if it is none."""
        try:
            rows = _PAGES.decode(body).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TreeError("malformed", f"the answer is no page of detail records: {error}") from None
        records = list(_readable(rows))
        found = [self._kind.read(self._account, record, self._field) for record in records]
        self.unreadable += len(rows) - sum(record is not None for record in found)
        self._move_on(len(rows), records)
        return [record for record in found if record is not None]

    def _move_on(self, rows: int, records: list[dict[str, Any]]) -> None:
        times = [written for record in records if (written := self._kind.time(record, self._field)) is not None]
        last = max(times, key=_seconds, default=self._from)
        self._pages += 1
        if rows < PAGE_SIZE or _seconds(last) > self._until:
            self.reached, self.ended = self._until, True
        elif _seconds(last) > _seconds(self._from):
            self._from, self._page, self.reached = last, 1, _seconds(last)
        else:  # a whole page of one moment
            self._page += 1
        self.ended |= self._pages >= PAGES_MAX


def _readable(rows: tuple[Raw, ...]) -> Iterator[dict[str, Any]]:
    for row in rows:
        try:
            yield _RECORDS.decode(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


def _seconds(written: str) -> float:
    at = read_time(written)
    assert at is not None, "only readable times come here"
    return at


def _text(at: float) -> str:
    return datetime.fromtimestamp(max(at, 946_684_800.0), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
