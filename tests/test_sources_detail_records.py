"""Detail records: each session that has one is found, however late it appears and however the list moves."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.config import Config, DetailRecords, Dialect, Discovery
from exporter.errors import TreeError
from exporter.model import SessionRef
from exporter.simulator import Running
from exporter.sources.dialect import KINDS, Kind, kinds
from exporter.sources.listing import PAGE_SIZE, Listing
from tests.exporting import Exporting, config

HOUR = 3600.0
CALLS = KINDS["call-control"]


def written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class Listed:
    """A list as the API keeps it: ordered by time, and changing between two pages if a test wants."""

    def __init__(self, times: list[float]) -> None:
        self.records = [(at, f"c{place}") for place, at in enumerate(times)]
        self.asked = 0

    def page(self, params: Mapping[str, str]) -> bytes:
        self.asked += 1
        since = datetime.fromisoformat(params["filter[started_at][gte]"]).timestamp()
        found = sorted(record for record in self.records if record[0] >= since)
        size, number = int(params["page[size]"]), int(params["page[number]"])
        shown = found[(number - 1) * size : number * size]
        data = [{"id": name, "started_at": written(at), "cost": "0.1", "currency": "USD"} for at, name in shown]
        return json.dumps({"data": data, "meta": {"page_number": number}}).encode()


def read_all(listed: Listed, since: float, until: float) -> list[str]:
    listing, found = Listing("main", CALLS, "started_at", since, until), []
    while not listing.ended:
        found += [record.id for record in listing.take(listed.page(listing.params()))]
    return found


NOON = 1_773_748_800.0


@given(st.lists(st.integers(0, 40), max_size=260), st.randoms(use_true_random=False))
def test_nothing_is_skipped_while_the_list_moves(offsets: list[int], random: Any) -> None:
    """Records that come and go between two pages shift the others: every one that stays is read, and the look ends."""
    listed = Listed([NOON + offset for offset in offsets])
    staying = {name for _, name in listed.records}
    listing, found = Listing("main", CALLS, "started_at", NOON, NOON + 100), set()
    while not listing.ended:
        found |= {record.id for record in listing.take(listed.page(listing.params()))}
        for _ in range(random.randint(0, 3)):
            listed.records.append((NOON + random.randint(0, 40), f"new{random.random()}"))
    assert staying <= found


def test_a_list_that_grows_as_it_is_read_comes_to_an_end() -> None:
    """A look ends at the time when it began; what is newer is for the next one."""
    listed = Listed([NOON + place for place in range(PAGE_SIZE)])
    listing = Listing("main", CALLS, "started_at", NOON, NOON + 1000)
    while not listing.ended:
        listing.take(listed.page(listing.params()))
        last = max(listed.records)[0]
        listed.records += [(last + place + 1, f"more{last}{place}") for place in range(PAGE_SIZE)]
    assert listed.asked < 1000 / PAGE_SIZE + 2


def test_many_records_of_one_moment_are_paged_through() -> None:
    """A whole page of one time is followed by its next page, not by itself."""
    names = read_all(Listed([NOON] * 120 + [NOON + 5]), NOON, NOON + 10)
    assert len(set(names)) == 121


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": [', b"\xff", b"[" * 100_000])
def test_what_is_no_page_fails_the_look(body: bytes) -> None:
    with pytest.raises(TreeError):
        Listing("main", CALLS, "started_at", NOON, NOON).take(body)


def test_a_bad_record_costs_only_itself() -> None:
    """Whatever a record is, the others of its page are read."""
    odd = [1, None, [], {}, {"id": 5}, {"id": ""}, {"id": "x" * 500}, {"id": "a\nb"}, {"id": "ok", "cost": "NaN"}]
    listing = Listing("main", CALLS, "started_at", NOON, NOON)
    records = listing.take(json.dumps({"data": odd}).encode())
    assert [(record.id, record.cost, record.currency) for record in records] == [("ok", None, "unknown")]
    assert listing.unreadable == len(odd) - 1


LEADS = {
    ("call-control", "call_session_id"): ("call-session/S", "call-control/R"),
    ("inference", "telnyx_session_id"): ("call-session/S", "inference/R"),
    ("fax", "call_session_id"): ("call-session/S", "fax-api/R"),
    ("conference", "call_session_id"): ("conference/R", None),
    ("messaging", None): ("message/R", None),
    ("wireless", None): ("sim_card_usage/R", None),
    ("something-new", None): ("something-new/R", None),
}


@pytest.mark.parametrize(("said", "expected"), LEADS.items())
def test_what_a_record_leads_to(said: tuple[str, str | None], expected: tuple[str, str | None]) -> None:
    """Records of a call lead to it, and fall back to themselves; the others are sessions of their own."""
    name, field = said
    kind = KINDS.get(name) or Kind(name, name)
    record = {kind.id_fields[0]: "R"} | ({field: "S"} if field else {})
    found = kind.read("main", record, "created_at")
    assert found is not None
    sighting = found.sighting
    fallback = sighting.fallback and f"{sighting.fallback.record_type}/{sighting.fallback.event_id}"
    assert (f"{sighting.ref.record_type}/{sighting.ref.event_id}", fallback) == expected


def test_the_configuration_extends_the_dialect() -> None:
    """A type that this version doesn't know is read as the configuration says; one it knows, otherwise than it does."""
    dialect = (
        Dialect(name="agent", record_type="ai-agent", time_field="began_at", id_field="key", session_field="call"),
        Dialect(name="messaging", id_field="message_id"),
    )
    agent, message = kinds(DetailRecords(record_types=("agent", "messaging"), dialect=dialect))
    found = agent.read("main", {"key": "k", "call": "s", "began_at": "2026-03-17T12:00:00Z"}, agent.time_fields[0])
    assert found is not None
    assert (found.at, found.sighting.ref.event_id) == (NOON, "s")
    assert found.sighting.fallback == SessionRef("main", "ai-agent", "k")
    assert (message.record_type, message.id_fields, message.time_fields[0]) == (
        "message",
        ("message_id",),
        "created_at",
    )


# The running exporter


def discovering(simulated: Running, folder: Path, **settings: Any) -> Config:
    plain = config(simulated, folder)
    return replace(plain, discovery=Discovery(detail_records=DetailRecords(**settings)))


def found(simulated: Running) -> int:
    return sum(ref.detail_records for ref in simulated.world.refs())


async def live(exporter: Exporting, hours: int) -> None:
    """So many hours in steps of a quarter, each to its end."""
    for _ in range(4 * hours):
        exporter.simulated.clock.step(HOUR / 4)
        await exporter.drained()
