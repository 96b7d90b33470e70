"""Requests per session, and the delay until a bill is seen: the real exporter on a simulated world's clock.

Used by `make bench-sessions` and by the test of the promised delays. Time is stepped, so hours take seconds. A bill is
seen when a scrape shows it; because of the steps, a measured delay is too long by up to one step, and never too short.
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
from simulator import Running
from simulator.events import SimulatedSession
from simulator.webhook_events import webhook_events
from simulator.world import Ref

ACCOUNT = "main"
PATIENCE_SECONDS = 60.0
"""Real time; what is waited for is other threads' work, and takes milliseconds."""
PAUSE_SECONDS = 0.002
HOUR_SECONDS = 3600.0
LAST_RATED_HOURS = 8
"""Later no session of the worlds that are measured is rated, or `measure` refuses."""
SETTLING_HOURS, REST_SECONDS = 10, 600.0
"""Then even a session that was seen late has settled, and none is due to be looked at again. Longer steps will do."""

SHOWN = re.compile(r'(?m)^telnyx_followed_session_(cost|events)\{.*?event_id="([^"]*)".*?\} (\S+)$')


class Sources(Struct, frozen=True, kw_only=True):
    """The sources that report sessions."""

    handed_over: bool = False
    """Sessions are listed once when they start, as by a file or over HTTP."""
    webhooks: bool = False
    detail_records: bool = False


class Followed(Struct):
    """A call or message that is followed."""

    ai_call: bool
    rated_at: float
    """SimulatedSession time when the last of its events was rated."""
    final: tuple[Decimal, int]
    """Its cost and its number of events from then on."""
    events: frozenset[str]
    """Their ids."""
    requests: int = 0
    """For its tree, all in all."""
    settled: bool = False
    late: float | None = None
    """Session seconds from its last rating to a page with all of it; None if that never came."""


class Measured(Struct):
    """The results."""

    sessions: list[Followed]
    listings_per_hour: float
    """Requests for lists of detail records, of all types together."""


class Counting(httpx.AsyncBaseTransport):
    """Counts the requests by path."""

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
) -> Measured:
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
        return Measured(driver.sessions(), listings_per_hour)


def configured(simulated: Running, folder: Path, sources: Sources, polling: PollingSettings) -> Config:
    """The defaults, but for `polling`; births don't hold back what is measured."""
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
        discovery=DiscoverySettings()
        if sources.detail_records
        else DiscoverySettings(detail_records=DetailRecordSettings(record_types=())),
        ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
    )


@asynccontextmanager
async def driving(config: Config, simulated: Running, sources: Sources) -> AsyncIterator["Driver"]:
    """Run the exporter for as long as the block lasts."""
    requests: Counter[str] = Counter()

    def counting(ca_file: Path | None, connections_max: int) -> httpx.AsyncBaseTransport:
        return Counting(open_transport(ca_file, connections_max), requests)

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
                    await driver.take_webhooks()
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
        self._followed: dict[str, Followed] = {}
        self._hooks: list[float] = []
        """When the world tells of the sessions that have begun: a heap of what is still to come."""

    @property
    def rated_at(self) -> float:
        """When the last rating of all comes."""
        return max(session.rated_at for session in self._followed.values())

    def requests_for(self, start: str) -> int:
        """How often a path below the API's base that begins like this was asked for."""
        return sum(count for path, count in self._requests.items() if path.startswith(f"/v2/{start}"))

    async def take_webhooks(self) -> None:
        url = {"url": f"{self._origin}/webhooks/telnyx/{ACCOUNT}"}
        (await self._http.post(f"{self._simulated.origin}/_webhooks", json=url)).raise_for_status()

    async def step(self, seconds: float) -> None:
        """Session time goes on; whatever that brings is delivered, found, polled and booked, and looked for."""
        self._simulated.clock.step(seconds)
        now = self._simulated.clock.now()
        begun = [ref for ref in self._simulated.world.refs(self._stepped_at) if common(ref)]
        self._stepped_at = now
        for ref in begun:
            self._take(ref)
        if self._sources.handed_over and begun:
            await self._app.ingest.ingest_refs(
                [SessionRef(ACCOUNT, ref.record_type, ref.event_id) for ref in begun], FILES
            )
        told = self._told(now)
        if self._sources.webhooks and told:
            await until(self._delivered)
        if told or begun or not self._app.discovery.idle or self._due(now):
            await until(self._idle)
        if self._requests.total() != self._seen_requests:  # nothing else changes what is shown of a session
            self._seen_requests = self._requests.total()
            await self._look(now)

    def sessions(self) -> list[Followed]:
        """All that have begun, with what was asked for their sake."""
        settled = {row[0] for row in self._ledger.execute("SELECT event_id FROM sessions WHERE state = 'settled'")}
        for event_id, session in self._followed.items():
            session.settled = event_id in settled
        # What was asked for below a root, or in its place, was asked for its sake.
        owners = {event_id: session for session in self._followed.values() for event_id in session.events}
        for path, count in self._requests.items():
            owner = owners.get(path.rpartition("/")[2])
            if owner is not None:
                owner.requests += count
        return list(self._followed.values())

    def _take(self, ref: Ref) -> None:
        session = self._simulated.world.session(self._simulated.world.number_of(uuid.UUID(ref.event_id)))
        self._followed[ref.event_id] = followed(session, ref)
        for hook in webhook_events(session):
            heapq.heappush(self._hooks, hook.time)

    def _told(self, now: float) -> bool:
        """Whether the world has just told of a session."""
        before = len(self._hooks)
        while self._hooks and self._hooks[0] <= now:
            heapq.heappop(self._hooks)
        return len(self._hooks) < before

    def _due(self, now: float) -> bool:
        """Asked without the ledger's thread: of a thousand steps most bring nothing, and are over at once."""
        (due,) = self._ledger.execute("SELECT EXISTS (SELECT 1 FROM sessions WHERE due_at <= ?)", (now,)).fetchone()
        return bool(due)

    async def _look(self, now: float) -> None:
        page = self._app.metrics.page()
        if page is not None:
            self._app.web.publish(page)
        costs: dict[str, Decimal] = {}
        events: dict[str, int] = {}
        for what, event_id, value in SHOWN.findall((await self._http.get(f"{self._origin}/metrics")).text):
            if what == "cost":
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
        """Nothing is due or under way; what is due is started here, not at the next tick of real time."""
        app = self._app
        if not app.discovery.idle:
            await app.discover()
            return False
        if await app.ledger.run(Ledger.count_due, app.clock.now(), [ACCOUNT]):
            await app.poller.tick()
            return False
        return app.poller.idle


def common(ref: Ref) -> bool:
    """Whether every source can show it, so that they can be compared."""
    return ref.outermost and ref.webhooks and ref.detail_records


def followed(session: SimulatedSession, ref: Ref) -> Followed:
    """Return its final state."""
    root = session.index_of(ref.record_type, ref.event_id)
    assert root is not None, "the world names only what is in it"
    events = [session.events[index] for index in session.below(root)]
    return Followed(
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
