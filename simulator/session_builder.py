"""Build a session: add events below each other, and give each its id, bill and record.

The rules here hold for all events; `shapes` decides which events there are. Bills come late: an event is rated minutes
to hours after it ended, no tree shows it before, and no event exists before its parent.
"""

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from simulator.behaviour import ApiBehaviour
from simulator.events import SimulatedEvent, SimulatedSession, Step, naming
from simulator.record_shapes import amount_text, record_of
from simulator.tariffs import MINUTES, TARIFFS, Tariff

DELAY_SECONDS_MIN, DELAY_SECONDS_MEDIAN, DELAY_SECONDS_MAX = 60.0, 1200.0, 21_600.0
"""From an event's end to its rating: mostly 10 to 60 minutes, sometimes hours."""

GROUPING_DELAY = 0.1
"""The delay of events that only group others, as a share of the usual delay."""

_PLAIN_IDS = 1000
"""Ids of conversations, legs and profiles, which are not events, are made from indexes from here on."""


class SessionBuilder:
    """Collects events, parents before children; `finish` returns the session."""

    def __init__(
        self,
        begun: float,
        make_id: Callable[[int], str],
        rng: random.Random,
        *,
        currency: str = "USD",
        delay_scale: float = 1.0,
        api: ApiBehaviour,
    ) -> None:
        self.api = api
        self.rng = rng
        self.shared: dict[str, object] = {}
        """Fields of the records of all events added from now on."""
        self._begun = begun
        self._make_id = make_id
        self._currency = currency
        self._delay_scale = delay_scale
        self._events: list[SimulatedEvent] = []
        self._children: list[list[int]] = []
        self._roots: list[int] = []
        self._plain_ids = _PLAIN_IDS

    def add(
        self,
        record_type: str,
        *parents: int,
        at: float = 0.0,
        seconds: int = 0,
        units: int | None = None,
        cost: Decimal | None = None,
        event_id: str | None = None,
        record: Mapping[str, object] | None = None,
        bundled: bool = False,
    ) -> int:
        """Add an event that began `at` seconds into the session and took `seconds`; a root if it has no parents.

        It is billed by its tariff for `units`, or for its minutes, or at `cost`; never, if it is bundled. Returns its
        index.
        """
        index = len(self._events)
        event_id = event_id or self._make_id(index)
        tariff = TARIFFS[record_type]
        units = tariff.units(seconds) if units is None else units
        began, ended = self._begun + at, self._begun + at + seconds
        times = dict.fromkeys(tariff.began, iso(began)) | dict.fromkeys(tariff.ended, iso(ended))
        facts = {
            "id": event_id,
            "rate": amount_text(record_type, tariff.rate),
            "rate_measured_in": tariff.measured_in,
            "currency": self._currency,
            **times,
            **_durations(tariff, seconds, units),
            **self.shared,
            **(record or {}),
        }
        rated = max([ended + self._delay(tariff), *(self._events[parent].exists_from for parent in parents[:1])])
        price = tariff.rate * units if cost is None else cost
        product, event_name = self._naming(record_type, event_id)
        self._events.append(
            SimulatedEvent(
                event_id,
                record_type,
                product,
                event_name,
                bill=(Step(rated, None if bundled else price, self._currency),),
                record=record_of(record_type, facts, bundled=bundled, named=self.api.inference_names_session),
                facts=facts,
                began=began,
                ended=ended,
                bundled=bundled,
                unpriced_as="no cost" if bundled and int(event_id[0], 16) % 2 else "null",
            )
        )
        self._children.append([])
        for parent in parents:
            self._children[parent].append(index)
        if not parents:
            self._roots.append(index)
        return index

    def id_of(self, index: int) -> str:
        return self._events[index].id

    def happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    def plain_id(self) -> str:
        """Return an id for something that is not an event, such as a conversation."""
        self._plain_ids += 1
        return self._make_id(self._plain_ids)

    def finish(self) -> SimulatedSession:
        return SimulatedSession(
            begun=self._begun,
            currency=self._currency,
            events=tuple(self._events),
            children=tuple(map(tuple, self._children)),
            roots=tuple(self._roots),
        )

    def _naming(self, record_type: str, event_id: str) -> tuple[str, str]:
        """Return product and event name; that of an LLM turn has two forms."""
        product, event_name = naming(record_type)
        said = self.api.inference_event_name
        if record_type != "inference" or said == "inference" or (said == "mixed" and int(event_id[-1], 16) % 2):
            return product, event_name
        return product, "inference-event"

    def _delay(self, tariff: Tariff) -> float:
        drawn = self.rng.lognormvariate(math.log(DELAY_SECONDS_MEDIAN), 1.0)
        delay = min(max(drawn, DELAY_SECONDS_MIN), DELAY_SECONDS_MAX) * self._delay_scale
        return delay * GROUPING_DELAY if tariff.groups else delay


def iso(time: float) -> str:
    """Return a time as records write it: to the second."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")[:-6] + "Z"


def _durations(tariff: Tariff, seconds: int, units: int) -> dict[str, int]:
    billed = units * 60 if tariff.measured_in == MINUTES else seconds
    return {name: billed if name.startswith("billed") else seconds for name in tariff.durations}
