"""An exporter under test: the real app on the simulator's clock, driven from a test's own loop."""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from exporter.config import (
    Account,
    Config,
    DetailRecordSettings,
    DiscoverySettings,
    LedgerSettings,
    MetricsSettings,
    PollingSettings,
    Secret,
)
from exporter.core.clock import Clock
from exporter.core.model import SessionRef
from exporter.ledger import Ledger
from exporter.runtime.app import App
from exporter.runtime.reload import Origin
from simulator import Running
from simulator.world import Ref

PATIENCE_SECONDS = 60.0
"""A test that waits longer for something that must come has failed; what it waits for takes milliseconds."""

SCRAPER = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}
NO_RECORDS = DetailRecordSettings(record_types=())
"""Detail records are not asked for: what is not named by the test is not followed."""
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], Decimal]


def config(simulated: Running, folder: Path, **changes: Any) -> Config:
    """An exporter of the simulator, at a pace for simulated time; new series show their value at once."""
    account = Account(
        name="main",
        base_url=simulated.url,
        key=Secret(simulated.api_key),
        requests_per_second=1000,
        max_in_flight=20,
        balance_interval_seconds=0,
    )
    plain = Config(
        accounts=(account,),
        polling=PollingSettings(
            scheduler_interval_seconds=0.05, min_interval_seconds=600.0, timeout_seconds=5.0, max_attempts=1
        ),
        metrics=MetricsSettings(new_series_zero_seconds=0),
        discovery=DiscoverySettings(detail_records=NO_RECORDS),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
    )
    return replace(plain, **changes)


class Exporting:
    """A running exporter and its scraper."""

    def __init__(self, app: App, simulated: Running, http: httpx.AsyncClient) -> None:
        self.app = app
        self.simulated = simulated
        self.http = http
        self.origin = f"http://127.0.0.1:{app.web.port}"
        self._started = 0.0

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(self.origin + path, headers=headers)

    async def samples(self) -> Samples:
        """Everything on /metrics, as a scrape of Prometheus sees it."""
        page = await self.http.get(f"{self.origin}/metrics", headers=SCRAPER)
        return read(page.text)

    async def truth(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.http.get(f"{self.simulated.origin}/_truth")).json()
        return answer

    async def follow_started(self) -> None:
        """Have every session followed that the simulator began since the last call."""
        params = {"since": self._started}
        listed = (await self.http.get(f"{self.simulated.origin}/_sessions", params=params)).json()
        if listed:
            self._started = listed[-1]["begun"]
            await self.app.ingest.ingest_refs(
                [SessionRef("main", s["record_type"], s["event_id"]) for s in listed], "file"
            )

    async def drained(self) -> None:
        """Until nothing is due, nothing under way, nothing held back, and the page shows all of it."""
        for _ in range(2):  # with a server what is new is only held back once it was read there
            await self.until(self._idle)
            await self.app.replicas.expose()
        self.publish()

    def publish(self) -> None:
        """Have the page show now what it would show at the next publishing."""
        page = self.app.metrics.page()
        if page is not None:
            self.app.web.publish(page)

    async def claiming(self) -> bool:
        """The first sessions were claimed, the last thing that a start waits for; or only the test itself ticks."""
        return self.app.poller.claimed_once or self.app.config.polling.scheduler_interval_seconds > PATIENCE_SECONDS

    async def _idle(self) -> bool:
        due = await self.app.ledger.run(Ledger.count_due, self.app.clock.now(), ["main"])
        held = self.app.metrics.exposable(self.app.clock.monotonic())
        return self.app.discovery.idle and due == 0 and not held and self.app.poller.idle

    async def until(self, condition: Callable[[], Any]) -> None:
        """Until an (async) condition holds; what is waited for is other threads' work, not time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await condition():
            assert time.monotonic() < deadline, "what was waited for did not come"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def exporting(
    config: Config,
    simulated: Running,
    clock: Clock | None = None,
    port: int = 0,
    *,
    wall: Callable[[], float] = time.time,
    origin: Origin | None = None,
    web_config: Path | None = None,
    shown: bool = True,
) -> AsyncIterator[Exporting]:
    """Run the exporter, on the simulator's clock if no other is given; it must end by itself when told to.

    The block begins when there is a page and the exporter is ready, or, without `shown`, when the web surface listens.
    """
    app = App(
        config,
        listen=f"127.0.0.1:{port}",
        clock=clock or simulated.clock,
        origin=origin,
        wall=wall,
        seed=1,
        web_config=web_config,
    )
    running = asyncio.create_task(app.run())
    started = asyncio.create_task((app.publisher.published if shown else app.started).wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        started.cancel()
        await running
    async with httpx.AsyncClient(timeout=30) as http:
        exporter = Exporting(app, simulated, http)
        try:
            if shown:
                await exporter.until(exporter.claiming)
            yield exporter
        finally:
            app.stop()
            await running


def read(page: str) -> Samples:
    """Samples of a text page by name and sorted labels; values as printed, for comparison to the last digit."""
    families = text_string_to_metric_families(page)
    return {(s.name, tuple(sorted(s.labels.items()))): Decimal(repr(s.value)) for f in families for s in f.samples}


def net(samples: Samples) -> dict[tuple[str, str], Decimal]:
    """Net cost by (record type, currency)."""
    found: dict[tuple[str, str], Decimal] = {}
    for (name, labels), value in samples.items():
        sign = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}.get(name)
        if sign is not None:
            by = dict(labels)
            key = (by["record_type"], by["currency"])
            found[key] = found.get(key, Decimal(0)) + sign * value
    return found


def stated(truth: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """The simulator's truth by (record type, currency)."""
    found: dict[tuple[str, str], Decimal] = {}
    for total in truth["totals"]:
        key = (total["record_type"], total["currency"])
        found[key] = found.get(key, Decimal(0)) + Decimal(total["cost"])
    return found


