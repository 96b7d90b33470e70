"""Run all benchmarks and write docs/performance.md: `make bench`; an hour, on an idle machine.

The figures are no test of speed: only the ratios within one run can be compared.
"""

import argparse
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    fleet,
    forgetting,
    growth,
    keeping,
    memory,
    pages,
    poll,
    rendering,
    scrapes,
    sessions,
    start,
    webhooks,
)
from benchmarks.machine import machine
from benchmarks.tables import Measure

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

ALL: Mapping[str, Measure] = {
    "poll": poll.measure,
    "rendering": rendering.measure,
    "scrapes": scrapes.measure,
    "webhooks": webhooks.measure,
    "memory": memory.measure,
    "start": start.measure,
    "growth": growth.measure,
    "keeping": keeping.measure,
    "pages": pages.measure,
    "sessions": sessions.measure,
    "fleet": fleet.measure,
    "forgetting": forgetting.measure,
}

HEAD = """\
# Performance

CPU, memory and latency of the exporter, compared with simple alternatives. `make bench` writes this page;
`make bench-NAME` prints one part. All figures of a part are from one run, side by side. Trust the ratios: the same
machine may be faster or slower by a third an hour later.

The **obvious stack** is `benchmarks/obvious.py`: httpx with its defaults, `json`, one SQLite commit per session and
prometheus_client, as one would write it in an afternoon. It retries nothing, checks no sums and keeps no tree.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks, as Markdown.")
    parser.add_argument("--quick", action="store_true", help="measure less, only to check that the benchmarks work")
    parser.add_argument("--to", type=Path, help=f"file to write (default: {PAGE.name} if all benchmarks run)")
    parser.add_argument("only", nargs="*", choices=[[], *ALL], help="print only these, and don't write the page")
    options = parser.parse_args()
    page = options.to or (None if options.only else PAGE)
    parts = [HEAD.rstrip(), f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}."]
    for name in options.only or ALL:
        began = time.monotonic()
        parts.append("\n".join(ALL[name](quick=options.quick)))
        print(parts[-1], f"({name}: {time.monotonic() - began:.0f} s)", sep="\n\n", end="\n\n", flush=True)
        if page is not None:  # after each part, so that an interrupted run keeps its first parts
            page.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
