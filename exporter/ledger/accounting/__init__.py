"""Booking of finished polls. Start with `batch`: it is one transaction from top to bottom."""
