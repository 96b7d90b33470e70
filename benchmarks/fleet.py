"""Several replicas on one PostgreSQL: whole exporters first, then only their writers."""

from benchmarks import replicas, writers
from benchmarks.replicas import Size


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    size = Size(sessions=300, late_sessions=100, seconds=1.0, rounds=1) if quick else Size()
    sessions, rounds = (600, 1) if quick else (3000, 1)
    return [*replicas.report(size), "", *writers.report(sessions, rounds)]
