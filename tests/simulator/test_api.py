"""The simulated API over HTTP: its answers, errors, limits, and control plane."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from exporter.core.record_types import RecordTypes
from simulator import DOCUMENTED_ID, MIXED, WORLD_A, WORLD_B, Bills, Simulator, SimulatorSettings

AUTHORIZED = {"authorization": "Bearer KEY-test", "accept-encoding": "identity"}
DOCUMENTED = f"/v2/session_analysis/call-session/{DOCUMENTED_ID}"

NODE_KEYS = {"id", "product", "event_name", "cost", "links", "record", "children", "relationship"}
TYPE_KEYS = {"record_type", "aliases", "product", "event", "child_relationships", "parent_relationships"}
EDGE_KEYS = {"relationship_type", "via", "cost_rollup", "traversal_enabled", "description"}


class Api:
    """A simulator called in the test's process; its real time is `seconds`."""

    def __init__(self, **chosen: Any) -> None:
        self.seconds = 0.0
        self.headers = dict(AUTHORIZED)
        usual: dict[str, Any] = {"sessions_per_hour": 60.0, "speed": 0.0, "documented_example": True}
        self.simulator = Simulator(SimulatorSettings(**usual | chosen, api_key="KEY-test"), lambda: self.seconds)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.send("GET", path, **options)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.simulator.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=self.headers) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def command(self, **command: object) -> Any:
        return self.send("POST", "/_clock", json=command).json()

    def json(self, path: str, **params: str) -> Any:
        answer = self.get(path, params=params or None)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def api() -> Api:
    return Api()


def test_an_answer_has_every_field_that_is_required(api: Api) -> None:
    """A tree has the fields that the OpenAPI description requires, on every node."""
    answer = api.json(DOCUMENTED, max_depth="5")
    assert answer.keys() == {"session_id", "cost", "root", "meta"}
    assert answer["cost"].keys() == {"total", "currency"}
    assert answer["meta"].keys() == {"event_count", "products"}
    waiting, seen = [answer["root"]], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        assert node.keys() == NODE_KEYS
        assert node["cost"].keys() == {"event_cost", "cumulative_cost", "currency"}
        assert node["links"].keys() == {"self", "records"}
        if node["relationship"] is not None:
            assert node["relationship"].keys() == {"type", "via", "parent_id"}
            assert node["relationship"]["via"].keys() == {"local_field", "parent_field"}
        waiting += node["children"]
    assert seen == 11
    assert answer["root"]["relationship"] is None


def test_the_defaults_are_two_levels_with_records_and_children(api: Api) -> None:
    """An answer without parameters is that of max_depth=2, expand=record, include_children=true."""
    asked = api.json(DOCUMENTED, max_depth="2", expand="record", include_children="true")
    assert api.json(DOCUMENTED) == asked
    assert [len(child["children"]) for child in asked["root"]["children"]] == [0, 0, 0, 0]


def test_records_and_children_can_be_left_out(api: Api) -> None:
    """expand=none empties the records, include_children=false the children; the sums are unchanged."""
    bare = api.json(DOCUMENTED, expand="none", include_children="false")
    assert (bare["root"]["record"], bare["root"]["children"]) == ({}, [])
    assert bare["meta"]["event_count"] == 11
    assert bare["cost"]["total"] == "0.2128"


def test_any_event_can_be_the_root(api: Api) -> None:
    """The link of a node leads to its subtree, which is another session with its own sums."""
    leg = api.json(DOCUMENTED)["root"]["children"][3]
    answer = api.json(leg["links"]["self"], max_depth="5")
    assert answer["session_id"] == leg["id"] != DOCUMENTED_ID
    assert answer["cost"]["total"] == leg["cost"]["cumulative_cost"] == "0.1973"
    assert answer["meta"]["event_count"] == 7
    assert answer["root"]["relationship"] is None


