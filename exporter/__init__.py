"""telnyx-session-exporter: what Telnyx usage sessions cost, as Prometheus metrics that are exactly right.

A session travels like this; `poll.py` reads in the same order. A source names it, `ledger` remembers it until it is
due, `poll` claims it, `client` asks Telnyx for its event tree, `tree` reads and completes the tree, `ledger` books the
difference to what it knew of each event (the rule is `costs`), `metrics` shows the new totals once they are durable,
and `web` serves the finished page. `lifecycle` says when the session is looked at again. `explain` tells the story of
one session without booking it, and `privacy` masks what in it names a person.

Modules stand in one order, and import only what stands before them; tests/project/test_architecture.py holds it.
"""

__version__ = "0.1.0"
