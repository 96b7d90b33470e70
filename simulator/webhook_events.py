"""The webhooks of a session: types, times, ids and bodies.

Where they are sent, and what happens on the way, is not decided here. `call.cost` and `call.analyzed` are sent when all
events that they are about have been rated for the first time; a later amendment sends no webhook.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from exporter.core.money import ZERO, add, subtract, total
from simulator.behaviour import ApiBehaviour
from simulator.events import SimulatedEvent, SimulatedSession, usage
from simulator.records import CALL_SESSION
from simulator.session_builder import iso
from simulator.voice import INSIGHTS

ANSWERED_AFTER_SECONDS = 2
"""A call rings this long, or until the caller gives up."""

JSON, FORM = "application/json", "application/x-www-form-urlencoded"

_NAMESPACE = uuid.UUID("6f1d2c34-58b7-4c1e-9b0a-7d3e5f60a1b2")
_CALL_FACTS = ("call_session_id", "call_control_id", "call_leg_id", "connection_id")
_BILLING_GROUP = "f5586561-8ff0-4291-a0ac-84fe544797bd"
_TRANSPORTS = frozenset({"sip-trunking", "webrtc"})


class WebhookEvent(Struct, frozen=True, gc=False):
    """A webhook about one event of a session."""

    id: str
    event_type: str
    time: float
    root: int
    """Index of the call, message or conference."""
    index: int


def webhook_events(session: SimulatedSession, api: ApiBehaviour) -> Iterator[WebhookEvent]:
    """Yield all webhooks of a session, future ones included, always in the same order."""
    for root in session.roots:
        send = SENDERS.get(session.events[root].record_type)
        if send is not None:
            yield from send(session, root, api)


def body(session: SimulatedSession, hook: WebhookEvent, api: ApiBehaviour, attempt: int, url: str) -> tuple[str, bytes]:
    """Return the content type and the body of the request."""
    if hook.event_type in TEXML_STATUSES and _is_texml(session, hook.root, api):
        return FORM, urlencode(_status(session, hook)).encode()
    payload = _PAYLOADS[hook.event_type](session, hook, api)
    if api.webhook_api_version == "1":
        kind, at = hook.event_type.replace(".", "_"), _precise(hook.time)
        old = {"record_type": "event", "id": hook.id, "event_type": kind, "created_at": at}
        return JSON, msgspec.json.encode({**old, "payload": payload, "metadata": {}})
    data = {"record_type": "event", "event_type": hook.event_type, "id": hook.id, "occurred_at": _precise(hook.time)}
    if hook.event_type == "call.conversation.ended":
        data["created_at"] = data["occurred_at"]
    meta = {"attempt": attempt, "delivered_to": url}
    return JSON, msgspec.json.encode({"data": {**data, "payload": payload}, "meta": meta})


def _of_call(session: SimulatedSession, root: int, api: ApiBehaviour) -> Iterator[WebhookEvent]:
    texml = _is_texml(session, root, api)
    for hook in _hooks_of_call(session, root, api):
        if not texml or hook.event_type in TEXML_STATUSES or hook.event_type == "call.analyzed":
            yield hook


def _hooks_of_call(session: SimulatedSession, root: int, api: ApiBehaviour) -> Iterator[WebhookEvent]:
    call = session.events[root]
    yield _hook(call, "call.initiated", call.began, root, root)
    if call.ended > call.began:
        yield _hook(call, "call.answered", min(call.began + ANSWERED_AFTER_SECONDS, call.ended), root, root)
    for index in session.below(root):
        event = session.events[index]
        for event_type, at_begin in _OF_EVENTS.get(event.record_type, ()):
            yield _hook(event, event_type, event.began if at_begin else event.ended, root, index)
    yield _hook(call, "call.hangup", call.ended, root, root)
    yield from _insights(session, root)
    if api.call_cost_webhooks:
        for leg in _legs(session, root):
            yield _hook(session.events[leg], "call.cost", _rated(session, _billed_with(session, root, leg)), root, leg)
    speaker = _assistant(session, root)
    if api.call_analyzed_webhooks != "off" and speaker is not None:
        yield _hook(call, "call.analyzed", _rated(session, session.below(root)), root, speaker)


_OF_EVENTS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    "ai-voice-assistant": (("call.conversation.created", True), ("call.conversation.ended", False)),
    "media-streaming": (("streaming.started", True), ("streaming.stopped", False)),
    "siprec-client": (("siprec.started", True), ("siprec.stopped", False)),
}
"""The webhooks of events in a call, and whether they are sent when the event begins."""


def _insights(session: SimulatedSession, root: int) -> Iterator[WebhookEvent]:
    for index in session.roots:
        event = session.events[index]
        if event.record.get("usecase") == INSIGHTS:
            yield _hook(event, "call.conversation_insights.generated", event.ended, root, index)


def _of_message(session: SimulatedSession, root: int, _: ApiBehaviour) -> Iterator[WebhookEvent]:
    message = session.events[root]
    if message.facts["direction"] == "inbound":
        yield _hook(message, "message.received", message.began, root, root)
    else:
        yield _hook(message, "message.finalized", message.exists_from, root, root)


def _of_conference(session: SimulatedSession, root: int, _: ApiBehaviour) -> Iterator[WebhookEvent]:
    """Yield the webhooks of a conference, which name the first call that joined it."""
    conference = session.events[root]
    yield _hook(conference, "conference.created", conference.began, root, root)
    yield _hook(conference, "conference.ended", conference.ended, root, root)


def _of_fax(session: SimulatedSession, root: int, _: ApiBehaviour) -> Iterator[WebhookEvent]:
    fax = session.events[root]
    yield _hook(fax, "fax.delivered", fax.ended, root, root)


SENDERS: Mapping[str, Callable[[SimulatedSession, int, ApiBehaviour], Iterator[WebhookEvent]]] = {
    CALL_SESSION: _of_call,
    "message": _of_message,
    "conference": _of_conference,
    "fax-api": _of_fax,
}
"""The record types of roots that send webhooks."""

NAMED = frozenset({CALL_SESSION, "message"})
"""Those that their webhooks name by the id of the root. Whether others do is not known."""


def _hook(event: SimulatedEvent, event_type: str, time: float, root: int, index: int) -> WebhookEvent:
    return WebhookEvent(str(uuid.uuid5(_NAMESPACE, f"{event_type}/{event.id}")), event_type, time, root, index)


def _legs(session: SimulatedSession, root: int) -> Iterator[int]:
    legs = _TRANSPORTS | {"call-control"}
    return (index for index in session.children[root] if session.events[index].record_type in legs)


def _billed_with(session: SimulatedSession, root: int, leg: int) -> list[int]:
    """Return the events of one leg's bill: what is not of a transport is billed with call control."""
    if session.events[leg].record_type in _TRANSPORTS:
        return list(session.below(leg))
    transports = {index for index in session.children[root] if session.events[index].record_type in _TRANSPORTS}
    return [index for index in session.below(root) if index not in transports]


