"""A day on which everything goes wrong, in a real Prometheus: what dashboards and alerts show that are empty otherwise.

One exporter against a simulator, scraped every two minutes, by the clock of tests/support/stepped.py. One ailment
after the other befalls it (`_AILMENTS`), each by its real cause: an API that fails, a folder that is gone, a key that
was taken back. Where the exporter can't be brought to it, the reason stands there.
"""

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from exporter.config import (
    Budget,
    Config,
    DetailRecordSettings,
    DiscoverySettings,
    Label,
    LedgerSettings,
    MetricsSettings,
    PollingSettings,
    Secret,
    Threshold,
    TreeSettings,
)
from exporter.core.errors import ConfigError
from exporter.core.model import SessionRef
from exporter.runtime.reload import Origin
from simulator import WORLD_A, Bills, Running, SimulatorSettings, running
from tests.support.exporting import PLENTY, exporting
from tests.support.once import made_once
from tests.support.programs import Past, linked, make_blocks, prometheus_of
from tests.support.stepped import TICK_SECONDS, Clock, Pages, Stepped, account

MINUTE, HOUR = 60, 3600
SCRAPED_SECONDS = 2 * MINUTE
START = 1_774_339_200
"""2026-03-24T08:00:00Z."""

_RECORD_TYPES = ("ai-voice-assistant", "call-control", "messaging", "amd")


def _world() -> SimulatorSettings:
    bills = Bills(amended_share=0.1, never_priced_share=0.05, currency_changed_share=0.2)
    # With the credit of 100 there are 30 dollars to spend, for a part of the day.
    return SimulatorSettings(
        speed=0.0,
        start=float(START),
        seed=21,
        sessions_per_hour=50,
        bills=bills,
        balance="-70.00",
        quotas=PLENTY,
        api=replace(WORLD_A, refused_types={"amd": 403}),
    )


def _configuration(simulated: Running, folder: Path) -> Config:
    """Small budgets and thresholds, trees that are cut, and webhooks."""
    key = base64.b64decode(simulated.public_key)
    return Config(
        accounts=(account("main", simulated, webhook_key=key),),
        polling=PollingSettings(
            scheduler_interval_seconds=TICK_SECONDS,
            min_interval_seconds=600.0,
            max_interval_seconds=1800.0,
            settle_after_seconds=HOUR,
            not_found_timeout_seconds=HOUR,
            max_attempts=1,
        ),
        tree=TreeSettings(max_depth=2),
        metrics=MetricsSettings(
            thresholds=(Threshold(name="dear", cost=Decimal("0.05")), Threshold(name="long", turns=5)),
        ),
        discovery=DiscoverySettings(
            detail_records=DetailRecordSettings(record_types=_RECORD_TYPES, interval_seconds=600.0)
        ),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger' / 'ledger.sqlite'}"),
        budgets=(Budget(name="day", amount=Decimal(2), window="day"),),
    )


