"""Count requests per session and measure the delay until a bill is seen, on a simulated world's clock.

Used by `make bench-sessions` and by the test of the promised delays. The exporter is the real one. Time is stepped, so
hours take seconds. A bill is seen when a scrape shows it. Because of the steps, a measured delay is too long by up to
one step, and never too short.
"""

import asyncio
import base64
import heapq
import re
import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path

import httpx
from msgspec import Struct

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
from exporter.core.catalog import FILES
from exporter.core.model import SessionRef
from exporter.ledger import Ledger
from exporter.runtime.app import App
from exporter.telnyx.transport import open_transport
from simulator import WORLD_B, Running
from simulator.events import SimulatedSession
from simulator.webhook_events import webhook_events
from simulator.world import Ref

ACCOUNT = "main"
PATIENCE_SECONDS = 60.0
"""Real time. Other threads do the awaited work within milliseconds."""
PAUSE_SECONDS = 0.002
HOUR_SECONDS = 3600.0
LAST_RATED_HOURS = 8
"""`measure` refuses a world that rates a session later than this."""
SETTLING_HOURS, REST_SECONDS = 10, 600.0
"""After these hours every session has settled and no poll is due, so longer steps are enough."""

SHOWN = re.compile(r'(?m)^telnyx_followed_session_(cost|events)\{.*?event_id="([^"]*)".*?\} (\S+)$')


class Sources(Struct, frozen=True, kw_only=True):
    """The sources that report sessions."""

    handed_over: bool = False
    """Sessions are listed once when they start, as by a file or over HTTP."""
    webhooks: bool = False
    detail_records: bool = False


class FollowedSession(Struct):
    """A call or message that is followed."""

    ai_call: bool
    rated_at: float
    """Session time when the last of its events was rated."""
    final: tuple[Decimal, int]
    """Its cost and its number of events from `rated_at` on."""
    events: frozenset[str]
    """The ids of its events."""
    requests: int = 0
    """Requests for its tree, over the whole run."""
    settled: bool = False
    late: float | None = None
    """Session seconds from the last rating to a page with the whole bill; None if no page had it."""


class Measurement(Struct):
    """The results of one run."""

    sessions: list[FollowedSession]
    listings_per_hour: float
    """Requests for lists of detail records, of all types together."""


class CountingTransport(httpx.AsyncBaseTransport):
    """Transport that counts the requests by path."""

    def __init__(self, inner: httpx.AsyncBaseTransport, requests: Counter[str]) -> None:
        self._inner = inner
        self._requests = requests

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._requests[request.extensions["target"].decode().partition("?")[0]] += 1
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def measure(
    simulated: Running, folder: Path, sources: Sources, *, polling: PollingSettings | None = None, step_seconds: float
) -> Measurement:
    """Follow the world's calls and messages until they have settled, with the defaults but for `polling`.

    Raises ValueError if the world rates a session after LAST_RATED_HOURS.
    """
    async with driving(
        configured(simulated, folder, sources, polling or PollingSettings()), simulated, sources
    ) as driver:
        for _ in range(round(LAST_RATED_HOURS * HOUR_SECONDS / step_seconds)):
            await driver.step(step_seconds)
        if driver.rated_at > simulated.clock.now():
            raise ValueError(f"sessions are rated after {LAST_RATED_HOURS} hours; have fewer of them")
        listings_per_hour = driver.requests_for("detail_records") / LAST_RATED_HOURS
        for _ in range(round(SETTLING_HOURS * HOUR_SECONDS / REST_SECONDS)):
            await driver.step(REST_SECONDS)
        return Measurement(driver.sessions(), listings_per_hour)


def configured(simulated: Running, folder: Path, sources: Sources, polling: PollingSettings) -> Config:
    """Return the default configuration with this `polling`, and no zero start, which would delay the bills."""
    account = Account(
        name=ACCOUNT,
        base_url=simulated.url,
        key=Secret(simulated.api_key),
        requests_per_second=1000,
        max_in_flight=20,
        balance_interval_seconds=0,
        webhook_key=base64.b64decode(simulated.public_key) if sources.webhooks else None,
    )
    return Config(
        accounts=(account,),
        polling=polling,
        metrics=MetricsSettings(new_series_zero_seconds=0, session_series_max=1000),
        discovery=DiscoverySettings(
            detail_records=DetailRecordSettings(first_lookback_seconds=0.0)
            if sources.detail_records
            else DetailRecordSettings(record_types=())
        ),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
    )


