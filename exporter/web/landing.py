"""The page at `/`: for a person who opened the port in a browser.

Owns what it links to; shows the version and where to go, nothing of any account. The surprising fact: it is made once,
when it is first asked for, and nothing on it changes while the process lives.
"""

from functools import cache

NAME = "telnyx-session-exporter"

LINKS = (
    ("/sessions", "the sessions that are followed: search, sort, and what became of the money of each"),
    ("/failures", "the last failed polls, with their reasons"),
    ("/config", "the effective configuration"),
    ("/metrics", "what Prometheus scrapes"),
    ("/-/healthy", "answers 200 as long as the process works"),
    ("/-/ready", "answers 200 once the metrics are complete"),
    ("/api/v1/openapi.json", "the same as the pages for programs, described by OpenAPI"),
)


@cache
def landing_html() -> bytes:
    """The first call takes as long as it takes to import the templates."""
    from exporter.web.pages.templates import Templates  # noqa: PLC0415 - with the first page, not before

    return Templates().page("landing.html", links=LINKS)
