"""Verify a Telnyx webhook, and read the session that it reports.

No amount in a webhook is booked, not even the bill in `call.cost`: the session's event tree is exact, and its amounts
can be amended. A webhook only makes the exporter poll the session sooner.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from msgspec import Raw, Struct

from exporter.core.errors import Rejected
from exporter.core.model import OTHER, NoticeKind, SessionNotice, SessionRef

TOLERANCE_SECONDS = 300.0
"""The largest difference between the signature's time and ours, either way; the same as in Telnyx's own SDK."""

ID_CHARACTERS_MAX = 200
"""Telnyx's ids have 36. The ledger and labels would keep a longer one for ever."""

SIGNATURE_BYTES = 64

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class WebhookTarget(Struct, frozen=True):
    """The session that a type of event reports: its record type, the payload's field with its id, and the notice."""

    record_type: str
    field: str
    notice: NoticeKind


def _call(notice: NoticeKind) -> WebhookTarget:
    return WebhookTarget("call-session", "call_session_id", notice)


def _message(notice: NoticeKind) -> WebhookTarget:
    return WebhookTarget("message", "id", notice)


TARGETS: Mapping[str, WebhookTarget] = {
    "call.initiated": _call("started"),
    "call.answered": _call("started"),
    "call.bridged": _call("started"),
    "call.conversation.ended": _call("started"),  # of the assistant; the call may continue
    "call.recording.saved": _call("started"),
    "call.hangup": _call("ended"),
    "call.cost": _call("rated"),
    "message.sent": _message("started"),
    "message.received": _message("ended"),  # the only webhook of an inbound message
    "message.finalized": _message("ended"),  # delivered or failed; the detail record appears later
}
"""The known event types, which are also the values of the label `event_type`, besides `other`."""

PREFIXES: Mapping[str, WebhookTarget] = {"call.": _call("started")}
"""Prefixes of event types that have no row above."""

EVENT_TYPES = (*TARGETS, OTHER)


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
        raise Rejected("stale")


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
    """Return the webhook in a body; raises Rejected if it is none."""
    try:
        data = _BODIES.decode(body).data
        prefixed = (target for prefix, target in PREFIXES.items() if data.event_type.startswith(prefix))
        target = TARGETS.get(data.event_type) or next(prefixed, None)
        found = None if target is None else (_PAYLOADS.decode(data.payload) or {}).get(target.field)
        session = None if found is None else _IDS.decode(found)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Rejected("malformed") from None
    notice = None
    if target is not None and session is not None:
        notice = SessionNotice(SessionRef(account, target.record_type, _checked(session)), target.notice)
    event_type = data.event_type if data.event_type in TARGETS else OTHER
    return Webhook(_checked(data.id), event_type, notice)


def _checked(text: str) -> str:
    if not 1 <= len(text) <= ID_CHARACTERS_MAX or not text.isprintable() or text != text.strip():
        raise Rejected("malformed")
    return text
