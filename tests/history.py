"""35 days of an exporter in a real Prometheus, made in minutes: what dashboards and rules are asked about.

Two accounts in two currencies, sessions found through detail records, amended and late bills, an API that fails now and
then, budgets, thresholds, and a second replica that takes the ledger over. The clock is stepped from scrape to scrape;
every page is written down with its time, and `promtool` makes blocks of them. Run as a program it keeps the Prometheus
for as long as one likes to look: `python -m tests.history`.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from exporter.app import App
from exporter.catalog import BY_NAME
from exporter.config import (
    Account,
    Budget,
    Config,
    DetailRecords,
    Discovery,
    Ledger,
    Metrics,
    Polling,
    Secret,
    Threshold,
)
from exporter.ledger import SqliteLedger
from exporter.simulator import Bills, Faults, Running, Settings, running
from tests.exporting import PATIENCE_SECONDS, SCRAPER, Exporting, exporting

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

TAKEN_OVER = END - 15 * DAY
"""The second replica holds the ledger from then on, after two hours in which nobody did."""
ABSENT_SECONDS = 2 * HOUR

JOB = "telnyx"
REPLICAS = ("exporter-0:9464", "exporter-1:9464")

_RECORD_TYPES = ("ai-voice-assistant", "call-control", "conference", "inference", "messaging", "verify")
_LINE = re.compile(r"(telnyx_\w+?)(?:\{(.*)\})? (\S+)")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


class Past(Struct):
    """A Prometheus that holds the 35 days, and what is worth knowing of them."""

    origin: str
    start: int = START
    end: int = END
    seconds: dict[str, float] = {}
    """Real time that each part of the making took."""
    lines: int = 0

    def query(self, expression: str, at: float | None = None) -> list[dict[str, object]]:
        """The rows of an instant query, at the end if no time is given."""
        return self._ask("query", {"query": expression, "time": str(self.end if at is None else at)})

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, object]]:
        """The rows of a range query."""
        return self._ask("query_range", {"query": expression, "start": str(start), "end": str(end), "step": str(step)})

    def _ask(self, endpoint: str, params: dict[str, str]) -> list[dict[str, object]]:
        answer = httpx.post(f"{self.origin}/api/v1/{endpoint}", data=params, timeout=60).json()
        assert answer["status"] == "success", (params["query"], answer)
        rows: list[dict[str, object]] = answer["data"]["result"]
        return rows


class _Clock:
    """Both clocks of the exporter: session time is moved by hand; the other goes on by itself and jumps along."""

    def __init__(self, time: float) -> None:
        self.time = time
        self._offset = -time

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return time.monotonic() + self.time + self._offset


def configuration(main: Running, emea: Running, folder: Path) -> Config:
    """An exporter of both simulators."""
    return Config(
        accounts=(_account("main", main, "USD"), _account("emea", emea, "EUR")),
        polling=Polling(
            tick_seconds=60.0,
            min_interval_seconds=3600.0,
            max_interval_seconds=4 * 3600.0,
            hinted_interval_seconds=7200.0,
            recheck_after_seconds=(86_400.0, 604_800.0, 3_024_000.0),
            timeout_seconds=10.0,
            attempts_max=1,
        ),
        metrics=Metrics(
            thresholds=(
                Threshold(name="dear", cost=Decimal("0.5"), currency="USD"),
                Threshold(name="dear-eur", cost=Decimal("0.5"), currency="EUR"),
                Threshold(name="long", turns=25),
            ),
        ),
        discovery=Discovery(
            detail_records=DetailRecords(record_types=_RECORD_TYPES, interval_seconds=5400.0, lookback_seconds=43_200.0)
        ),
        ledger=Ledger(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
        budgets=(
            Budget(name="everything", amount=Decimal(140), window="month"),
            Budget(name="voice-ai", amount=Decimal(3), window="day", match=(("record_type", "ai-voice-assistant"),)),
            Budget(name="emea", amount=Decimal(60), currency="EUR", window="week", match=(("account", "emea"),)),
            Budget(name="messages", amount=Decimal("0.45"), window=7 * DAY, match=(("record_type", "message"),)),
        ),
    )


def _account(name: str, simulated: Running, currency: str) -> Account:
    return Account(
        name=name,
        base_url=simulated.url,
        key=Secret(simulated.api_key),
        currencies=(currency,),
        requests_per_second=1000,
        max_in_flight=20,
        balance_interval_seconds=7200,
    )


@contextmanager
def _simulators() -> Iterator[tuple[Running, Running]]:
    bills = Bills(amended_share=0.05, late_share=0.03, never_priced_share=0.001)
    faults = Faults(error_share=0.004, kinds=("500", "503", "reset", "truncated"))
    settings = Settings(speed=0.0, start=float(START), seed=11, sessions_per_hour=1.3, bills=bills, faults=faults)
    other = replace(settings, seed=12, sessions_per_hour=0.6, currencies=("EUR",), balance="300.00")
    with running(settings, time.monotonic) as main, running(other, time.monotonic) as emea:
        yield main, emea


class _Writer:
    """Puts pages down in OpenMetrics, as two replicas show them."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.lines = 0
        self.idle: list[tuple[str, str, str]] = []
        """What the replica without the ledger shows: the families of its process, as they were."""

    def write(self, page: str, at: float, holder: int) -> None:
        parsed = list(_parsed(page))
        if not self.idle:
            self.idle = [line for line in parsed if _of_process(line[0])]
        for replica, lines in ((holder, parsed), (1 - holder, self.idle)):
            where = f'instance="{REPLICAS[replica]}",job="{JOB}"'
            self.file.writelines(
                f"{name}{{{where}{',' if labels else ''}{labels}}} {value} {at}\n" for name, labels, value in lines
            )
            self.lines += len(lines)

    def swap(self, page: str) -> None:
        """What was last shown by the holder is what it goes on showing without the ledger."""
        self.idle = [line for line in _parsed(page) if _of_process(line[0])]


