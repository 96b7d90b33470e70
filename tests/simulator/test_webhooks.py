"""Webhooks of the simulated API: their times, contents, and faults of delivery."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec.structs import replace

from simulator import DOCUMENTED_ID, WORLD_A, WORLD_B, Bills, Running, SimulatedWebhooks, SimulatorSettings, running
from tests.simulator.test_api import Api
from tests.support.exporting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

DAY = 86_400.0
CALL_EVENTS = ["call.initiated", "call.answered", "call.conversation.ended", "call.hangup", "call.cost"]
MANY: dict[str, Any] = {"sessions_per_hour": 3600.0, "sessions_max": 60, "seed": 5, "speed": 0.0}


class Posted(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data

    @property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads(self.body)["meta"]
        return meta

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = self.data["payload"]
        return payload


class Receiver:
    """A server that receives webhooks and answers each with the status of `answer`."""

    def __init__(self, origin: str) -> None:
        self.url = f"{origin}/webhooks/main"
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], int] = lambda _: 200

    def ids(self) -> list[str]:
        return [each.data["id"] for each in self.posted]


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted = Posted({name.lower(): value for name, value in self.headers.items()}, body)
            status = taking.answer(posted)
            taking.posted.append(posted)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        taking = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield taking
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def simulating(**chosen: Any) -> Any:
    return running(SimulatorSettings(**MANY | chosen), time.monotonic, wall=time.time)


def ask(simulated: Running, **change: Any) -> dict[str, Any]:
    """Return the counts, after sending a change if there is one."""
    path = f"{simulated.origin}/_webhooks"
    answer = httpx.post(path, json=change) if change else httpx.get(path)
    assert answer.status_code == 200, answer.text
    counts: dict[str, Any] = answer.json()
    return counts


def sent(simulated: Running, **change: Any) -> dict[str, Any]:
    """Wait until no webhook is due, and return the counts."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    counts = ask(simulated, **change)
    while counts["due"]:
        assert time.monotonic() < deadline, f"still due: {counts}"
        time.sleep(0.005)
        counts = ask(simulated)
    return counts


def tree_of(simulated: Running, call: str) -> dict[str, Any]:
    path = f"{simulated.url}/session_analysis/call-session/{call}"
    tree: dict[str, Any] = httpx.get(path, headers={"authorization": f"Bearer {simulated.api_key}"}).json()
    return tree


def test_every_call_and_message_sends_its_webhooks(receiver: Receiver) -> None:
    """Exactly the flagged sessions send all their webhooks, each once and in the API's shape."""
    webhooks = SimulatedWebhooks(url=receiver.url)
    with simulating(webhooks=webhooks, documented_example=True, api=WORLD_B) as simulated:
        simulated.clock.step(DAY)
        counts = sent(simulated)
        refs = simulated.world.refs()
    assert (counts["delivered"], counts["lost"], counts["duplicated"], counts["failed"]) == (
        len(receiver.posted),
        0,
        0,
        0,
    )
    assert len(set(receiver.ids())) == len(receiver.posted)
    types_of: dict[tuple[str, str], list[str]] = {}
    for each in receiver.posted:
        assert each.data.keys() - {"created_at"} == {"record_type", "event_type", "id", "occurred_at", "payload"}
        assert each.meta == {"attempt": 1, "delivered_to": receiver.url}
        family = each.data["event_type"].partition(".")[0]
        if family == "call":
            assert all(
                each.payload[name] for name in ("call_session_id", "call_leg_id", "call_control_id", "connection_id")
            )
            types_of.setdefault(("call-session", each.payload["call_session_id"]), []).append(each.data["event_type"])
        elif family == "message":
            types_of.setdefault(("message", each.payload["id"]), []).append(each.data["event_type"])
        else:
            assert family in {"conference", "fax", "siprec", "streaming"}
    assert types_of.keys() == {(ref.record_type, ref.event_id) for ref in refs if ref.webhooks}
    for (record_type, _), types in types_of.items():
        if record_type == "message":
            assert types in (["message.finalized"], ["message.received"])
        else:
            once = Counter(event_type for event_type in types if not event_type.startswith("call.conversation"))
            several = {name: once[name] for name in ("call.answered", "call.cost")}
            assert once == Counter({"call.initiated": 1, "call.hangup": 1, **several})
            assert several["call.cost"] in {2, 3}  # of its transports and of call control
    assert set().union(*types_of.values()) >= {*CALL_EVENTS, "message.finalized", "message.received"}


