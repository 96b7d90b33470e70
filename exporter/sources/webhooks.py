"""A webhook of Telnyx: whether it is genuine, and which session it tells of.

Owns the signature's rule, the reading of the body, and the table from event types to sessions. No I/O and no clock.
The surprising fact: a webhook's figures are never booked. It only says where to look and when; even the bill that
`call.cost` carries is read from the session's tree, where it is exact and can be amended.
"""

import base64
import re
from collections.abc import Mapping
from importlib import import_module

import msgspec
from msgspec import Raw, Struct

from exporter.core.errors import Rejected
from exporter.core.model import OTHER, NoticeKind, SessionNotice, SessionRef

TOLERANCE_SECONDS = 300.0
"""How far the time of the signature may be from ours, either way; Telnyx's own SDK allows as much."""

ID_CHARACTERS_MAX = 200
"""Telnyx's ids have 36; a longer one would be kept for ever, in the ledger and in labels."""

SIGNATURE_BYTES = 64

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class Leads(Struct, frozen=True):
    """Where a type of event leads: the session's type, the payload's field with its id, and what has happened to it."""

    record_type: str
    field: str
    hint: NoticeKind


def _call(hint: NoticeKind) -> Leads:
    return Leads("call-session", "call_session_id", hint)


def _message(hint: NoticeKind) -> Leads:
    return Leads("message", "id", hint)


LEADS: Mapping[str, Leads] = {
    "call.initiated": _call("started"),
    "call.answered": _call("started"),
    "call.bridged": _call("started"),
    "call.conversation.ended": _call("started"),  # the assistant is done, the call may go on
    "call.recording.saved": _call("started"),
    "call.hangup": _call("ended"),
    "call.cost": _call("rated"),
    "message.sent": _message("started"),
    "message.received": _message("ended"),  # nothing more is told of an inbound message
    "message.finalized": _message("ended"),  # delivered or not; its record comes later
}
"""The event types by name; these are also the values that the label `event_type` may have, besides `other`."""

PREFIXES: Mapping[str, Leads] = {"call.": _call("started")}
"""The families of event types; of a type that has no row above, they say where it leads."""

EVENT_TYPES = (*LEADS, OTHER)


class Webhook(Struct, frozen=True):
    """A webhook that was read."""

    id: str
    event_type: str
    """One of EVENT_TYPES."""
    notice: SessionNotice | None
    """None: it tells of nothing that is followed."""


def verify(key: bytes, signature: str | None, timestamp: str | None, body: bytes, now: float) -> None:
    """Raises Refused unless the owner of the key signed this body, and did so lately; the texts are the headers'."""
    signed = _signature(signature)
    if timestamp is None or not _TIMESTAMP.fullmatch(timestamp):
        raise Rejected("unsigned")
    check_signature(key, signed, timestamp.encode() + b"|" + body)
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise Rejected("stale")


def check_signature(key: bytes, signature: bytes, message: bytes) -> None:
    """Raises Refused unless the key's owner signed the message."""
    from exporter.sources.signature import is_signed  # noqa: PLC0415 - only who takes webhooks has it in memory

    if not is_signed(key, signature, message):
        raise Rejected("bad_signature")


def prepare() -> None:
    """Have what verifies in memory before the first webhook comes: to import it takes 50 ms."""
    import_module("exporter.sources.signature")


def _signature(text: str | None) -> bytes:
    try:
        signature = base64.b64decode(text or "", validate=True)
    except ValueError:
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        raise Rejected("unsigned")
    return signature


class _Data(Struct):
    event_type: str
    id: str
    payload: Raw = Raw(b"null")


class _Body(Struct):
    data: _Data


_BODIES = msgspec.json.Decoder(_Body)
_PAYLOADS = msgspec.json.Decoder(dict[str, Raw] | None)
_IDS = msgspec.json.Decoder(str | None)


def read(body: bytes, account: str) -> Webhook:
    """What the body says; raises Refused if it is no webhook."""
    try:
        data = _BODIES.decode(body).data
        leads = _leads(data.event_type)
        session = None if leads is None else _session(data.payload, leads.field)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Rejected("malformed") from None
    notice = None
    if leads is not None and session is not None:
        notice = SessionNotice(SessionRef(account, leads.record_type, _checked(session)), leads.hint)
    event_type = data.event_type if data.event_type in LEADS else OTHER
    return Webhook(_checked(data.id), event_type, notice)


def _session(payload: Raw, field: str) -> str | None:
    found = (_PAYLOADS.decode(payload) or {}).get(field)
    return None if found is None else _IDS.decode(found)


def _leads(event_type: str) -> Leads | None:
    family = next((leads for prefix, leads in PREFIXES.items() if event_type.startswith(prefix)), None)
    return LEADS.get(event_type, family)


def _checked(text: str) -> str:
    if not 1 <= len(text) <= ID_CHARACTERS_MAX or not text.isprintable() or text != text.strip():
        raise Rejected("malformed")
    return text
