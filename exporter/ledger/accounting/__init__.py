"""Booking of finished polls: read `batch` first, it is one transaction from top to bottom."""
