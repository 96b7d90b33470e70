"""Measure scrapes while polling at full speed, against the obvious stack, and the longest callbacks.

Each stack runs as a process against the same finished trees, polls without a pause, has 10,000 series on its page, and
is scraped over new connections ten times a second. The obvious stack serves its page from a thread too; it is slow
because rendering and polling share one interpreter. Run it with `make bench-scrapes`.
"""

import http.client
import json
import os
import random
import signal
import sqlite3
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.loops import Longest
from benchmarks.processes import Process, fetch, free_port, program, until, value
from benchmarks.series import EXTRA, HISTOGRAM, series
from benchmarks.static import KEYS, Static, configuration, serving, session_entries
from benchmarks.tables import printed, table
from exporter.config import parse
from exporter.core.catalog import BY_NAME, labels_of
from exporter.ledger import TotalsSettings, open_ledger
from exporter.runtime.plan import policy

EVENTS, IN_FLIGHT = 11, 50
SCRAPE_SECONDS = 0.1
SCRAPES_MIN = 2
"""A percentile needs two, however slow they are."""
WAYS: Mapping[str, Mapping[str, str]] = {
    "text": {},
    "as Prometheus asks": {
        "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "Accept-Encoding": "gzip",
        "X-Prometheus-Scrape-Timeout-Seconds": "10",
    },
}
METRICS = """\
metrics:
  labels: [{{name: {extra}, field: assistant_id, values_max: 10000}}]
  series_max: 1000000
  new_series_zero_seconds: 0
"""
SCRAPES = ("series", "format", "stack", "p50", "p99", "scrapes", "polls/s", "p99 ratio")
SAYS = (
    "Seconds of real time from connecting to the last byte, ten scrapes a second, while the process polls sessions of"
    f" {EVENTS} events without a pause ({IN_FLIGHT} in flight, TLS, gzip, nginx). Against the obvious stack (httpx,"
    " json, a commit per session, client_python's own server thread) in the same run, with as many lines on its page."
)
LOOPS_SAY = (
    "The longest callback of each event loop of the exporter, while it polls, is scraped, publishes, sums up and prunes"
    ", and reads all totals again (a reload). CPU time is the thread's own. Real time includes waiting for the"
    " interpreter and for a core, which other programs use too."
)
LOOPS = ("thread", "callbacks", "longest, CPU", "longest, real time", "callback", "ratio to 20 ms")
LIMIT = 0.02
"""CPU seconds that one callback may take, including a garbage collection."""


class Size(Struct, frozen=True):
    """The size of the measurement."""

    lines: int = 10_000
    sessions: int = 2000
    rounds: int = 3
    seconds: float = 15.0
    reloads: int = 5


FULL, QUICK = Size(), Size(rounds=1, seconds=5, sessions=500, reloads=2)


class ScrapeRound(Struct):
    """The durations of one stack's scrapes, and its polls per second meanwhile."""

    seconds: list[float]
    polls_per_second: float


Start = Callable[[Static, Path, int, Size], AbstractContextManager[Process]]


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    return report(QUICK if quick else FULL)


def report(size: Size) -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-scrapes-") as folder,
        serving(Path(folder), EVENTS, size.sessions) as static,
    ):
        (Path(folder) / "sessions.json").write_text(json.dumps(session_entries(static)))
        scrapes = [
            row
            for way, headers in WAYS.items()
            for row in _rows(way, *_side_by_side(static, Path(folder), size, headers), size)
        ]
        loops = list(_loops(static, Path(folder), size))
    head = ["### Scrapes while polling at full speed", "", SAYS, ""]
    return [*head, *table(SCRAPES, scrapes), "", LOOPS_SAY, "", *table(LOOPS, loops)]


def _rows(
    way: str, theirs: Sequence[ScrapeRound], ours: Sequence[ScrapeRound], size: Size
) -> Iterator[Sequence[object]]:
    ratio = f"1/{_p99(theirs) / _p99(ours):.0f}"
    for stack, rounds, last in (("obvious", theirs, ""), ("exporter", ours, ratio)):
        scrapes = [seconds for each in rounds for seconds in each.seconds]
        polls = statistics.median(each.polls_per_second for each in rounds)
        p50, p99 = f"{1000 * statistics.median(scrapes):.1f} ms", f"{1000 * _p99(rounds):.1f} ms"
        yield f"{size.lines:,}", way, stack, p50, p99, len(scrapes), f"{polls:.0f}", last


def _p99(rounds: Sequence[ScrapeRound]) -> float:
    """Return the median of the rounds' p99: one slow moment of the machine spoils only its round."""
    return statistics.median(statistics.quantiles(each.seconds, n=100, method="inclusive")[98] for each in rounds)


