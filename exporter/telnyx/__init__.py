"""The edge to Telnyx's API: one paced, retried HTTP request at a time.

Turns statuses and broken exchanges into the errors of `core.errors`; knows no session and keeps nothing.
"""