def _rated(session: SimulatedSession, indexes: Iterator[int] | list[int]) -> float:
    return max(session.events[index].exists_from for index in indexes)


def _assistant(session: SimulatedSession, root: int) -> int | None:
    below = session.below(root)
    return next((index for index in below if session.events[index].record_type == "ai-voice-assistant"), None)


# Payloads


def _call(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    """Return the fields that every webhook of a call has."""
    facts = session.events[hook.root].facts
    return {**{name: facts[name] for name in _CALL_FACTS}, "client_state": None}


def _initiated(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    return _call(session, hook) | _parties(session, hook) | {"direction": "incoming", "state": "parked"}


def _answered(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    started = {"start_time": iso(session.events[hook.root].began)}
    return _call(session, hook) | _parties(session, hook) | started | {"state": "answered"}


def _hangup(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    call = session.events[hook.root]
    cause = "normal_clearing" if call.ended > call.began else "timeout"
    return _call(session, hook) | {"start_time": iso(call.began), "state": "hangup", "hangup_cause": cause}


def _plain(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    return _call(session, hook)


def _parties(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    return {name: session.events[hook.root].facts[name] for name in ("from", "to")}


def _conversation_created(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    facts = session.events[hook.index].facts
    return _call(session, hook) | {name: facts[name] for name in ("assistant_id", "conversation_id")}


def _conversation_ended(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    event = session.events[hook.index]
    said = {
        name: event.facts.get(name) for name in ("assistant_id", "conversation_id", "duration_sec", "llm_model")
    } | {name: event.record[name] for name in ("stt_model", "tts_model_id", "tts_provider")}
    party = {"calling_party_type": "sip", "reason": "customer_disconnect", "tts_voice_id": "Marissa"}
    return _call(session, hook) | said | party


def _insight_results(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    group = session.events[hook.index].id
    results = [{"insight_id": group, "result": "The caller was content."}]
    return _call(session, hook) | {"insight_group_id": group, "results": results}


def _analyzed(session: SimulatedSession, hook: WebhookEvent, api: ApiBehaviour) -> dict[str, Any]:
    """Return the sums of the call's tree at that time, or a text if there are none."""
    parts: dict[str, Decimal] = {}
    for event in (session.events[index] for index in session.below(hook.root)):
        step = event.step_at(hook.time)
        if step is not None and step.cost is not None:
            parts[event.product] = add(parts.get(event.product, ZERO), step.cost)
    if api.call_analyzed_webhooks == "text" or not parts:
        return _call(session, hook) | {"cost": "No cost data available."}
    facts = session.events[hook.index].facts
    cost = {
        "total": _text(total(parts.values())),
        "currency": session.currency,
        "breakdown": [{"product": product, "cost": _text(cost)} for product, cost in parts.items()],
    }
    said = {name: facts[name] for name in ("assistant_id", "conversation_id", "duration_sec")}
    return _call(session, hook) | said | {"cost": cost, "recordings": []}


def _cost(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    """Return the bill of one leg by record type; an error without a total if an event has no price."""
    leg = session.events[hook.index]
    of_leg = {"call_leg_id": leg.facts["call_leg_id"] if leg.record_type == "call-control" else leg.id}
    parts: dict[str, dict[str, Any]] = {}
    for event in (session.events[index] for index in _billed_with(session, hook.root, hook.index)):
        step = event.step_at(hook.time)
        if event.bundled or event.record_type == CALL_SESSION:
            continue
        if step is None or step.cost is None:
            failed: dict[str, Any] = {
                "billed_duration_secs": None,
                "billing_group_id": None,
                "cost_parts": [],
                "status": "error",
            }
            return _call(session, hook) | of_leg | failed | {"total_cost": None}
        name = {"recording": "call-recording"}.get(event.record_type, event.record_type)
        part = parts.setdefault(
            name,
            {
                "call_part": name,
                "cost": ZERO,
                "currency": step.currency,
                "billed_duration_secs": 0,
                "rate": _text(Decimal(str(event.facts["rate"]))),
            },
        )
        part["cost"] = add(part["cost"], step.cost)
        part["billed_duration_secs"] += usage(event.record_at(step)).billed_seconds
    return _call(session, hook) | {
        **of_leg,
        "billed_duration_secs": max((part["billed_duration_secs"] for part in parts.values()), default=0),
        "billing_group_id": _BILLING_GROUP,
        "cost_parts": [{**part, "cost": _text(part["cost"])} for part in parts.values()],
        "status": "success",
        "total_cost": _text(total(part["cost"] for part in parts.values())),
    }


def _finalized(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    message = session.events[hook.root]
    step = message.step_at(hook.time)
    cost = None if step is None else step.cost
    priced: dict[str, Any] = {"cost": None, "cost_breakdown": None}
    if step is not None and cost is not None:
        fee = Decimal(str(message.record["carrier_fee"]))
        parts = {"carrier_fee": fee, "rate": subtract(cost, fee)}
        priced = {
            "cost": _amount(cost, step.currency),
            "cost_breakdown": {name: _amount(part, step.currency) for name, part in parts.items()},
        }
    completed = datetime.fromtimestamp(message.ended, UTC).isoformat(timespec="milliseconds")
    to = [{"phone_number": message.facts["cld"], "status": "delivered"}]
    return _message(session, hook) | {"completed_at": completed, "to": to, **priced}


def _received(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    return _message(session, hook)


def _message(session: SimulatedSession, hook: WebhookEvent) -> dict[str, Any]:
    message = session.events[hook.root]
    return {"record_type": "message", "id": message.id, "direction": message.facts["direction"]}


def _conference(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    first = session.events[session.children[hook.root][0]]
    named = {"conference_id": session.events[hook.root].id, "call_session_id": first.facts["call_session_id"]}
    return named | ({"reason": "all_left"} if hook.event_type == "conference.ended" else {})


def _fax(session: SimulatedSession, hook: WebhookEvent, _: ApiBehaviour) -> dict[str, Any]:
    fax = session.events[hook.root]
    seconds = int(fax.ended - fax.began)
    return {"fax_id": fax.id, "connection_id": "1", "page_count": fax.facts["pages"], "call_duration_secs": seconds}


_PAYLOADS: Mapping[str, Callable[[SimulatedSession, WebhookEvent, ApiBehaviour], dict[str, Any]]] = {
    "call.initiated": _initiated,
    "call.answered": _answered,
    "call.conversation.created": _conversation_created,
    "call.conversation.ended": _conversation_ended,
    "call.conversation_insights.generated": _insight_results,
    "call.hangup": _hangup,
    "call.cost": _cost,
    "call.analyzed": _analyzed,
    **dict.fromkeys(("streaming.started", "streaming.stopped", "siprec.started", "siprec.stopped"), _plain),
    **dict.fromkeys(("conference.created", "conference.ended"), _conference),
    "fax.delivered": _fax,
    "message.finalized": _finalized,
    "message.received": _received,
}


# Status callbacks of TeXML applications

TEXML_STATUSES = {
    "call.initiated": "initiated",
    "call.answered": "in-progress",
    "call.conversation.ended": "conversation_ended",
    "call.hangup": "completed",
}
"""The status that takes the place of each webhook."""


def _is_texml(session: SimulatedSession, root: int, api: ApiBehaviour) -> bool:
    call = session.events[root]
    return call.record_type == CALL_SESSION and int(call.id[-8:], 16) / 2**32 < api.texml_share


def _status(session: SimulatedSession, hook: WebhookEvent) -> dict[str, str]:
    call = session.events[hook.root]
    return {
        "AccountSid": "00000000",
        "CallSid": str(call.facts["call_control_id"]),
        "CallControlId": str(call.facts["call_control_id"]),
        "CallSessionId": call.id,
        "CallLegId": str(call.facts["call_leg_id"]),
        "CallStatus": TEXML_STATUSES[hook.event_type],
        **({"CallDuration": str(int(call.ended - call.began))} if hook.event_type == "call.hangup" else {}),
        "CallbackSource": "call-progress-events",
        **({"HangupCause": "normal_clearing"} if hook.event_type == "call.hangup" else {}),
        "From": str(call.facts["from"]),
        "To": str(call.facts["to"]),
        "ConnectionId": str(call.facts["connection_id"]),
    }


def _precise(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _amount(amount: Decimal, currency: str) -> dict[str, str]:
    return {"amount": _text(amount), "currency": currency}


def _text(amount: Decimal) -> str:
    return format(amount, "f")
