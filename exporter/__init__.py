"""telnyx-session-exporter: the cost of Telnyx usage sessions, as Prometheus metrics that are exactly right.

A session passes through the packages like this. A source in `sources` reports it, and `ledger` stores it until it is
due. `polling` claims it, gets its event tree from Telnyx with `telnyx`, and reads and completes the tree with
`core.tree`. `ledger` books the difference between each event's cost and its last known cost (`core.costs`), `metrics`
shows the new totals once they are durable, and `web` serves the finished page. `core.lifecycle` decides when it
is polled again. `explain` shows one session's accounting without booking it, and `core.privacy` masks personal data.

A module imports only from its own package and the packages below it; tests/project/test_architecture.py checks it.
"""

__version__ = "0.1.0"
