"""Webhooks: signatures, the reported sessions, replays, and robustness against any request."""

import asyncio
import base64
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.config import DiscoverySettings, Secret, WebhookSettings
from exporter.core.errors import Rejected
from exporter.core.model import NoticeKind, SessionNotice, SessionRef
from exporter.runtime.app import App
from exporter.sources.replays import KEPT_SECONDS, ReplayWindow
from exporter.sources.webhooks import (
    EVENT_TYPES,
    KINDS,
    STATUSES,
    Webhook,
    check_signature,
    read,
    read_form,
    verify,
)
from exporter.web.webhooks import ANSWERS, REASONS, WebhookRoutes
from simulator import SimulatorSettings, running
from tests.ledger.test_durability import busy
from tests.support.exporting import NO_RECORDS, Exporting, Samples, config, exporting
from tests.support.postgres import Postgres

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
JSON = {"content-type": "application/json"}


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def signature(key: Ed25519PrivateKey, timestamp: str, body: bytes) -> str:
    return base64.b64encode(key.sign(timestamp.encode() + b"|" + body)).decode()


def event(event_type: str = "call.initiated", name: str = "e1", **payload: Any) -> bytes:
    payload = payload or {"call_session_id": "s1"}
    return json.dumps({"data": {"event_type": event_type, "id": name, "payload": payload}}).encode()


# Genuine or not

RFC_8032 = {
    "TEST 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
            "655141438e7a100b"
        ),
    ),
    "TEST 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
            "b00d291612bb0c00"
        ),
    ),
    "TEST 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
            "c027beceea1ec40a"
        ),
    ),
    "TEST SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
            "2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
            "d9bef1177331a704"
        ),
    ),
}


@pytest.mark.parametrize("name", RFC_8032)
def test_signatures_are_those_of_the_standard(name: str) -> None:
    """The vectors of RFC 8032 verify by the function that verifies webhooks, and no longer with one bit changed."""
    key, message, signed = map(bytes.fromhex, RFC_8032[name])
    check_signature(key, signed, message)
    for changed in (signed[:-1] + bytes([signed[-1] ^ 1]), bytes([signed[0] ^ 128]) + signed[1:]):
        with pytest.raises(Rejected, match="bad_signature"):
            check_signature(key, changed, message)


NOW = 1_773_748_800
BODY = event()
GOOD = signature(KEY, str(NOW), BODY)


def case(**changes: Any) -> dict[str, Any]:
    return {"key": public(KEY), "signature": GOOD, "timestamp": str(NOW), "body": BODY, **changes}


