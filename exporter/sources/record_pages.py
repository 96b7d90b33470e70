"""Read the detail records of one type page by page: build the query of each page, and decide when to stop.

The list grows while it is read, so the page number alone is not reliable. Each query starts at the time of the last
record seen; a record that comes twice is known to the ledger. The end is fixed at the start, so reading ends even if
the list grows as fast as it is read. Example with 3 records per page: after a page with the times 10, 11, 12 comes a
query from 12 on. If all its records have the time 12, page 2 of the same query follows.
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
"""Pages of one poll: 100,000 records. The next poll continues there."""
YEAR_2000 = 946_684_800.0
"""No record is older, and a query for an earlier time is not needed."""


class _Page(Struct):
    data: tuple[Raw, ...]


_PAGES = msgspec.json.Decoder(_Page)
_RECORDS = msgspec.json.Decoder(dict[str, Any], float_hook=read_decimal)


class RecordPages:
    """The pages from `since` to `until` (seconds since the epoch), sorted by one of the kind's time fields."""

    def __init__(self, account: str, kind: RecordKind, field: str, since: float, until: float) -> None:
        self._account = account
        self._kind = kind
        self._field = field
        from_ = datetime.fromtimestamp(max(since, YEAR_2000), UTC)
        self._from = from_.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._page = 1
        self._pages = 0
        self._until = until
        self.reached = since
        """All records up to this time were read."""
        self.ended = False
        self.unreadable = 0
        """The number of records without a readable id."""

    def params(self) -> Mapping[str, str]:
        """Return the query of the next page."""
        return {
            "filter[record_type]": self._kind.name,
            f"filter[{self._field}][gte]": self._from,
            "sort": self._field,
            "page[number]": str(self._page),
            "page[size]": str(PAGE_SIZE),
        }

    def read(self, body: bytes) -> list[DetailRecord]:
        """Return the records of the page, and move on to the next page; raises TreeError if it is no page."""
        try:
            rows = _PAGES.decode(body).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TreeError("malformed", f"the answer is no page of detail records: {error}") from None
        records = list(_readable(rows))
        found = [self._kind.read(self._account, record, self._field) for record in records]
        self.unreadable += len(rows) - sum(record is not None for record in found)
        times = [written for record in records if (written := self._kind.time(record, self._field)) is not None]
        last = max(times, key=_seconds, default=self._from)
        self._pages += 1
        if len(rows) < PAGE_SIZE or _seconds(last) > self._until:
            self.reached, self.ended = self._until, True
        elif _seconds(last) > _seconds(self._from):
            self._from, self._page, self.reached = last, 1, _seconds(last)
        else:  # the whole page has one time
            self._page += 1
        self.ended |= self._pages >= PAGES_MAX
        return [record for record in found if record is not None]


def _readable(rows: tuple[Raw, ...]) -> Iterator[dict[str, Any]]:
    for row in rows:
        try:
            yield _RECORDS.decode(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue  # counted as unreadable


def _seconds(written: str) -> float:
    at = read_time(written)
    assert at is not None, "only readable times get here"
    return at
