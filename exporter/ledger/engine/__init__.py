"""The two databases that can hold a ledger: a SQLite file, or a PostgreSQL database."""