class Day(Struct):
    """The day as far as it has come."""

    stepped: Stepped
    simulated: Running
    pages: Pages
    folder: Path

    async def scrape(self, *, second: int = 1) -> None:
        """`second`: whether the other replica answers."""
        self.pages.write(await self.stepped.scrape(), self.stepped.clock.time, up=(1, second))

    async def pass_by(self, minutes: int, *, second: int = 1) -> None:
        """The exporter works as ever, and is scraped."""
        for _ in range(minutes * MINUTE // SCRAPED_SECONDS):
            await self.stepped.until(self.stepped.clock.time + SCRAPED_SECONDS, MINUTE)
            await self.scrape(second=second)

    async def stand_still(self, minutes: int) -> None:
        """The exporter answers scrapes and does nothing else."""
        for _ in range(minutes * MINUTE // SCRAPED_SECONDS):
            self.stepped.pass_by(SCRAPED_SECONDS)
            await self.scrape()

    async def misbehave(self, **faults: Any) -> None:
        """The API, from now on; without any it is well again."""
        await self.stepped.exporter.http.post(f"{self.simulated.origin}/_faults", json=faults)


async def _well_at_first(day: Day) -> None:
    """All is at 0, then spent, and bills begin to change; two sessions are named that nobody has."""
    await day.pass_by(20)
    unknown, unreadable = "00000000-0000-4000-8000-000000000000", "not-an-id"
    refs = [SessionRef("main", "message", unknown), SessionRef("main", "message", unreadable)]
    await day.stepped.app.ingest.ingest_refs(refs, "http")
    await day.pass_by(130)


async def _api_fails(day: Day) -> None:
    """Half of the requests fail."""
    await day.misbehave(error_share=0.5, kinds=["500", "503", "reset", "truncated"])
    await day.pass_by(40)


async def _api_is_down(day: Day) -> None:
    """All requests fail."""
    await day.misbehave(error_share=1.0, kinds=["502"])
    await day.pass_by(100)
    await day.misbehave()
    await day.pass_by(20)


async def _throttled(day: Day) -> None:
    """Half of the requests are sent back, one of them for a second."""
    await day.misbehave(error_share=0.5, kinds=["429"], retry_after_seconds=0)
    await day.pass_by(40)
    await day.misbehave(error_share=0.2, kinds=["429"], retry_after_seconds=1)
    await day.pass_by(4)
    await day.misbehave()
    await day.pass_by(6)


async def _webhooks(day: Day) -> None:
    """Telnyx sends some, and somebody else sends more."""
    exporter = day.stepped.exporter
    url = f"{exporter.origin}/webhooks/telnyx"
    await exporter.http.post(f"{day.simulated.origin}/_webhooks", json={"url": url})

    async def arrived() -> bool:
        samples = await exporter.samples()
        return any(value for (name, _), value in samples.items() if name == "telnyx_webhooks_total")

    await exporter.until(arrived)
    for _ in range(5):
        headers = {"telnyx-signature-ed25519": base64.b64encode(bytes(64)).decode(), "telnyx-timestamp": "1"}
        refused = await exporter.http.post(url, json={}, headers=headers)
        assert refused.is_client_error
        await day.pass_by(2)
    await exporter.http.post(f"{day.simulated.origin}/_webhooks", json={"url": None})


async def _ledger_fails(day: Day) -> None:
    """Its folder is not there for half an hour, and then again."""
    here = day.folder / "ledger"
    gone = here.rename(day.folder / "gone")
    await day.stand_still(30)
    gone.rename(here)

    async def works_again() -> bool:
        return (await day.stepped.exporter.get("/-/ready")).is_success

    await day.stepped.exporter.until(works_again)


async def _polls_stop(day: Day) -> None:
    """Nothing is polled, as where the machine is starved; then only every ten minutes."""
    await day.stand_still(40)
    for _ in range(6):
        await day.stepped.work()
        await day.stand_still(10)


def _bad_file() -> Config:
    raise ConfigError("polling", "is no mapping")


async def _reload_fails(day: Day) -> None:
    """The file is bad, and stays so. The other replica doesn't answer meanwhile."""
    with pytest.raises(ConfigError):
        await day.stepped.app.reloader.reload()
    await day.pass_by(24, second=0)


async def _no_room(day: Day) -> None:
    """A label that may have two values and has more, and a limit of series that is soon reached."""
    await day.pass_by(100)


async def _key_is_refused(day: Day) -> None:
    await day.pass_by(40)


Ailment = Callable[[Day], Awaitable[None]]
_FIRST: tuple[Ailment, ...] = (
    *(_well_at_first, _api_fails, _api_is_down, _throttled, _webhooks),
    *(_ledger_fails, _polls_stop, _reload_fails),
)
ABSENT_SECONDS = 24 * MINUTE
"""After the first life neither replica answers for so long."""


def _lives(config: Config) -> Iterator[tuple[Config, tuple[Ailment, ...]]]:
    """What befalls the exporter under which configuration; between two it is started again."""
    yield config, _FIRST
    labels = (Label(name="caller", field="cli", values_max=2), Label(name="connection", field="connection_name"))
    yield replace(config, metrics=replace(config.metrics, labels=labels, series_max=1000)), (_no_room,)
    revoked = replace(config.accounts[0], key=Secret("KEY-revoked"))
    yield replace(config, accounts=(revoked,)), (_key_is_refused,)


async def _live(folder: Path, scrapes: Path) -> tuple[int, int]:
    """Live through the day; returns its end and how many lines were scraped."""
    (folder / "ledger").mkdir()
    clock = Clock(float(START))
    with scrapes.open("w") as file, running(_world(), time.monotonic, wall=time.time) as simulated:
        pages = Pages(file)
        pages.swap("")  # a standby, of which nothing but `up` is known
        for config, ailments in _lives(_configuration(simulated, folder)):
            async with exporting(config, simulated, clock, origin=Origin(_bad_file)) as exporter:
                stepped = Stepped(exporter, (simulated,), clock)
                await stepped.begin()
                for ailment in ailments:
                    await ailment(Day(stepped, simulated, pages, folder))
            for _ in range(0, ABSENT_SECONDS, SCRAPED_SECONDS):
                stepped.pass_by(SCRAPED_SECONDS)
                pages.write("", clock.time, up=(0, 0))
        pages.end()
    return int(clock.time), pages.lines


def make(promtool: Path, folder: Path) -> Past:
    """Have blocks of the day in the folder; returns what is known of them, without a Prometheus that holds them."""
    begun = time.monotonic()
    end, lines = asyncio.run(_live(folder, folder / "scrapes"))
    lived = time.monotonic() - begun
    make_blocks(promtool, folder / "scrapes", folder)
    return Past("", START, end, seconds={"lived": lived}, lines=lines)


@pytest.fixture(scope="session")
def sick(
    run_folder: Path, tmp_path_factory: pytest.TempPathFactory, prometheus: Path, promtool: Path
) -> Iterator[Past]:
    """The day, made once for all tests that ask about it."""
    if "SICKNESS_URL" in os.environ:
        yield Past(os.environ["SICKNESS_URL"], START, int(os.environ["SICKNESS_END"]))
        return
    made = made_once(Past, run_folder / "sick", partial(make, promtool))
    own = linked(run_folder / "sick", tmp_path_factory.mktemp("sick"))
    with prometheus_of(prometheus, own, lookback="5m") as origin:
        yield replace(made, origin=origin)
