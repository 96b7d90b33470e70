"""The HTTP server: /metrics, health, pages, JSON, webhooks and lists of sessions, with TLS and users.

It runs on a thread with an event loop of its own and answers from references that the main thread swaps, so a scrape
never waits for a poll. It renders no metrics except the process_* and python_* families.
"""

from exporter.web.pages import Pages
from exporter.web.probe import ProbeRoute
from exporter.web.routes import HealthStatus, OnScrape, ReloadRoute
from exporter.web.server import ConnectionLimits, WebServer
from exporter.web.sessions import SessionsRoute
from exporter.web.webhooks import REASONS, WebhookRoutes

__all__ = [
    "REASONS",
    "ConnectionLimits",
    "HealthStatus",
    "OnScrape",
    "Pages",
    "ProbeRoute",
    "ReloadRoute",
    "SessionsRoute",
    "WebServer",
    "WebhookRoutes",
]
