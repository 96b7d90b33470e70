"""The query parameters of the list of detail records.

What a behaviour decides is not decided here: an unknown type or field is noted in the query. Anything else that is
wrong is an error, so that a client's mistake is noticed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from simulator.errors import BAD_PARAMETER, ApiError
from simulator.record_index import COMPARISONS, Bound
from simulator.records import LISTABLE_TYPES, Listable

PAGE_SIZE, PAGE_SIZE_MAX = 20, 50
"""A larger page than the maximum is not refused, but silently as small as the maximum."""

_DAY_SECONDS = 86_400.0

_FILTER = re.compile(r"filter\[(\w+)\](?:\[(\w+)\])?", re.ASCII)
_LAST_DAYS = re.compile(r"last_([1-9]\d{0,3})_days", re.ASCII)

_ON_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "contains": str.__contains__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


class Condition(Struct, frozen=True):
    """A filter on a field that is no time."""

    field: str
    comparison: str
    value: str

    def holds(self, record: Mapping[str, Any]) -> bool:
        value = record.get(self.field)
        return value is not None and _ON_TEXTS[self.comparison](str(value), self.value)


class RecordQuery(Struct, frozen=True):
    record_type: str
    """As the client wrote it."""
    listable: Listable | None
    """None: there is no such type."""
    bounds: tuple[Bound, ...] = ()
    conditions: tuple[Condition, ...] = ()
    sort: str | None = None
    descending: bool = True
    unknown_fields: tuple[str, ...] = ()
    """Fields of filters and of the order that the type doesn't have; only times are known to the order."""
    page_number: int = 1
    page_size: int = PAGE_SIZE


def read(parameters: Sequence[tuple[str, str]], now: float) -> RecordQuery:
    """Parse a URL's parameters; `now` defines `today`. Raise ApiError if one of them is wrong."""
    values = dict(parameters)
    if len(values) < len(parameters):
        raise ApiError(BAD_PARAMETER, "a parameter is given twice")
    name = values.pop("filter[record_type]", "")
    if not name:
        raise ApiError(BAD_PARAMETER, "filter[record_type]: required")
    number = _whole("page[number]", values.pop("page[number]", "1"))
    size = min(_whole("page[size]", values.pop("page[size]", str(PAGE_SIZE))), PAGE_SIZE_MAX)
    listable = LISTABLE_TYPES.get(name)
    if listable is None:
        return RecordQuery(name, None, page_number=number, page_size=size)
    sort = values.pop("sort", None)
    days = list(_range(listable, values.pop("filter[date_range]", None), now))
    filters = [_filter(listable, *item) for item in values.items()]
    unknown = [each.field for each in filters if not listable.has(each.field)]
    if sort and sort.removeprefix("-") not in listable.times:
        unknown.append(sort.removeprefix("-"))
    return RecordQuery(
        name,
        listable,
        bounds=(*days, *(each for each in filters if isinstance(each, Bound))),
        conditions=tuple(each for each in filters if isinstance(each, Condition)),
        sort=sort and sort.removeprefix("-"),
        descending=sort is None or sort.startswith("-"),
        unknown_fields=tuple(unknown),
        page_number=number,
        page_size=size,
    )


def _filter(listable: Listable, name: str, text: str) -> Bound | Condition:
    read = _FILTER.fullmatch(name)
    if read is None:
        raise ApiError(BAD_PARAMETER, f"{name}: unknown")
    field, comparison = read[1], read[2] or "eq"
    timed = field in listable.times
    if comparison not in (COMPARISONS if timed else _ON_TEXTS) and listable.has(field):
        raise ApiError(BAD_PARAMETER, f"{name}: no such comparison for this field")
    if not timed:
        return Condition(field, comparison, text)
    try:
        return Bound(field, comparison, _time(text))
    except (ValueError, OverflowError) as error:
        raise ApiError(BAD_PARAMETER, f"{name}: {text!r} is no ISO 8601 date or time") from error


def _range(listable: Listable, text: str | None, now: float) -> Iterator[Bound]:
    """Yield the bounds of whole days in UTC; the last N days are today and the N days before."""
    if text is None:
        return
    today = now - now % _DAY_SECONDS
    days = _LAST_DAYS.fullmatch(text)
    field = listable.times[0]
    if days:
        yield Bound(field, "gte", today - int(days[1]) * _DAY_SECONDS)
    elif text in {"today", "yesterday"}:
        begins = today if text == "today" else today - _DAY_SECONDS
        yield Bound(field, "gte", begins)
        yield Bound(field, "lt", begins + _DAY_SECONDS)
    else:
        raise ApiError(BAD_PARAMETER, f"filter[date_range]: expected today, yesterday or last_N_days, got {text!r}")


def _whole(name: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1:  # noqa: PLR2004 - longer is no page
        return int(text)
    raise ApiError(BAD_PARAMETER, f"{name}: expected a whole number from 1 on, got {text!r}")


def _time(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
