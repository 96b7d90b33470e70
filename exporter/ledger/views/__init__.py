"""What people read of the ledger: lists, one session's history, failed polls. No part of the accounting."""
