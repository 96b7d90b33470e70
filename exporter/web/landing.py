"""The page at `/`: for a person who opened the port in a browser.

Owns what it links to; shows the version and where to go, nothing of any account. The surprising fact: it is made once,
for nothing on it changes while the process lives.
"""

from exporter.web.pages.look import Look

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


def landing_html() -> bytes:
    return Look().page("landing.html", links=LINKS)
