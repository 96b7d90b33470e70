"""Constants of the schema for all modules that write statements."""

SCHEMA_VERSION = 8

LIVE_STATES = ("discovered", "active")
"""States of a session whose bill may still change."""
# A partial index is used only by statements that repeat its condition word for word.
LIVE = "state IN ('discovered', 'active')"
"""The condition of `sessions_live`."""
GIVEN_UP = "state IN ('missing', 'denied')"
"""The condition of `sessions_given_up`: sessions that a reload tries again."""
UNANSWERED = "summary IS NULL AND state = 'discovered' AND notice NOT IN ('started', 'ended')"
"""Sessions without a tree whose bill may be history; the first part is the condition of `sessions_treeless`.

A call in progress has none yet, and one that has just ended is no history.
"""

COPYING = "copying"
"""A key in `meta` of a copy that isn't complete: what it is a copy of."""
