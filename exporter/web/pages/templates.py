"""Render the HTML templates; also the headers of every page, and the static files.

Escaping is on everywhere, and an undefined name in a template is an error. Jinja is imported with the first page, since
an exporter that is only scraped doesn't need it.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter import __version__
from exporter.web.pages import links
from exporter.web.pages.untrusted import Mask, money, plain, shown, time, unmasked

if TYPE_CHECKING:
    from jinja2 import Environment

# A page loads one style sheet and one icon, and nothing else. Style attributes are forbidden too, so charts give their
# sizes in attributes of SVG.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HTML = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": CONTENT_SECURITY_POLICY}

NAVIGATION = (("/sessions", "Sessions"), ("/failures", "Failures"), ("/config", "Configuration"))

_WEB = Path(__file__).parent.parent
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

STATIC: Mapping[str, tuple[bytes, str]] = {
    file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in sorted((_WEB / "static").iterdir())
}
"""Content and media type by name; read once, because the files are part of the program."""


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - with the first page, not before

    environment = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"money": money, "time": time}
    environment.globals |= {"version": __version__, "navigation": NAVIGATION}
    return environment


def render(template: str, mask: Mask = unmasked, **values: Any) -> bytes:
    """Return a whole page; templates pass text from outside through `shown`, or `plain` in titles and attributes."""
    text = (
        _environment()
        .get_template(template)
        .render(
            shown=lambda text: shown(text, mask),
            plain=lambda text: plain(text, mask),
            link=lambda ref, number: links.session_link(ref, number, mask),
            **values,
        )
    )
    return text.encode("utf-8", "replace")
