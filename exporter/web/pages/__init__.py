"""Pages about the ledger's sessions for people, and the same as JSON under /api/v1 for programs.

All of it is read only, from snapshots of the ledger, on threads of its own. Every value from outside is shown as if it
were hostile. Start with `routes`.
"""

from exporter.web.pages.routes import Pages

__all__ = ["Pages"]
