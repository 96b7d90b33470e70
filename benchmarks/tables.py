"""Format figures as Markdown, and run a benchmark from the command line.

A figure means nothing without its machine, so the machine is printed first.
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import Protocol

from benchmarks.machine import machine

MIB = 1024 * 1024


class Measure(Protocol):
    """The interface of every benchmark."""

    def __call__(self, *, quick: bool) -> list[str]:
        """Return the figures as lines of Markdown."""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table as lines of Markdown."""
    return [row(columns), row(["---"] * len(columns)), *map(row, rows)]


def row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def mib(count: float) -> str:
    return f"{count / MIB:.0f}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"


def printed(measure: Measure, says: str) -> None:
    """Run a benchmark from the command line and print it."""
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument("--quick", action="store_true", help="measure less, only to check that the benchmark works")
    print(machine(), "", *measure(quick=parser.parse_args().quick), sep="\n", flush=True)
