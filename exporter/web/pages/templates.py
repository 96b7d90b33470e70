"""The template environment: how a page is made of its template.

Owns escaping, which is on everywhere; a name that no one passed is an error. The surprising fact: it is imported with
the first page that somebody asks for, since an exporter that is only scraped has no use for it.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from exporter import __version__
from exporter.web.pages import view
from exporter.web.pages.style import NAVIGATION
from exporter.web.pages.untrusted import Mask, plain, shown, unmasked

_FOLDER = Path(__file__).parent.parent / "templates"


class Templates:
    """Renders the templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
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