def test_every_link_of_every_node_can_be_followed() -> None:
    """links.self of each event leads to that event, whether it carries the record type or the product."""
    api = Api(seed=3, sessions_per_hour=3600.0, sessions_max=60, rating_delay_scale=0.0)
    api.command(action="step", seconds=100_000)
    followed = set()
    for ref in api.json("/_sessions"):
        waiting = [api.json(f"/v2/session_analysis/{ref['record_type']}/{ref['event_id']}", max_depth="5")["root"]]
        while waiting:
            node = waiting.pop()
            root = api.json(node["links"]["self"], max_depth="1", date_time=ref["date_time"])["root"]
            assert (root["id"], root["event_name"], root["cost"]) == (node["id"], node["event_name"], node["cost"])
            followed.add(node["links"]["self"].split("/")[3])
            waiting += node["children"]
    assert {"call-session", "call-control", "inference", "recording-cdrs", "ai-messaging-assistant"} <= followed


@pytest.mark.parametrize("word", ["call-session", "call_session", "siptrunking-cdrs"])
def test_names_aliases_and_products_lead_to_the_event(api: Api, word: str) -> None:
    """A path may name the event by its record type, an alias, or the product in its link."""
    path = f"/v2/session_analysis/{word}/{DOCUMENTED_ID}"
    assert api.json(path) == api.json(DOCUMENTED)


@pytest.mark.parametrize(
    ("date_time", "status"),
    [
        ("2026-03-17", 200),
        ("2026-03-17T10:00:00Z", 200),
        ("2026-03-16", 200),
        ("2026-03-18T23:59:59.999+00:00", 200),
        ("2026-03-19T01:00:00+02:00", 200),
        ("2026-03-15", 404),
        ("2026-03-19", 404),
        ("2025-03-17", 404),
        ("17.3.2026", 400),
        ("", 400),
        ("2026-03-17T25:00:00Z", 400),
        ("0001-01-01T00:00:00+09:00", 400),
    ],
)
def test_date_time_narrows_to_a_day_and_its_neighbours(api: Api, date_time: str, status: int) -> None:
    """A date of the session's UTC day or an adjacent day finds it; another gives 404, an invalid one 400."""
    assert api.get(DOCUMENTED, params={"date_time": date_time}).status_code == status


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v2/session_analysis/call-sessions/{DOCUMENTED_ID}", 400, "10015"),
        ("/v2/session_analysis/call-session/call-123", 400, "10015"),
        (f"/v2/session_analysis/call-session/{{{DOCUMENTED_ID}}}", 400, "10015"),
        ("/v2/session_analysis/call-session/a1b2c3d4-5e6f-7a8b-9c0d-1e2f3a4b5c6e", 404, "10005"),
        (f"/v2/session_analysis/message/{DOCUMENTED_ID}", 404, "10005"),
        (f"{DOCUMENTED}?max_depth=0", 400, "10015"),
        (f"{DOCUMENTED}?max_depth=6", 400, "10015"),
        (f"{DOCUMENTED}?max_depth=2.0", 400, "10015"),
        (f"{DOCUMENTED}?max_depth=2&max_depth=3", 400, "10015"),
        (f"{DOCUMENTED}?expand=all", 400, "10015"),
        (f"{DOCUMENTED}?include_children=yes", 400, "10015"),
        (f"{DOCUMENTED}?depth=3", 400, "10015"),
        ("/v2/session_analysis/metadata/nothing", 404, "10005"),
        ("/v2/session_analysis", 404, "10005"),
    ],
)
def test_a_wrong_request_is_refused_in_telnyx_words(api: Api, path: str, status: int, code: str) -> None:
    """A wrong name or parameter gets 400, a missing thing 404; the body has code, message and detail."""
    answer = api.get(path)
    assert answer.status_code == status
    (error,) = answer.json()["errors"]
    assert error["code"] == code
    assert error["message"]
    assert error["detail"]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer KEY-other", "KEY-test", "Bearer KEY-t\xe9st"])
