"""What a scrape costs to render: the exporter against client_python and client_golang, on the same series.

Measures CPU time from "a scrape is wanted" to finished bytes, in one run for all contenders; medians. Counting is not
in it, for any of them. The surprising fact: only the exporter's cost depends on how much has changed since the last
scrape, so the others are measured once, with 1 % changed. Run it with `make bench-rendering`.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from os import environ
from pathlib import Path
from shutil import which

import prometheus_client.openmetrics.exposition
from msgspec import Struct
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import generate_latest as generate_text

from benchmarks.machine import machine, row, table
from benchmarks.series import Ours, Series, Theirs, described, lines_of, series
from exporter.exposition import Format
from exporter.web.bodies import Bodies

generate_openmetrics: Callable[[CollectorRegistry], bytes] = prometheus_client.openmetrics.exposition.generate_latest

SIZES, SIZES_QUICK = (1_000, 10_000, 100_000), (1_000, 10_000)
FORMATS = {"text": Format.TEXT, "OpenMetrics": Format.OPENMETRICS}
WAYS = tuple((f"{name}{', gzip' * packed}", form, packed) for name, form in FORMATS.items() for packed in (False, True))
SHARES = {"nothing": 0.0, "1 %": 0.01, "all": 1.0}
USUAL = "1 %"
GO_PROGRAM = Path(__file__).parent / "go" / "rendering.go"
GO_SOURCES = Path("/usr/share/gocode")
"""Where Debian's golang-github-prometheus-client-golang-dev lies."""
NOT_INSTALLED = "not installed"


class Figure(Struct, frozen=True):
    """What one scrape took: the median in CPU seconds, and the bytes of the last."""

    seconds: float
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time and bytes of a scrape, against client_python and Go's.")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 series, and fewer repetitions")
    print(machine(), "", *measure(parser.parse_args().quick), sep="\n")


def measure(quick: bool) -> list[str]:  # noqa: FBT001 - the contract of all benchmarks
    """The figures as Markdown."""
    return report(SIZES_QUICK if quick else SIZES, scrapes=20_000 if quick else 100_000)


def report(sizes: Iterable[int], scrapes: int) -> list[str]:
    """`scrapes` is how many lines each contender renders in all for one figure, at the least three times all."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # or theirs would have twice the lines
    lines = [
        "### Rendering a scrape",
        "",
        "CPU time from the question to finished bytes, process metrics included for ours alone, by how much changed since"
        " the last scrape; against the same families, labels and values in client_python (`generate_latest`; gzip as its"
        " WSGI app does it) and Go's client_golang (`Gather` and `expfmt`; gzip as promhttp does it), 1 % changed.",
        "",
        *table(
            *("series", "format", "changed", "ours", "bytes", "client_python", "bytes", "ratio"),
            *("client_golang", "ratio", "ours per sample"),
        ),
    ]
    with tempfile.TemporaryDirectory(prefix="bench-rendering-") as folder:
        program = _built(Path(folder))
        for size in sizes:
            lines += _rows(series(size), max(5, scrapes // size), program)
    return lines


def _rows(all_series: Sequence[Series], rounds: int, program: Path | None) -> Iterable[str]:
    ours, theirs, go = _ours(all_series, rounds), _theirs(all_series, rounds), _go(all_series, rounds, program)
    samples = sum(map(lines_of, all_series))
    for way, _, _ in WAYS:
        python, golang = theirs[way], go.get(way)
        for changed in SHARES:
            own = ours[way, changed]
            yield row(
                *(f"{samples:,}", way, changed, _ms(own.seconds), f"{own.bytes:,}"),
                *(_ms(python.seconds), f"{python.bytes:,}", f"{python.seconds / own.seconds:.0f} x"),
                *(_ms(golang.seconds) if golang else NOT_INSTALLED, _times(golang, own)),
                f"{1e6 * own.seconds / samples:.3f} us",
            )


def _times(golang: Figure | None, own: Figure) -> str:
    return f"{golang.seconds / own.seconds:.0f} x" if golang else "-"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


# The contenders


def _ours(all_series: Sequence[Series], rounds: int) -> dict[tuple[str, str], Figure]:
    """By format and by how much changes. The page is what the main thread makes, the body what the web thread does."""
    state, bodies, drawn = Ours(all_series), Bodies(), random.Random(2)
    page = state.metrics.page()
    assert page is not None

    def scrape(form: Format, *, packed: bool) -> bytes:
        nonlocal page
        page = state.metrics.page() or page
        return bodies.body(page, form, gzip=packed)

    found = {}
    for way, form, packed in WAYS:
        for changed, share in SHARES.items():
            count = round(share * len(all_series))
            found[way, changed] = _figure(
                lambda count=count: state.change(drawn.sample(range(len(all_series)), count)),
                lambda form=form, packed=packed: scrape(form, packed=packed),
                rounds,
            )
    return found


def _theirs(all_series: Sequence[Series], rounds: int) -> dict[str, Figure]:
    state, drawn, found = Theirs(all_series), random.Random(2), {}
    count = round(SHARES[USUAL] * len(all_series))
    for way, form, packed in WAYS:
        generate = generate_openmetrics if form is Format.OPENMETRICS else generate_text

        def scrape(generate: Callable[[CollectorRegistry], bytes] = generate, packed: bool = packed) -> bytes:  # noqa: FBT001, FBT002
            page = generate(state.registry)
            return gzip.compress(page) if packed else page

        found[way] = _figure(
            lambda: state.change(drawn.sample(range(len(all_series)), count)), scrape, max(3, rounds // 5)
        )
    return found


def _figure(change: Callable[[], None], scrape: Callable[[], bytes], rounds: int) -> Figure:
    change()
    scrape()  # the first one has much to do that no other has
    taken = []
    for _ in range(rounds):
        change()
        began = time.process_time()
        body = scrape()
        taken.append(time.process_time() - began)
    return Figure(statistics.median(taken), len(body))


def _built(folder: Path) -> Path | None:
    """The program in Go; None where Go or its library is not installed."""
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
    main()
