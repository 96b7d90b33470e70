"""The list of detail records: parameters, filters, pages, and the delay of records."""

import json
import time
import uuid
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from simulator import DOCUMENTED_ID, MIXED, WORLD_A, WORLD_B, Bills, Faults
from simulator.records import LISTABLE_TYPES
from tests.simulator.test_api import Api

DAY = 86_400.0
PATH = "/v2/detail_records"

SPOKEN_AS = {
    "fax": "fax-api",
    "messaging": "message",
    "stt": "speech-to-text",
    "tts": "text-to-speech",
    "wireless": "sim_card_usage",
}
"""Type names of the list that differ from those of Session Analysis."""

PLENTY = {"detail_records": 10**6, "session": 10**6}
MANY: dict[str, Any] = {"sessions_per_hour": 3600.0, "sessions_max": 400, "seed": 8, "quotas": PLENTY, "api": WORLD_B}


def asked(record_type: str, **filters: str) -> dict[str, str]:
    """Return query parameters: `at__gte` becomes filter[at][gte]; `sort` and `page_size` are kept."""
    names = {"sort": "sort", "page_size": "page[size]", "page_number": "page[number]"}
    brackets = {name: "filter[" + name.replace("__", "][") + "]" for name in filters}
    return {"filter[record_type]": record_type} | {names.get(n, brackets[n]): value for n, value in filters.items()}


def page(api: Api, record_type: str, **filters: str) -> Any:
    return api.json(PATH, **asked(record_type, **filters))


def listed(api: Api, record_type: str, **filters: str) -> list[dict[str, Any]]:
    """Return the records of all pages in order."""
    found: list[dict[str, Any]] = []
    number = 1
    while True:
        answer = page(api, record_type, page_size="50", page_number=str(number), **filters)
        found += answer["data"]
        if number >= answer["meta"]["total_pages"]:
            return found
        number += 1


def everything(api: Api) -> dict[str, list[dict[str, Any]]]:
    return {name: listed(api, name) for name in LISTABLE_TYPES}


def nodes(api: Api) -> dict[tuple[str, str], tuple[dict[str, Any], str | None]]:
    """Return every event of every tree by record type and id, with its call."""
    found: dict[tuple[str, str], tuple[dict[str, Any], str | None]] = {}
    for ref in api.json("/_sessions"):
        answer = api.get(f"/v2/session_analysis/{ref['record_type']}/{ref['event_id']}", params={"max_depth": "5"})
        if answer.status_code == 404:
            continue
        waiting = [(answer.json()["root"], None)]
        while waiting:
            node, call = waiting.pop()
            name = node["links"]["records"].partition("record_type=")[2].partition("&")[0]
            call = node["id"] if name == "call-session" else call
            if call or (name, node["id"]) not in found:  # a participant lies below a conference as well
                found[name, node["id"]] = node, call
            if not node["children"] and node["cost"] and float(node["cost"]["cumulative_cost"]) > 0:
                path = f"/v2/session_analysis/{name}/{node['id']}"
                node = api.json(path, max_depth="5")["root"]
            waiting += [(child, call) for child in node["children"]]
    return found


def call_of(record: dict[str, Any]) -> str | None:
    """Return the call that a record names, by the one or the other field."""
    names = {record[field] for field in ("call_session_id", "telnyx_session_id") if record.get(field)}
    assert len(names) <= 1
    return names.pop() if names else None


def time_of(name: str, record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record[LISTABLE_TYPES[name].times[0]]).timestamp()


def settled_in(**chosen: Any) -> Api:
    """Return a world in which all events have happened and all bills are final."""
    api = Api(**MANY | chosen)
    api.command(action="step", seconds=3 * DAY)
    return api


@pytest.fixture(scope="module")
def settled() -> Api:
    """As the SDK describes the API: most tests need the order that they ask for."""
    return settled_in()