def same(left: dict[tuple[str, str], Decimal], right: dict[tuple[str, str], Decimal]) -> bool:
    """Equal to six places, series at 0 aside."""

    def rounded(sums: dict[tuple[str, str], Decimal]) -> dict[tuple[str, str], Decimal]:
        return {key: value for key, value in ((k, round(v, 6)) for k, v in sums.items()) if value}

    return rounded(left) == rounded(right)


def visible(
    simulated: Running, source: Callable[[Ref], bool]
) -> tuple[set[tuple[str, str]], dict[tuple[str, str], Decimal]]:
    """What can be found of the world by some source: the outermost roots, and the sums over all below them."""
    world = simulated.world
    now = simulated.clock.now()
    roots: set[tuple[str, str]] = set()
    sums: dict[tuple[str, str], Decimal] = {}
    for root in (ref for ref in world.refs() if ref.outermost and source(ref)):
        roots.add((root.record_type, root.event_id))
    seen: set[tuple[str, str]] = set()
    for record_type, event_id in sorted(roots):
        found = world.find((record_type,), uuid.UUID(event_id))
        if found is None:
            continue
        for event in map(found.session.events.__getitem__, found.session.below(found.index)):
            step = event.step_at(now)
            if step is not None and step.cost is not None and (event.record_type, event.id) not in seen:
                seen.add((event.record_type, event.id))
                key = (event.record_type, step.currency)
                sums[key] = sums.get(key, Decimal(0)) + step.cost
    return roots, sums


async def followed(exporter: Exporting) -> dict[tuple[str, str], int]:
    """How often each session is in the ledger."""

    def read(ledger: Ledger) -> dict[tuple[str, str], int]:
        with sqlite3.connect(f"file:{ledger.location}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT record_type, event_id, count(*) FROM sessions GROUP BY 1, 2").fetchall()
        connection.close()
        return {(record_type, event_id): count for record_type, event_id, count in rows}

    return await exporter.app.ledger.run(read)
