"""What each check of a session says when it holds, in words for people.

Owns the words; docs/accuracy.md has the same, and a test compares them. The checks themselves stand in `tree.rollup`
and in the ledger's booking. The surprising fact: a failed check never keeps money from being booked.
"""

from collections.abc import Mapping

CHECKS: Mapping[str, str] = {
    "event_sum": "the events add up to the session's total",
    "root_cumulative": "the root's cumulative cost is the session's total",
    "node_cumulative": "below each node, the events whose cost rolls up add up to its cumulative cost",
    "event_count": "the tree has as many nodes as the answer says",
    "currency": "all of a session is in one currency, and stays so",
    "duplicate_id": "nodes of the same id can be told apart, or are the same",
    "no_id": "every node has an id; one without can't be booked",
    "vanished_event": "every event that was booked is still there",
    "usage_decreased": "tokens and billed seconds never fall",
    "forgotten": "no event is older than what the ledger remembers",
}
