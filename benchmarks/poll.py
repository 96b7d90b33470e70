"""What a poll costs in CPU, everything included, against the stack that somebody would write in an afternoon.

Runs the exporter and the obvious stack as processes of their own, one after the other, against nginx with finished
trees, and divides the CPU that each used by the polls that it finished: once while every session is polled for the
first time, so that all its events are booked, and once while nothing has changed since.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.processes import Process, fetch, free_port, program, until, value
from benchmarks.static import Static, serving

SIZES = {11: 4000, 40: 2000, 2000: 40}
"""Sessions by their number of events."""
IN_FLIGHT = 50

CONFIG = """\
accounts:
  - name: main
    base_url: {origin}/v2
    ca_file: {ca_file}
    api_key_env: BENCH_API_KEY
    requests_per_second: 1000
    max_in_flight: {in_flight}
    balance_interval_seconds: 0
discovery:
  detail_records: {{record_types: []}}
  files: ["{sessions}"]
polling: {{tick_seconds: 0.05, min_interval_seconds: 1, max_interval_seconds: 1}}
ledger: {{url: "sqlite:///{folder}/ledger.sqlite"}}
"""

Start = Callable[[Static, Path, int], AbstractContextManager[Process]]


class Cost(Struct, frozen=True):
    """Of one stack in one round."""

    first_ms: float
    """CPU per poll while all is new."""
    again_ms: float
    """CPU per poll while nothing changes."""
    per_second: float
    """Polls per second of those that find nothing new."""


def measure(*, quick: bool) -> list[str]:
    rounds = 1 if quick else 3
    told = (
        f"CPU of the whole process, per finished poll; {IN_FLIGHT} in flight, TLS, gzip; median of {rounds} round(s). "
        "First: all events are new and are booked. Again: nothing has changed."
    )
    lines = [
        "### CPU per poll",
        "",
        told,
        "",
        "| events | obvious: first | again | exporter: first | again | ratio: first | again | polls/s on one core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for events, sessions in SIZES.items():
        found = [_round(events, sessions // 10 if quick else sessions) for _ in range(rounds)]
        lines.append(_row(events, [obvious for obvious, _ in found], [ours for _, ours in found]))
    return lines


def _row(events: int, obvious: list[Cost], ours: list[Cost]) -> str:
    theirs = [statistics.median(getattr(cost, name) for cost in obvious) for name in ("first_ms", "again_ms")]
    own = [statistics.median(getattr(cost, name) for cost in ours) for name in ("first_ms", "again_ms")]
    ratios = [f"1/{their / mine:.1f}" for their, mine in zip(theirs, own, strict=True)]
    cells = [f"{events:,}", *(f"{ms:.2f} ms" for ms in (*theirs, *own)), *ratios, f"{1000 / own[1]:,.0f}"]
    return f"| {' | '.join(cells)} |"


def _round(events: int, sessions: int) -> tuple[Cost, Cost]:
    """The obvious stack and the exporter, side by side."""
    with tempfile.TemporaryDirectory(prefix="bench-poll-") as folder, serving(Path(folder), events, sessions) as static:
        (Path(folder) / "sessions.json").write_text(
            json.dumps([{"record_type": name.record_type, "event_id": name.event_id} for name in static.sessions])
        )
        return _cost(obvious, static, Path(folder)), _cost(exporter, static, Path(folder))


def _cost(start: Start, static: Static, folder: Path) -> Cost:
    port = free_port()
    sessions = len(static.sessions)

    def polls() -> float:
        return value(fetch(f"http://127.0.0.1:{port}/metrics"), "telnyx_polls_total{")

    with start(static, folder, port) as running:
        fetch(f"http://127.0.0.1:{port}/metrics")
        began = running.cpu_seconds
        until(lambda: polls() >= sessions)
        first = (running.cpu_seconds - began) / sessions
        time.sleep(1)  # what is left of the first round
        cpu, count, at = running.cpu_seconds, polls(), time.monotonic()
        until(lambda: polls() - count >= 2 * sessions)
        counted, used, seconds = polls() - count, running.cpu_seconds - cpu, time.monotonic() - at
        return Cost(1000 * first, 1000 * used / counted, counted / seconds)


@contextmanager
def exporter(static: Static, folder: Path, port: int) -> Iterator[Process]:
    config = folder / "config.yaml"
    names = {"origin": static.origin, "ca_file": static.ca_file, "in_flight": IN_FLIGHT, "folder": folder}
    config.write_text(CONFIG.format(sessions=folder / "sessions.json", **names))
    run = ("--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error")
    with program("-m", "exporter", "run", *run, environ={"BENCH_API_KEY": "KEY-simulator"}) as running:
        yield running


@contextmanager
def obvious(static: Static, folder: Path, port: int) -> Iterator[Process]:
    stack = Path(__file__).with_name("obvious.py")
    files = (str(static.ca_file), str(folder / "sessions.json"), str(folder / "obvious.sqlite"))
    with program(str(stack), static.origin, *files, str(port)) as running:
        yield running


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU per poll, against the obvious stack.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sessions, one round")
    print(*measure(quick=parser.parse_args().quick), sep="\n")


if __name__ == "__main__":
    main()
