"""How a session travels: claimed, fetched, committed.

Read `poller` first, then `fetcher` and `commit_queue`; `ingest` is the way by which sources hand sessions in.
"""
