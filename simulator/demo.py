"""The simulator and the exporter in one process, to see everything at work within a minute.

All sources are used. Webhooks discover most sessions, detail records those whose webhooks are lost, a file the types
that have neither, and a request over HTTP adds the call of Telnyx's guide. Session time is the simulator's and runs
fast; everything else is the exporter as in production. The line of progress is read from /metrics.
"""

import asyncio
import base64
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from exporter.config import (
    Account,
    Config,
    DetailRecordSettings,
    DiscoverySettings,
    HttpSettings,
    LedgerSettings,
    MetricsSettings,
    PollingSettings,
    Secret,
)
from exporter.runtime.app import App
from simulator import Running, SimulatedWebhooks, SimulatorSettings, running
from simulator.world import DOCUMENTED_ID

SPEED = 600.0
"""Ten minutes of session time per second: sessions start, are rated, and settle within seconds."""
ZERO_START_SECONDS = 5.0
CHECK_SECONDS = 1.0
SCRAPE_HEADERS = {"X-Prometheus-Scrape-Timeout-Seconds": "5"}
TIMEOUT_SECONDS = 60.0
"""Long, so that a slow page on a busy machine doesn't end the demo."""
ACCOUNT = "demo"
LIST = "sessions.json"
LIST_MAX = 1000

GREETING = """\
landing page  {origin}/
metrics       {origin}/metrics
truth         {truth}, the sums that the metrics must arrive at
Ctrl-C ends the demo."""


WORLD = SimulatorSettings(
    history_seconds=3600.0,
    detail_records_late_seconds=1800.0,
    webhooks=SimulatedWebhooks(lost_share=0.1, duplicated_share=0.05, delay_seconds=300.0),
    documented_example=True,
    quotas={"detail_records": 100_000},  # per real minute, in which ten hours of session time pass
)


def run(
    listen: str,
    speed: float,
    seconds: float | None,
    monotonic: Callable[[], float],
    wall: Callable[[], float],
) -> int:
    """Run until Ctrl-C, or for so many seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="telnyx-demo-") as name,
        running(replace(WORLD, speed=speed), monotonic, wall=wall) as simulated,
    ):
        folder = Path(name)
        app = App(config(simulated, folder), listen=listen, clock=simulated.clock)
        asyncio.run(_watch(app, Stage(simulated, scraped_host(listen), folder / LIST), seconds))
    print("\nended cleanly" if sys.stdout.isatty() else "ended cleanly")
    return 0


def config(simulated: Running, folder: Path) -> Config:
    """Return the configuration of an exporter that follows this simulator.

    Sessions settle early, to show it within seconds; later ratings are found at the first recheck.
    """
    account = Account(
        name=ACCOUNT,
        base_url=simulated.url,
        key=Secret(simulated.api_key),
        webhook_key=base64.b64decode(simulated.public_key),
        requests_per_second=400,
        max_in_flight=20,
        balance_interval_seconds=600.0,
    )
    records = DetailRecordSettings(interval_seconds=1800.0, lookback_seconds=14_400.0, first_lookback_seconds=7200.0)
    return Config(
        accounts=(account,),
        polling=PollingSettings(
            scheduler_interval_seconds=0.1,
            min_interval_seconds=600.0,
            max_interval_seconds=3600.0,
            settle_after_seconds=3600.0,
            recheck_after_seconds=(7200.0, 86_400.0),
        ),
        discovery=DiscoverySettings(
            detail_records=records, files=(str(folder / LIST),), http=HttpSettings(enabled=True)
        ),
        metrics=MetricsSettings(new_series_zero_seconds=ZERO_START_SECONDS),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'demo.sqlite'}"),
    )


def scraped_host(listen: str) -> str:
    """Return the host at which this process reaches its own server."""
    host, _, _ = listen.rpartition(":")
    return "127.0.0.1" if host in {"", "0.0.0.0", "[::]"} else host  # noqa: S104 - compared, not bound


class Stage(Struct, frozen=True):
    """The simulator, and how to reach the exporter."""

    simulated: Running
    host: str
    file: Path
    """The list of sessions that no other source reports."""


async def _watch(app: App, stage: Stage, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    if seconds is not None:
        loop.call_later(seconds, app.stop)
    await asyncio.to_thread(write_list, stage)
    watching = asyncio.create_task(_look(app, stage))
    watching.add_done_callback(lambda _: app.stop())
    try:
        await app.run()
    finally:
        watching.cancel()
    with contextlib.suppress(asyncio.CancelledError, httpx.TransportError):  # the server may just have closed
        await watching


async def _look(app: App, stage: Stage) -> None:
    """Once a second: write the list, scrape, and print the progress."""
    await app.started.wait()
    origin, simulated = f"http://{stage.host}:{app.web.port}", stage.simulated
    print(GREETING.format(origin=origin, truth=f"{simulated.origin}/_truth"), flush=True)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
        await http.post(f"{simulated.origin}/_webhooks", json={"url": f"{origin}/webhooks/telnyx/{ACCOUNT}"})
        documented = [{"record_type": "call-session", "event_id": DOCUMENTED_ID}]
        await http.post(f"{origin}/api/v1/sessions", json=documented)
        while True:
            await asyncio.to_thread(write_list, stage)
            page = await http.get(f"{origin}/metrics", headers=SCRAPE_HEADERS)
            if page.status_code == httpx.codes.OK:
                _show(progress(page.text))
            await asyncio.sleep(CHECK_SECONDS)


def write_list(stage: Stage) -> None:
    """Write the newest sessions that neither webhooks nor detail records report; atomically, by renaming."""
    found = [ref for ref in stage.simulated.world.refs() if not ref.webhooks and not ref.detail_records]
    entries = [{"record_type": ref.record_type, "event_id": ref.event_id} for ref in found[-LIST_MAX:]]
    whole = stage.file.with_suffix(".new")
    whole.write_bytes(msgspec.json.encode(entries))
    whole.replace(stage.file)


def _show(line: str) -> None:
    """Print the line; on a terminal over the last one."""
    on_terminal = sys.stdout.isatty()
    print(f"\r{line}\x1b[K" if on_terminal else line, end="" if on_terminal else "\n", flush=True)


def progress(page: str) -> str:
    """Return the line of progress for a scraped page."""
    sums: dict[str, Decimal] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.labels.get("state", sample.name) if sample.name == "telnyx_sessions" else sample.name
            sums[name] = sums.get(name, Decimal(0)) + Decimal(repr(sample.value))
    shown = sums.get("telnyx_cost_total", Decimal(0)) - sums.get("telnyx_cost_credits_total", Decimal(0))
    booked = shown + sums.get("telnyx_pending_cost", Decimal(0))
    live = sum(int(sums.get(state, 0)) for state in ("discovered", "active"))
    settled, events = int(sums.get("settled", 0)), int(sums.get("telnyx_ledger_events", 0))
    return f"sessions: {live} live, {settled} settled; {events} events; {booked:.4f} USD booked, {shown:.4f} shown"