def resigned(timestamp: str, body: bytes = BODY, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    return case(signature=signature(key, timestamp, body), timestamp=timestamp, body=body)


L = 2**252 + 27742317777372353535851937790883648493
_RAW = base64.b64decode(GOOD)
MALLEABLE = _RAW[:32] + (int.from_bytes(_RAW[32:], "little") + L).to_bytes(32, "little")

SIGNED: dict[str, tuple[dict[str, Any], str | None]] = {
    "good": (case(), None),
    "good, minutes old": (resigned(str(NOW - 240)), None),
    "good, minutes early": (resigned(str(NOW + 240)), None),
    "good, an empty object": (resigned(str(NOW), b"{}"), None),
    "good, not ASCII": (resigned(str(NOW), '{"a": "é\U0001f600"}'.encode()), None),
    "too old": (resigned(str(NOW - 360)), "stale"),
    "from the future": (resigned(str(NOW + 360)), "early"),
    "from the beginning of time": (resigned("0"), "stale"),
    "the body changed": (case(body=BODY + b" "), "bad_signature"),
    "the time changed": (case(timestamp=str(NOW + 1)), "bad_signature"),
    "another's key": (case(key=public(OTHER_KEY)), "bad_signature"),
    "signed by another": (resigned(str(NOW), BODY, OTHER_KEY), "bad_signature"),
    "only the body signed": (case(signature=base64.b64encode(KEY.sign(BODY)).decode()), "bad_signature"),
    "s not reduced": (case(signature=base64.b64encode(MALLEABLE).decode()), "bad_signature"),
    "all zero": (case(signature=base64.b64encode(bytes(64)).decode()), "bad_signature"),
    "no signature": (case(signature=None), "unsigned"),
    "an empty signature": (case(signature=""), "unsigned"),
    "not base64": (case(signature="*" + GOOD[1:]), "unsigned"),
    "hexadecimal": (case(signature=_RAW.hex()), "unsigned"),
    "a byte short": (case(signature=base64.b64encode(_RAW[:63]).decode()), "unsigned"),
    "a byte long": (case(signature=base64.b64encode(_RAW + b"x").decode()), "unsigned"),
    "no time": (case(timestamp=None), "unsigned"),
    "an empty time": (resigned(""), "unsigned"),
    "a time that is none": (resigned("now"), "unsigned"),
    "a time with a fraction": (resigned(f"{NOW}.5"), "unsigned"),
    "an infinite time": (resigned("inf"), "unsigned"),
    "a key a byte short": (case(key=public(KEY)[:31]), "bad_signature"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_what_is_genuine(name: str) -> None:
    """A webhook is genuine if the account's key signed this body at about this time; else the reason is named."""
    given_, reason = SIGNED[name]
    assert verdict(now=NOW, **given_) == reason


@pytest.mark.parametrize(("seconds", "reason"), [(-301, "stale"), (-300, None), (300, None), (301, "early")])
def test_how_old_a_webhook_may_be(seconds: int, reason: str | None) -> None:
    """The tolerance is exact to the second; the SDK, which has only the real clock, is compared by minutes."""
    assert verdict(now=NOW, **resigned(str(NOW + seconds))) == reason


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNED)
def test_the_sdk_agrees(name: str) -> None:
    """Telnyx's own SDK accepts and refuses the same webhooks at the current time."""
    import telnyx  # noqa: PLC0415 - takes two seconds, also of workers that run other tests

    given_, reason = SIGNED[name]
    moved = at_present(given_)
    headers = {
        header: text
        for header, text in (("Telnyx-Signature-Ed25519", moved["signature"]), ("Telnyx-Timestamp", moved["timestamp"]))
        if text is not None
    }
    client = telnyx.Telnyx(api_key="KEY")
    try:
        client.webhooks.unwrap(moved["body"].decode(), headers=headers, key=moved["key"])
        taken = True
    except ValueError:
        taken = False
    assert taken == (verdict(now=time.time(), **moved) is None) == (reason is None)


def at_present(given_: dict[str, Any]) -> dict[str, Any]:
    """Return the case signed relative to now instead of NOW, because the SDK uses the real clock."""
    timestamp, made = given_["timestamp"], given_["signature"]
    if timestamp is None or not timestamp.isdecimal() or made is None:
        return given_
    moved = str(int(time.time()) + int(timestamp) - NOW) if timestamp != "0" else "0"
    for key in (KEY, OTHER_KEY):
        if made == signature(key, timestamp, given_["body"]):
            return {**given_, "timestamp": moved, "signature": signature(key, moved, given_["body"])}
    return {**given_, "timestamp": moved}


def verdict(key: bytes, signature: str | None, timestamp: str | None, body: bytes, now: float) -> str | None:
    try:
        verify(key, signature, timestamp, body, now)
    except Rejected as error:
        return error.reason
    return None


# Reported sessions

AT = "2026-03-17T12:00:00Z"
CALL, CALL_ID = {"call_session_id": "s1", "call_leg_id": "l1"}, ("call-session", "s1")
MESSAGE, MESSAGE_ID = {"id": "m1"}, ("message", "m1")
PRICE = {"amount": "0.0051", "currency": "USD"}
Yield = tuple[str, tuple[str, str] | None, NoticeKind]
"""The label, the session, and the kind of notice."""

LEADS: dict[str, tuple[str, dict[str, Any], Yield]] = {
    **{
        event_type: (event_type, CALL, (event_type, CALL_ID, kind))
        for event_type, kind in KINDS.items()
        if event_type.startswith("call.")
    },
    "a cost": ("call.cost", CALL | {"status": "success", "total_cost": "0.01"}, ("call.cost", CALL_ID, "rated")),
    "a cost without a status": ("call.cost", CALL | {"total_cost": 0.01}, ("call.cost", CALL_ID, "rated")),
    "a cost of nothing": ("call.cost", CALL | {"total_cost": "0"}, ("call.cost", CALL_ID, "rated")),
    "a failed rating": ("call.cost", CALL | {"status": "error", "total_cost": "1"}, ("call.cost", CALL_ID, "ended")),
    "a rating without a total": ("call.cost", CALL | {"status": "success"}, ("call.cost", CALL_ID, "ended")),
    "an unreadable total": ("call.cost", CALL | {"total_cost": "much"}, ("call.cost", CALL_ID, "ended")),
    "a cost without a currency": (
        "call.analyzed",
        CALL | {"cost": {"total": "1"}},
        ("call.analyzed", CALL_ID, "ended"),
    ),
    "a call's event of the future": ("call.of.the.future", CALL, ("other", CALL_ID, "started")),
    "any event that names a call": ("siprec.started", CALL, ("other", CALL_ID, "started")),
    "a fax within a call": ("fax.delivered", CALL | {"fax_id": "f1"}, ("fax.delivered", CALL_ID, "ended")),
    "a fax": ("fax.sending.started", {"fax_id": "f1", "id": 5}, ("other", ("fax-api", "f1"), "started")),
    "version 1": ("call_hangup", CALL, ("call.hangup", CALL_ID, "ended")),
    "version 1, of the future": ("call_of_the_future", CALL, ("other", CALL_ID, "started")),
    "message.sent": ("message.sent", MESSAGE, ("message.sent", MESSAGE_ID, "started")),
    "message.received": ("message.received", MESSAGE, ("message.received", MESSAGE_ID, "ended")),
    "a message's price": ("message.finalized", MESSAGE | {"cost": PRICE}, ("message.finalized", MESSAGE_ID, "rated")),
    "no price yet": ("message.finalized", MESSAGE | {"cost": None}, ("message.finalized", MESSAGE_ID, "ended")),
    "an event of a message": ("message.link_click", {"id": "c1", "message_id": "m1"}, ("other", MESSAGE_ID, "started")),
    "a WhatsApp message": ("whatsapp.read", {"record_type": "message", "id": "m1"}, ("other", MESSAGE_ID, "started")),
    "an id of something else": ("message.link_click", {"id": "c1"}, ("other", None, "")),
    "a WhatsApp template": ("whatsapp.template.approved", {"id": "t1"}, ("other", None, "")),
    "a verification": ("verify.done", {"id": "v1", "fax_id": "f1"}, ("other", None, "")),
    "no type": ("", {"id": "x"}, ("other", None, "")),
    "a hostile type": ('call."} 1\n', {}, ("other", None, "")),
}


@pytest.mark.parametrize("name", LEADS)
def test_where_an_event_leads(name: str) -> None:
    """Each event type gives a notice or none; only known types have a label of their own."""
    event_type, payload, (label, session, kind) = LEADS[name]
    data = {"event_type": event_type, "id": "e1", "payload": payload, "occurred_at": AT}
    body = data if name.startswith("version 1") else {"data": data, "meta": {"attempt": 1}}
    notice = None if session is None else SessionNotice(SessionRef("main", *session, AT), kind)
    assert read(json.dumps(body).encode(), "main") == Webhook("e1", label, notice)


@pytest.mark.parametrize(
    ("times", "date_time"),
    [
        ({"start_time": "2026-03-17T11:00:00.5+01:00"}, "2026-03-17T11:00:00.5+01:00"),
        ({"start_time": "yesterday", "sent_at": AT}, AT),
        ({"start_time": 5, "received_at": AT}, AT),
        ({"start_time": "2026-03-17T25:00:00Z"}, None),
        ({"start_time": "20260317T110000Z"}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_session(times: dict[str, Any], date_time: str | None) -> None:
    """An unreadable time is left out, since the API would find no session by it."""
    notice = read(event(call_session_id="s1", **times), "main").notice
    assert notice is not None
    assert notice.ref.date_time == date_time


@pytest.mark.parametrize(("status", "kind"), [*STATUSES.items(), ("conversation_ended", "started"), ("", "started")])
def test_where_a_status_callback_leads(status: str, kind: NoticeKind) -> None:
    """TeXML's callbacks name their call; one with the same body is the same callback."""
    body = f"CallSid=v3%3Ax&CallSessionId=s1&CallStatus={status}&From=%FF&Timestamp=2026-03-17T12%3A00%3A00Z".encode()
    webhook = read_form(body, "main")
    assert webhook == read_form(body, "main")
    assert webhook.id != read_form(body + b"&CallDuration=1", "main").id
    assert webhook.event_type == "texml"
    assert webhook.notice == SessionNotice(SessionRef("main", "call-session", "s1", AT), kind)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"CallStatus=completed", b"CallSid=\xff", b"CallSessionId=a%00", b"CallSid=x" + 200 * b"&a=b"],
)
def test_what_is_no_status_callback(body: bytes) -> None:
    """A form without a call, or with an impossible one, is refused as malformed."""
    with pytest.raises(Rejected, match="malformed"):
        read_form(body, "main")


def test_a_status_callback_without_a_session() -> None:
    """It is accepted, since sending it again would change nothing."""
    assert read_form(b"CallSid=x&CallStatus=completed", "main").notice is None


@pytest.mark.parametrize(
    "payload", ["", ', "payload": null', ', "payload": {}', ', "payload": {"call_session_id": null}']
)
def test_a_call_without_a_session(payload: str) -> None:
    """A webhook of a call without a session id is accepted and reports no session."""
    body = f'{{"data": {{"event_type": "call.hangup", "id": "e1"{payload}}}}}'
    assert read(body.encode(), "main") == Webhook("e1", "call.hangup", None)


DEEP = 100_000
BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"event=call.hangup",
    "not UTF-8": b'{"data": {"event_type": "\xff", "id": "e"}}',
    "a list": b"[]",
    "no data": b"{}",
    "data of another kind": b'{"data": []}',
    "no type": b'{"data": {"id": "e"}}',
    "a type of another kind": b'{"data": {"event_type": 5, "id": "e"}}',
    "no id": b'{"data": {"event_type": "call.hangup"}}',
    "an empty id": event(name=""),
    "a huge id": event(name="x" * 201),
    "an id with a line end": event(name="a\nb"),
    "an id with an unpaired surrogate": b'{"data": {"event_type": "x", "id": "\\ud800"}}',
    "a huge session": event(call_session_id="x" * 201),
    "a session with a NUL": event(call_session_id="a\0"),
    "an empty session": event(call_session_id=""),
    "a session of another kind": event(call_session_id=["s"]),
    "a payload of another kind": b'{"data": {"event_type": "call.hangup", "id": "e", "payload": [1]}}',
    "cut short": event()[:-1],
    "two": event() + event(),
    "deep lists": b"[" * DEEP,
    "deep in the payload": b'{"data": {"event_type": "call.hangup", "id": "e", "payload": ' + b'{"a":' * 40_000,
    "deep and closed": b'{"data": {"event_type": "a", "id": "e", "payload": ' + b"[" * DEEP + b"]" * DEEP + b"}}",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_what_is_no_webhook(name: str) -> None:
    """An unreadable body is refused as malformed, however deeply it is nested."""
    with pytest.raises(Rejected, match="malformed"):
        read(BAD_BODIES[name], "main")


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_nothing_else_comes_out(body: bytes) -> None:
    """Any body is read or refused."""
    try:
        assert read(body, "main").event_type in EVENT_TYPES
    except Rejected as error:
        assert error.reason == "malformed"  # noqa: PT017 - both outcomes are right


# Replays


def test_an_id_is_known_for_as_long_as_its_signature_may_pass() -> None:
    """An id is remembered per account until a signature of its time would have expired."""
    replays = ReplayWindow()
    replays.add(("main", "e"), 1000.0)
    assert replays.knows(("main", "e"), 1000.0 + KEPT_SECONDS)
    assert not replays.knows(("backup", "e"), 1000.0)
    assert not replays.knows(("main", "e"), 1000.1 + KEPT_SECONDS)
    assert len(replays) == 0


def test_remembered_ids_are_bounded() -> None:
    """Above the limit the oldest id is dropped."""
    replays = ReplayWindow(kept_max=3)
    for number in range(10):
        replays.add(("main", str(number)), 1000.0)
    assert [number for number in range(10) if replays.knows(("main", str(number)), 1000.0)] == [7, 8, 9]


# The running exporter


class Telnyx:
    """A client that sends webhooks to an exporter."""

    def __init__(self, exporter: Exporting, key: Ed25519PrivateKey = KEY) -> None:
        self.exporter = exporter
        self.key = key

    async def post(self, body: bytes, path: str = "/main", **headers: str) -> httpx.Response:
        """Send the body without a signature."""
        url = f"{self.exporter.origin}/webhooks/telnyx{path}"
        return await self.exporter.http.post(url, content=body, headers={**JSON, **headers})

    async def send(self, body: bytes, path: str = "/main", at: float = NOW) -> httpx.Response:
        return await self.post(body, path, **self.headers(body, at))

    def headers(self, body: bytes, at: float = NOW) -> dict[str, str]:
        timestamp = str(int(at))
        return {"telnyx-signature-ed25519": signature(self.key, timestamp, body), "telnyx-timestamp": timestamp}

    async def status(self, body: bytes, path: str = "/main", at: float = NOW) -> int:
        return (await self.send(body, path, at)).status_code

    async def shown(self) -> Samples:
        """Return the samples of /metrics once every webhook sent so far is included."""
        await self.exporter.samples()  # a scrape lets new series be shown with their values
        await self.exporter.drained()
        return await self.exporter.samples()


@asynccontextmanager
async def listening(
    folder: Path, *, insecure: bool = False, keys: Mapping[str, Any] | None = None, ledger_url: str | None = None
) -> AsyncIterator[Telnyx]:
    """Run an exporter that accepts webhooks for `main`, or for the accounts of `keys`."""
    with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
        plain = config(simulated, folder)
        accounts = tuple(
            replace(plain.accounts[0], name=name, key=Secret(f"{simulated.api_key}{number or ''}"), **settings)
            for number, (name, settings) in enumerate((keys or {"main": {"webhook_key": public(KEY)}}).items())
        )
        settings = replace(
            plain,
            accounts=accounts,
            discovery=DiscoverySettings(
                webhooks=WebhookSettings(insecure=insecure),
                detail_records=NO_RECORDS,
            ),
        )
        if ledger_url is not None:
            settings = replace(settings, ledger=replace(settings.ledger, url=ledger_url))
        async with exporting(settings, simulated, wall=lambda: float(NOW)) as exporter:
            yield Telnyx(exporter)


def play(scene: Callable[[], Any]) -> None:
    asyncio.run(scene())


# As witnessed on live accounts

WITNESSED = Path(__file__).parents[1] / "data" / "witnessed" / "webhooks"
ONE = ("call-session", "c8126682-f484-4c92-9a41-347e36d0dd1d")
BEGAN, SENT = "2026-11-30T22:20:27Z", "2026-11-30T22:25:27.521992Z"
YIELDS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "1_initiated.json": ("call.initiated", (*ONE, "started", SENT)),
    "2_hangup.json": ("call.hangup", (*ONE, "ended", BEGAN)),
    "3_conv_ended.json": ("call.conversation.ended", (*ONE, "started", SENT)),
    "4_insights.json": ("call.conversation_insights.generated", (*ONE, "started", SENT)),
    "5_analyzed.json": ("call.analyzed", (*ONE, "rated", SENT, "0.0942 USD")),
    "5b_analyzed_nocost.json": ("call.analyzed", (*ONE, "ended", SENT)),
    "6_cost_error.json": ("call.cost", (*ONE, "ended", SENT)),
    "7_cost.json": ("call.cost", (*ONE, "rated", SENT)),
    "8_finalized.json": (
        "message.finalized",
        ("message", "c272305d-bac9-443d-8b33-b283fa6cecac", "rated", SENT),
    ),
    "9_received.json": ("message.received", ("message", "ba963d3d-fe7e-47bc-84b8-ffd59e67ee13", "ended", SENT)),
    "10_streaming.json": (
        "streaming.started",
        ("call-session", "cbe28af4-af08-4825-857c-65d260c1d964", "started", SENT),
    ),
    "11_conference.json": (
        "conference.ended",
        ("call-session", "ef4cffc7-c8bd-4c41-8801-21d1b818dbc8", "started", SENT),
    ),
    "12_fax.json": ("fax.delivered", ("fax-api", "e5eede88-af5e-4f2e-b03d-b47a5d274337", "ended", SENT)),
    "13_assistant_init.json": ("other", None),
    "14_v1.json": ("call.initiated", ("call-session", "z", "started", "2018-02-02T22:25:27.521992Z")),
    "15_texml.form": ("texml", (*ONE, "ended")),
}
"""By file: the label, and the session's record type, id, notice, time and stated total."""


def test_every_witnessed_webhook_is_in_the_table() -> None:
    """A new file needs a row."""
    assert {path.name for path in WITNESSED.iterdir()} == YIELDS.keys()


@pytest.mark.parametrize("name", YIELDS)
def test_what_a_witnessed_webhook_yields(tmp_path: Path, name: str) -> None:
    """Signed and sent to a running exporter, each leads to its session, and counts as its event type."""
    label, session = YIELDS[name]

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            body = (WITNESSED / name).read_bytes()
            form = {"content-type": "application/x-www-form-urlencoded"} if name.endswith(".form") else {}
            for _ in range(2):  # the second is a repeated one
                assert (await sender.post(body, **sender.headers(body), **form)).status_code == 204
            with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
                found = ledger.execute(
                    "SELECT record_type, event_id, notice, date_time, stated_cost FROM sessions"
                ).fetchall()
            assert [tuple(filter(None, row)) for row in found] == ([] if session is None else [session])
            assert webhooks(await sender.shown(), label) == 1

    play(scene)


def webhooks(samples: Samples, event_type: str) -> int:
    return int(samples["telnyx_webhooks_total", (("account", "main"), ("event_type", event_type))])


def failures(samples: Samples, account: str = "main") -> dict[str, int]:
    """Return how many webhooks of the account were refused, by reason."""
    return {
        dict(labels)["reason"]: int(value)
        for (name, labels), value in samples.items()
        if name == "telnyx_webhook_failures_total" and dict(labels)["account"] == account and value
    }


def discovered(samples: Samples) -> int:
    return int(samples["telnyx_discovered_sessions_total", (("account", "main"), ("source", "webhooks"))])


def test_a_webhook_is_durable_when_it_is_answered(tmp_path: Path) -> None:
    """A session is in the ledger once its webhook gets 204: a reader in another process finds it."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            answer = await sender.send(event("call.initiated", "e1", call_session_id="s1"))
            assert (answer.status_code, answer.content) == (204, b"")
            with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
                found = ledger.execute("SELECT account, record_type, event_id, source, notice FROM sessions").fetchall()
            assert found == [("main", "call-session", "s1", "webhooks", "started")]
            assert await sender.status(event("message.finalized", "e2", id="m1")) == 204
            assert await sender.status(event("verify.done", "e3", id="v1")) == 204
            samples = await sender.shown()
            assert discovered(samples) == 2
            assert [webhooks(samples, each) for each in ("call.initiated", "message.finalized", "other")] == [1, 1, 1]

    play(scene)


def test_the_simulators_webhooks_lead_to_its_sessions(tmp_path: Path) -> None:
    """With webhooks as the only source, the exporter follows every call and message of the simulator."""

    async def scene() -> None:
        chosen = SimulatorSettings(speed=0.0, sessions_per_hour=60, sessions_max=20, seed=3)
        with running(chosen, time.monotonic, wall=time.time) as simulated:
            plain = config(simulated, tmp_path)
            accounts = (replace(plain.accounts[0], webhook_key=base64.b64decode(simulated.public_key)),)
            async with exporting(replace(plain, accounts=accounts), simulated) as exporter:
                url = f"{exporter.origin}/webhooks/telnyx"
                answer = await exporter.http.post(f"{simulated.origin}/_webhooks", json={"url": url})
                assert answer.status_code == 200
                simulated.clock.step(3 * 86_400.0)
                listed = (await exporter.http.get(f"{simulated.origin}/_sessions")).json()
                expected: int = sum(bool(each["webhooks"]) for each in listed)

                async def all_known() -> bool:
                    return discovered(await exporter.samples()) == expected

                await exporter.until(all_known)
                assert expected > 5

    play(scene)


def test_nothing_to_be_waited_for_is_missing_at_the_start(tmp_path: Path) -> None:
    """Every webhook series, and every cost that webhooks can lead to, is 0 before the first webhook."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            samples = await sender.shown()
            kinds = {dict(labels)["event_type"] for name, labels in samples if name == "telnyx_webhooks_total"}
            reasons = {dict(labels)["reason"] for name, labels in samples if name == "telnyx_webhook_failures_total"}
            assert (kinds, reasons) == (set(EVENT_TYPES), set(REASONS))
            costs = {dict(labels)["record_type"] for name, labels in samples if name == "telnyx_cost_total"}
            assert {"call-session", "call-control", "inference", "message"} <= costs

    play(scene)


def test_a_replay_changes_nothing(tmp_path: Path) -> None:
    """A repeated webhook gets 204 again and is neither counted nor followed again."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            body = event("call.cost", "e1", call_session_id="s1")
            assert [await sender.status(body) for _ in range(3)] == [204, 204, 204]
            other = event("call.cost", "e1", call_session_id="s2")  # the id decides
            assert await sender.status(other, at=NOW - 200) == 204
            samples = await sender.shown()
            assert (webhooks(samples, "call.cost"), discovered(samples), failures(samples)) == (1, 1, {})

    play(scene)


def test_duplicates_at_the_same_time_are_followed_once(tmp_path: Path) -> None:
    """One of many equal concurrent webhooks is ingested, and all are answered once it is durable."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            body = event("call.hangup", "e1", call_session_id="s1")
            assert set(await asyncio.gather(*(sender.status(body) for _ in range(40)))) == {204}
            samples = await sender.shown()
            assert (webhooks(samples, "call.hangup"), discovered(samples)) == (1, 1)

    play(scene)


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    """Stop all processes of a PostgreSQL server for the block; its connections stay open."""
    processes = server.pids
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_ledger_that_blocks_gets_an_answer_in_time(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """While the ledger blocks the answer is 503 within 2 s, for duplicates too; a retry is accepted later, once."""

    async def scene(url: str | None, blocking: Callable[[], AbstractContextManager[None]]) -> None:
        async with listening(tmp_path, ledger_url=url) as sender:
            body = event("call.hangup", "e1", call_session_id="s1")
            with blocking():
                began = time.monotonic()
                answers = await asyncio.gather(*(sender.send(body) for _ in range(3)))
                assert time.monotonic() - began < 2.0
                assert [answer.status_code for answer in answers] == [503] * 3
                assert answers[0].headers["retry-after"] == "5"

            async def accepted() -> bool:
                return await sender.status(body) == 204

            await sender.exporter.until(accepted)
            samples = await sender.shown()
            assert (webhooks(samples, "call.hangup"), discovered(samples)) == (1, 1)
            assert failures(samples)["unavailable"] >= 3

    if engine == "sqlite":
        asyncio.run(scene(None, lambda: busy(tmp_path)))
        return
    server: Postgres = request.getfixturevalue("own_postgres")
    asyncio.run(scene(server.url(), lambda: stopped(server)))


def test_a_sender_that_goes_away_was_heard(tmp_path: Path) -> None:
    """A webhook received completely is ingested even if its sender has disconnected."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            with connected(sender) as gone:
                gone.sendall(request(sender, event("call.hangup", "e1", call_session_id="s1")))

            async def taken() -> bool:
                return discovered(await sender.exporter.samples()) == 1

            await sender.exporter.until(taken)

    play(scene)


@pytest.mark.slow
def test_the_key_is_rotated_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed key file is read again; while it holds no key, the last good one stays in use."""
    file = tmp_path / "key"
    file.write_text(base64.b64encode(public(KEY)).decode())

    async def scene() -> None:
        keys = {"main": {"webhook_key": public(KEY), "webhook_public_key_file": file}}
        async with listening(tmp_path, keys=keys) as sender:
            new = Telnyx(sender.exporter, OTHER_KEY)
            assert (await sender.status(event(name="e1")), await new.status(event(name="e2"))) == (204, 403)
            file.write_text("no key")

            async def said() -> bool:
                assert await sender.status(event(name="e3")) == 204
                return "key file not read" in caplog.text

            await sender.exporter.until(said)
            assert await new.status(event(name="e4")) == 503  # the file may be about to get this key
            (tmp_path / "next").write_text(base64.b64encode(public(OTHER_KEY)).decode())
            (tmp_path / "next").rename(file)

            async def rotated() -> bool:
                return await new.status(event(name="e4")) == 204

            await sender.exporter.until(rotated)
            assert await sender.status(event(name="e5")) == 403
            labels = (("account", "main"), ("source", "webhooks"))
            assert (await sender.shown())["telnyx_discovery_failures_total", labels] == 1
        assert "no key" not in caplog.text

    play(scene)


@pytest.mark.slow
def test_paths(tmp_path: Path) -> None:
    """The path without an account works if only one account accepts webhooks."""

    async def scene() -> None:
        both = {"main": {"webhook_key": public(KEY)}, "backup": {"webhook_key": public(OTHER_KEY)}}
        async with listening(tmp_path / "both", keys=both) as sender:
            unnamed = await sender.send(event(), path="")
            assert unnamed.status_code == 404
            assert unnamed.text == "name the account in the path: /webhooks/telnyx/ACCOUNT\n"
            assert await sender.status(event(), "/backup") == 403
            assert await sender.status(event(), "/main") == 204
            assert failures(await sender.shown(), "unknown") == {"account_not_named": 1}
        one = {"main": {"webhook_key": public(KEY)}, "backup": {}}
        async with listening(tmp_path / "one", keys=one) as sender:
            assert [await sender.status(event(), path) for path in ("", "/main", "/backup")] == [204, 204, 403]
            assert failures(await sender.shown(), "backup") == {"no_key": 1}

    for folder in ("both", "one"):
        (tmp_path / folder).mkdir()
    play(scene)


def test_unsigned_webhooks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a key an account accepts webhooks only with `insecure`, and each start logs a warning."""

    async def scene() -> None:
        keys = {"main": {}, "backup": {"webhook_key": public(KEY)}}
        async with listening(tmp_path, insecure=True, keys=keys) as sender:
            assert (await sender.post(event(), "/main")).status_code == 204
            assert (await sender.post(event(), "/backup")).status_code == 401

    play(scene)
    [warning] = [record for record in caplog.records if record.msg.startswith("unsigned webhooks are accepted")]
    assert vars(warning)["fields"] == {"accounts": "main"}


# Hostile


OF_ITSELF = ("telnyx_api_", "telnyx_due_", "telnyx_ledger_", "process_", "python_")
"""Families whose series appear some time after the start."""


def request(sender: Telnyx, body: bytes) -> bytes:
    signed = "".join(f"{name}: {text}\r\n" for name, text in {**JSON, **sender.headers(body)}.items())
    return (
        f"POST /webhooks/telnyx/main HTTP/1.1\r\nHost: x\r\n{signed}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


def connected(sender: Telnyx) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sender.exporter.app.web.port), timeout=20)


def test_every_refusal_has_its_answer(tmp_path: Path) -> None:
    """Each kind of refusal has its own status and a fixed text, which quotes nothing of the request."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            large = event(padding="x" * 300_000, call_session_id="s")
            answers = {
                "no_such_account": await sender.send(event(), "/mallory"),
                "content_type": await sender.post(event(), **{"content-type": "text/plain"}),
                "too_large": await sender.send(large),
                "unsigned": await sender.post(event()),
                "bad_signature": await Telnyx(sender.exporter, OTHER_KEY).send(event()),
                "stale": await sender.send(event(), at=NOW - 301),
                "early": await sender.send(event(), at=NOW + 301),
                "malformed": await sender.send(b"{}"),
            }
            for reason, answer in answers.items():
                status, text = ANSWERS[reason]
                assert (answer.status_code, answer.text) == (status, f"{text}\n"), reason
            del answers["no_such_account"]
            assert failures(await sender.shown()) == dict.fromkeys(answers, 1)

    play(scene)


def test_a_webhook_that_may_be_accepted_later_is_sent_again() -> None:
    """Telnyx sends a webhook again after 408, 429 and 5xx only, so other statuses are for what no retry can cure."""
    final = {reason for reason, (status, _) in ANSWERS.items() if status not in {408, 429, 503}}
    assert final == {
        *("no_such_account", "account_not_named", "no_key", "content_type", "too_large"),
        *("unsigned", "bad_signature", "stale", "malformed"),
    }


def hostile(sender: Telnyx) -> Iterator[tuple[bytes, str, dict[str, str]]]:
    """Hostile and random bodies, paths and headers."""
    for body in (*BAD_BODIES.values(), b"x" * 10_000_000):
        yield body, "/main", {}
        yield body, "/main", sender.headers(body)
    stranger = Telnyx(sender.exporter, OTHER_KEY)
    for path in (
        "/main",
        "/../main",
        "/%00",
        "/main%22%7D%201%0Atelnyx_cost_total",
        "/" + "a" * 4000,
        "/unknown",
        "/main/x",
    ):
        yield event(), path, stranger.headers(event())
        yield event(), path, {"telnyx-signature-ed25519": GOOD, "telnyx-timestamp": "9" * 5000}
    for at in (0, NOW - 400):
        yield event(), "/main", sender.headers(event(), at)


def test_hostile_webhooks_leave_nothing_behind(tmp_path: Path) -> None:
    """Hostile requests cause no session, series or server error, and scrapes continue meanwhile."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            before = await sender.shown()
            for body, path, headers in hostile(sender):
                answer = await sender.post(body, path, **headers)
                assert 400 <= answer.status_code < 500, (path, headers, body[:50])
                assert "Traceback" not in answer.text
                assert len(answer.content) < 200
            after = await sender.shown()
            appeared = {key for key in after.keys() - before.keys() if not key[0].startswith(OF_ITSELF)}
            unknown = {("telnyx_webhook_failures_total", (("account", "unknown"), ("reason", "no_such_account")))}
            assert appeared == unknown
            assert discovered(after) == 0
            assert sum(webhooks(after, event_type) for event_type in EVENT_TYPES) == 0

    play(scene)


def test_injected_labels_stay_out(tmp_path: Path) -> None:
    """A genuine webhook of an unknown type is counted as `other`, whatever its name."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            before = await sender.shown()
            for number, kind in enumerate(('call."} 1', "x\n# EOF", "a" * 10_000, "\\", "other", "\0")):
                assert await sender.status(event(kind, f"e{number}", id="s")) == 204
            after = await sender.shown()
            assert webhooks(after, "other") == 6
            assert {name for name, _ in after.keys() - before.keys() if not name.startswith(OF_ITSELF)} == set()

    play(scene)


def test_slow_senders_delay_no_other_sender(tmp_path: Path) -> None:
    """200 senders that never end their bodies make 20 scrapes and webhooks take at most two seconds longer than before.

    Those who have been sending longest are cut off.
    """

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            whole = request(sender, event("call.hangup", "slow", call_session_id="s1"))

            async def round_(name: str) -> float:
                began = time.monotonic()
                for number in range(20):
                    assert (await sender.exporter.get("/metrics")).status_code == 200
                    assert await sender.status(event(name=f"{name}{number}")) == 204
                return time.monotonic() - began

            before = await round_("before")
            held = [connected(sender) for _ in range(200)]
            for connection in held:
                connection.sendall(whole[:-10])
            assert await asyncio.to_thread(held[0].recv, 65_536)  # closed, because too many requests were sending
            meanwhile = await round_("meanwhile")
            for connection in held:
                connection.close()
            assert meanwhile < before + 2.0
            assert "slow" in failures(await sender.shown())

    play(scene)


def taking(app: App) -> WebhookRoutes:
    """Return the app's webhook routes, which count the senders that wait."""
    return app._webhook_ingest._webhooks  # noqa: SLF001 - polls read this count, and no page shows it


def test_polls_go_on_while_webhooks_wait(tmp_path: Path) -> None:
    """Polls yield to waiting senders only for a moment: all of 30 polls finish while a sender always waits."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            app = sender.exporter.app
            taking(app).waiting = 1  # as if a new sender came whenever one was answered
            await app.ingest.ingest_refs(
                [SessionRef("main", "call-session", f"s{number}") for number in range(30)], "file"
            )
            samples = await sender.shown()
            assert samples["telnyx_polls_total", (("account", "main"),)] >= 30

    play(scene)


def test_who_only_begins_to_send_makes_no_poll_wait(tmp_path: Path) -> None:
    """Only a webhook that has arrived completely counts as waiting, until it is answered; an endless body doesn't."""

    async def scene() -> None:
        async with listening(tmp_path) as sender:
            taken, whole = (
                taking(sender.exporter.app),
                request(sender, event("call.hangup", "e1", call_session_id="s1")),
            )
            with connected(sender) as slow, busy(tmp_path):
                slow.sendall(whole[:-10])
                sent = asyncio.create_task(sender.send(event("call.hangup", "e2", call_session_id="s2")))

                async def waits() -> bool:
                    return taken.waiting > 0

                await sender.exporter.until(waits)
                assert taken.waiting == 1
            await sent

    play(scene)
