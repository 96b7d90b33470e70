"""Write values for pages and JSON: text from outside, money, times, checks.

Text from outside is cut, masked, isolated, and its invisible characters are made visible. The template library escapes
markup, but one bidirectional control character can turn the rest of a line around, and invisible characters make two
ids look alike.
"""

import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby

from markupsafe import Markup, escape

from exporter.core.money import amount_text

SHOWN_MAX = 200
"""Characters of one value on a page; a longer value is cut, and its length is shown."""
JSON_MAX = 10_000
"""The same in JSON; programs need whole ids."""
_MARGIN = 64
"""Characters before a cut that are left out, because half a phone number there would not be recognised and masked."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of characters that can't be seen or that move others."""
ABSENT = "\N{EN DASH}"

CHECKS: Mapping[str, str] = {
    "event_sum": "the events add up to the session's total",
    "root_cumulative": "the root's cumulative cost is the session's total",
    "node_cumulative": "below each node, the events whose cost rolls up add up to its cumulative cost",
    "event_count": "the tree has as many nodes as the answer says",
    "currency": "all events of a session are in one currency, and it does not change",
    "duplicate_id": "nodes of the same id can be distinguished, or are identical",
    "no_id": "every node has an id; one without can't be booked",
    "vanished_event": "every booked event is still in the tree",
    "price_withdrawn": "every event that had a readable cost still has one",
    "unreadable_cost": "every cost that the API states is a readable amount",
    "usage_decreased": "tokens, characters and billed seconds never fall",
    "forgotten": "no unknown event is older than the retention watermark",
    "stated_cost": "a settled session has the total that a webhook stated, rounded as in the webhook",
}
"""The meaning of each check of a session; docs/accuracy.md has the same words."""

Mask = Callable[[str], str]
"""Masks personal data in a text."""


def unmasked(text: str) -> str:
    return text


def shown(text: str, mask: Mask = unmasked) -> Markup:
    """Return the text for a page: isolated, cut, invisible characters written out."""
    parts = Markup("")
    for invisible, characters in groupby(_cut(text, SHOWN_MAX, mask), _is_invisible):
        run = "".join(characters)
        parts += Markup('<span class="odd">{}</span>').format(_codes(run)) if invisible else escape(run)
    if len(text) > SHOWN_MAX:
        parts += Markup('<span class="cut">… ({:,} characters)</span>').format(len(text))
    return Markup("<bdi>{}</bdi>").format(parts)


def plain(text: str, mask: Mask = unmasked) -> str:
    """Return the text for a title or an attribute: as `shown`, without markup."""
    return "".join(_codes(c) if _is_invisible(c) else c for c in _cut(text, SHOWN_MAX, mask))


def json_text(text: str, mask: Mask = unmasked) -> str:
    """Return the text for JSON: masked, cut only if it is very long, lone surrogates replaced."""
    cut = _cut(text, JSON_MAX, mask).encode("utf-8", "replace").decode()
    return f"{cut}… ({len(text)} characters)" if len(text) > JSON_MAX else cut


def money(amount: Decimal | None) -> str:
    """Return the exact amount; None is unpriced, which is not zero."""
    return Markup('<span class="unpriced">unpriced</span>') if amount is None else amount_text(amount)


def time(at: float | None) -> str:
    """Return the time for a page: UTC, to the second."""
    rfc3339, moment = instant(at), _utc(at)
    if moment is None:
        return ABSENT
    return Markup('<time datetime="{}">{}</time>').format(rfc3339, f"{moment:%Y-%m-%d %H:%M:%S}")


def instant(at: float | None) -> str | None:
    """Return the time for JSON: RFC 3339 in UTC, to the millisecond."""
    moment = _utc(at)
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(at: float | None) -> datetime | None:
    try:
        return None if at is None else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):  # a year after 9999
        return None


def _codes(text: str) -> str:
    r"""Write each character as its code point: \u202e."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE


def _cut(text: str, longest: int, mask: Mask) -> str:
    if len(text) <= longest:
        return mask(text)
    return mask(text[: longest + _MARGIN])[:longest][:-_MARGIN]
