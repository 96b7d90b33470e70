"""One session's journey: due -> asked for -> read -> booked -> shown. The file to read first.

Owns the order of the steps and how many sessions travel at once; each step itself lives in its own room. `Poller.tick`
takes what is due, `Journey.poll` carries one session from its claim to a finished poll, `Booker` commits finished
polls in groups and shows what they changed. A failed poll is an outcome like any other: it is counted, booked into
the session's history, and the session is due again.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.attributes import Labeller
from exporter.core.clock import Clock
from exporter.core.errors import ConfigError, Denied, Gone, LedgerError, PollError
from exporter.core.model import Claim, Poll, Session, SessionRef
from exporter.core.tree import Reader, Subtree
from exporter.ledger import Ledger
from exporter.ledger.queue.sessions import START, Place
from exporter.ledger.worker import LedgerThread
from exporter.log import facts
from exporter.metrics import Metrics
from exporter.polling.commit_queue import Booker, named
from exporter.telnyx.client import Client, Exchange

log = logging.getLogger(__name__)

SET_BACK_SECONDS = 60.0
"""A clock that falls by more was set back; less is what time servers do."""
ACCEPTED_SECONDS = 600.0
"""A 403 counts against its session only if the account's key saw anything lately; else the account is at fault."""
ASIDE_SECONDS, ASIDE_SECONDS_MAX = 0.005, 0.02
"""How often the poll whose turn it is looks whether a webhook still waits, and how long it lets them go first."""


class Journey:
    """Carries the sessions of one account."""

    def __init__(
        self, client: Client, reader: Callable[[], Reader], labeller: Labeller, *, max_depth: int, expand: bool
    ) -> None:
        self.client = client
        self._reader = reader
        self._labeller = labeller
        self._max_depth = max_depth
        self._expand = expand

    def watched(self, watch: Callable[[Exchange], None], until: float) -> "Journey":
        """This journey by a client of its own, as `Client.watched`."""
        client = self.client.watched(watch, until)
        return Journey(client, self._reader, self._labeller, max_depth=self._max_depth, expand=self._expand)

    async def poll(self, claim: Claim, at: float) -> Poll:
        """One poll, from its claim to what can be booked; never raises for what the API did.

        `at` is the time before anything was asked: the answer is at least as new, so nothing is looked at too late.
        """
        try:
            body = await self._root(claim.ref)
            fingerprint = self._reader().fingerprint(body, self._max_depth)
            if fingerprint == claim.fingerprint:
                return Poll(claim, at, "same", fingerprint=fingerprint, read=partial(self._again, claim, at, body))
            session = await self._whole(claim.ref, body)
        except Gone:
            return Poll(claim, at, "gone")
        except Denied as error:
            return Poll(claim, at, "denied", error.reason, detail=str(error))
        except (ConfigError, PollError) as error:
            reason = error.reason if isinstance(error, PollError) else "key_unusable"
            log.warning("poll failed", extra=facts(**named(claim.ref), reason=reason, error=str(error)))
            return Poll(claim, at, "failed", reason, detail=str(error))
        return self._read(claim, at, session, fingerprint)

    async def session(self, ref: SessionRef) -> Session:
        """The whole session as the API shows it now; raises PollError."""
        return await self._whole(ref, await self._root(ref))

    def _again(self, claim: Claim, at: float, body: bytes) -> Poll:
        """The poll of an answer that was not read at first; it holds the whole tree, as the one before did."""
        stitching = self._reader().session(claim.ref, body, self._max_depth)
        try:
            next(stitching)
            while True:
                stitching.send(None)
        except StopIteration as done:
            return self._read(claim, at, done.value, claim.fingerprint)

    def _read(self, claim: Claim, at: float, session: Session, fingerprint: bytes | None) -> Poll:
        found = self._labeller.facts(session)
        profile = self._labeller.profile(session, found)
        return Poll(claim, at, "tree", "", session, found, profile, fingerprint=None if session.cuts else fingerprint)

    async def _root(self, ref: SessionRef) -> bytes:
        """The tree from its root on, as far down as one answer shows it."""
        root = Subtree(ref.record_type, ref.event_id, self._max_depth)
        if ref.date_time is None:
            return await self._ask(root, None)
        try:
            return await self._ask(root, ref.date_time)
        except Gone:  # which a wrong date_time looks like as well
            return await self._ask(root, None)

    async def _whole(self, ref: SessionRef, body: bytes) -> Session:
        stitching = self._reader().session(ref, body, self._max_depth)
        try:
            subtree = next(stitching)
            while True:
                subtree = stitching.send(await self._ask_below(subtree))
        except StopIteration as done:
            session: Session = done.value
            return session

    async def _ask_below(self, subtree: Subtree) -> bytes | None:
        """A cut subtree; without it the session is incomplete, not failed."""
        try:
            return await self._ask(subtree, None)
        except PollError:
            return None

    async def _ask(self, subtree: Subtree, date_time: str | None) -> bytes:
        return await self.client.tree(
            subtree.record_type,
            subtree.event_id,
            max_depth=subtree.max_depth,
            expand=self._expand,
            date_time=date_time,
        )


