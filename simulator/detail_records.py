"""The list of detail records of the simulated API.

Only the sessions of a page are generated, unless a filter needs more than times and ids. The list changes while a
client pages through it: a late record shifts all records after it, so some are missed or seen twice.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from simulator import record_query
from simulator.gateway import ApiAnswer, ApiGateway
from simulator.record_index import IndexedRecord, RecordIndex
from simulator.record_query import RecordQuery
from simulator.tree import BASE_PATH
from simulator.world import World

IDENTIFYING = frozenset({"id", "uuid", "call_session_id", "telnyx_session_id", "call_leg_id", "conversation_id"})
"""Fields whose ids contain the number of their session."""


class DetailRecordList:
    """The endpoint over one world and the index of its records."""

    def __init__(self, world: World, index: RecordIndex, gateway: ApiGateway) -> None:
        self._world = world
        self._index = index
        self._gateway = gateway

    def routes(self) -> list[Route]:
        return [Route(f"{BASE_PATH}/detail_records", self._gateway.protected(self._list, with_title=True))]

    def _list(self, request: Request) -> ApiAnswer:
        now = self._world.now()
        asked = record_query.read(request.query_params.multi_items(), now)
        return ApiAnswer(None, lambda: self._page(asked, now))

    def _page(self, asked: RecordQuery, now: float) -> dict[str, Any]:
        first = (asked.page_number - 1) * asked.page_size
        page = slice(first, first + asked.page_size)
        entries = list(self._entries(asked, now))
        if asked.conditions or not asked.by_time:
            records = [record for record in self._records(asked, entries, now) if _passes(asked, record)]
            records.sort(key=itemgetter(asked.sort), reverse=asked.descending)
            total, shown = len(records), records[page]
        else:
            total, shown = (
                len(entries),
                list(self._records(asked, entries[:: -1 if asked.descending else 1][page], now)),
            )
        return {
            "data": shown,
            "meta": {
                "total_pages": -(-total // asked.page_size),
                "total_results": total,
                "page_number": asked.page_number,
                "page_size": asked.page_size,
            },
        }

    def _entries(self, asked: RecordQuery, now: float) -> Iterator[IndexedRecord]:
        numbers = set(self._numbers(asked))
        for entry in self._index.between(asked.listable.record_type, asked.bounds, now):
            if not numbers or entry.number in numbers:
                yield entry

    def _numbers(self, asked: RecordQuery) -> Iterator[int]:
        """Yield the numbers of the sessions that the ids in the query belong to; none if it has no ids."""
        for condition in asked.conditions:
            if condition.field in IDENTIFYING and condition.comparison == "eq":
                with suppress(ValueError):
                    yield self._world.number_of(uuid.UUID(str(condition.value)))

    def _records(self, asked: RecordQuery, entries: list[IndexedRecord], now: float) -> Iterator[dict[str, Any]]:
        for entry in entries:
            event = self._world.session(entry.number).events[entry.event_index]
            step = event.step_at(now)
            assert step is not None, "a record appears no sooner than its event"
            yield asked.listable.record(event, step)


def _passes(asked: RecordQuery, record: dict[str, Any]) -> bool:
    return all(condition.holds(record) for condition in asked.conditions)
