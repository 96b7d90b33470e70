"""How the benchmarks print: Markdown tables, MiB and milliseconds.

Owns no figure.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence

MIB = 1024 * 1024


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of Markdown; the first column names, the others are numbers."""
    return [line(columns), line(["---", *("---:" for _ in columns[1:])]), *map(line, rows)]


def line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def mib(count: float) -> str:
    return f"{count / MIB:.0f}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"


def printed(measure: Callable[[bool], list[str]], says: str) -> None:
    """The command line of a benchmark."""
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument("--quick", action="store_true", help="smaller, and only to see that it works")
    print("\n".join(measure(parser.parse_args().quick)), flush=True)
