"""What several replicas on one ledger agree on: which does a task for all, and which are alive."""
