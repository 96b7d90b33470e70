"""The query parameters of the session endpoint: names, values and defaults.

They are read more strictly than by the real API: an unknown parameter, or one given twice, is an error, so that a
client's mistake is noticed here first.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from msgspec import Struct

from simulator.errors import BAD_PARAMETER, NOT_FOUND, ApiError
from simulator.tree import View

DAYS_APART_MAX = 1
"""How far `date_time` may be from the day on which the session began."""


class TreeQuery(Struct, frozen=True):
    view: View
    day: date | None
    """The day, in UTC, that `date_time` narrows the search to."""


def read(parameters: Sequence[tuple[str, str]]) -> TreeQuery:
    """Parse a URL's parameters; raise ApiError if one of them is wrong."""
    values: dict[str, Any] = {}
    for name, text in parameters:
        if name not in _READERS or name in values:
            raise ApiError(BAD_PARAMETER, f"{name}: unknown, or given twice")
        try:
            values[name] = _READERS[name](text)
        except (KeyError, ValueError, OverflowError) as error:
            raise ApiError(BAD_PARAMETER, f"{name}: {text!r} is not valid") from error
    day = values.pop("date_time", None)
    return TreeQuery(View(**values), day)


def check_day(query: TreeQuery, begun: float) -> None:
    """Raise ApiError 404, as if there were no such event, if the session started on another day."""
    if query.day is None:
        return
    if abs(query.day - datetime.fromtimestamp(begun, UTC).date()) > timedelta(days=DAYS_APART_MAX):
        raise ApiError(NOT_FOUND, "no such event at this date_time")


def _day(text: str) -> date:
    time = datetime.fromisoformat(text)
    return (time.astimezone(UTC) if time.tzinfo else time).date()


_READERS: Mapping[str, Callable[[str], Any]] = {
    "include_children": {"true": True, "false": False}.__getitem__,
    "max_depth": {str(depth): depth for depth in range(1, 6)}.__getitem__,
    "expand": {"record": True, "none": False}.__getitem__,
    "date_time": _day,
}