class Lane(Struct):
    """The polls of one account under way, so that a slow account takes no place from another."""

    journey: Journey
    slots: int
    running: set[asyncio.Task[None]]
    more: bool = False
    """The last claim filled all free slots: more is due."""
    accepted_at: float = -math.inf
    """Monotonic time of the last poll that the API answered with a tree, or that there is none."""
    paused: bool = False
    """Every session was refused, and that was said."""


class Poller:
    """Takes what is due and keeps a bounded number of polls under way."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        ledger: LedgerThread,
        booker: Booker,
        metrics: Metrics,
        clock: Clock,
        *,
        crowded: Callable[[], bool],
    ) -> None:
        """`crowded` tells whether somebody waits for the exporter's answer; it must be cheap."""
        self._lanes = dict(lanes)
        self._left: list[Lane] = []
        """Lanes of accounts that are no longer configured, until their last poll has arrived."""
        self._ledger = ledger
        self._booker = booker
        self._metrics = metrics
        self._clock = clock
        self._crowded = crowded
        self._claims: dict[int, Claim] = {}
        """Of the polls that are not booked yet, by their numbers."""
        self._claiming = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._stopping = False
        self._told = -math.inf
        self._hastened: Place | None = START
        """How far live sessions were looked through, which a start, a reload and a clock set back call for."""
        self._retrying = False
        self.ticked_at: float | None = None
        """Monotonic time of the last tick that ended."""
        self.claimed_once = False

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self.under_way

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        return {task for lane in (*self._lanes.values(), *self._left) for task in lane.running}

    @property
    def claims(self) -> list[Claim]:
        """Those of the polls that are not booked yet."""
        return list(self._claims.values())

    @asynccontextmanager
    async def between_claims(self) -> AsyncIterator[None]:
        """While nothing is being claimed, so that `adopt` may be called."""
        async with self._claiming:
            yield

    def adopt(self, lanes: Mapping[str, Lane]) -> None:
        """Claim for these accounts from now on; polls under way go on, those of accounts that left as well."""
        for name, lane in lanes.items():
            known = self._lanes.setdefault(name, lane)
            if lane.journey.client is not known.journey.client:
                known.accepted_at = -math.inf  # of another key; what this one may see is not known yet
            known.journey, known.slots = lane.journey, lane.slots
        self._left = [lane for lane in self._left if lane.running]
        self._left += [self._lanes.pop(name) for name in self._lanes.keys() - lanes.keys()]

    async def tick(self) -> None:
        """Claim due sessions for every free slot and start their polls."""
        if self._claiming.locked():
            return  # a claim is under way and will fill the same slots
        async with self._claiming:
            free = {name: lane.slots - len(lane.running) for name, lane in self._lanes.items()}
            free = {name: count for name, count in free.items() if count > 0}
            if free and not self._stopping and self._booker.failing is None:
                await self._claim(free)
            self.ticked_at = self._clock.monotonic()

    async def _claim(self, free: Mapping[str, int]) -> None:
        now = self._clock.now()
        try:
            if now < self._told - SET_BACK_SECONDS:
                self._metrics.inc("telnyx_exporter_clock_steps_total", ())
                log.warning("the clock was set back", extra=facts(seconds=self._told - now))
                self._hastened = START
            self._told = now
            await self._catch_up(now)
            claims = await self._ledger.run(Ledger.claim, now, free)
        except LedgerError as error:
            self._booker.failed(error)
            return
        self.claimed_once = True
        taken = dict.fromkeys(free, 0)
        for claim in claims:
            taken[claim.ref.account] += 1
            self._start(claim)
        for name, count in taken.items():
            self._lanes[name].more = count == free[name]

    async def look_again(self, now: float) -> None:
        """Other intervals may hold, what was given up may be worth a try: a portion now, more with each tick."""
        self._hastened, self._retrying = START, True
        await self._catch_up(now)

    async def _catch_up(self, now: float) -> None:
        """A portion of the sessions that have to be looked through: a webhook never waits for a million."""
        if self._hastened is not None:
            self._hastened = await self._ledger.run(Ledger.hasten, now, self._hastened)
        if self._retrying:
            self._retrying = await self._ledger.run(Ledger.retry, now)

    def _start(self, claim: Claim) -> None:
        lane = self._lanes[claim.ref.account]
        self._metrics.observe("telnyx_poll_lag_seconds", (), max(0.0, self._clock.now() - claim.due_at))
        task = asyncio.get_running_loop().create_task(self._travel(lane, claim))
        lane.running.add(task)
        self._claims[claim.number] = claim
        task.add_done_callback(lambda task: self._arrived(lane, task))
        task.add_done_callback(lambda _: self._claims.pop(claim.number))

    async def _travel(self, lane: Lane, claim: Claim) -> None:
        await self._step_aside()
        at = self._clock.now()
        try:
            poll = await lane.journey.poll(claim, at)
        except Exception:  # one session must not stop the others, whatever is wrong with it
            log.exception("poll failed by a defect of the exporter", extra=facts(**named(claim.ref)))
            poll = Poll(claim, at, "failed", "internal")
        poll = self._judged(lane, poll)
        self._count(poll)
        await self._booker.book(poll)

    async def _step_aside(self) -> None:
        """A webhook's sender waits, a poll doesn't: at full speed polls would leave the other threads no time.

        While webhooks keep coming polls go on one at a time: all at once would be the stall that this is to prevent.
        """
        if self._crowded():
            async with self._turn:
                until = self._clock.monotonic() + ASIDE_SECONDS_MAX
                while self._crowded() and self._clock.monotonic() < until:  # noqa: ASYNC110 - another thread's count
                    await asyncio.sleep(ASIDE_SECONDS)

    def _judged(self, lane: Lane, poll: Poll) -> Poll:
        """If every session of an account is refused, none is: they stay due until the key may see them again."""
        now = self._clock.monotonic()
        if poll.outcome in {"tree", "same", "gone"}:
            lane.accepted_at = now
            if lane.paused:
                log.info("account goes on: its key may see sessions again", extra=facts(account=poll.claim.ref.account))
            lane.paused = False
        elif poll.outcome == "denied" and poll.reason == "forbidden" and now - lane.accepted_at > ACCEPTED_SECONDS:
            if not lane.paused:
                log.warning(
                    "account paused: it may see nothing; check its key's rights", extra=facts(**named(poll.claim.ref))
                )
            lane.paused = True
            return replace(poll, outcome="failed")
        return poll

    def _arrived(self, lane: Lane, task: asyncio.Task[None]) -> None:
        lane.running.discard(task)
        if lane.more and 2 * len(lane.running) <= lane.slots and not self._stopping:
            lane.more = False
            refill = asyncio.get_running_loop().create_task(self.tick())
            lane.running.add(refill)
            refill.add_done_callback(lane.running.discard)

    def _count(self, poll: Poll) -> None:
        account = poll.claim.ref.account
        self._metrics.inc("telnyx_polls_total", (account,))
        if poll.outcome in {"failed", "denied"}:
            self._metrics.inc("telnyx_poll_failures_total", (account, poll.reason))
        if poll.session is not None and poll.session.cuts:
            self._metrics.inc("telnyx_trees_cut_total", (account,), poll.session.cuts)
            self._metrics.inc("telnyx_trees_cut_unresolved_total", (account,), poll.session.cuts_unresolved)

    async def stop(self, timeout_seconds: float) -> None:
        """Finish what is under way within the time; what is cancelled is put back, due as it was."""
        self._stopping = True
        async with self._claiming:  # a claim under way still starts its polls
            running = self.under_way
        if running:
            _, late = await asyncio.wait(running, timeout=timeout_seconds)
            claims = self.claims
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if claims:
                with suppress(LedgerError):  # then they are free when their leases are over, or at the next start
                    await self._ledger.run(Ledger.put_back, claims)
