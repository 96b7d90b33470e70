"""Measure the CPU time of rendering a scrape, against client_python and client_golang on the same series.

Figures are medians of the CPU time from the request to the finished bytes, from one run for all contenders. Updating
the series is not measured. Only the exporter's cost depends on how many series changed since the last scrape, so the
others are measured once, with 1 % changed. Run it with `make bench-rendering`.
"""

import asyncio
import gzip
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import environ
from pathlib import Path
from shutil import which

import prometheus_client.openmetrics.exposition
from msgspec import Struct
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import generate_latest as generate_text

from benchmarks.series import Ours, Series, Theirs, described, lines_of, series
from benchmarks.tables import printed, table
from exporter.metrics.exposition import Format
from exporter.web.metrics_body import MetricsBodies

generate_openmetrics: Callable[[CollectorRegistry], bytes] = prometheus_client.openmetrics.exposition.generate_latest

SIZES, SIZES_QUICK = (1_000, 10_000, 100_000), (1_000, 10_000)
FORMATS = {"text": Format.TEXT, "OpenMetrics": Format.OPENMETRICS}
WAYS = tuple((f"{name}{', gzip' * packed}", form, packed) for name, form in FORMATS.items() for packed in (False, True))
SHARES = {"nothing": 0.0, "1 %": 0.01, "all": 1.0}
USUAL = "1 %"
GO_PROGRAM = Path(__file__).parent / "go" / "rendering.go"
GO_SOURCES = Path("/usr/share/gocode")
"""Where Debian's golang-github-prometheus-client-golang-dev installs its sources."""
NOT_INSTALLED = "not installed"
SAYS = (
    "CPU time from the request to finished bytes (ours with process metrics), by the share of series that changed since"
    " the last scrape. Against the same families, labels and values in client_python (`generate_latest`; gzip as its"
    " WSGI app) and Go's client_golang (`Gather`, `expfmt`; gzip as in promhttp) with 1 % changed, which makes no"
    " difference to them."
)
COLUMNS = (
    *("series", "format", "changed", "ours", "bytes", "client_python", "bytes", "ratio"),
    *("client_golang", "ratio", "ours per sample"),
)


class Figure(Struct, frozen=True):
    """The median CPU seconds of a scrape, and the bytes of the last one."""

    seconds: float
    bytes: int


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    return report(SIZES_QUICK if quick else SIZES, scrapes=20_000 if quick else 100_000)


def report(sizes: Iterable[int], scrapes: int) -> list[str]:
    """Return the part of the page.

    For one figure a contender renders about `scrapes` lines, and the page at least three times.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # client_python would have twice the lines
    with tempfile.TemporaryDirectory(prefix="bench-rendering-") as folder:
        program = _built(Path(folder))
        rows = [row for size in sizes for row in _rows(series(size), max(5, scrapes // size), program)]
    return ["### Rendering a scrape", "", SAYS, "", *table(COLUMNS, rows)]


def _rows(all_series: Sequence[Series], rounds: int, program: Path | None) -> Iterable[Sequence[object]]:
    ours, theirs, go = _ours(all_series, rounds), _theirs(all_series, rounds), _go(all_series, rounds, program)
    samples = sum(map(lines_of, all_series))
    for way, _, _ in WAYS:
        python, golang = theirs[way], go.get(way)
        for changed in SHARES:
            own = ours[way, changed]
            yield (
                *(f"{samples:,}", way, changed, _ms(own.seconds), f"{own.bytes:,}"),
                *(_ms(python.seconds), f"{python.bytes:,}", _times(python, own)),
                *((_ms(golang.seconds), _times(golang, own)) if golang else (NOT_INSTALLED, "-")),
                f"{1e6 * own.seconds / samples:.3f} us",
            )


def _times(other: Figure, own: Figure) -> str:
    return f"{other.seconds / own.seconds:,.1f} x"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


# The contenders


def _ours(all_series: Sequence[Series], rounds: int) -> dict[tuple[str, str], Figure]:
    """Return the exporter's figures by format and share of changed series.

    The main thread makes the page, the web thread the body; both are measured.
    """
    state, bodies = Ours(all_series), MetricsBodies()
    page = state.metrics.page()
    found = {}
    with asyncio.Runner() as runner:

        async def answer(form: Format, *, packed: bool) -> int:
            nonlocal page
            page = state.metrics.page() or page
            assert page is not None
            return len(await bodies.body(page, form, gzip=packed))

        def scrape(form: Format, *, packed: bool) -> int:
            return runner.run(answer(form, packed=packed))

        for way, form, packed in WAYS:
            for changed, share in SHARES.items():
                change = partial(_change, state, random.Random(2), len(all_series), share)
                found[way, changed] = _figure(change, partial(scrape, form, packed=packed), rounds)
    return found


def _theirs(all_series: Sequence[Series], rounds: int) -> dict[str, Figure]:
    state = Theirs(all_series)

    def scrape(form: Format, *, packed: bool) -> int:
        page = (generate_openmetrics if form is Format.OPENMETRICS else generate_text)(state.registry)
        return len(gzip.compress(page) if packed else page)

    change = partial(_change, state, random.Random(2), len(all_series), SHARES[USUAL])
    return {
        way: _figure(change, partial(scrape, form, packed=packed), max(3, rounds // 5)) for way, form, packed in WAYS
    }


def _change(state: Ours | Theirs, drawn: random.Random, series: int, share: float) -> None:
    state.change(drawn.sample(range(series), round(share * series)))


def _figure(change: Callable[[], None], scrape: Callable[[], int], rounds: int) -> Figure:
    change()
    scrape()  # the first scrape does work that later ones need not do
    taken = []
    for _ in range(rounds):
        change()
        began = time.process_time()
        size = scrape()
        taken.append(time.process_time() - began)
    return Figure(statistics.median(taken), size)


def _built(folder: Path) -> Path | None:
    """Build the program in Go and return its path; None if Go or its library isn't installed."""
    if which("go") is None or not (GO_SOURCES / "src/github.com/prometheus/client_golang").is_dir():
        return None
    go = {**environ, "GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", folder / "rendering", GO_PROGRAM], env=go, check=True)
    return folder / "rendering"


def _go(all_series: Sequence[Series], rounds: int, program: Path | None) -> dict[str, Figure]:
    if program is None:
        return {}
    asked = {**described(all_series), "rounds": rounds}
    ran = subprocess.run([program], input=json.dumps(asked).encode(), stdout=subprocess.PIPE, check=True)
    found = json.loads(ran.stdout)
    return {way: Figure(statistics.median(each["seconds"]), each["bytes"]) for way, each in found.items()}


if __name__ == "__main__":
    printed(measure, "CPU time and bytes of a scrape, against client_python and Go's client_golang.")