def _parsed(page: str) -> Iterator[tuple[str, str, str]]:
    for line in page.splitlines():
        found = _LINE.fullmatch(line)
        if found:
            yield found[1], found[2] or "", found[3]


def _of_process(sample: str) -> bool:
    family = BY_NAME.get(sample) or BY_NAME[_SUFFIX.sub("", sample)]
    return family.home == "process"


def _times() -> Iterable[int]:
    yield from range(START, END - DENSE_SECONDS, FIRST_STEP_SECONDS)
    yield from range(END - DENSE_SECONDS, END + 1, STEP_SECONDS)


async def _live(folder: Path, file: TextIO, until: int) -> int:
    """Live from the start to the end; returns how many lines were scraped."""
    writer = _Writer(file)
    with _simulators() as simulated:
        clock = _Clock(float(START))
        config = configuration(*simulated, folder)
        first = [at for at in _times() if at <= min(until, TAKEN_OVER)]
        second = [at for at in _times() if TAKEN_OVER + ABSENT_SECONDS < at <= until]
        for holder, times in enumerate((first, second)):
            if not times:
                continue
            async with exporting(config, simulated[0], clock) as exporter:
                page = ""
                with contextlib.closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as due:
                    for at in times:
                        page = await _step(exporter, simulated, due, at)
                        writer.write(page, at, holder)
                writer.swap(page)
    file.write("# EOF\n")
    return writer.lines


