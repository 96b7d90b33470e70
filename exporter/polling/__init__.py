"""Poll the sessions: claim those that are due, fetch their trees, commit the results.

Read `poller` first, then `fetcher` and `commit_queue`; through `ingest` the sources report sessions.
"""
