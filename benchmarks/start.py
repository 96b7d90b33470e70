"""Measure the duration of a start, from exec until /-/ready, with an empty ledger and with large ones.

The first start of each size is not counted: it creates the ledger or reads it into the kernel's cache. Run it with
`make bench-start`.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.exporters import exporter
from benchmarks.ledgers import copied
from benchmarks.tables import printed, table

CLOSED_PORT = 9
"""No API listens there: a start doesn't wait for one."""


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    sizes, repetitions = ((0, 10_000), 3) if quick else ((0, 100_000, 1_000_000), 7)
    return [
        "### Start",
        "",
        f"From exec until `/-/ready` answers 200, and the CPU time until then: medians of {repetitions} starts.",
        "",
        *table(("ledger", "ready after, s", "CPU, s"), [started(size, repetitions) for size in sizes]),
    ]


def started(sessions: int, repetitions: int) -> Sequence[str]:
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        ledger = copied(sessions, Path(folder))
        seconds, cpu = [], []
        for _ in range(1 + repetitions):
            with exporter(ledger, api=CLOSED_PORT) as running:
                cpu.append(running.cpu_seconds())
                seconds.append(running.ready_seconds)
        name = f"{sessions:,} sessions" if sessions else "empty"
        return (name, f"{statistics.median(seconds[1:]):.2f}", f"{statistics.median(cpu[1:]):.2f}")


if __name__ == "__main__":
    printed(measure, "How long a start takes.")
