"""What several processes on one ledger agree on: leases for single tasks, and which writers are alive."""
