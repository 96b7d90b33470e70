"""The query parameters of the list of detail records, read as strictly as those of a session.

A time field that the record type doesn't have is an error, as in the real API (a call-control record has `started_at`,
no `created_at`); any other unknown field just matches no record.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from typing import Any

from msgspec import Struct

from simulator.errors import BAD_PARAMETER, BAD_RECORD_TYPE, ApiError
from simulator.record_index import Bound
from simulator.records import LISTABLE_TYPES, Listable

PAGE_SIZE, PAGE_SIZE_MAX = 20, 50

_DAY_SECONDS = 86_400.0

_FILTER = re.compile(r"filter\[(\w+)\](?:\[(\w+)\])?", re.ASCII)
_LAST_DAYS = re.compile(r"last_([1-9]\d{0,3})_days", re.ASCII)

_ON_TIMES: Mapping[str, Callable[[float, float], bool]] = {"gte": ge, "gt": gt, "lte": le, "lt": lt, "eq": eq}
_ON_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "contains": str.__contains__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


class Condition(Struct, frozen=True):
    """A filter on any field but the one by which the list is ordered."""

    field: str
    comparison: str
    value: str | float
    """A number for a field of time."""

    def holds(self, record: Mapping[str, Any]) -> bool:
        value = record.get(self.field)
        if value is None:
            return False
        if isinstance(self.value, float):
            return _ON_TIMES[self.comparison](_time(str(value)), self.value)
        return _ON_TEXTS[self.comparison](str(value), self.value)


class RecordQuery(Struct, frozen=True):
    listable: Listable
    bounds: tuple[Bound, ...]
    """On the time of the event."""
    conditions: tuple[Condition, ...]
    """On its record."""
    sort: str
    descending: bool
    page_number: int
    page_size: int

    @property
    def by_time(self) -> bool:
        return self.sort == self.listable.time_field


def read(parameters: Sequence[tuple[str, str]], now: float) -> RecordQuery:
    """Parse a URL's parameters; `now` defines `today`. Raise ApiError if one of them is wrong."""
    values = dict(parameters)
    if len(values) < len(parameters):
        raise ApiError(BAD_PARAMETER, "a parameter is given twice")
    name = values.pop("filter[record_type]", "")
    if name not in LISTABLE_TYPES:
        raise ApiError(
            BAD_RECORD_TYPE, f"filter[record_type]: expected one of {', '.join(LISTABLE_TYPES)}; got {name!r}"
        )
    listable = LISTABLE_TYPES[name]
    sort = values.pop("sort", listable.time_field)
    if sort.removeprefix("-") not in listable.time_fields:
        raise ApiError(BAD_PARAMETER, f"sort: {name} has no time {sort.removeprefix('-')!r}")
    number = _whole("page[number]", values.pop("page[number]", "1"), 10**9)
    size = _whole("page[size]", values.pop("page[size]", str(PAGE_SIZE)), PAGE_SIZE_MAX)
    bounds: list[Bound] = list(_range(values.pop("filter[date_range]", None), now))
    conditions: list[Condition] = []
    for each in (_condition(listable, *item) for item in values.items()):
        if each.field == listable.time_field:
            bounds.append((each.comparison, float(each.value)))
        else:
            conditions.append(each)
    return RecordQuery(
        listable, tuple(bounds), tuple(conditions), sort.removeprefix("-"), sort.startswith("-"), number, size
    )


def _condition(listable: Listable, name: str, text: str) -> Condition:
    read = _FILTER.fullmatch(name)
    if read is None:
        raise ApiError(BAD_PARAMETER, f"{name}: unknown")
    field, comparison = read[1], read[2] or "eq"
    timed = field.endswith("_at")
    if timed and field not in listable.time_fields:
        raise ApiError(BAD_PARAMETER, f"{name}: {listable.name} has no such time")
    if comparison not in (_ON_TIMES if timed else _ON_TEXTS):
        raise ApiError(BAD_PARAMETER, f"{name}: no such comparison for this field")
    try:
        return Condition(field, comparison, _time(text) if timed else text)
    except (ValueError, OverflowError) as error:
        raise ApiError(BAD_PARAMETER, f"{name}: {text!r} is no ISO 8601 date or time") from error


def _range(text: str | None, now: float) -> Iterator[Bound]:
    """Yield the bounds of whole days in UTC; the last N days are today and the N days before."""
    if text is None:
        return
    today = now - now % _DAY_SECONDS
    days = _LAST_DAYS.fullmatch(text)
    if days:
        yield "gte", today - int(days[1]) * _DAY_SECONDS
    elif text in {"today", "yesterday"}:
        begins = today if text == "today" else today - _DAY_SECONDS
        yield "gte", begins
        yield "lt", begins + _DAY_SECONDS
    else:
        raise ApiError(BAD_PARAMETER, f"filter[date_range]: expected today, yesterday or last_N_days, got {text!r}")


def _whole(name: str, text: str, at_most: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= len(str(at_most)) and 1 <= int(text) <= at_most:
        return int(text)
    raise ApiError(BAD_PARAMETER, f"{name}: expected a whole number from 1 to {at_most}, got {text!r}")


def _time(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
