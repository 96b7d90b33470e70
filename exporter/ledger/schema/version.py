"""What the ledger's code has to know of its schema without having it: the version, and which states are live.

Owns no table; `schema` does, and is read only where the statements of a new ledger are written (`make docs`), since the
library that it takes is a seventh of what the exporter has in memory.
"""

SCHEMA_VERSION = 6

LIVE_STATES = ("discovered", "active")
"""States of a session whose bill may still move."""
LIVE = "state IN ('discovered', 'active')"
"""The same for SQL; word for word, or the index of live sessions isn't used."""
GIVEN_UP = "state IN ('missing', 'denied')"
"""For SQL, of sessions that a reload tries again; word for word as well."""

COPYING = "copying"
"""The key in `meta` that a copy has until it is whole: what it is a copy of."""