@pytest.mark.parametrize("path", [DOCUMENTED, "/v2/session_analysis/metadata", "/v2/session_analysis/metadata/amd"])
def test_only_the_key_opens_the_api(api: Api, path: str, authorization: str) -> None:
    """Every endpoint answers 401 to a missing or wrong bearer."""
    answer = api.get(path, headers={"authorization": authorization.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "10009"
    assert "x-ratelimit-limit" in answer.headers


def test_other_methods_are_refused(api: Api) -> None:
    """The API refuses all methods but GET."""
    answer = api.send("POST", "/v2/session_analysis/metadata")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, "10006")


def test_requests_beyond_the_quota_get_429_until_the_next_minute() -> None:
    """The headers count down within a minute of real time; a 429 has no Retry-After, but the seconds to its end."""
    api = Api(quotas={"session": 2})
    api.seconds = 119.5 - 12
    answers = [api.get(DOCUMENTED) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"2, 2;w=60"}
    assert {answer.headers["x-ratelimit-reset"] for answer in answers} == {"13"}
    assert "retry-after" not in answers[2].headers
    (error,) = answers[2].json()["errors"]
    assert (error["code"], error["title"]) == ("10011", "Too many requests")
    api.seconds += 12.5
    assert api.get(DOCUMENTED).status_code == 200
    assert api.json("/_quotas")["session"] == {"limit": 2, "requests": 4, "busiest_minute": 3, "refused": 1}


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
def test_long_answers_are_compressed_when_accepted(api: Api, accepted: str, *, compressed: bool) -> None:
    """An answer above 1 kB is gzipped if the client accepts it; the content is the same."""
    answer = api.get(DOCUMENTED, headers={"accept-encoding": accepted})
    assert ("content-encoding" in answer.headers) is compressed
    assert answer.json() == api.json(DOCUMENTED)


def test_short_answers_are_not_compressed(api: Api) -> None:
    """An answer below 1 kB is sent uncompressed."""
    params = {"expand": "none", "include_children": "false"}
    answer = api.get(DOCUMENTED, params=params, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


def test_a_live_session_is_404_then_there_then_larger() -> None:
    """Over HTTP too: no record yet, then the first, then more; an answer is never older than the clock."""
    api = Api(sessions_per_hour=3600.0, sessions_max=30, documented_example=False)
    counts: dict[str, list[int]] = {}
    for seconds in (60, 1800, 1800, 7200, 100_000):
        api.command(action="step", seconds=seconds)
        for ref in api.json("/_sessions"):
            answer = api.get(f"/v2/session_analysis/{ref['record_type']}/{ref['event_id']}")
            count = answer.json()["meta"]["event_count"] if answer.status_code == 200 else 0
            counts.setdefault(ref["event_id"], []).append(count)
    assert all(each == sorted(each) and each[-1] > 0 for each in counts.values())
    assert any(len(set(each)) > 2 and each[0] == 0 for each in counts.values())


def test_a_tree_that_is_asked_for_too_early_may_be_409() -> None:
    """Only while its first event is to come; an unknown id is 404."""
    api = Api(sessions_per_hour=3600.0, api=replace(WORLD_A, tree_too_early=409))
    api.command(action="step", seconds=20)
    ref = api.json("/_sessions")[-1]
    assert api.get(f"/v2/session_analysis/{ref['record_type']}/{ref['event_id']}").status_code == 409
    assert api.get(f"/v2/session_analysis/call-session/{uuid.UUID(int=7)}").status_code == 404


def test_an_llm_turn_names_its_session_only_in_world_b() -> None:
    """By default its record has no id of a call, and its `conversation_id` is null."""
    turns = [turns_of(Api(api=behaviour)) for behaviour in (WORLD_A, WORLD_B, MIXED)]
    assert {turn["record"]["conversation_id"] for turn in turns[0]} == {None}
    assert not any("call_session_id" in turn["record"] for turn in turns[0])
    assert {turn["record"]["call_session_id"] for turn in turns[1]} == {DOCUMENTED_ID}
    assert all(turn["record"]["conversation_id"] for turn in turns[1])
    assert {turn["event_name"] for turn in turns[0]} == {"inference"}
    assert {turn["event_name"] for turn in turns[2]} == {"inference", "inference-event"}


def turns_of(api: Api) -> list[Any]:
    """Return the turns of the documented call."""
    (leg,) = (each for each in api.json(DOCUMENTED, max_depth="5")["root"]["children"] if each["children"])
    found: list[Any] = leg["children"][0]["children"]
    return found


def test_the_overview_describes_all_types_and_parameters(api: Api) -> None:
    """The metadata has all 31 types with the required fields, both sides of each relationship, and four parameters."""
    overview = api.json("/v2/session_analysis/metadata")
    assert overview.keys() == {"record_types", "query_parameters", "meta"}
    assert overview["meta"]["total_record_types"] == len(overview["record_types"]) == 31
    assert datetime.fromisoformat(overview["meta"]["last_updated"]).tzinfo == UTC
    assert overview["query_parameters"].keys() == {"include_children", "max_depth", "expand", "date_time"}
    for parameter in overview["query_parameters"].values():
        assert parameter.keys() == {"type", "default", "description", "enum_values", "min", "max"}
    down, up = set(), set()
    for each in overview["record_types"]:
        assert each.keys() == TYPE_KEYS | {"description"}
        for edge in each["child_relationships"]:
            assert edge.keys() == EDGE_KEYS | {"child_product", "child_event", "child_record_type"}
            down.add((each["record_type"], edge["child_record_type"]))
        for edge in each["parent_relationships"]:
            assert edge.keys() == EDGE_KEYS | {"parent_product", "parent_event", "parent_record_type"}
            up.add((edge["parent_record_type"], each["record_type"]))
    assert down - up == {("message", "ai-messaging-assistant")}
    assert up <= down


def test_the_metadata_extends_the_documented_types_to_themselves(api: Api) -> None:
    """The simulated metadata equals the record types that the exporter knows."""
    answer = api.get("/v2/session_analysis/metadata")
    documented = RecordTypes.documented()
    assert list(documented.extended(answer.content)) == list(documented)


@pytest.mark.parametrize(
    ("record_type", "meta"),
    [
        ("inference", (0, 4, 1, 1)),
        ("ai-voice-assistant", (5, 10, 2, 5)),
        ("conference-participant", (0, 6, 2, 1)),
        ("message", (1, 0, 0, 2)),
        ("stt", (0, 6, 1, 1)),
    ],
)
def test_one_types_metadata_counts_its_relatives(api: Api, record_type: str, meta: tuple[int, ...]) -> None:
    """The details of a type have the required fields and count children, siblings, parents and levels."""
    answer = api.json(f"/v2/session_analysis/metadata/{record_type}")
    assert answer.keys() == TYPE_KEYS | {"examples", "meta"}
    names = ("total_children", "total_siblings", "total_parents", "max_recommended_depth")
    assert answer["meta"] == dict(zip(names, meta, strict=True))


def test_the_truth_needs_no_key() -> None:
    """GET /_truth has the totals of all that exists now, costs as exact strings."""
    api = Api(sessions_max=1, history_seconds=0.0)
    del api.headers["authorization"]
    truth = api.json("/_truth")
    assert (truth["sessions"], truth["events"], truth["inference_turns"]) == (1, 11, 5)
    assert truth["now"] == api.simulator.clock.now()
    assert {(total["record_type"], total["product"], total["cost"]) for total in truth["totals"]} == {
        ("call-session", "siptrunking-cdrs", "0.0000"),
        ("recording", "recording-cdrs", "0.0051"),
        ("webrtc", "webrtc-cdrs", "0.0052"),
        ("sip-trunking", "siptrunking-cdrs", "0.0052"),
        ("call-control", "callcontrol-cdrs", "0.0052"),
        ("ai-voice-assistant", "ai-voice-assistant", "0.1800"),
        ("inference", "inference", "0.0121"),
    }


def test_sessions_are_listed_since_a_time(api: Api) -> None:
    """GET /_sessions lists the sessions that have started; with `since`, only those that started later."""
    api.simulator.clock.step(600.0)
    first = api.json("/_sessions")
    assert first[0]["event_id"] == DOCUMENTED_ID
    flags = {"outermost", "webhooks", "detail_records"}
    assert first[0].keys() == {"begun", "record_type", "event_id", "date_time"} | flags
    api.simulator.clock.step(600.0)
    later = api.get("/_sessions", params={"since": first[-1]["begun"]}).json()
    assert [*first, *later] == api.json("/_sessions")
    assert later
    assert api.get("/_sessions", params={"since": "noon"}).status_code == 400


def test_the_clock_can_be_read_stepped_paused_and_resumed() -> None:
    """POST /_clock moves session time and returns it."""
    api = Api(speed=10.0)
    start = api.json("/_clock")["now"]
    assert api.command(action="pause") == {"now": start, "speed": 0.0}
    api.seconds += 5
    assert api.command(action="step", seconds=60)["now"] == start + 60
    assert api.command(action="resume") == {"now": start + 60, "speed": 10.0}
    api.seconds += 1
    assert api.json("/_clock")["now"] == start + 70


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"action":"stop"}', b'{"action":"step","seconds":-1}', b'{"action":"step","minutes":1}', b"\xff"],
)
def test_a_wrong_command_leaves_the_clock_alone(api: Api, body: bytes) -> None:
    """An invalid command is refused with 400, and session time is unchanged."""
    before = api.json("/_clock")
    answer = api.send("POST", "/_clock", content=body)
    assert answer.status_code == 400
    assert json.loads(answer.content)["errors"]
    assert api.json("/_clock") == before


