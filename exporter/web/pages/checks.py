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
    "currency": "all events of a session are in one currency, and it does not change",
    "duplicate_id": "nodes of the same id can be distinguished, or are identical",
    "no_id": "every node has an id; one without can't be booked",
    "vanished_event": "every booked event is still in the tree",
    "usage_decreased": "tokens and billed seconds never fall",
    "forgotten": "no event is older than the retention watermark",
}
