"""Verify a Telnyx webhook, and read the session that it reports.

No amount in a webhook is booked, not even the bill in `call.cost`: the session's event tree is exact, and its amounts
can be amended. A webhook makes the exporter poll the session sooner, and the total in `call.analyzed` is compared with
the tree.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw, Struct

from exporter.core.attributes import read_time
from exporter.core.errors import Rejected
from exporter.core.model import OTHER, NoticeKind, SessionNotice, SessionRef
from exporter.core.money import read_amount, read_decimal

TOLERANCE_SECONDS = 300.0
"""The largest difference between the signature's time and ours, either way; the same as in Telnyx's own SDK."""

ID_CHARACTERS_MAX = 200
"""Telnyx's ids have 36. The ledger and labels would keep a longer one for ever."""

SIGNATURE_BYTES = 64

FORM_FIELDS_MAX = 200
"""TeXML's status callbacks have some 20."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_NULL = Raw(b"null")
_CALL = "call-session"


TEXML = "texml"

KINDS: Mapping[str, NoticeKind] = {
    "call.initiated": "started",
    "call.answered": "started",
    "call.bridged": "started",
    "call.conversation.created": "started",
    "call.conversation.start_failed": "started",
    "call.conversation.ended": "started",  # of the assistant; the call may continue
    "call.conversation_insights.generated": "started",
    "call.recording.saved": "started",
    "call.hangup": "ended",
    "call.cost": "ended",  # `rated` if it states the cost
    "call.analyzed": "ended",  # `rated` if it states the cost
    "conference.ended": "started",  # of one conference; the call may continue
    "streaming.started": "started",
    "message.sent": "started",
    "message.received": "ended",  # the only webhook of an inbound message
    "message.finalized": "ended",  # delivered or failed; `rated` if it states the cost
    "fax.delivered": "ended",
    "fax.received": "ended",
    "fax.failed": "ended",
}
"""The known event types. An unknown one that names a session reports it as `started`, which is right at any time."""

_VERSION_1 = {event_type.replace(".", "_"): event_type for event_type in KINDS}
"""The names of the same events in version 1 of Telnyx's webhooks."""

STATUSES: Mapping[str, NoticeKind] = {
    **dict.fromkeys(("queued", "initiated", "ringing", "answered", "in-progress"), "started"),
    **dict.fromkeys(("completed", "busy", "failed", "no-answer", "canceled"), "ended"),
}
"""The values of CallStatus in TeXML's status callbacks."""

EVENT_TYPES = (*KINDS, TEXML, OTHER)
"""The values of the label `event_type`."""


class Webhook(Struct, frozen=True):
    """A webhook that was read."""

    id: str
    event_type: str
    """One of EVENT_TYPES."""
    notice: SessionNotice | None
    """None if the webhook reports no session."""


def verify(key: bytes, signature: str | None, timestamp: str | None, body: bytes, now: float) -> None:
    """Raise Rejected unless the key's owner signed this body lately; `signature` and `timestamp` are the headers."""
    try:
        signed = base64.b64decode(signature or "", validate=True)
    except ValueError:
        signed = b""
    if len(signed) != SIGNATURE_BYTES:
        raise Rejected("unsigned")
    if timestamp is None or not _TIMESTAMP.fullmatch(timestamp):
        raise Rejected("unsigned")
    check_signature(key, signed, timestamp.encode() + b"|" + body)
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise Rejected("stale" if int(timestamp) < now else "early")


def check_signature(key: bytes, signature: bytes, message: bytes) -> None:
    """Raise Rejected unless the key's owner signed the message, as RFC 8032 defines it; no key verifies nothing."""
    # Imported here, since cryptography takes 7 MB of memory that an exporter without webhooks doesn't need.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Rejected("bad_signature") from None


def prepare() -> None:
    """Import cryptography now, which takes 50 ms, instead of at the first webhook."""
    with suppress(Rejected):
        check_signature(b"", b"", b"")


class _Event(Struct):
    event_type: str
    id: str
    occurred_at: Raw = _NULL
    created_at: Raw = _NULL
    payload: dict[str, Raw] | None = None


class _Body(Struct):
    data: _Event | None = None
    """None in version 1, whose fields are those of the body itself."""


_BODIES = msgspec.json.Decoder(_Body)
_EVENTS = msgspec.json.Decoder(_Event)
_IDS = msgspec.json.Decoder(str | None)
_VALUES = msgspec.json.Decoder(float_hook=read_decimal)

