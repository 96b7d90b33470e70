"""Booking of finished polls in one transaction: start with `batch`."""
