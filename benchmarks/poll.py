"""Measure the CPU time of a poll, everything included, compared with the obvious stack.

The exporter and the obvious stack run as processes, one after the other, against nginx with finished trees. CPU is
divided by finished polls: once while every session is polled for the first time, so that all events are booked, and
once while nothing has changed since. The obvious stack is measured with httpx's default pool, which keeps 20
connections, and with one that keeps all 50 in use.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct

from benchmarks.processes import Process, fetch, free_port, program, until, value
from benchmarks.static import KEYS, Static, configuration, serving, session_entries
from benchmarks.tables import milliseconds, printed, table

SIZES = {11: 1500, 40: 700, 2000: 20}
"""Sessions by their number of events."""
IN_FLIGHT = 50
ROUNDS = 3

Start = Callable[[Static, Path, int], AbstractContextManager[Process]]


class Cost(Struct, frozen=True):
    """CPU seconds per poll of one stack in one round."""

    first: float
    """While all events are new."""
    again: float
    """While nothing has changed since the first poll."""


def measure(*, quick: bool) -> list[str]:
    """Return a row for each number of events and each stack."""
    rounds = 1 if quick else ROUNDS
    rows: list[tuple[object, ...]] = []
    for events, sessions in SIZES.items():
        found = [_round(events, max(10, sessions // 20) if quick else sessions) for _ in range(rounds)]
        costs = {name: _median([each[name] for each in found]) for name in STACKS}
        rows += [_row(events, name, costs) for name in STACKS]
    columns = ("events", "stack", "first, ms", "again, ms", "ratio: first", "ratio: again", "again, polls/s and core")
    return [
        "### CPU per poll",
        "",
        (
            f"User and system time of the whole process per finished poll, {IN_FLIGHT} in flight over TLS with gzip,"
            f" median of {rounds} round(s). First: all events are new. Again: nothing has changed since. Ratio: the"
            " exporter's to this one's."
        ),
        "",
        *table(columns, rows),
    ]


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.first for cost in costs), statistics.median(cost.again for cost in costs))


def _row(events: int, name: str, costs: Mapping[str, Cost]) -> tuple[object, ...]:
    cost, ours = costs[name], costs[EXPORTER]
    ratios = (f"1/{cost.first / ours.first:.1f}", f"1/{cost.again / ours.again:.1f}")
    return (f"{events:,}", name, milliseconds(cost.first), milliseconds(cost.again), *ratios, f"{1 / cost.again:,.0f}")


def _round(events: int, sessions: int) -> dict[str, Cost]:
    """Measure all stacks, one after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-poll-") as folder, serving(Path(folder), events, sessions) as static:
        (Path(folder) / "sessions.json").write_text(json.dumps(session_entries(static)))
        return {name: _cost(start, static, Path(folder)) for name, start in STACKS.items()}


def _cost(start: Start, static: Static, folder: Path) -> Cost:
    port = free_port()
    sessions = len(static.sessions)

    def polls() -> float:
        return value(fetch(f"http://127.0.0.1:{port}/metrics"), "telnyx_polls_total{")

    with start(static, folder, port) as running:
        fetch(f"http://127.0.0.1:{port}/metrics")
        began = running.cpu_seconds
        until(lambda: polls() >= sessions)
        first = (running.cpu_seconds - began) / polls()  # by now, somewhat more polls than sessions
        until(lambda: polls() >= 2 * sessions)  # by then all first polls have ended
        cpu, count = running.cpu_seconds, polls()
        until(lambda: polls() - count >= 2 * sessions)
        return Cost(first, (running.cpu_seconds - cpu) / (polls() - count))


@contextmanager
def exporter(static: Static, folder: Path, port: int) -> Iterator[Process]:
    config = folder / "config.yaml"
    config.write_text(configuration(static, folder, IN_FLIGHT))
    run = ("--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error")
    with program("-m", "exporter", "run", *run, environ=KEYS) as running:
        yield running


@contextmanager
def obvious(static: Static, folder: Path, port: int, *, connections: int = 0) -> Iterator[Process]:
    """Run the obvious stack with the default pool of httpx, or with one of `connections`."""
    stack = str(Path(__file__).with_name("obvious.py"))
    ledger = folder / f"obvious-{connections}.sqlite"
    files = (str(static.ca_file), str(folder / "sessions.json"), str(ledger))
    with program(stack, static.origin, *files, str(port), str(connections)) as running:
        yield running


EXPORTER = "exporter"
STACKS: Mapping[str, Start] = {
    "obvious": obvious,
    "obvious, all connections kept": partial(obvious, connections=IN_FLIGHT),
    EXPORTER: exporter,
}

if __name__ == "__main__":
    printed(measure, "CPU per poll, against the obvious stack.")
