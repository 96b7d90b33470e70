"""Views of the ledger for pages and gauges: lists of sessions, their histories, failed polls; no accounting."""
