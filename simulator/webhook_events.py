"""The webhooks of a session: types, times, ids and payloads.

Where they are sent, and what happens on the way, is not decided here. `call.cost` is sent once, when all events of the
call have been rated for the first time; a later amendment sends no webhook.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.core.money import ZERO, add, total
from simulator.events import SimulatedEvent, SimulatedSession, usage
from simulator.records import CALL_SESSION
from simulator.session_builder import iso

ANSWERED_AFTER_SECONDS = 2
"""A call rings this long, or until the caller gives up."""

_NAMESPACE = uuid.UUID("6f1d2c34-58b7-4c1e-9b0a-7d3e5f60a1b2")
_CALL_FACTS = ("call_session_id", "call_leg_id", "connection_id", "from", "to")
_TALK_FACTS = ("assistant_id", "conversation_id", "duration_sec", "llm_model", "tts_provider")


class WebhookEvent(Struct, frozen=True, gc=False):
    """A webhook about one event of a session."""

    id: str
    event_type: str
    time: float
    root: int
    """Index of the call or message that it names."""
    index: int


def webhook_events(session: SimulatedSession) -> Iterator[WebhookEvent]:
    """Yield all webhooks of a session, future ones included, always in the same order."""
    for root in session.roots:
        send = SENDERS.get(session.events[root].record_type)
        if send is not None:
            yield from send(session, root)


def body(session: SimulatedSession, hook: WebhookEvent, attempt: int, url: str) -> dict[str, Any]:
    """Return the body of the request."""
    return {
        "data": {
            "record_type": "event",
            "event_type": hook.event_type,
            "id": hook.id,
            "occurred_at": iso(hook.time),
            "payload": _PAYLOADS[hook.event_type](session, hook),
        },
        "meta": {"attempt": attempt, "delivered_to": url},
    }


def _of_call(session: SimulatedSession, root: int) -> Iterator[WebhookEvent]:
    call = session.events[root]
    below = list(session.below(root))
    began, ended = _time(call, "started_at"), _time(call, "ended_at")
    yield _hook(call, "call.initiated", began, root, root)
    if ended > began:
        yield _hook(call, "call.answered", min(began + ANSWERED_AFTER_SECONDS, ended), root, root)
    for index in below:
        event = session.events[index]
        if event.record_type == "ai-voice-assistant":
            yield _hook(event, "call.conversation.ended", _time(event, "completed_at"), root, index)
    yield _hook(call, "call.hangup", ended, root, root)
    rated = max(session.events[index].exists_from for index in below)
    yield _hook(call, "call.cost", rated, root, root)


def _of_message(session: SimulatedSession, root: int) -> Iterator[WebhookEvent]:
    message = session.events[root]
    yield _hook(message, "message.finalized", _time(message, "completed_at"), root, root)


SENDERS: Mapping[str, Callable[[SimulatedSession, int], Iterator[WebhookEvent]]] = {
    CALL_SESSION: _of_call,
    "message": _of_message,
}
"""The record types of roots that send webhooks."""


def _hook(event: SimulatedEvent, event_type: str, time: float, root: int, index: int) -> WebhookEvent:
    return WebhookEvent(str(uuid.uuid5(_NAMESPACE, f"{event_type}/{event.id}")), event_type, time, root, index)


def _time(event: SimulatedEvent, field: str) -> float:
    return datetime.fromisoformat(str(event.record[field])).timestamp()


def _call(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    """Return the fields that every webhook of a call has."""
    record = session.events[hook.root].record
    legs = (session.events[index] for index in session.children[hook.root])
    leg = next(event for event in legs if event.record_type == "call-control")
    facts = {name: record[name] for name in _CALL_FACTS}
    return {"call_control_id": leg.record.get("call_control_id", leg.id), "client_state": None, **facts}


def _initiated(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    started = {"start_time": session.events[hook.root].record["started_at"]}
    return _call(session, hook) | started | {"direction": "incoming", "state": "parked"}


def _answered(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    started = {"start_time": session.events[hook.root].record["started_at"]}
    return _call(session, hook) | started | {"state": "answered"}


def _hangup(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    record = session.events[hook.root].record
    cause = "normal_clearing" if record["duration_sec"] else "timeout"
    ended = {"start_time": record["started_at"], "end_time": record["ended_at"], "state": "hangup"}
    return _call(session, hook) | ended | {"hangup_cause": cause, "hangup_source": "caller"}


def _conversation_ended(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    record = session.events[hook.index].record
    said = {name: record[name] for name in _TALK_FACTS if name in record}
    return _call(session, hook) | said | {"stt_model": "deepgram/nova-3", "reason": "user_hangup"}


def _cost(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    """Return the costs at that time by record type; the status is `error` if an event has no price."""
    parts: dict[str, dict[str, Any]] = {}
    priced = True
    for event in (session.events[index] for index in session.below(hook.root)):
        step = event.step_at(hook.time)
        if step is None or step.cost is None:
            priced = False
            continue
        part = parts.setdefault(
            event.record_type,
            {"cost": ZERO, "currency": step.currency, "billed_duration_secs": 0, "rate": event.record["rate"]},
        )
        part["cost"] = add(part["cost"], step.cost)
        part["billed_duration_secs"] += usage(event.record_at(step))[2]
    return _call(session, hook) | {
        "status": "success" if priced else "error",
        "total_cost": _text(total(part["cost"] for part in parts.values())),
        "billed_duration_secs": max((part["billed_duration_secs"] for part in parts.values()), default=0),
        "cost_parts": [{"call_part": name, **part, "cost": _text(part["cost"])} for name, part in parts.items()],
    }


def _finalized(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    message = session.events[hook.root]
    record = message.record
    return {
        "record_type": "message",
        "id": message.id,
        "direction": record["direction"],
        "type": record["message_type"],
        "from": {"phone_number": record["cli"]},
        "to": [{"phone_number": record["cld"], "status": "delivered"}],
        "parts": record["parts"],
        "sent_at": record["sent_at"],
        "completed_at": record["completed_at"],
        "tags": [tag for tag in str(record["tags"]).split(",") if tag],
        "errors": [],
    }


_PAYLOADS: Mapping[str, Callable[[SimulatedSession, WebhookEvent], dict[str, Any]]] = {
    "call.initiated": _initiated,
    "call.answered": _answered,
    "call.conversation.ended": _conversation_ended,
    "call.hangup": _hangup,
    "call.cost": _cost,
    "message.finalized": _finalized,
}


def _text(amount: Decimal) -> str:
    return format(amount, "f")