@pytest.mark.slow
def test_every_event_of_a_listable_type_has_one_record(settled: Api) -> None:
    """The records are those of the nodes of all trees, with time, cost and currency."""
    seen = nodes(settled)
    records = everything(settled)
    for name, of_type in records.items():
        record_type = SPOKEN_AS.get(name, name)
        id_field = "uuid" if name == "messaging" else "id"
        by_id = {record[id_field]: record for record in of_type}
        assert len(by_id) == len(of_type) > 0 or name == "siprec-client"
        assert by_id.keys() == {event_id for seen_type, event_id in seen if seen_type == record_type}
        for event_id, record in by_id.items():
            node, call = seen[record_type, event_id]
            assert record == node["record"]
            cost = record.get({"verify": "verify_usage_fee", "wireless": "data_cost"}.get(name, "cost"), 0)
            assert Decimal(str(cost)) == Decimal(node["cost"]["event_cost"])
            assert record.get("currency", "USD") == node["cost"]["currency"]
            assert time_of(name, record) > 0
            assert call_of(record) in {call, None}
    assert DOCUMENTED_ID in {
        record["call_session_id"] for record in records["inference"] if "call_session_id" in record
    }


def test_the_sessions_say_whether_a_record_leads_to_them(settled: Api) -> None:
    """Call session ids of calls, and types and ids of other records, name exactly the sessions flagged so."""
    led_to = set()
    for name, of_type in everything(settled).items():
        for record in of_type:
            call = call_of(record)
            led_to.add(
                ("call-session", call) if call else (SPOKEN_AS.get(name, name), record.get("uuid", record.get("id")))
            )
    refs = settled.json("/_sessions")
    for ref in refs:
        assert ref["detail_records"] is ((ref["record_type"], ref["event_id"]) in led_to)
    assert {ref["record_type"] for ref in refs if not ref["detail_records"]} == {
        *("room-session-event", "summarization", "branded-calling", "customer-service-record"),
    }


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "filter[record_type]"),
        (asked("amd", page_size="0"), "page[size]"),
        (asked("amd", page_number="0"), "page[number]"),
        (asked("amd", page_number="two"), "page[number]"),
        (asked("amd", invoked_at__gte="noon"), "filter[invoked_at][gte]"),
        (asked("amd", invoked_at__contains="2026"), "filter[invoked_at][contains]"),
        (asked("amd", tags__gte="a"), "filter[tags][gte]"),
        (asked("amd", date_range="last_year"), "filter[date_range]"),
        ({**asked("amd"), "limit": "5"}, "limit"),
    ],
)
def test_what_is_wrong_is_refused_with_a_title(settled: Api, parameters: dict[str, str], says: str) -> None:
    """400 names the parameter; the list's errors have a title, not the message of Session Analysis."""
    answer = settled.get(PATH, params=parameters)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error.keys() == {"code", "title", "detail"}
    assert error["detail"].startswith(says)


def test_only_the_key_opens_the_list(settled: Api) -> None:
    """401 with a title, and the headers that count requests."""
    answer = settled.get(PATH, params=asked("amd"), headers={"authorization": "Bearer KEY-other"})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["title"] == "Authentication failed"
    assert "x-ratelimit-remaining" in answer.headers


def test_faults_and_limits_are_the_api_s() -> None:
    """Faults of other answers affect the list and the balance too; each endpoint has a quota of its own."""
    faulty = Api(faults=Faults(error_share=1.0, kinds=("503",)))
    assert {faulty.get(path, params=asked("amd")).status_code for path in (PATH, "/v2/balance")} == {503}
    limited = Api(quotas={"detail_records": 1, "balance": 2})
    paths = (PATH, "/v2/balance", PATH, "/v2/balance", "/v2/balance")
    assert [limited.get(path, params=asked("amd")).status_code for path in paths] == [200, 200, 429, 200, 429]


