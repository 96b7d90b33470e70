"""Templates, style sheet and icon: how every page looks.

Owns the template environment and the headers of a page; the templates have the words. Escaping is on everywhere, and a
name that no one passed is an error. The surprising fact: a page may load one style sheet and one icon from here, and
nothing else at all; not even a style attribute is allowed, so pictures say their sizes in attributes of SVG.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from exporter import __version__
from exporter.web.pages import view
from exporter.web.pages.foreign import Mask, plain, shown, unmasked

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


class Look:
    """Renders the templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_WEB / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {"money": view.money, "time": view.time}
        self._environment.globals |= {"version": __version__, "navigation": NAVIGATION}

    def page(self, template: str, mask: Mask = unmasked, **values: Any) -> bytes:
        """A whole page; what comes from outside goes through `shown`, or `plain` in titles and attributes."""
        return (
            self._environment.get_template(template)
            .render(
                shown=lambda text: shown(text, mask),
                plain=lambda text: plain(text, mask),
                link=lambda row: view.session_link(row, mask),
                **values,
            )
            .encode("utf-8", "replace")
        )
