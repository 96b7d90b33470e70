"""Polling without a server: the real poller, queues and ledger over a scripted HTTP transport.

The test moves the time. Everything between the HTTP transport and the SQLite file is the exporter's own.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from exporter.config import MetricsSettings
from exporter.core.attributes import AttributeReader
from exporter.core.tree import TreeLimits, TreeReader
from exporter.ledger import Ledger
from exporter.ledger.worker import LedgerWorker
from exporter.metrics import Metrics
from exporter.polling.account_slots import AccountSlots
from exporter.polling.commit_queue import CommitQueue
from exporter.polling.fetcher import SessionFetcher
from exporter.polling.ingest import IngestQueue
from exporter.polling.poller import Poller
from exporter.telnyx.client import Answered, RequestLimits, TelnyxClient
from exporter.telnyx.pacing import AccountPacers, Pacer
from tests.ledger.test_ledger import opened, ref
from tests.support.clocks import RealSleep
from tests.support.exporting import PATIENCE_SECONDS, read
from tests.support.trees import RECORD_TYPES, body

KEY = "KEY0123456789ABCDEF0123456789ABCDEF_abcdefghijklmnopqrstuv"
Answer = dict[str, Any] | int | Exception | None
"""A tree, a status, an error of the transport, or None: no answer ever comes."""


class ManualClock(RealSleep):
    """A clock whose session time and real time the test moves."""

    def __init__(self, now: float = 0.0) -> None:
        self.seconds = now
        self.real_seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.real_seconds

    def step(self, seconds: float) -> None:
        self.seconds += seconds
        self.real_seconds += seconds


class ScriptedApi(httpx.AsyncBaseTransport):
    """Answers by the id of the requested event; any other id gets a 404.

    A request with a date_time is scripted as `ID?dated`.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.on_request: Callable[[], None] = lambda: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.extensions["target"].decode().partition("?")
        event_id = path.rpartition("/")[2] + ("?dated" if "date_time=" in query else "")
        self.asked.append(event_id)
        self.on_request()
        answer = self.answers.get(event_id, 404)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, content=b"{}")
        return httpx.Response(200, headers={"content-type": "application/json"}, content=body(answer))


class Polling:
    """The parts, wired as in the exporter."""

    def __init__(self, ledger: LedgerWorker, clock: ManualClock, api: ScriptedApi, limits: TreeLimits) -> None:
        self.ledger = ledger
        self.limits = limits
        self.clock = clock
        self.api = api
        self.metrics = Metrics(MetricsSettings(new_series_zero_seconds=0))
        self.commit_queue = CommitQueue(ledger, self.metrics, clock)
        self.ingest = IngestQueue(ledger, self.commit_queue, clock)
        self.slots = 10
        self.client = self.new_client()
        self.poller = Poller(
            self.accounts(self.client), ledger, self.commit_queue, self.metrics, clock, crowded=lambda: False
        )

    def new_client(self) -> TelnyxClient:
        """Return another client, as for a changed key, with the same script."""
        return TelnyxClient(
            name="main",
            base_url="http://api.invalid/v2",
            api_key=lambda: KEY,
            pacers=AccountPacers(Pacer(1e6, 100)),
            limits=RequestLimits(1_000_000, PATIENCE_SECONDS, 1),
            transport=self.api,
            monotonic=self.clock.monotonic,
            sleep=asyncio.sleep,
            random=random.Random(1),
            observe=_ignore,
        )

    def accounts(self, client: TelnyxClient) -> dict[str, AccountSlots]:
        attributes = AttributeReader()
        reader = TreeReader(attributes.record_fields, RECORD_TYPES, self.limits)
        fetcher = SessionFetcher(client, lambda: reader, attributes, max_depth=5, expand=True)
        return {"main": AccountSlots(fetcher, self.slots, set())}

    async def follow(self, *names: str) -> None:
        await self.ledger.run(Ledger.follow, [ref(name) for name in names], "file", self.clock.now())

    async def poll(self) -> None:
        """Tick once, and wait until all polls that it started are booked."""
        await self.poller.tick()
        await self.until(lambda: self.poller.idle)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    async def states(self) -> dict[str, str]:
        """Return each session's state, by its event id."""

        def read_states(ledger: Ledger) -> dict[str, str]:
            rows = ledger._connection.execute("SELECT event_id, state FROM sessions")  # noqa: SLF001 - no method returns one session
            return dict(rows.fetchall())

        return await self.ledger.run(read_states)

    async def due(self, seconds_from_now: float = 0.0) -> int:
        return await self.ledger.run(Ledger.count_due, self.clock.now() + seconds_from_now, ["main"])

    def shown(self, family: str, **labels: str) -> Decimal:
        """Return the sum of the samples of this name with these labels."""
        self.metrics.next_page()
        page = self.metrics.page()
        assert page is not None
        samples = read(page.text.decode())
        wanted = set(labels.items())
        return sum((v for (name, found), v in samples.items() if name == family and wanted <= set(found)), Decimal(0))


def _ignore(_: Answered) -> None:
    """Requests are counted by the script."""


@asynccontextmanager
async def polling(
    folder: Path,
    answers: Mapping[str, Answer],
    worker: LedgerWorker | None = None,
    limits: TreeLimits = TreeLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[Polling]:
    """Run the parts: finished polls are committed, and the test calls the ticks."""
    ledger = worker or LedgerWorker()
    await ledger.open(lambda: opened(folder / "ledger.sqlite"))
    parts = Polling(ledger, ManualClock(), ScriptedApi(answers), limits)
    running = asyncio.create_task(parts.commit_queue.run())
    try:
        yield parts
    finally:
        running.cancel()
        for task in parts.poller.under_way:
            task.cancel()
        await asyncio.gather(running, *parts.poller.under_way, return_exceptions=True)
        await ledger.close()
