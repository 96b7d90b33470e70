"""The exporter's face: what can be asked of it over HTTP.

Owns the listening sockets, a thread with an event loop of its own, who is let in (`guard`), the routes, and the last
step of a page (process_* and python_* families, compression). It renders no metric and changes nothing: it holds
references that the main thread swaps, so a scrape waits for no poll. Read `routes` first.
"""

from exporter.web.pages import Pages
from exporter.web.probe import ProbeRoute
from exporter.web.reload import ReloadRoute
from exporter.web.routes import HealthStatus, Scraped
from exporter.web.server import ConnectionLimits, WebServer
from exporter.web.sessions import SessionsRoute
from exporter.web.webhooks import REASONS, WebhookRoutes

__all__ = [
    "REASONS",
    "ConnectionLimits",
    "HealthStatus",
    "Pages",
    "ProbeRoute",
    "ReloadRoute",
    "Scraped",
    "SessionsRoute",
    "WebServer",
    "WebhookRoutes",
]
