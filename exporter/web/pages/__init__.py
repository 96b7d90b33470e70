"""What people and programs read of the ledger over HTTP: pages, and the same as JSON under /api/v1.

Owns the routes, what they take, and how a value is shown; every value is foreign, and shown as harmlessly as if it were
hostile. Reads snapshots of its own in two threads of its own, and needs nothing of the main loop but immutable
settings. Read `routes` first, then `view`.
"""

from exporter.web.pages.routes import Pages

__all__ = ["Pages"]