def test_the_balance_falls_by_what_was_spent() -> None:
    """It is exact, in the first currency alone; credit and pending amounts stay as they are."""
    api = Api(sessions_per_hour=3600.0, sessions_max=100, currencies=("EUR", "USD"), balance="20.5")
    for _ in range(3):
        api.command(action="step", seconds=7200.0)
        spent = sum(Decimal(each["cost"]) for each in api.json("/_truth")["totals"] if each["currency"] == "EUR")
        data = api.json("/v2/balance")["data"]
        assert spent > 0
        assert Decimal(data["balance"]) == Decimal("20.5") - spent
        assert Decimal(data["available_credit"]) == Decimal(data["balance"]) + 100
        unmoved = {"record_type": "balance", "currency": "EUR", "credit_limit": "100.00", "pending": "0.00"}
        assert {key: data[key] for key in unmoved} == unmoved


def test_the_balance_is_for_the_key_only(api: Api) -> None:
    """It is refused with a title."""
    answer = api.get("/v2/balance", headers={"authorization": "Bearer KEY-other"})
    assert (answer.status_code, answer.json()["errors"][0]["title"]) == (401, "Authentication failed")


def test_the_truth_counts_outermost_sessions_apart() -> None:
    """Inner events that are listed besides are sessions, but no outermost ones; each says so."""
    api = Api(sessions_per_hour=3600.0, sessions_max=100, bills=Bills(overlapping_share=0.5))
    api.command(action="step", seconds=7200.0)
    truth, refs = api.json("/_truth"), api.json("/_sessions")
    assert truth["sessions"] == len(refs) > truth["outermost_sessions"] == sum(ref["outermost"] for ref in refs)
    inner = {"call-control", "ai-voice-assistant", "conference-participant"}
    assert all(ref["outermost"] is (ref["record_type"] not in inner) for ref in refs)
    assert all(ref["webhooks"] is (ref["record_type"] in {"call-session", "message"}) for ref in refs)