def test_the_bill_of_a_call_comes_only_where_it_is_switched_on(receiver: Receiver) -> None:
    """By default no call sends `call.cost`, and each with an assistant sends `call.analyzed`, with the tree's sums."""
    with simulating(webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        simulated.clock.step(DAY)
        sent(simulated)
        analyzed = [each.payload for each in receiver.posted if each.data["event_type"] == "call.analyzed"]
        for payload in analyzed:
            tree = tree_of(simulated, payload["call_session_id"])
            assert Decimal(payload["cost"]["total"]) == Decimal(tree["cost"]["total"]) > 0
            assert {part["product"] for part in payload["cost"]["breakdown"]} <= set(tree["meta"]["products"])
    talked = {each.payload["call_session_id"] for each in receiver.posted if "conversation_id" in each.payload}
    assert {payload["call_session_id"] for payload in analyzed} == talked
    assert len(analyzed) == len(talked) > 5
    assert "call.cost" not in {each.data["event_type"] for each in receiver.posted}


def test_the_documented_call_says_what_it_cost(receiver: Receiver) -> None:
    """The documented call's webhooks come in order; hang-up, conversation and cost have the guide's values."""
    webhooks = SimulatedWebhooks(url=receiver.url)
    with simulating(sessions_max=0, documented_example=True, webhooks=webhooks, api=WORLD_B) as simulated:
        sent(simulated)
    said = {
        each.data["event_type"]: each.payload for each in sorted(receiver.posted, key=lambda e: e.data["occurred_at"])
    }
    assert said.keys() == {*CALL_EVENTS, "call.conversation.created"}
    assert {payload["call_session_id"] for payload in said.values()} == {DOCUMENTED_ID}
    assert said["call.hangup"]["start_time"] == "2026-03-17T10:00:00Z"
    assert said["call.hangup"]["hangup_cause"] == "normal_clearing"
    assert said["call.conversation.ended"]["duration_sec"] == 152
    assert said["call.conversation.ended"]["assistant_id"].startswith("assistant-")
    costs = [each.payload for each in receiver.posted if each.data["event_type"] == "call.cost"]
    assert {cost["status"] for cost in costs} == {"success"}
    assert len({cost["call_leg_id"] for cost in costs}) == len(costs) == 3  # WebRTC, the trunk, call control
    assert sum(Decimal(cost["total_cost"]) for cost in costs) == Decimal("0.2128")
    parts = {part["call_part"]: part for cost in costs for part in cost["cost_parts"]}
    assert parts["ai-voice-assistant"] == {
        "call_part": "ai-voice-assistant",
        "cost": "0.1800",
        "currency": "USD",
        "billed_duration_secs": 180,
        "rate": "0.0600",
    }
    assert sum(Decimal(part["cost"]) for part in parts.values()) == Decimal("0.2128")


def test_a_webhook_comes_at_its_time_and_the_cost_when_all_is_rated(receiver: Receiver) -> None:
    """No webhook is early or later than the next step; at `call.analyzed` the tree is complete."""
    with simulating(sessions_max=20, webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        seen, counts = 0, {}
        for _ in range(40):
            before = simulated.clock.now()
            simulated.clock.step(300.0)
            sent(simulated)
            new, seen = receiver.posted[seen:], len(receiver.posted)
            for each in new:
                occurred = datetime.fromisoformat(each.data["occurred_at"]).timestamp()
                assert before - 0.001 < occurred <= simulated.clock.now()  # printed to the microsecond
                if each.data["event_type"] == "call.analyzed":
                    call = each.payload["call_session_id"]
                    counts[call] = tree_of(simulated, call)["meta"]["event_count"]
        simulated.clock.step(DAY)
        assert counts == {call: tree_of(simulated, call)["meta"]["event_count"] for call in counts}
    assert len(counts) > 3


def test_a_bill_without_a_price_is_an_error_of_the_cost(receiver: Receiver) -> None:
    """`call.cost` says `error`, without a total, when an event of the leg has no price."""
    unpriced = {"bills": Bills(never_priced_share=1.0), "api": replace(WORLD_B, call_analyzed_webhooks="cost")}
    with simulating(**unpriced, webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        simulated.clock.step(DAY)
        sent(simulated)
    costs = [each.payload for each in receiver.posted if each.data["event_type"] == "call.cost"]
    assert {(cost["status"], cost["total_cost"], len(cost["cost_parts"])) for cost in costs} == {("error", None, 0)}
    costs = [each.payload for each in receiver.posted if each.data["event_type"] == "call.analyzed"]
    assert {cost["cost"] for cost in costs} == {"No cost data available."}
    costs = [each.payload for each in receiver.posted if each.data["event_type"] == "message.finalized"]
    assert {cost["cost"] for cost in costs} == {None}


def test_texml_calls_send_forms_signed_alike(receiver: Receiver) -> None:
    """Their status callbacks take the place of the webhooks with the same meaning; `call.analyzed` stays JSON."""
    with simulating(api=replace(WORLD_A, texml_share=1.0), webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        simulated.clock.step(DAY)
        sent(simulated)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(simulated.public_key))
        calls = {ref.event_id for ref in simulated.world.refs() if ref.record_type == "call-session"}
    forms = [each for each in receiver.posted if each.headers["content-type"] == "application/x-www-form-urlencoded"]
    statuses: dict[str, list[str]] = {}
    for each in forms:
        timestamp, signature = each.headers["telnyx-timestamp"], each.headers["telnyx-signature-ed25519"]
        key.verify(base64.b64decode(signature), timestamp.encode() + b"|" + each.body)
        said = dict(parse_qsl(each.body.decode(), strict_parsing=True))
        statuses.setdefault(said["CallSessionId"], []).append(said["CallStatus"])
    assert statuses.keys() == calls
    assert all({"initiated", "completed"} <= set(each) for each in statuses.values())
    assert {"in-progress", "conversation_ended"} <= {status for each in statuses.values() for status in each}
    others = {each.data["event_type"] for each in receiver.posted if each not in forms}
    assert {event_type for event_type in others if event_type.startswith("call.")} == {"call.analyzed"}


def test_version_1_has_another_body(receiver: Receiver) -> None:
    """Older applications get no `data`, and event types with underscores."""
    old = replace(WORLD_A, webhook_api_version="1")
    with simulating(api=old, webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        simulated.clock.step(DAY)
        sent(simulated)
    bodies = [json.loads(each.body) for each in receiver.posted]
    names = {"record_type", "id", "event_type", "created_at", "payload", "metadata"}
    assert all(body.keys() == names for body in bodies)
    assert {"call_initiated", "call_hangup", "message_finalized"} <= {body["event_type"] for body in bodies}


def test_webhooks_due_before_there_was_a_receiver_are_sent_later(receiver: Receiver) -> None:
    """Without a URL webhooks are kept; once there is one, all past webhooks are sent."""
    with simulating(history_seconds=3600.0) as simulated:
        simulated.clock.step(DAY)
        kept = ask(simulated)
        assert kept["due"] > 100
        assert (kept["delivered"], receiver.posted) == (0, [])
        counts = sent(simulated, url=receiver.url)
        assert counts["delivered"] == kept["due"] == len(receiver.posted)
        assert simulated.world.refs()[0].begun < SimulatorSettings().start


def test_an_accelerated_world_sends_webhooks_in_time(receiver: Receiver) -> None:
    """With a running clock webhooks are sent without a command."""
    with simulating(speed=36_000.0, api=WORLD_B, webhooks=SimulatedWebhooks(url=receiver.url)) as simulated:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not {"call.cost", "message.finalized"} <= {each.data["event_type"] for each in list(receiver.posted)}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ask(simulated)["delivered"] > 0


def test_some_are_lost_some_come_twice_as_the_seed_decides(receiver: Receiver) -> None:
    """Shares of webhooks are lost or sent twice with the same body; the same seed gives the same webhooks."""
    chosen = SimulatedWebhooks(url=receiver.url, lost_share=0.3, duplicated_share=0.5)
    runs = []
    for _ in range(2):
        receiver.posted.clear()
        with simulating(webhooks=chosen) as simulated:
            simulated.clock.step(DAY)
            counts = sent(simulated)
        runs.append(Counter(receiver.ids()))
        every = counts["delivered"] + counts["lost"]
        assert 0.2 < counts["lost"] / every < 0.4
        assert 0.4 < counts["duplicated"] / counts["delivered"] < 0.6
        assert len(receiver.posted) == counts["delivered"] + counts["duplicated"]
        assert len(runs[-1]) == counts["delivered"]
        bodies = {each.data["id"]: each.body for each in receiver.posted}
        assert all(bodies[each.data["id"]] == each.body for each in receiver.posted)
    assert runs[0] == runs[1]


def test_delayed_webhooks_overtake_each_other(receiver: Receiver) -> None:
    """Each webhook comes within the delay after its time, so a hang-up may precede its `call.initiated`."""
    with simulating(webhooks=SimulatedWebhooks(url=receiver.url, delay_seconds=1800.0)) as simulated:
        for _ in range(30):
            simulated.clock.step(120.0)
            sent(simulated)
            now = simulated.clock.now()
        late = [each for each in receiver.posted if each.data["event_type"] != "call.analyzed"]
        occurred = [datetime.fromisoformat(each.data["occurred_at"]).timestamp() for each in late]
        assert max(occurred) <= now
        assert occurred != sorted(occurred)
        first: dict[str, str] = {}
        for each in late:
            first.setdefault(each.payload.get("call_session_id", ""), each.data["event_type"])
        assert "call.hangup" in first.values()


def test_a_refused_webhook_is_tried_again_and_given_up_after_three(receiver: Receiver) -> None:
    """A status other than 2xx is retried with the next attempt's number; some webhooks never succeed."""
    stubborn = "call.hangup"
    receiver.answer = lambda each: 503 if each.data["event_type"] == stubborn or each.meta["attempt"] == 1 else 204
    with simulating(sessions_max=10, webhooks=SimulatedWebhooks(url=receiver.url, retry_seconds=0.01)) as simulated:
        simulated.clock.step(DAY)
        counts = sent(simulated)
    attempts: dict[tuple[str, str], list[int]] = {}
    for each in receiver.posted:
        attempts.setdefault((each.data["event_type"], each.data["id"]), []).append(each.meta["attempt"])
    for (event_type, _), numbers in attempts.items():
        assert numbers == ([1, 2, 3] if event_type == stubborn else [1, 2])
    failed = sum(event_type == stubborn for event_type, _ in attempts)
    assert (counts["failed"], counts["delivered"]) == (failed, len(attempts) - failed)
    assert failed > 0


def test_a_receiver_that_is_not_there_loses_what_it_misses(free_port: int, receiver: Receiver) -> None:
    """A refused connection counts as an attempt; webhooks after a corrected address arrive."""
    nowhere = SimulatedWebhooks(url=f"http://127.0.0.1:{free_port}/", retry_seconds=0.01)
    with simulating(webhooks=nowhere) as simulated:
        simulated.clock.step(120.0)
        assert sent(simulated)["failed"] > 0
        simulated.clock.step(DAY)
        assert sent(simulated, url=receiver.url)["delivered"] > 0


def test_no_more_than_a_bound_is_under_way(receiver: Receiver) -> None:
    """The number of requests in flight never exceeds its limit, however many webhooks are due."""
    changed, inside, most, full = threading.Condition(), 0, 0, 4
    answering = threading.Event()

    def held(_: Posted) -> int:
        nonlocal inside, most
        with changed:
            inside += 1
            most = max(most, inside)
            changed.notify_all()
        assert answering.wait(PATIENCE_SECONDS)
        with changed:
            inside -= 1
        return 200

    receiver.answer = held
    with simulating(webhooks=SimulatedWebhooks(url=receiver.url, in_flight_max=full)) as simulated:
        simulated.clock.step(DAY)
        with changed:
            assert changed.wait_for(lambda: inside >= full, PATIENCE_SECONDS)
        due = ask(simulated)["due"]
        for _ in range(3):  # the sending thread answers these too, so it has had time to send more
            assert ask(simulated)["due"] == due > full
        assert (inside, most) == (full, full)
        answering.set()
        sent(simulated)
    assert most == full


def test_each_is_signed_now_with_the_key_that_is_shown(receiver: Receiver) -> None:
    """The signature covers wall time, not session time, and the body, and the public key verifies it."""
    secret = base64.b64encode(bytes(range(32))).decode()
    with simulating(webhooks=SimulatedWebhooks(url=receiver.url, signing_key=secret)) as simulated:
        simulated.clock.step(3600.0)
        assert sent(simulated)["public_key"] == simulated.public_key
    expected = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    assert base64.b64decode(simulated.public_key) == expected
    key = Ed25519PublicKey.from_public_bytes(expected)
    for each in receiver.posted:
        timestamp, signature = each.headers["telnyx-timestamp"], each.headers["telnyx-signature-ed25519"]
        assert abs(int(timestamp) - time.time()) < 60
        key.verify(base64.b64decode(signature), timestamp.encode() + b"|" + each.body)
        with pytest.raises(InvalidSignature):
            key.verify(base64.b64decode(signature), timestamp.encode() + b"|" + each.body + b" ")


def test_the_key_follows_from_the_seed() -> None:
    """The same seed has the same key, another seed another."""
    keys = [Api(seed=seed).json("/_webhooks")["public_key"] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b'{"url":"ftp://nowhere"}', "url: expected an http or https URL"),
        (b'{"lost_share":2}', "lost_share: expected a share"),
        (b'{"signing_key":"x"}', "unknown field"),
        (b'{"url":"http://127.0.0.1:1/"}', "wall clock"),
    ],
)
def test_a_wrong_change_changes_nothing(body: bytes, says: str) -> None:
    """A bad command is a 400 with the reason, as is any address if there is no wall clock to sign with."""
    api = Api()
    before = api.json("/_webhooks")
    answer = api.send("POST", "/_webhooks", content=body)
    assert answer.status_code == 400
    assert says in answer.text
    assert api.json("/_webhooks") == before


def test_what_a_change_leaves_out_stays(receiver: Receiver) -> None:
    """An address alone keeps the shares; null stops sending, and due webhooks are kept again."""
    with simulating(webhooks=SimulatedWebhooks(lost_share=1.0)) as simulated:
        simulated.clock.step(DAY / 24)
        counts = sent(simulated, url=receiver.url)
        assert (counts["delivered"], counts["lost"] > 0) == (0, True)
        ask(simulated, url=None, lost_share=0.0)
        simulated.clock.step(DAY)
        assert ask(simulated)["due"] > 0
        assert sent(simulated, url=receiver.url)["lost"] == counts["lost"]
        assert receiver.posted


@pytest.mark.parametrize(
    "chosen",
    [
        {"url": "example.com"},
        {"lost_share": 1.5},
        {"duplicated_share": -0.1},
        {"delay_seconds": -1.0},
        {"in_flight_max": 0},
        {"attempts_max": 0},
        {"retry_seconds": float("inf")},
        {"signing_key": "c2hvcnQ="},
        {"signing_key": "no base64!"},
    ],
)
def test_a_setting_out_of_its_range_is_refused(chosen: dict[str, Any]) -> None:
    """The message names the setting and what was expected."""
    with pytest.raises(ValueError, match=f"{next(iter(chosen))}: expected"):
        SimulatedWebhooks(**chosen)
