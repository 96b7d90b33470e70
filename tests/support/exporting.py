"""Run the real app on the simulator's clock, in the event loop of a test."""

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
"""Longest wait for an expected event before a test fails; the events take milliseconds."""

SCRAPER = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}
NO_RECORDS = DetailRecordSettings(record_types=())
"""No polling of detail records: the exporter follows only the sessions that the test names."""
PLENTY = {"detail_records": 1_000_000}
"""A quota that no list of a test reaches, so that none waits for a minute to end."""
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], Decimal]


def config(simulated: Running, folder: Path, **changes: Any) -> Config:
    """Return a configuration for the simulator, paced for simulated time; new series show their value at once."""
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
    """A running exporter and an HTTP client for it."""

    def __init__(self, app: App, simulated: Running, http: httpx.AsyncClient) -> None:
        self.app = app
        self.simulated = simulated
        self.http = http
        self.origin = f"http://127.0.0.1:{app.web.port}"
        self._started = 0.0

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(self.origin + path, headers=headers)

    async def samples(self) -> Samples:
        """Return all samples of /metrics, requested as Prometheus does."""
        page = await self.http.get(f"{self.origin}/metrics", headers=SCRAPER)
        return read(page.text)

    async def truth(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.http.get(f"{self.simulated.origin}/_truth")).json()
        return answer

    async def follow_started(self) -> None:
        """Follow every session that the simulator started since the last call."""
        params = {"since": self._started}
        listed = (await self.http.get(f"{self.simulated.origin}/_sessions", params=params)).json()
        if listed:
            self._started = listed[-1]["begun"]
            await self.app.ingest.ingest_refs(
                [SessionRef("main", s["record_type"], s["event_id"]) for s in listed], "file"
            )

    async def drained(self) -> None:
        """Wait until no session is due or in flight and no series is pending; then publish the page."""
        for _ in range(2):  # with PostgreSQL a new series becomes pending only when it is read back from the server
            await self.until(self._idle)
            await self.app.replicas.expose()
        self.publish()

    def publish(self) -> None:
        """Publish the metrics page now instead of at the next interval."""
        page = self.app.metrics.page()
        if page is not None:
            self.app.web.publish(page)

    async def claiming(self) -> bool:
        """Return whether the first sessions were claimed, the last step of a start; True if only the test polls."""
        return self.app.poller.claimed_once or self.app.config.polling.scheduler_interval_seconds > PATIENCE_SECONDS

    async def backfilled(self) -> bool:
        return not self.app.discovery.backfill_pending

    async def _idle(self) -> bool:
        due = await self.app.ledger.run(Ledger.count_due, self.app.clock.now(), ["main"])
        if due or not self.app.discovery.idle or not self.app.poller.idle:
            return False
        if self.app.metrics.exposable(self.app.clock.monotonic()):
            # The exporter does both within a second; a test of a hundred steps would wait a second for each.
            await self.app.maintenance.expose_series()
            await self.app.replicas.expose()
        return not self.app.metrics.exposable(self.app.clock.monotonic())

    async def until(self, condition: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> None:
        """Wait until an async condition holds, which other threads make true; no test waits for time to pass."""
        deadline = time.monotonic() + patience
        while not await condition():
            assert time.monotonic() < deadline, "the condition did not become true in time"
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
    """Run the exporter, by default on the simulator's clock, until the block ends.

    The block is entered once the exporter is ready and shows its totals; with `shown=False`, once it listens.
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
                await exporter.until(exporter.backfilled)
                await app.replicas.expose()
                exporter.publish()
            yield exporter
        finally:
            app.stop()
            await running


def read(page: str) -> Samples:
    """Return the samples of a text page by name and sorted labels; values as printed, to the last digit."""
    families = text_string_to_metric_families(page)
    return {(s.name, tuple(sorted(s.labels.items()))): Decimal(repr(s.value)) for f in families for s in f.samples}


def net(samples: Samples) -> dict[tuple[str, str], Decimal]:
    """Return the net cost by (record type, currency)."""
    found: dict[tuple[str, str], Decimal] = {}
    for (name, labels), value in samples.items():
        sign = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}.get(name)
        if sign is not None:
            by = dict(labels)
            key = (by["record_type"], by["currency"])
            found[key] = found.get(key, Decimal(0)) + sign * value
    return found


def stated(truth: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """Return the simulator's true costs by (record type, currency)."""
    found: dict[tuple[str, str], Decimal] = {}
    for total in truth["totals"]:
        key = (total["record_type"], total["currency"])
        found[key] = found.get(key, Decimal(0)) + Decimal(total["cost"])
    return found


def same(left: dict[tuple[str, str], Decimal], right: dict[tuple[str, str], Decimal]) -> bool:
    """Return whether the sums are equal to six places; sums of 0 are ignored."""

    def rounded(sums: dict[tuple[str, str], Decimal]) -> dict[tuple[str, str], Decimal]:
        return {key: value for key, value in ((k, round(v, 6)) for k, v in sums.items()) if value}

    return rounded(left) == rounded(right)


def visible(
    simulated: Running, source: Callable[[Ref], bool]
) -> tuple[set[tuple[str, str]], dict[tuple[str, str], Decimal]]:
    """Return the outermost roots that a source can find, and the costs of all events below them."""
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
    """Return the number of rows per session in the ledger, by (record type, id)."""

    def read(ledger: Ledger) -> dict[tuple[str, str], int]:
        with sqlite3.connect(f"file:{ledger.location}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT record_type, event_id, count(*) FROM sessions GROUP BY 1, 2").fetchall()
        connection.close()
        return {(record_type, event_id): count for record_type, event_id, count in rows}

    return await exporter.app.ledger.run(read)