async def _step(exporter: Exporting, simulated: Iterable[Running], due: sqlite3.Connection, at: int) -> str:
    """Move to the time of the next scrape, looking on the way at what falls due; then be scraped."""
    clock = exporter.app.clock
    assert isinstance(clock, _Clock)
    least = float(MINUTE if at > END - DENSE_SECONDS else FIRST_LEAST_SECONDS)
    while clock.time < at:
        (next_due,) = due.execute("SELECT min(due_at) FROM sessions WHERE claim = 0").fetchone()
        seconds = min(max((next_due or at) - clock.time + 1, least), at - clock.time)
        clock.time += seconds
        for world in simulated:
            world.clock.step(seconds)
        await exporter.app.discover()
        await exporter.app.poller.tick()
        await _drained(exporter.app)
    return await _scrape(exporter)


async def _drained(app: App) -> None:
    """Until everything that was due has been looked at and booked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    names = [account.name for account in app.config.accounts]
    while True:
        due = await app.ledger.run(SqliteLedger.due, app.clock.now(), names)
        if app.discovery.idle and app.poller.idle and due == 0:
            return
        if due and app.poller.idle:
            await app.poller.tick()
        assert time.monotonic() < deadline, "the exporter did not come to rest"
        await asyncio.sleep(0.002)


async def _scrape(exporter: Exporting) -> str:
    app = exporter.app
    await app.upkeep.keep()  # jobs of real time that simulated time must see done
    await app.upkeep.gauges()
    await app.upkeep.release()
    page = app.metrics.page()
    if page is not None:
        app.web.publish(page)
    scraped = (await exporter.get("/metrics", **SCRAPER, **{"Accept-Encoding": "identity"})).text
    app.metrics.ripe(app.clock.monotonic())  # births begin now, not when the exporter looks next
    return scraped


def lived(folder: Path, until: int = END) -> tuple[Path, int]:
    """The scrapes of the 35 days, or of those until then, and how many lines they are."""
    path = folder / "scrapes"
    with path.open("w") as file:
        lines = asyncio.run(_live(folder, file, until))
    return path, lines


@contextmanager
def remembering(prometheus: Path, promtool: Path, folder: Path, until: int = END) -> Iterator[Past]:
    """Have a Prometheus hold the past for as long as the block lasts."""
    times = [time.monotonic()]
    scrapes, lines = lived(folder, until)
    times.append(time.monotonic())
    create: list[str | Path] = [promtool, "tsdb", "create-blocks-from", "openmetrics", scrapes, folder / "tsdb"]
    subprocess.run([*create[:3], "--max-block-duration=96h", *create[3:]], check=True, capture_output=True)
    times.append(time.monotonic())
    parts = {"lived": times[1] - times[0], "blocks": times[2] - times[1]}
    with serving(prometheus, folder) as origin:
        yield Past(origin, end=until, seconds=parts, lines=lines)


@contextmanager
def serving(program: Path, folder: Path) -> Iterator[str]:
    """A Prometheus on the blocks in `folder`; scrapes nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    command: list[str | Path] = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--storage.tsdb.retention.time=100y",
        f"--query.lookback-delta={LOOKBACK}",
        "--web.cors.origin=.*",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        origin = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not _ready(origin):
                assert time.monotonic() < deadline, "Prometheus did not start"
                time.sleep(0.05)
            yield origin
        finally:
            process.terminate()


def _ready(origin: str) -> bool:
    try:
        return httpx.get(f"{origin}/-/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory, prometheus: Path, promtool: Path) -> Iterator[Past]:
    """The 35 days, made once for all tests that ask about them; those need `pytest.mark.timeout(600)`.

    HISTORY_URL names a Prometheus that holds them already, such as one that `python -m tests.history` keeps.
    """
    if "HISTORY_URL" in os.environ:
        yield Past(os.environ["HISTORY_URL"])
        return
    with remembering(prometheus, promtool, tmp_path_factory.mktemp("past")) as found:
        yield found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        programs = [Path(found) for found in map(shutil.which, ("prometheus", "promtool")) if found]
        with remembering(programs[0], programs[1], Path(name)) as held:
            sys.stdout.write(f"{held.origin} holds {held.lines} lines up to {held.end}; made in {held.seconds}\n")
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
