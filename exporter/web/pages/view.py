"""How money, times, names and links are written on a page.

Owns the filters that the templates use. An amount is printed as the exact decimal that was booked, always beside its
currency. The surprising fact: not every id can stand in a link; `..` would be taken for a step upwards, a very long one
is refused by servers, and a phone number must not be read there, so such a session is linked by its number.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote, urlencode

from markupsafe import Markup

from exporter.core.model import SessionRef
from exporter.core.money import amount_text
from exporter.ledger.views.models import SessionListRow
from exporter.web.pages.untrusted import Mask

LINK_MAX = 1000
"""Characters of an id in a link; three times as many bytes per character still fit into a request's head."""
ABSENT = "\N{EN DASH}"
BY_NUMBER = "~"
_UNLINKABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Before the number of a session that is not linked by its id."""


def money(amount: Decimal | None) -> str:
    """The exact amount; an absent one is unpriced, which is not zero."""
    return Markup('<span class="unpriced">unpriced</span>') if amount is None else amount_text(amount)


def time(at: float | None) -> str:
    """A moment in UTC, to the second."""
    moment = utc(at)
    if moment is None:
        return ABSENT
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), f"{moment:%Y-%m-%d %H:%M:%S}"
    )


def instant(at: float | None) -> str | None:
    """The same for JSON: RFC 3339."""
    moment = utc(at)
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: float | None) -> datetime | None:
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):  # no year that people write
        return None


def session_link(row: SessionListRow, mask: Mask) -> str:
    return link(row.ref, row.number, mask)


def link(ref: SessionRef, number: int, mask: Mask) -> str:
    """The path of the session's page."""
    event_id = ref.event_id
    awkward = not linkable(event_id) or event_id.startswith(BY_NUMBER) or mask(event_id) != event_id
    named = f"{BY_NUMBER}{number}" if awkward else event_id
    return "/".join(("/sessions", quote(ref.account, ""), quote(ref.record_type, ""), quote(named, "")))


def probe_link(ref: SessionRef, mask: Mask) -> str | None:
    """Where the API is asked again, and all is told; None if the id can't stand in a link."""
    if mask(ref.event_id) != ref.event_id or not linkable(ref.event_id):
        return None
    named = {"account": ref.account, "record_type": ref.record_type, "event_id": ref.event_id}
    return f"/probe?{urlencode(named | {'debug': 'true'})}"


def number_of(ref: SessionRef) -> int | None:
    """The session's number, if it is what the id stands for."""
    found = re.fullmatch(f"{BY_NUMBER}([0-9]{{1,18}})", ref.event_id, re.ASCII)
    return int(found[1]) if found else None


def changed(path: str, given: Mapping[str, str], **changes: str | None) -> str:
    """A link to the same list with some parameters changed, at its beginning unless told where; None removes one."""
    values = {name: text for name, text in ({**given, "after": None} | changes).items() if text is not None}
    return f"{path}?{urlencode(values)}" if values else path


def linkable(name: str) -> bool:
    """Whether it can be a part of a path: no step upwards, no control character, no half of a surrogate pair."""
    return name not in {"", ".", ".."} and len(name) <= LINK_MAX and not _UNLINKABLE.search(name)


def api_link(base_url: str | None, record_type: str, event_id: str, mask: Mask) -> str | None:
    """Where the API answers with the event and its detail record; None if that can't be linked."""
    if base_url is None or mask(event_id) != event_id or not (linkable(record_type) and linkable(event_id)):
        return None
    return f"{base_url}/session_analysis/{quote(record_type, '')}/{quote(event_id, '')}"
