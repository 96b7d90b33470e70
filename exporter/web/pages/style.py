"""Style sheet, icon and headers: what every page has in common.

Owns what a browser is allowed to do with a page; the templates have the words. The surprising fact: a page may load
one style sheet and one icon from here, and nothing else at all; not even a style attribute is allowed, so pictures say
their sizes in attributes of SVG.
"""

from collections.abc import Mapping
from pathlib import Path

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HTML = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": CONTENT_SECURITY_POLICY}

_WEB = Path(__file__).parent.parent
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

STATIC: Mapping[str, tuple[bytes, str]] = {
    file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in sorted((_WEB / "static").iterdir())
}
"""Content and media type by name; read once, for they are part of the program."""

NAVIGATION = (("/sessions", "Sessions"), ("/failures", "Failures"), ("/config", "Configuration"))
