"""Text that others chose -> text that does no harm where it is shown.

Owns what is cut, masked, made visible or isolated; escaping is the template library's business. The surprising fact:
harm needs no markup, since a single bidirectional control turns the rest of a line around, and an invisible character
makes two ids look alike.
"""

import unicodedata
from collections.abc import Callable
from itertools import groupby

from markupsafe import Markup, escape

SHOWN_MAX = 200
"""Characters of one value on a page; what is longer is cut, and says how long it is."""
TOLD_MAX = 10_000
"""The same in JSON, for programs: ids are told whole."""
_EDGE = 64
"""Characters before a cut that are left out, lest half a phone number stand there, unrecognised."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what can't be seen, or moves what can be."""

Mask = Callable[[str], str]
"""Masks what is personal in a text."""


def unmasked(text: str) -> str:
    return text


def shown(text: str, mask: Mask = unmasked) -> Markup:
    """As part of a page: isolated, cut, what is invisible in it written out."""
    cut = _cut(text, SHOWN_MAX, mask)
    parts = Markup("")
    for odd, characters in groupby(cut, _is_odd):
        run = "".join(characters)
        parts += Markup('<span class="odd">{}</span>').format(written_out(run)) if odd else escape(run)
    if len(text) > SHOWN_MAX:
        parts += Markup('<span class="cut">… ({:,} characters)</span>').format(len(text))
    return Markup("<bdi>{}</bdi>").format(parts)


def told(text: str, mask: Mask = unmasked) -> str:
    """As part of JSON: only what no encoder takes, or nobody reads to its end, is changed."""
    cut = _cut(text, TOLD_MAX, mask).encode("utf-8", "replace").decode()
    return f"{cut}… ({len(text)} characters)" if len(text) > TOLD_MAX else cut


def plain(text: str, mask: Mask = unmasked) -> str:
    """As a single line of text, for titles: as `shown`, without the markup."""
    cut = _cut(text, SHOWN_MAX, mask)
    return "".join(written_out(character) if _is_odd(character) else character for character in cut)


def written_out(text: str) -> str:
    r"""Each character as its number: \u202e."""
    return "".join(f"\\u{ord(character):04x}" for character in text)


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE


def _cut(text: str, longest: int, mask: Mask) -> str:
    if len(text) <= longest:
        return mask(text)
    return mask(text[: longest + _EDGE])[:longest][:-_EDGE]
