"""The client of the Telnyx API: one paced and retried HTTP request at a time.

Turns statuses and broken exchanges into the errors of `core.errors`. Knows no sessions and stores nothing.
"""
