"""35 days of an exporter in a real Prometheus, made in minutes: what dashboards and rules are asked about.

Two accounts in two currencies, sessions found through detail records, amended and late bills, an API that fails now
and then, budgets, thresholds, and a second replica that takes the ledger over. The clock is stepped from scrape to
scrape (tests/support/stepped.py); every page is written down with its time, and `promtool` makes blocks of them. Each
making gives the same history, to the sample. Run as a program it keeps the Prometheus for as long as one likes to
look: `python -m tests.support.history`.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest
from msgspec.structs import replace

from exporter.config import (
    Budget,
    Config,
    DetailRecordSettings,
    DiscoverySettings,
    LedgerSettings,
    MetricsSettings,
    PollingSettings,
    Threshold,
)
from simulator import Bills, Faults, Running, SimulatorSettings, running
from tests.support.exporting import PLENTY, exporting
from tests.support.once import made_once
from tests.support.programs import Past, linked, make_blocks, prometheus_of
from tests.support.stepped import TICK_SECONDS, Clock, Pages, Stepped, account

MINUTE, HOUR, DAY = 60, 3600, 86_400

END = 1_774_360_800
"""2026-03-24T14:00:00Z, the time of the last scrape: a Tuesday afternoon with the month and the week well begun."""
START = END - 35 * DAY

DENSE_SECONDS = 2 * DAY
"""Before the end; there the exporter is scraped every ten minutes, before that every hour."""
STEP_SECONDS, FIRST_STEP_SECONDS = 10 * MINUTE, HOUR
FIRST_LEAST_SECONDS = HOUR
"""In the first weeks what falls due is looked at in such groups; later within a minute."""

LOOKBACK = "61m"
"""What Prometheus must be told: a sample stands until the next one, an hour later in the first weeks."""

ERROR_SHARE = 0.004
"""Of the requests that go wrong."""

TAKEN_OVER = END - 15 * DAY
"""The second replica holds the ledger from then on, after two hours in which nobody did."""
ABSENT_SECONDS = 2 * HOUR

_RECORD_TYPES = (
    *("ai-voice-assistant", "call-control", "inference", "messaging", "recording", "sip-trunking", "verify", "webrtc"),
)
"""Those that most of the money is on, so that the share of it that is booked is a steady one."""


def configuration(main: Running, emea: Running, folder: Path) -> Config:
    """An exporter of both simulators."""
    return Config(
        accounts=(
            account("main", main, currencies=("USD",), balance_interval_seconds=7200),
            account("emea", emea, currencies=("EUR",), balance_interval_seconds=7200),
        ),
        polling=PollingSettings(
            scheduler_interval_seconds=TICK_SECONDS,
            min_interval_seconds=3600.0,
            max_interval_seconds=4 * 3600.0,
            reported_interval_seconds=7200.0,
            recheck_after_seconds=(86_400.0, 604_800.0, 3_024_000.0),
            timeout_seconds=10.0,
            max_attempts=1,
        ),
        metrics=MetricsSettings(
            session_series_max=200,  # at the bound, which of two equal ones is shown depends on who was found first
            thresholds=(
                Threshold(name="dear", cost=Decimal("0.5"), currency="USD"),
                Threshold(name="dear-eur", cost=Decimal("0.5"), currency="EUR"),
                Threshold(name="long", turns=25),
            ),
        ),
        discovery=DiscoverySettings(
            detail_records=DetailRecordSettings(
                record_types=_RECORD_TYPES,
                first_lookback_seconds=0.0,
                interval_seconds=5400.0,
                lookback_seconds=43_200.0,
            )
        ),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
        budgets=(
            Budget(name="everything", amount=Decimal(180), window="month"),
            Budget(name="voice-ai", amount=Decimal(4), window="day", match=(("record_type", "ai-voice-assistant"),)),
            Budget(name="emea", amount=Decimal(60), currency="EUR", window="week", match=(("account", "emea"),)),
            Budget(name="messages", amount=Decimal("0.65"), window=7 * DAY, match=(("record_type", "message"),)),
        ),
    )


@contextmanager
def _simulators(error_share: float) -> Iterator[tuple[Running, Running]]:
    bills = Bills(amended_share=0.05, late_share=0.03, never_priced_share=0.001)
    faults = Faults(error_share=error_share, kinds=("500", "503", "reset", "truncated"))
    settings = SimulatorSettings(
        speed=0.0,
        start=float(START),
        seed=11,
        sessions_per_hour=1.3,
        bills=bills,
        faults=faults,
        quotas=PLENTY,
    )
    other = replace(settings, seed=12, sessions_per_hour=0.6, currencies=("EUR",), balance="300.00")
    with running(settings, time.monotonic) as main, running(other, time.monotonic) as emea:
        yield main, emea


def _times() -> Iterable[int]:
    yield from range(START, END - DENSE_SECONDS, FIRST_STEP_SECONDS)
    yield from range(END - DENSE_SECONDS, END + 1, STEP_SECONDS)


async def _live(folder: Path, file: TextIO, until: int, error_share: float) -> int:
    """Live from the start to the end; returns how many lines were scraped."""
    pages = Pages(file)
    with _simulators(error_share) as simulated:
        clock = Clock(float(START))
        config = configuration(*simulated, folder)
        first = [at for at in _times() if at <= min(until, TAKEN_OVER)]
        second = [at for at in _times() if TAKEN_OVER + ABSENT_SECONDS < at <= until]
        for holder, times in enumerate((first, second)):
            if not times:
                continue
            async with exporting(config, simulated[0], clock) as exporter:
                stepped = Stepped(exporter, simulated, clock)
                await stepped.begin()
                page = ""
                for at in times:
                    await stepped.until(at, MINUTE if at > END - DENSE_SECONDS else FIRST_LEAST_SECONDS)
                    page = await stepped.scrape()
                    pages.write(page, at, holder)
                pages.swap(page)
    pages.end()
    return pages.lines


def lived(folder: Path, until: int = END, error_share: float = ERROR_SHARE) -> tuple[Path, int]:
    """The scrapes of the 35 days, or of those until then, and how many lines they are."""
    path = folder / "scrapes"
    with path.open("w") as file:
        lines = asyncio.run(_live(folder, file, until, error_share))
    return path, lines


def make(promtool: Path, folder: Path, until: int = END) -> Past:
    """Have blocks of the past in the folder; returns what is known of them, without a Prometheus that holds them."""
    times = [time.monotonic()]
    scrapes, lines = lived(folder, until)
    times.append(time.monotonic())
    make_blocks(promtool, scrapes, folder)
    times.append(time.monotonic())
    parts = {"lived": times[1] - times[0], "blocks": times[2] - times[1]}
    return Past("", START, until, seconds=parts, lines=lines)


@contextmanager
def remembering(prometheus: Path, promtool: Path, folder: Path, until: int = END) -> Iterator[Past]:
    """Have a Prometheus hold the past for as long as the block lasts."""
    made = make(promtool, folder, until)
    with prometheus_of(prometheus, folder, lookback=LOOKBACK) as origin:
        yield replace(made, origin=origin)


@pytest.fixture(scope="session")
def past(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory, prometheus: Path, promtool: Path
) -> Iterator[Past]:
    """The 35 days, made once for all tests that ask about them; those need `pytest.mark.timeout(600)`.

    HISTORY_URL names a Prometheus that holds them already, such as one that `python -m tests.support.history` keeps.
    """
    if "HISTORY_URL" in os.environ:
        yield Past(os.environ["HISTORY_URL"], START, END)
        return
    made = made_once(Past, run_folder / "past", partial(make, promtool))
    own = linked(run_folder / "past", tmp_path_factory.mktemp("past"))
    with prometheus_of(prometheus, own, lookback=LOOKBACK) as origin:
        yield replace(made, origin=origin)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        programs = [Path(found) for found in map(shutil.which, ("prometheus", "promtool")) if found]
        with remembering(programs[0], programs[1], Path(name)) as held:
            sys.stdout.write(f"{held.origin} holds {held.lines} lines up to {held.end}; made in {held.seconds}\n")
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
