"""An exporter whose time is moved by hand from scrape to scrape, and the pages that Prometheus would have had of it.

Owns the clock, the steps, and the writing of pages. Two lives of one seed are the same but for what is measured in real
time (`MEASURED`). That takes three things. Requests of an account go one after the other: chance spoils the request of
a certain number, so it must be the same one each time. All that is due is claimed at once: the waits between polls
follow from the numbers of claims, which would else follow from who was ready first. And the exporter's own jobs, which
go by real time, are held: here each is called when session time has come to it.
"""

import asyncio
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TextIO

from exporter.config import Account, Secret
from exporter.core.catalog import BY_NAME
from exporter.ledger import Ledger
from exporter.sources.discovery import Job
from simulator import Running
from tests.support.clocks import RealSleep
from tests.support.exporting import PATIENCE_SECONDS, SCRAPER, Exporting

JOB = "telnyx"
REPLICAS = ("exporter-0:9464", "exporter-1:9464")

MEASURED = (
    "telnyx_api_request_duration_seconds",
    "telnyx_api_throttled_seconds_total",
    "telnyx_api_quota_remaining",
    "telnyx_ledger_commit_duration_seconds",
    "telnyx_ledger_size_bytes",
)
"""Families that real time goes into; all others are the same in each life."""

TICK_SECONDS = 1e6
"""Real time between two ticks of the exporter's own: there is none."""
PACE = 1e6
"""Requests per second that an account may send, so that none waits for real time to pass."""
SLOTS = 100_000
"""So many polls of an account may be under way: nothing that is due waits for a second claim."""

_LINE = re.compile(r"(telnyx_\w+?)(?:\{(.*)\})? (\S+)")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_Line = tuple[str, str, str]
"""Name, labels as printed, and value."""


class Clock(RealSleep):
    """Both clocks of the exporter: session time is moved by hand; the other goes on by itself and jumps along."""

    def __init__(self, time: float) -> None:
        self.time = time
        self._offset = -time

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return time.monotonic() + self.time + self._offset


def account(name: str, simulated: Running, **settings: object) -> Account:
    """An account whose requests go one after the other."""
    key = Secret(simulated.api_key)
    common = {"name": name, "base_url": simulated.url, "key": key, "requests_per_second": PACE, "max_in_flight": 1}
    return Account(**{**common, **settings})  # type: ignore[arg-type]


class Stepped:
    """A running exporter and its worlds."""

    def __init__(self, exporter: Exporting, worlds: Iterable[Running], clock: Clock) -> None:
        self.exporter = exporter
        self.app = exporter.app
        self.clock = clock
        self._worlds = tuple(worlds)

    async def begin(self) -> None:
        """Wait until the exporter has begun, then hold all that it does by itself."""
        await self.exporter.until(self._begun)
        self.app._jobs.pause()  # noqa: SLF001
        for lane in self.app.poller._slots.values():  # noqa: SLF001
            lane.slots = SLOTS

    async def _begun(self) -> bool:
        jobs = self.app._jobs  # noqa: SLF001
        return ("files", "") in jobs._running and not jobs.running  # noqa: SLF001 - `files` is the last to begin

    def pass_by(self, seconds: float) -> None:
        """Let time pass in which the exporter does nothing."""
        self.clock.time += seconds
        for world in self._worlds:
            world.clock.step(seconds)

    async def until(self, at: float, least: float) -> None:
        """Move on to that time, looking on the way at what falls due, in groups of so many seconds at least."""
        while self.clock.time < at:
            next_due = await self.app.ledger.run(_next_due)
            self.pass_by(min(max((next_due or at) - self.clock.time + 1, least), at - self.clock.time))
            await self.work()

    async def work(self) -> None:
        """Do what has fallen due: ask each account's sources one after the other, then poll and book."""
        names = [each.name for each in self.app.config.accounts]
        due_now = list(self.app.discovery.due())
        await asyncio.gather(*(_in_turn([job for _, job, account in due_now if account == name]) for name in names))
        due = True
        while due:
            await self.app.poller.tick()
            await self.rest()
            due = bool(await self.app.ledger.run(Ledger.count_due, self.clock.now(), names))

    async def rest(self) -> None:
        """Until no poll is under way."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.app.poller.idle:
            assert time.monotonic() < deadline, "the exporter did not come to rest"
            await asyncio.sleep(0.002)

    async def scrape(self) -> str:
        """The page as a scrape at this time gets it."""
        await self.app.maintenance.maintain()
        await self.app.maintenance.update_gauges()
        self._publish()  # what is new is on a page now, whenever the exporter made its last one: births begin here
        await self.app.maintenance.expose_series()
        self._publish()
        return (await self.exporter.get("/metrics", **SCRAPER, **{"Accept-Encoding": "identity"})).text

    def _publish(self) -> None:
        page = self.app.metrics.page()
        if page is not None:
            self.app.web.publish(page)


async def _in_turn(jobs: Iterable[Job]) -> None:
    for job in jobs:
        await job()


def _next_due(ledger: Ledger) -> float | None:
    with closing(sqlite3.connect(f"file:{ledger.location}?mode=ro", uri=True)) as connection:
        found: float | None = connection.execute("SELECT min(due_at) FROM sessions WHERE claim = 0").fetchone()[0]
    return found


class Pages:
    """Puts pages down in OpenMetrics, as two replicas show them of which one holds the ledger."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.lines = 0
        self._idle: list[_Line] | None = None
        """What the replica without the ledger shows: the families of its process, as they were."""

    def write(self, page: str, at: float, holder: int = 0, *, up: tuple[int, int] = (1, 1)) -> None:
        """A scrape of both; one that is not `up` shows nothing."""
        parsed = list(_parsed(page))
        if self._idle is None:
            self.swap(page)
        for replica, lines in ((holder, parsed), (1 - holder, self._idle or ())):
            where = f'instance="{REPLICAS[replica]}",job="{JOB}"'
            shown = [("up", "", str(up[replica])), *(lines if up[replica] else ())]
            self.file.writelines(
                f"{name}{{{where}{',' if labels else ''}{labels}}} {value} {at}\n" for name, labels, value in shown
            )
            self.lines += len(shown)

    def swap(self, page: str) -> None:
        """What was last shown by the holder is what it goes on showing without the ledger."""
        self._idle = [line for line in _parsed(page) if _of_process(line[0])]

    def end(self) -> None:
        self.file.write("# EOF\n")


def _parsed(page: str) -> Iterator[_Line]:
    for line in page.splitlines():
        found = _LINE.fullmatch(line)
        if found:
            yield found[1], found[2] or "", found[3]


def _of_process(sample: str) -> bool:
    family = BY_NAME.get(sample) or BY_NAME[_SUFFIX.sub("", sample)]
    return family.home == "process"
