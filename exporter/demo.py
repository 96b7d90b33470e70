"""The simulator and the exporter in one process, to see the whole journey in a minute.

Owns the demo's settings, its list of sessions (what the simulator has begun), its own scrapes and the line of progress.
Session time is the simulator's and runs fast; everything else is the exporter as it runs for real. What the line shows
is read from /metrics, so that it can't say more than a scrape would.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import App
from exporter.config import Account, Config, Ledger, Metrics, Polling, Secret
from exporter.model import SessionRef
from exporter.simulator import Running, Settings, running
from exporter.transport import open_transport

SPEED = 600.0
"""Ten minutes of session time per second: sessions begin, are rated, and settle while one watches."""
BIRTH_SECONDS = 5.0
LOOK_SECONDS = 1.0
SCRAPE_HEADERS = {"X-Prometheus-Scrape-Timeout-Seconds": "5"}
PATIENCE_SECONDS = 60.0
"""On a busy machine a page may take long; the demo shall not end of that."""
SOURCE = "demo"

GREETING = """\
landing page  {origin}/
metrics       {origin}/metrics
truth         {truth}, what the metrics are to add up to
Ctrl-C ends the demo."""


def run(listen: str, speed: float, seconds: float | None, monotonic: Callable[[], float]) -> int:
    """Run until Ctrl-C, or for so many seconds."""
    settings = Settings(speed=speed, history_seconds=3600.0, documented_example=True)
    with tempfile.TemporaryDirectory(prefix="telnyx-demo-") as folder, running(settings, monotonic) as simulated:
        app = App(config(simulated, Path(folder)), listen=listen, clock=simulated.clock)
        asyncio.run(_watch(app, simulated, scraped_host(listen), seconds))
    print("\nended cleanly" if sys.stdout.isatty() else "ended cleanly")
    return 0


def config(simulated: Running, folder: Path) -> Config:
    """The configuration of an exporter that follows this simulator at its pace.

    It settles a session early, to show it within seconds; what is rated later is found at the first recheck.
    """
    account = Account(
        name="demo", base_url=simulated.url, key=Secret(simulated.api_key), requests_per_second=400, max_in_flight=20
    )
    return Config(
        accounts=(account,),
        polling=Polling(
            tick_seconds=0.1,
            min_interval_seconds=600.0,
            max_interval_seconds=3600.0,
            settle_after_seconds=3600.0,
            recheck_after_seconds=(7200.0, 86_400.0),
        ),
        metrics=Metrics(birth_seconds=BIRTH_SECONDS),
        ledger=Ledger(url=f"sqlite:///{folder / 'demo.sqlite'}"),
    )


def scraped_host(listen: str) -> str:
    """The host under which this process reaches what it serves there."""
    host, _, _ = listen.rpartition(":")
    return "127.0.0.1" if host in {"", "0.0.0.0", "[::]"} else host  # noqa: S104 - compared, not bound


async def _watch(app: App, simulated: Running, host: str, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    if seconds is not None:
        loop.call_later(seconds, app.stop)
    watching = asyncio.create_task(_look(app, simulated, host))
    watching.add_done_callback(lambda _: app.stop())
    try:
        await app.run()
    finally:
        watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def _look(app: App, simulated: Running, host: str) -> None:
    """Follow what has begun, scrape, and show the progress, once a second."""
    await app.started.wait()
    origin = f"http://{host}:{app.web.port}"
    print(GREETING.format(origin=origin, truth=f"{simulated.origin}/_truth"), flush=True)
    since = 0.0
    async with httpx.AsyncClient(transport=open_transport(None, 2), timeout=PATIENCE_SECONDS) as http:
        while True:
            since = await follow_begun(app, http, simulated.origin, since)
            page = await http.get(f"{origin}/metrics", headers=SCRAPE_HEADERS)
            _show(progress(page.text))
            await asyncio.sleep(LOOK_SECONDS)


def _show(line: str) -> None:
    """The line is rewritten on a terminal; elsewhere each stands below the last."""
    on_terminal = sys.stdout.isatty()
    print(f"\r{line}\x1b[K" if on_terminal else line, end="" if on_terminal else "\n", flush=True)


async def follow_begun(app: App, http: httpx.AsyncClient, origin: str, since: float) -> float:
    """Have the exporter follow the sessions that began since then; returns what to ask for next."""
    listed = (await http.get(f"{origin}/_sessions", params={"since": since})).json()
    account = app.config.accounts[0].name
    refs = [SessionRef(account, s["record_type"], s["event_id"], s["date_time"]) for s in listed]
    if refs:
        await app.follow(refs, SOURCE)
    return float(listed[-1]["begun"]) if listed else since


def progress(page: str) -> str:
    """One line out of a scraped page."""
    sums: dict[str, Decimal] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.labels.get("state", sample.name) if sample.name == "telnyx_sessions" else sample.name
            sums[name] = sums.get(name, Decimal(0)) + Decimal(repr(sample.value))
    shown = sums.get("telnyx_cost_total", Decimal(0)) - sums.get("telnyx_cost_credits_total", Decimal(0))
    booked = shown + sums.get("telnyx_unreleased_cost", Decimal(0))
    live = sum(int(sums.get(state, 0)) for state in ("discovered", "active"))
    settled, events = int(sums.get("settled", 0)), int(sums.get("telnyx_ledger_events", 0))
    return f"sessions: {live} live, {settled} settled; {events} events; {booked:.4f} USD booked, {shown:.4f} shown"
