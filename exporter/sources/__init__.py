"""What finds sessions that nobody names in the configuration.

Each module is one source. It turns what it reads into sightings and hands them to the intake; none of them fetches a
session, and none knows what becomes of what it found. The surprising fact: a source may tell of a session as often as
it likes, since the ledger follows each one once.
"""
