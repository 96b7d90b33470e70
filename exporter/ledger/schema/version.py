"""Constants of the schema for all modules that write statements."""

SCHEMA_VERSION = 8

LIVE_STATES = ("discovered", "active")
"""States of a session whose bill may still change."""
# A partial index is used only by statements that repeat its condition word for word.
LIVE = "state IN ('discovered', 'active')"
"""The condition of `sessions_live`."""
GIVEN_UP = "state IN ('missing', 'denied')"
"""The condition of `sessions_given_up`: sessions that a reload tries again."""
UNPOLLED = "summary IS NULL AND polls = '[]'"
"""Sessions that were never polled; the first part is the condition of `sessions_treeless`."""

COPYING = "copying"
"""A key in `meta` of a copy that isn't complete: what it is a copy of."""
