"""Does a poll cost more when more sessions are followed? CPU per poll with few and with a million in the ledger.

Owns the sizes and the pace. A tenth of the sessions is live and due again each second, more than can be asked for, so
that the backlog grows with the size as well. `make bench-growth` runs it.
"""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.exporters import Exporter, exporter, stand_in
from benchmarks.ledgers import copied, day_before
from benchmarks.tables import milliseconds, printed, table

PER_SECOND = 200
"""The same for all sizes, so that what runs by time is the same part of each."""
WARMING = 6
"""Times as many polls before any is measured: what a start looks through comes in portions, once a second."""


def measure(*, quick: bool) -> list[str]:
    """What `make bench` shows."""
    sizes, polls, repetitions = ((3000, 30_000), 400, 3) if quick else ((3000, 100_000, 1_000_000), 2000, 5)
    costs = [cost(size, polls, repetitions) for size in sizes]
    rows = [
        (f"{size:,}", milliseconds(each), f"{each / costs[0]:.2f}") for size, each in zip(sizes, costs, strict=True)
    ]
    says = (
        f"CPU time of the whole exporter per poll of an AI call with 11 events, at {PER_SECOND} polls a second, a tenth"
        f" of the sessions overdue; medians of {repetitions} times {polls} polls."
    )
    return [
        "### Growth",
        "",
        says,
        "",
        *table(("followed sessions", "CPU per poll, ms", "ratio"), rows),
    ]


def cost(sessions: int, polls: int, repetitions: int) -> float:
    """CPU seconds per poll."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        ledger = copied(sessions, Path(folder))
        with stand_in(day_before(time.time())) as api, exporter(ledger, api=api, rate=PER_SECOND) as running:
            running.polled(WARMING * polls)
            return statistics.median(_cost(running, polls) for _ in range(repetitions))


def _cost(running: Exporter, polls: int) -> float:
    before, began = running.sample("telnyx_polls_total{"), running.cpu_seconds()
    running.polled(polls)
    return (running.cpu_seconds() - began) / (running.sample("telnyx_polls_total{") - before)


if __name__ == "__main__":
    printed(measure, "CPU per poll by the number of followed sessions.")
