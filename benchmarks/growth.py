"""Measure CPU per poll with few sessions and with a million in the ledger: `make bench-growth`.

A tenth of the sessions is live and due again each second, more than can be polled, so the backlog grows with the size
too.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.exporters import Exporter, exporter, stand_in
from benchmarks.ledgers import copied, day_before
from benchmarks.tables import milliseconds, printed, table

PER_SECOND = 100
"""Polls per second, equal for all sizes, so that periodic work has the same share in each."""
WARMING = 3
"""Warm up for this many times the measured polls: the work of a start is done in portions."""


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    sizes, polls, repetitions = ((3000, 30_000), 300, 3) if quick else ((3000, 100_000, 1_000_000), 1500, 5)
    found = costs(sizes, polls, repetitions)
    rows = [
        (f"{size:,}", milliseconds(each), f"{each / found[0]:.2f}") for size, each in zip(sizes, found, strict=True)
    ]
    says = (
        f"CPU time of the whole exporter per poll of an AI call with 11 events, at {PER_SECOND} polls a second, a tenth"
        f" of the sessions overdue, each answer read in full. All sizes are measured at the same time; medians of"
        f" {repetitions} times {polls} polls."
    )
    return [
        "### Growth",
        "",
        says,
        "",
        *table(("followed sessions", "CPU per poll, ms", "ratio"), rows),
    ]


def costs(sizes: Sequence[int], polls: int, repetitions: int) -> list[float]:
    """Return CPU seconds per poll for each size.

    All sizes run at the same time, so that other load on the machine disturbs them equally.
    """
    with ExitStack() as opened:
        api = opened.enter_context(stand_in(day_before(time.time())))
        running = []
        for size in sizes:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="bench-growth-")))
            running.append(opened.enter_context(exporter(copied(size, folder), api=api, rate=PER_SECOND)))
        for each in running:
            each.wait_for_polls(WARMING * polls)
        rounds = [_costs(running, polls) for _ in range(repetitions)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _costs(running: Sequence[Exporter], polls: int) -> list[float]:
    before = [(each.sample("telnyx_polls_total{"), each.cpu_seconds()) for each in running]
    running[0].wait_for_polls(polls)
    for other in running[1:]:  # on a busy machine one may have had no poll yet
        other.wait_for_polls(1)
    after = [(each.sample("telnyx_polls_total{"), each.cpu_seconds()) for each in running]
    return [(used - began) / (ended - first) for (first, began), (ended, used) in zip(before, after, strict=True)]


if __name__ == "__main__":
    printed(measure, "CPU per poll by the number of followed sessions.")