@asynccontextmanager
async def driving(config: Config, simulated: Running, sources: Sources) -> AsyncIterator["Driver"]:
    """Run the exporter for as long as the block lasts."""
    requests: Counter[str] = Counter()

    def counting(ca_file: Path | None, connections_max: int) -> httpx.AsyncBaseTransport:
        return CountingTransport(open_transport(ca_file, connections_max), requests)

    app = App(config, listen="127.0.0.1:0", clock=simulated.clock, transport=counting, seed=1)
    running = asyncio.create_task(app.run())
    started = asyncio.create_task(app.started.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        started.cancel()
        await running
    path = await app.ledger.run(lambda ledger: ledger.location)
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
                driver = Driver(app, simulated, sources, http=http, ledger=ledger, requests=requests)
                if sources.webhooks:
                    await driver.subscribe_webhooks()
                yield driver
    finally:
        app.stop()
        await running


class Driver:
    """A running exporter whose session time moves only in steps."""

    def __init__(
        self,
        app: App,
        simulated: Running,
        sources: Sources,
        *,
        http: httpx.AsyncClient,
        ledger: sqlite3.Connection,
        requests: Counter[str],
    ) -> None:
        self._app = app
        self._simulated = simulated
        self._sources = sources
        self._http = http
        self._ledger = ledger
        self._requests = requests
        self._origin = f"http://127.0.0.1:{app.web.port}"
        self._stepped_at = simulated.clock.now()
        self._seen_requests = 0
        self._followed: dict[str, FollowedSession] = {}
        self._hooks: list[float] = []
        """A heap of the times at which the world will send a webhook about a followed session."""

    @property
    def rated_at(self) -> float:
        """Return the session time of the last rating of all sessions."""
        return max(session.rated_at for session in self._followed.values())

    def requests_for(self, start: str) -> int:
        """Return the number of requests for paths that begin with `start`, below the API's base."""
        return sum(count for path, count in self._requests.items() if path.startswith(f"/v2/{start}"))

    async def subscribe_webhooks(self) -> None:
        url = {"url": f"{self._origin}/webhooks/telnyx/{ACCOUNT}"}
        (await self._http.post(f"{self._simulated.origin}/_webhooks", json=url)).raise_for_status()

    async def step(self, seconds: float) -> None:
        """Advance session time, then wait until all due webhooks, discoveries and polls are done, and scrape."""
        self._simulated.clock.step(seconds)
        now = self._simulated.clock.now()
        started = [ref for ref in self._simulated.world.refs(self._stepped_at) if common(ref)]
        self._stepped_at = now
        for ref in started:
            self._follow(ref)
        if self._sources.handed_over and started:
            await self._app.ingest.ingest_refs(
                [SessionRef(ACCOUNT, ref.record_type, ref.event_id) for ref in started], FILES
            )
        webhooks_sent = self._pop_sent_webhooks(now)
        if self._sources.webhooks and webhooks_sent:
            await until(self._delivered)
        if webhooks_sent or started or not self._app.discovery.idle or self._due(now):
            await until(self._idle)
        if self._requests.total() != self._seen_requests:  # without a request, the page can't show a new bill
            self._seen_requests = self._requests.total()
            await self._scrape(now)

    def sessions(self) -> list[FollowedSession]:
        """Return all sessions that have started, with the requests made for each."""
        settled = {row[0] for row in self._ledger.execute("SELECT event_id FROM sessions WHERE state = 'settled'")}
        for event_id, session in self._followed.items():
            session.settled = event_id in settled
        # A request for any event of a session's tree counts for that session.
        owners = {event_id: session for session in self._followed.values() for event_id in session.events}
        for path, count in self._requests.items():
            owner = owners.get(path.rpartition("/")[2])
            if owner is not None:
                owner.requests += count
        return list(self._followed.values())

    def _follow(self, ref: Ref) -> None:
        session = self._simulated.world.session(self._simulated.world.number_of(uuid.UUID(ref.event_id)))
        self._followed[ref.event_id] = followed_session(session, ref)
        for hook in webhook_events(session, WORLD_B):
            heapq.heappush(self._hooks, hook.time)

    def _pop_sent_webhooks(self, now: float) -> bool:
        """Remove the webhooks that are due by `now`; return whether there were any."""
        before = len(self._hooks)
        while self._hooks and self._hooks[0] <= now:
            heapq.heappop(self._hooks)
        return len(self._hooks) < before

    def _due(self, now: float) -> bool:
        """Return whether a poll is due.

        It reads the file directly: most steps bring nothing, and waiting for the ledger thread would slow them.
        """
        (due,) = self._ledger.execute("SELECT EXISTS (SELECT 1 FROM sessions WHERE due_at <= ?)", (now,)).fetchone()
        return bool(due)

    async def _scrape(self, now: float) -> None:
        page = self._app.metrics.page()
        if page is not None:
            self._app.web.publish(page)
        costs: dict[str, Decimal] = {}
        events: dict[str, int] = {}
        for measure_name, event_id, value in SHOWN.findall((await self._http.get(f"{self._origin}/metrics")).text):
            if measure_name == "cost":
                costs[event_id] = costs.get(event_id, Decimal(0)) + Decimal(value)
            else:
                events[event_id] = int(value)
        for event_id, session in self._followed.items():
            shown = (costs.get(event_id, Decimal(0)), events.get(event_id, 0))
            if session.late is None and session.rated_at <= now and shown == session.final:
                session.late = now - session.rated_at

    async def _delivered(self) -> bool:
        answer = await self._http.get(f"{self._simulated.origin}/_webhooks")
        return bool(answer.json()["due"] == 0)

    async def _idle(self) -> bool:
        """Return whether nothing is due or in flight; start due work at once, without waiting for real time."""
        app = self._app
        if not app.discovery.idle:
            await app.discover()
            return False
        if await app.ledger.run(Ledger.count_due, app.clock.now(), [ACCOUNT]):
            await app.poller.tick()
            return False
        return app.poller.idle


def common(ref: Ref) -> bool:
    """Return whether every source can report this session, so that the sources can be compared."""
    return ref.outermost and ref.webhooks and ref.detail_records


def followed_session(session: SimulatedSession, ref: Ref) -> FollowedSession:
    """Return the session with its final cost and events."""
    root = session.index_of(ref.record_type, ref.event_id)
    assert root is not None, "every ref of the world belongs to one of its sessions"
    events = [session.events[index] for index in session.below(root)]
    return FollowedSession(
        ai_call=ref.record_type == "call-session" and any(event.record_type == "inference" for event in events),
        rated_at=max(event.bill[-1].time for event in events),
        final=(sum((event.bill[-1].cost or Decimal(0) for event in events), Decimal(0)), len(events)),
        events=frozenset(event.id for event in events),
    )


async def until(condition: Callable[[], Coroutine[None, None, bool]]) -> None:
    """Wait for the work of other threads, not for time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - another thread's work
            await asyncio.sleep(PAUSE_SECONDS)