def _side_by_side(
    static: Static, folder: Path, size: Size, headers: Mapping[str, str]
) -> tuple[list[ScrapeRound], list[ScrapeRound]]:
    theirs, ours = [], []
    for _ in range(size.rounds):
        theirs.append(_scrape_round(obvious, static, folder, size, headers))
        ours.append(_scrape_round(exporter, static, folder, size, headers))
    return theirs, ours


def _scrape_round(start: Start, static: Static, folder: Path, size: Size, headers: Mapping[str, str]) -> ScrapeRound:
    port = free_port()
    with start(static, folder, port, size):
        _await_full_speed(port, size)
        before, began = _polls(port), time.monotonic()
        taken = _scrapes(port, size.seconds, headers)
        return ScrapeRound(taken, (_polls(port) - before) / (time.monotonic() - began))


def _await_full_speed(port: int, size: Size) -> None:
    """Wait until the page has all series and the process polls."""
    until(lambda: fetch(f"http://127.0.0.1:{port}/metrics").count("\n") >= size.lines)
    until(lambda: _polls(port) >= size.sessions / 10)


def _polls(port: int) -> float:
    return value(fetch(f"http://127.0.0.1:{port}/metrics"), "telnyx_polls_total{")


def _scrapes(port: int, seconds: float, headers: Mapping[str, str]) -> list[float]:
    """Return the seconds of each scrape; each opens a connection, because the obvious stack keeps none."""
    taken: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end or len(taken) < SCRAPES_MIN:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/metrics", headers=dict(headers))
            body = connection.getresponse().read()
        assert body, "the page is not empty"
        taken.append(time.monotonic() - began)
        time.sleep(SCRAPE_SECONDS)
    return taken


# The stacks


@contextmanager
def obvious(static: Static, folder: Path, port: int, size: Size) -> Iterator[Process]:
    (folder / "obvious.sqlite").unlink(missing_ok=True)
    files = (str(static.ca_file), str(folder / "sessions.json"), str(folder / "obvious.sqlite"))
    with program("-m", "benchmarks.crowded", str(size.lines), static.origin, *files, str(port)) as running:
        yield running


@contextmanager
def exporter(static: Static, folder: Path, port: int, size: Size, *launcher: str) -> Iterator[Process]:
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    config = folder / "config.yaml"
    config.write_text(configuration(static, folder, IN_FLIGHT) + METRICS.format(extra=EXTRA))
    _fill(config, size.lines)
    run = ("run", "--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}", "--web.enable-lifecycle")
    arguments = (*(launcher or ("exporter",)), *run, "--log.level", "error")
    with program("-m", *arguments, environ=KEYS) as running:
        yield running


def _fill(file: Path, lines: int) -> None:
    """Create a ledger that already has `lines` series."""
    config = parse(file.read_bytes(), str(file))
    known = [each for each in series(2 * lines) if each.family != HISTOGRAM][:lines]
    born = [
        (each.family, tuple(zip(labels_of(BY_NAME[each.family], (EXTRA,)), each.labels, strict=True))) for each in known
    ]
    with closing(open_ledger(config.ledger.url, policy(config), TotalsSettings.of(config))) as ledger:
        ledger.create_series(born)
        path = Path(ledger.location)
    drawn = random.Random(1)
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("drawn", 0, lambda: str(drawn.randrange(10**7) / 10**4))
        connection.execute("UPDATE totals SET value = drawn()")
        connection.execute("UPDATE series SET exposed = 1")
        connection.commit()


# The loops


def _loops(static: Static, folder: Path, size: Size) -> Iterator[Sequence[object]]:
    port, found = free_port(), folder / "loops.json"
    with exporter(static, folder, port, size, "benchmarks.loops", str(found)) as running:
        _await_full_speed(port, size)
        os.kill(running.pid, signal.SIGUSR1)
        for _ in range(size.reloads):
            _scrapes(port, size.seconds / size.reloads, WAYS["as Prometheus asks"])
            request = urllib.request.Request(f"http://127.0.0.1:{port}/-/reload", method="POST")
            urllib.request.urlopen(request, timeout=60).close()
    for thread, longest in msgspec.json.decode(found.read_bytes(), type=dict[str, Longest]).items():
        times = (f"{1000 * seconds:.1f} ms" for seconds in (longest.cpu_seconds, longest.seconds))
        yield thread, f"{longest.callbacks:,}", *times, f"`{longest.what}`", f"{longest.cpu_seconds / LIMIT:.2f}"


if __name__ == "__main__":
    printed(measure, "Scrapes beside polls at full speed, and what keeps the event loops busy.")
