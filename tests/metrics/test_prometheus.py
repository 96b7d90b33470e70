"""A real Prometheus scrapes the exporter through a simulated day; what it stores equals the truth."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import httpx
from msgspec.structs import replace

from simulator import AcceleratedClock, SimulatorSettings, running
from tests.support.exporting import Exporting, config, exporting, same, stated

DAY_SECONDS = 86_400.0
REAL_SECONDS = 25.0
LONGEST_SECONDS = 1.1 * 3600.0
NET = "sum by (record_type, currency) (telnyx_cost_total) - sum by (record_type, currency) (telnyx_cost_credits_total)"
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: telnyx
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@asynccontextmanager
async def scraping(program: Path, folder: Path, target: int, port: int) -> AsyncIterator[str]:
    """Run a Prometheus that scrapes the target every second; yield its origin once it is ready."""
    (folder / "prometheus.yml").write_text(CONFIG.format(port=target))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def passed(clock: AcceleratedClock, moment: float) -> bool:
    return clock.now() > moment


async def ready(http: httpx.AsyncClient, origin: str) -> bool:
    try:
        return (await http.get(f"{origin}/-/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def query(http: httpx.AsyncClient, origin: str, expression: str) -> dict[tuple[str, str], Decimal]:
    """Return the vector by (record type, currency)."""
    answer = (await http.get(f"{origin}/api/v1/query", params={"query": expression})).json()
    assert answer["status"] == "success", answer
    return {
        (row["metric"].get("record_type", ""), row["metric"].get("currency", "")): Decimal(row["value"][1])
        for row in answer["data"]["result"]
    }


def test_prometheus_holds_the_truth_after_a_simulated_day(tmp_path: Path, prometheus: Path, free_port: int) -> None:
    """Scraped every second while a day passes; then paused and drained, net cost by PromQL is /_truth to 6 places."""

    async def day() -> None:
        world = SimulatorSettings(speed=DAY_SECONDS / REAL_SECONDS, sessions_per_hour=15, seed=11)
        with running(world, time.monotonic) as simulated:
            plain = config(simulated, tmp_path)
            settings = replace(plain, metrics=replace(plain.metrics, new_series_zero_seconds=3.0))
            own = AcceleratedClock(world.start, world.speed, time.monotonic)
            async with (
                exporting(settings, simulated, own) as exporter,
                scraping(prometheus, tmp_path, exporter.app.web.port, free_port) as origin,
            ):
                await live_through(exporter, own, origin)

    async def live_through(exporter: Exporting, own: AcceleratedClock, origin: str) -> None:
        await exporter.until(lambda: ready(exporter.http, origin))
        ends = exporter.simulated.clock.now() + DAY_SECONDS
        while exporter.simulated.clock.now() < ends:
            await exporter.follow_started()
            await asyncio.sleep(0.1)
        exporter.simulated.clock.pause()
        await exporter.follow_started()
        truth = await exporter.truth()
        ends = own.now() + LONGEST_SECONDS
        await exporter.until(lambda: passed(own, ends))  # every live session is looked at once more
        own.pause()
        found: dict[tuple[str, str], Decimal] = {}

        async def equal() -> bool:
            found.clear()
            found.update(await query(exporter.http, origin, NET))
            pending_cost = await query(exporter.http, origin, "sum(telnyx_pending_cost)")
            due = await query(exporter.http, origin, "sum(telnyx_due_sessions)")
            quiet = exporter.app.poller.idle and {*pending_cost.values(), *due.values()} == {Decimal(0)}
            return quiet and same(found, stated(truth))

        try:
            await exporter.until(equal)
        except AssertionError:
            assert found == stated(truth)
            raise
        assert truth["sessions"] > 300
        up = await query(exporter.http, origin, "min_over_time(up[1m])")
        assert set(up.values()) == {Decimal(1)}
        failing = await query(exporter.http, origin, "sum(telnyx_unreconciled_sessions)")
        assert set(failing.values()) == {Decimal(0)}

    asyncio.run(day())


def test_promtool_accepts_the_whole_page(tmp_path: Path, promtool: Path) -> None:
    """`promtool check metrics` has no complaint about a page with all families."""

    async def scenario() -> str:
        world = SimulatorSettings(
            speed=0.0, sessions_per_hour=30, history_seconds=6 * 3600.0, seed=2, currencies=("USD", "EUR")
        )
        with running(world, time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                await exporter.follow_started()
                await exporter.drained()
                simulated.clock.step(30_000.0)
                await exporter.drained()
                return (await exporter.get("/metrics")).text

    page = asyncio.run(scenario())
    assert "telnyx_session_cost_bucket" in page
    check = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
