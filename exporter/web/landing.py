"""The page at `/`: for a person who opened the port in a browser.

Owns its HTML, its style and the Content-Security-Policy that fits them; shows the version and where to go, nothing of
any account. The surprising fact: the policy names the style by its hash, so that not even a style can be smuggled in.
"""

import base64
import hashlib
from html import escape

from exporter import __version__

NAME = "telnyx-session-exporter"

LINKS = (
    ("/metrics", "what Prometheus scrapes"),
    ("/-/healthy", "answers 200 as long as the process works"),
    ("/-/ready", "answers 200 once the metrics are complete"),
)

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"
    "dt{font-family:ui-monospace,monospace}"
    "dd{margin:0 0 1rem}"
)

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def landing_html() -> str:
    links = "\n".join(
        f'<dt><a href="{escape(path)}">{escape(path)}</a></dt><dd>{escape(says)}</dd>' for path, says in LINKS
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{NAME}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{NAME}</h1>
<p>Version {escape(__version__)}. Every event's cost of a Telnyx session, booked exactly once.</p>
<dl>
{links}
</dl>
</body>
</html>
"""
