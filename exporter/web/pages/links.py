"""Links from page to page, to /probe and to Telnyx's API.

Not every id can be part of a path. Browsers take `..` as a step upwards, servers refuse a very long path, and a phone
number must not be in a link. Such a session is linked by its number in the ledger: `~123`.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from exporter.core.model import SessionRef
from exporter.web.pages.untrusted import Mask, unmasked

LINK_MAX = 1000
"""Characters of an id in a link; even with three bytes per character they fit into a request's head."""
NUMBER_PREFIX = "~"
_CONTROL_OR_SURROGATE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def session_link(ref: SessionRef, number: int, mask: Mask) -> str:
    """Return the path of the session's page."""
    event_id = ref.event_id
    if not _linkable(event_id, mask) or event_id.startswith(NUMBER_PREFIX):
        event_id = f"{NUMBER_PREFIX}{number}"
    return "/".join(("/sessions", quote(ref.account, ""), quote(ref.record_type, ""), quote(event_id, "")))


def session_number(ref: SessionRef) -> int | None:
    """Return the session's number if the id in a link is `~` and a number."""
    found = re.fullmatch(f"{NUMBER_PREFIX}([0-9]{{1,18}})", ref.event_id, re.ASCII)
    return int(found[1]) if found else None


def probe_link(ref: SessionRef, mask: Mask) -> str | None:
    """Return the link that reads the session from the API; None if the id can't be in a link."""
    if not _linkable(ref.event_id, mask):
        return None
    parameters = {"account": ref.account, "record_type": ref.record_type, "event_id": ref.event_id, "debug": "true"}
    return f"/probe?{urlencode(parameters)}"


def api_link(base_url: str | None, record_type: str, event_id: str, mask: Mask) -> str | None:
    """Return the URL of the event and its detail record at Telnyx; None if the id can't be in a link."""
    if base_url is None or not _linkable(event_id, mask) or not _linkable(record_type):
        return None
    return f"{base_url}/session_analysis/{quote(record_type, '')}/{quote(event_id, '')}"


def changed(path: str, given: Mapping[str, str], **changes: str | None) -> str:
    """Return a link to the same list with some parameters changed, by default its first page; None removes one."""
    values = {name: text for name, text in ({**given, "after": None} | changes).items() if text is not None}
    return f"{path}?{urlencode(values)}" if values else path


def _linkable(name: str, mask: Mask = unmasked) -> bool:
    if name in {"", ".", ".."} or len(name) > LINK_MAX or _CONTROL_OR_SURROGATE.search(name):
        return False
    return mask(name) == name