def test_the_measured_quota_is_forty_lists_a_minute() -> None:
    """Each answer has the limit with its window, what is left, and the seconds to the end of the minute."""
    api = Api()
    api.seconds = 48.0
    answer = api.get(PATH, params=asked("amd"))
    headers = {name: answer.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset")}
    assert headers == {"limit": "40, 40;w=60", "remaining": "39", "reset": "12"}


def test_a_page_has_twenty_records_at_most_fifty_and_is_compressed(settled: Api) -> None:
    """Pages follow each other without a gap; meta says how many there are; a page behind the last is empty.

    A size above 50 is not refused: meta says that it is 50.
    """
    answer = settled.get(PATH, params=asked("inference"), headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    first = answer.json()
    assert len(first["data"]) == first["meta"]["page_size"] == 20
    second = page(settled, "inference", page_number="2")
    both = page(settled, "inference", page_size="40")
    assert first["data"] + second["data"] == both["data"]
    meta = both["meta"]
    assert meta == {
        "total_pages": -(-meta["total_results"] // 40),
        "total_results": len(listed(settled, "inference")),
        "page_number": 1,
        "page_size": 40,
    }
    assert page(settled, "inference", page_number="9999")["data"] == []
    large = page(settled, "inference", page_size="200")
    assert len(large["data"]) == large["meta"]["page_size"] == 50


def test_the_list_is_in_order_of_time_either_way(settled: Api) -> None:
    """Where it is honoured: `sort` by a time field, up or down; newest first without it."""
    up = listed(settled, "call-control", sort="started_at")
    assert all(left["started_at"] <= right["started_at"] for left, right in pairwise(up))
    assert listed(settled, "call-control", sort="-started_at") == up[::-1]
    assert listed(settled, "call-control") == up[::-1]
    ended = listed(settled, "call-control", sort="-finished_at")
    assert all(left["finished_at"] >= right["finished_at"] for left, right in pairwise(ended))
    assert len(ended) == len(up)


def test_a_measured_list_is_newest_first_whatever_is_asked() -> None:
    """In world A all orders are one."""
    api = settled_in(api=WORLD_A)
    down = listed(api, "call-control")
    assert [record["started_at"] for record in down] == sorted((r["started_at"] for r in down), reverse=True)
    assert listed(api, "call-control", sort="started_at") == listed(api, "call-control", sort="-finished_at") == down


def test_a_shuffled_list_has_another_order_in_each_answer() -> None:
    """The records are the same; a client that pages sees some twice and others never."""
    api = settled_in(api=MIXED)
    pages = [page(api, "call-control", page_size="50", sort="started_at") for _ in range(3)]
    assert len({json.dumps(answer["data"]) for answer in pages}) == 3
    every = {record["id"] for record in listed(settled_in(), "call-control")}
    seen = [record["id"] for record in listed(api, "call-control")]
    assert set(seen) < every
    assert len(seen) == len(every)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("call-control", {"created_at__gte": "2026-03-17"}),
        ("call-control", {"sort": "-created_at"}),
        ("ai-voice-assistant", {"started_at__gte": "2026-03-17"}),
        ("stt", {"started_at__lt": "2036-03-17"}),
        ("messaging", {"profile": "x"}),
    ],
)
def test_a_field_that_the_type_lacks(settled: Api, name: str, fields: dict[str, str]) -> None:
    """In world A there are no such records; in world B it is a 400."""
    answer = settled.get(PATH, params=asked(name, **fields))
    assert (answer.status_code, "has no field" in answer.text) == (400, True)
    measured = settled_in(api=WORLD_A)
    assert page(measured, name)["data"]
    assert page(measured, name, **fields) == {
        "data": [],
        "meta": {"total_pages": 0, "total_results": 0, "page_number": 1, "page_size": 20},
    }


@pytest.mark.parametrize("name", ["call-session", "message", "speech-to-text", "amd"])
def test_a_type_that_the_account_lacks(name: str) -> None:
    """In world A there are no such records; in world B it is a 400. A type without any record is such a type."""
    measured = settled_in(api=replace(WORLD_A, absent_types=("amd",)))
    assert page(measured, name)["meta"]["total_results"] == 0
    described = Api(**MANY)
    answer = described.get(PATH, params=asked(name))
    assert (answer.status_code, answer.json()["errors"][0]["title"]) == (400, "No matching record type was found")


def test_a_refused_type_refuses_no_other() -> None:
    """400 or 403, as the behaviour says, with the API's code."""
    api = settled_in(api=replace(WORLD_A, refused_types={"amd": 400, "stt": 403}))
    for name, status, code in (("amd", 400, "10015"), ("stt", 403, "10010")):
        answer = api.get(PATH, params=asked(name))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert page(api, "call-control")["data"]


def test_totals_can_lie_or_be_missing() -> None:
    """The records are the same, only meta differs."""
    honest = page(settled_in(api=WORLD_A), "call-control")
    total = honest["meta"]["total_results"]
    for behaviour, stated in (("too high", total + 3), ("too low", total - 3), ("missing", None)):
        answer = page(settled_in(api=replace(WORLD_A, total_results=behaviour)), "call-control")
        assert answer["data"] == honest["data"]
        assert answer["meta"].get("total_results") == stated
        assert ("total_pages" in answer["meta"]) is (stated is not None)


def test_the_options_list_the_fields_of_each_type_or_are_absent(settled: Api) -> None:
    """Nothing but its path is documented; in world A it is a 404."""
    options = {each["record_type"]: each["fields"] for each in settled.json(f"{PATH}/options")["data"]}
    assert options.keys() == LISTABLE_TYPES.keys()
    assert {"name": "finished_at", "type": "datetime"} in options["call-control"]
    assert Api().get(f"{PATH}/options").status_code == 404


@pytest.mark.parametrize("name", ["call-control", "messaging", "amd", "conference-participant", "stt"])
def test_times_are_compared_with_the_event_s_own(settled: Api, name: str) -> None:
    """Each comparison keeps what it says; a bound that is a record's own time is exact."""
    for field in LISTABLE_TYPES[name].times:
        every = [record for record in listed(settled, name, sort=field) if record[field] is not None]
        middle = every[len(every) // 2][field]
        parts = {
            key: listed(settled, name, sort=field, **{f"{field}__{key}": middle})
            for key in ("gte", "gt", "lte", "lt", "eq")
        }
        assert parts["lt"] + parts["gte"] == parts["lte"] + parts["gt"] == every
        assert parts["lt"] + parts["eq"] == parts["lte"]
        assert listed(settled, name, sort=field, **{field: middle}) == parts["eq"] != []
        assert listed(settled, name, **{f"{field}__gte": middle, f"{field}__lt": middle}) == []


def test_texts_are_compared_as_texts(settled: Api) -> None:
    """Filters compare a field for contains, prefix, suffix or equality; a record without the field doesn't match."""
    every = listed(settled, "call-control")
    for key, keeps in (
        ("connection_name", lambda name: name == "support-line"),
        ("connection_name__contains", lambda name: "e" in name),
        ("connection_name__starts_with", lambda name: name.startswith("s")),
        ("connection_name__ends_with", lambda name: name.endswith("line")),
    ):
        wanted = {"": "support-line", "contains": "e", "starts_with": "s", "ends_with": "line"}[key.partition("__")[2]]
        assert listed(settled, "call-control", **{key: wanted}) == [r for r in every if keeps(r["connection_name"])]
    assert listed(settled, "call-control", connection_name="nobody") == []


def test_the_records_of_one_call_are_found_by_its_id(settled: Api) -> None:
    """An id narrows the search to one session; an unknown id finds nothing."""
    turns = listed(settled, "inference", call_session_id=DOCUMENTED_ID, sort="created_at")
    assert [turn["cost"] for turn in turns] == ["0.0010", "0.0015", "0.0029", "0.0033", "0.0034"]
    assert listed(settled, "inference", id=turns[2]["id"]) == [turns[2]]
    assert listed(settled, "inference", call_session_id=str(uuid.UUID(int=7))) == []
    assert listed(settled, "inference", call_session_id="unknown") == []


def test_ranges_of_days_are_of_session_time() -> None:
    """Today, yesterday and the last days are counted from midnight UTC of the simulated day."""
    api = Api(sessions_per_hour=8.0, history_seconds=5 * DAY, seed=2, api=WORLD_B)
    api.command(action="step", seconds=6 * 3600.0)
    every = listed(api, "messaging")
    today = {day: listed(api, "messaging", date_range=day) for day in ("today", "yesterday", "last_2_days")}
    assert {record["created_at"][:10] for record in today["today"]} == {"2026-03-17"}
    assert {record["created_at"][:10] for record in today["yesterday"]} == {"2026-03-16"}
    assert today["last_2_days"] == [record for record in every if record["created_at"] >= "2026-03-15"]
    assert len(today["last_2_days"]) < len(every) == len(listed(api, "messaging", date_range="last_30_days"))


@pytest.mark.slow
def test_records_appear_up_to_so_much_late_and_out_of_order() -> None:
    """A record appears within its delay after the event is in the tree, maybe out of order; the seed decides."""
    late, prompt = (Api(**MANY, detail_records_late_seconds=seconds) for seconds in (7200.0, 0.0))
    exist: dict[str, int] = {}
    appear: dict[str, int] = {}
    for step in range(60):
        for api, first in ((late, appear), (prompt, exist)):
            api.command(action="step", seconds=600.0)
            for record in listed(api, "call-control"):
                first.setdefault(record["id"], step)
    assert appear.keys() == exist.keys()
    assert all(0 <= appear[each] - exist[each] <= 12 for each in exist)
    assert any(appear[each] - exist[each] >= 6 for each in exist)
    order = [appear[record["id"]] for record in listed(late, "call-control")]
    assert order != sorted(order)
    again = Api(**MANY, detail_records_late_seconds=7200.0)
    again.command(action="step", seconds=3 * 3600.0)
    in_time = {each for each, step in appear.items() if step < 18}
    assert {record["id"] for record in listed(again, "call-control")} == in_time


def test_what_has_no_price_costs_null_and_what_vanished_is_gone() -> None:
    """Records follow the bill: null before the first price, another amount later, and no record after the end."""
    api = Api(**MANY, bills=Bills(late_share=0.5, amended_share=0.5, vanished_share=0.5))
    api.command(action="step", seconds=12 * 3600.0)
    before = {record["id"]: record["cost"] for record in listed(api, "inference")}
    api.command(action="step", seconds=20 * DAY)
    after = {record["id"]: record["cost"] for record in listed(api, "inference")}
    assert None in before.values()
    assert None not in after.values()
    assert any(cost is not None and after.get(each, cost) != cost for each, cost in before.items())
    assert 0.3 < len(before.keys() - after.keys()) / len(before) < 0.7


def cost_in(record: dict[str, Any]) -> Decimal:
    fields = ("cost", "verify_usage_fee", "data_cost")
    return Decimal(str(next((record[field] for field in fields if record.get(field)), 0)))


def test_the_truth_has_each_listed_record_at_its_highest_cost() -> None:
    """Records that are late, amended, gone or in another currency count once per currency, at the most they cost."""
    bills = Bills(late_share=0.3, amended_share=0.5, vanished_share=0.3, currency_changed_share=0.2)
    api = Api(**MANY | {"sessions_max": 40, "api": replace(WORLD_A, bundled_tts=False)}, bills=bills)
    highest: dict[tuple[str, str], dict[str, Decimal]] = {}
    for _ in range(60):
        api.command(action="step", seconds=1800.0)
        for name, of_type in everything(api).items():
            for record in of_type:
                of_currency = highest.setdefault((name, record.get("currency", "USD")), {})
                record_id = record.get("uuid") or record["id"]
                of_currency[record_id] = max(of_currency.get(record_id, Decimal(0)), cost_in(record))
    truth = {(each["name"], each["currency"]): each for each in api.json("/_truth")["records"]}
    assert truth.keys() == highest.keys()
    for key, records in highest.items():
        assert truth[key]["record_type"] == SPOKEN_AS.get(key[0], key[0])
        assert truth[key]["records"] == len(records)
        assert Decimal(truth[key]["cost"]) == sum(records.values())


@pytest.mark.slow
def test_pages_of_a_large_world_are_cheap() -> None:
    """With 5,000 sessions, a page of the newest records takes a small part of a second."""
    api = Api(sessions_per_hour=3600.0, sessions_max=5000, seed=4)
    api.command(action="step", seconds=2 * DAY)
    api.json("/_truth")  # all have started
    started = time.perf_counter()
    pages = [page(api, "inference", sort="-created_at", page_size="50", page_number=str(n)) for n in range(1, 6)]
    assert time.perf_counter() - started < 5 * 0.5
    assert pages[0]["meta"]["total_results"] > 10_000
