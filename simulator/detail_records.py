"""The list of detail records of the simulated API, and the list of the types' fields.

Only the sessions of a page are generated, unless a filter needs more than times and ids. The list changes while a
client pages through it: a late record shifts all records after it, so some are missed or seen twice.
"""

import math
import random
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from simulator import errors, record_query
from simulator.errors import ApiError
from simulator.gateway import ApiAnswer, ApiGateway
from simulator.record_index import IndexedRecord, RecordIndex
from simulator.record_query import RecordQuery
from simulator.records import LISTABLE_TYPES, Listable
from simulator.settings import SimulatorSettings
from simulator.tree import BASE_PATH
from simulator.world import World

IDENTIFYING = frozenset({"id", "uuid", "call_session_id", "telnyx_session_id", "call_leg_id", "conversation_id"})
"""Fields whose ids contain the number of their session."""

LIES = {"honest": 0, "too high": 3, "too low": -3}
"""What is added to the true total."""


class DetailRecordList:
    """The endpoints over one world and the index of its records."""

    def __init__(self, world: World, index: RecordIndex, gateway: ApiGateway, settings: SimulatorSettings) -> None:
        self._world = world
        self._index = index
        self._gateway = gateway
        self._api = settings.api
        self._shuffler = random.Random(f"{settings.seed}/order")  # noqa: S311 - repeatable, no secrets

    def routes(self) -> list[Route]:
        path = f"{BASE_PATH}/detail_records"
        return [
            Route(path, self._gateway.protected("detail_records", self._list)),
            Route(f"{path}/options", self._gateway.protected("detail_record_options", self._options)),
        ]

    def _list(self, request: Request) -> ApiAnswer:
        now = self._world.now()
        asked = record_query.read(request.query_params.multi_items(), now)
        self._refuse(asked)
        if asked.listable is None or not self._is_present(asked.listable, now):
            if self._api.absent_type == "error":
                raise ApiError(errors.NO_SUCH_RECORDS, f"filter[record_type]: no record of {asked.record_type!r}")
            return ApiAnswer(None, lambda: self._stated([], 0, asked))
        listable = asked.listable
        timeless = asked.bounds and listable.name in self._api.untimed_types
        if unknown := [*asked.unknown_fields, *(["a time"] if timeless else [])]:
            if self._api.unknown_field == "error":
                raise ApiError(errors.BAD_PARAMETER, f"{listable.name} has no field {unknown[0]!r}")
            return ApiAnswer(None, lambda: self._stated([], 0, asked))
        return ApiAnswer(None, lambda: self._page(listable, asked, now))

    def _options(self, _: Request) -> ApiAnswer:
        if not self._api.options:
            raise ApiError(errors.NOT_FOUND, "no such endpoint")
        return ApiAnswer("options", lambda: {"data": [_described(each) for each in LISTABLE_TYPES.values()]})

    def _refuse(self, asked: RecordQuery) -> None:
        status = self._api.refused_types.get(asked.record_type)
        if status is not None:
            kind = errors.FORBIDDEN if status == errors.FORBIDDEN.status else errors.BAD_PARAMETER
            raise ApiError(kind, f"filter[record_type]: {asked.record_type} is refused to this account")

    def _is_present(self, listable: Listable, now: float) -> bool:
        return listable.name not in self._api.absent_types and self._index.knows(listable, now)

    def _page(self, listable: Listable, asked: RecordQuery, now: float) -> dict[str, Any]:
        first = (asked.page_number - 1) * asked.page_size
        page = slice(first, first + asked.page_size)
        entries = self._ordered(listable, asked, list(self._entries(listable, asked, now)))
        if asked.conditions:
            records = [
                record
                for record in self._records(entries, now)
                if all(condition.holds(record) for condition in asked.conditions)
            ]
            return self._stated(records[page], len(records), asked)
        return self._stated(list(self._records(entries[page], now)), len(entries), asked)

    def _stated(self, records: list[dict[str, Any]], total: int, asked: RecordQuery) -> dict[str, Any]:
        meta = {"page_number": asked.page_number, "page_size": asked.page_size}
        if self._api.total_results != "missing":
            total = max(0, total + LIES[self._api.total_results])
            meta |= {"total_pages": -(-total // asked.page_size), "total_results": total}
        return {"data": records, "meta": meta}

    def _ordered(self, listable: Listable, asked: RecordQuery, entries: list[IndexedRecord]) -> list[IndexedRecord]:
        honoured = self._api.sort == "honoured"
        place = listable.times.index(asked.sort) if honoured and asked.sort else 0
        entries.sort(
            key=lambda entry: (_sortable(entry.times[place]), entry.number, entry.event_index),
            reverse=asked.descending or not honoured,
        )
        if self._api.sort == "shuffled":
            self._shuffler.shuffle(entries)
        return entries

    def _entries(self, listable: Listable, asked: RecordQuery, now: float) -> Iterator[IndexedRecord]:
        numbers = set(self._numbers(asked))
        for entry in self._index.matching(listable, asked.bounds, now):
            if not numbers or entry.number in numbers:
                yield entry

    def _numbers(self, asked: RecordQuery) -> Iterator[int]:
        """Yield the numbers of the sessions that the ids in the query belong to; none if it has no ids."""
        for condition in asked.conditions:
            if condition.field in IDENTIFYING and condition.comparison == "eq":
                with suppress(ValueError):
                    yield self._world.number_of(uuid.UUID(condition.value))

    def _records(self, entries: list[IndexedRecord], now: float) -> Iterator[dict[str, Any]]:
        for entry in entries:
            event = self._world.session(entry.number).events[entry.event_index]
            step = event.step_at(now)
            assert step is not None, "a record appears no sooner than its event"
            yield dict(event.record_at(step))


def _sortable(time: float) -> float:
    return -math.inf if math.isnan(time) else time


def _described(listable: Listable) -> dict[str, Any]:
    names = [*listable.times, *sorted((listable.fields or frozenset()) - {*listable.times})]
    fields = [{"name": name, "type": "datetime" if name in listable.times else "string"} for name in names]
    return {"record_type": listable.name, "fields": fields}