_Payload = Mapping[str, Raw]


def read(body: bytes, account: str) -> Webhook:
    """Return the webhook in a JSON body of either version; raises Rejected if it is none."""
    try:
        event = _BODIES.decode(body).data or _EVENTS.decode(body)
        event_type, payload = _VERSION_1.get(event.event_type, event.event_type), event.payload or {}
        named = _session(event_type, payload)
        times = [payload.get(field, _NULL) for field in ("start_time", "sent_at", "received_at")]
        date_time = _date_time(map(_VALUES.decode, (*times, event.occurred_at, event.created_at)))
        stated_cost = _money(payload, "total") if event_type == "call.analyzed" else None
        rated = stated_cost is not None or _is_rated(event_type, payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Rejected("malformed") from None
    notice = None
    if named is not None:
        record_type, session = named
        ref = SessionRef(account, record_type, _checked(session), date_time)
        notice = SessionNotice(ref, "rated" if rated else KINDS.get(event_type, "started"), stated_cost=stated_cost)
    return Webhook(_checked(event.id), event_type if event_type in KINDS else OTHER, notice)


def read_form(body: bytes, account: str) -> Webhook:
    """Return the webhook in a status callback of a TeXML application; raises Rejected if it is none.

    A callback has no id. Telnyx sends it again with the same body, so the body's digest is the id.
    """
    try:
        found = parse_qs(body.decode(), errors="replace", max_num_fields=FORM_FIELDS_MAX)
    except ValueError:  # not UTF-8, or too many fields
        raise Rejected("malformed") from None
    form = {name: values[0] for name, values in found.items()}
    if "CallSid" not in form and "CallSessionId" not in form:
        raise Rejected("malformed")
    notice = None
    if "CallSessionId" in form:
        ref = SessionRef(account, _CALL, _checked(form["CallSessionId"]), _date_time([form.get("Timestamp")]))
        notice = SessionNotice(ref, STATUSES.get(form.get("CallStatus", ""), "started"))
    return Webhook(f"{TEXML}:{hashlib.sha256(body).hexdigest()}", TEXML, notice)


READERS: Mapping[str, Callable[[bytes, str], Webhook]] = {
    "application/json": read,
    "application/x-www-form-urlencoded": read_form,
}
"""By content type."""


def _session(event_type: str, payload: _Payload) -> tuple[str, str] | None:
    """Return record type and id of the session that a payload names; None if it names none."""
    fields = [(_CALL, "call_session_id")]
    if event_type.startswith("fax."):
        fields.append(("fax-api", "fax_id"))
    if event_type.startswith(("message.", "whatsapp.")):
        # The payload is the message itself, or an event of it such as a click on its link.
        message = event_type in KINDS or _VALUES.decode(payload.get("record_type", _NULL)) == "message"
        fields.append(("message", "id" if message else "message_id"))
    for record_type, field in fields:
        named = _IDS.decode(payload.get(field, _NULL))
        if named is not None:
            return record_type, named
    return None


def _is_rated(event_type: str, payload: _Payload) -> bool:
    """Return whether the webhook states a cost that Telnyx has rated; a failed rating has the status `error`."""
    if event_type == "call.cost":
        total_cost, status = (_VALUES.decode(payload.get(field, _NULL)) for field in ("total_cost", "status"))
        return status != "error" and read_amount(total_cost) is not None
    return event_type == "message.finalized" and _money(payload, "amount") is not None


def _money(payload: _Payload, field: str) -> tuple[Decimal, str] | None:
    """Return the amount and currency of the payload's cost, which may also be null or a text."""
    cost = _VALUES.decode(payload.get("cost", _NULL))
    if not isinstance(cost, dict):
        return None
    amount, currency = read_amount(cost.get(field)), cost.get("currency")
    return (
        None
        if amount is None or not isinstance(currency, str) or not _CURRENCY.fullmatch(currency)
        else (amount, currency)
    )


def _date_time(values: Iterable[object]) -> str | None:
    """Return the first value that is a date-time."""
    texts = (value for value in values if isinstance(value, str) and _DATE_TIME.fullmatch(value))
    return next((text for text in texts if read_time(text) is not None), None)


def _checked(text: str) -> str:
    if not 1 <= len(text) <= ID_CHARACTERS_MAX or not text.isprintable() or text != text.strip():
        raise Rejected("malformed")
    return text
