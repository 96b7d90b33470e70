"""How a session travels: due -> claimed -> fetched -> committed -> shown. The file to read first.

Decides how many polls run at once. `Poller.tick` claims due sessions, `SessionFetcher.poll` turns one claim into a
finished poll, and `CommitQueue` commits finished polls in groups and shows what they changed. A failed poll is an
outcome like any other: it is counted, booked into the session's history, and the session is due again.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from msgspec.structs import replace

from exporter.core.clock import Clock
from exporter.core.errors import LedgerError
from exporter.core.model import Claim, Poll
from exporter.ledger import Ledger
from exporter.ledger.queue.sessions import START, QueuePosition
from exporter.ledger.worker import LedgerWorker
from exporter.log import fields
from exporter.metrics import Metrics
from exporter.polling.account_slots import AccountSlots
from exporter.polling.commit_queue import CommitQueue, session_fields

log = logging.getLogger(__name__)

SET_BACK_SECONDS = 60.0
"""A clock that falls by more was set back; less is what time servers do."""
ACCEPTED_SECONDS = 600.0
"""A 403 counts against its session only if the account's key saw anything lately; else the account is at fault."""
ASIDE_SECONDS, ASIDE_SECONDS_MAX = 0.005, 0.02
"""How often the poll whose turn it is looks whether a webhook still waits, and how long it lets them go first."""


class Poller:
    """Takes what is due and keeps a bounded number of polls under way."""

    def __init__(
        self,
        lanes: Mapping[str, AccountSlots],
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        crowded: Callable[[], bool],
    ) -> None:
        """`crowded` tells whether somebody waits for the exporter's answer; it must be cheap."""
        self._lanes = dict(lanes)
        self._left: list[AccountSlots] = []
        """Lanes of accounts that are no longer configured, until their last poll has arrived."""
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._crowded = crowded
        self._claims: dict[int, Claim] = {}
        """Of the polls that are not booked yet, by their numbers."""
        self._claiming = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._stopping = False
        self._told = -math.inf
        self._hastened: QueuePosition | None = START
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
        """While nothing is being claimed, so that `apply_config` may be called."""
        async with self._claiming:
            yield

    def apply_config(self, lanes: Mapping[str, AccountSlots]) -> None:
        """Claim for these accounts from now on; polls under way go on, those of accounts that left as well."""
        for name, lane in lanes.items():
            known = self._lanes.setdefault(name, lane)
            if lane.fetcher.client is not known.fetcher.client:
                known.accepted_at = -math.inf  # of another key; what this one may see is not known yet
            known.fetcher, known.slots = lane.fetcher, lane.slots
        self._left = [lane for lane in self._left if lane.running]
        self._left += [self._lanes.pop(name) for name in self._lanes.keys() - lanes.keys()]

    async def tick(self) -> None:
        """Claim due sessions for every free slot and start their polls."""
        if self._claiming.locked():
            return  # a claim is under way and will fill the same slots
        async with self._claiming:
            free = {name: lane.slots - len(lane.running) for name, lane in self._lanes.items()}
            free = {name: count for name, count in free.items() if count > 0}
            if free and not self._stopping and self._commit_queue.failing is None:
                await self._claim(free)
            self.ticked_at = self._clock.monotonic()

    async def _claim(self, free: Mapping[str, int]) -> None:
        now = self._clock.now()
        try:
            if now < self._told - SET_BACK_SECONDS:
                self._metrics.inc("telnyx_exporter_clock_steps_total", ())
                log.warning("the clock was set back", extra=fields(seconds=self._told - now))
                self._hastened = START
            self._told = now
            await self._catch_up(now)
            claims = await self._ledger.run(Ledger.claim, now, free)
        except LedgerError as error:
            self._commit_queue.report_failure(error)
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
            self._hastened = await self._ledger.run(Ledger.clamp_due, now, self._hastened)
        if self._retrying:
            self._retrying = await self._ledger.run(Ledger.requeue_failed, now)

    def _start(self, claim: Claim) -> None:
        lane = self._lanes[claim.ref.account]
        self._metrics.observe("telnyx_poll_lag_seconds", (), max(0.0, self._clock.now() - claim.due_at))
        task = asyncio.get_running_loop().create_task(self._travel(lane, claim))
        lane.running.add(task)
        self._claims[claim.number] = claim
        task.add_done_callback(lambda task: self._arrived(lane, task))
        task.add_done_callback(lambda _: self._claims.pop(claim.number))

    async def _travel(self, lane: AccountSlots, claim: Claim) -> None:
        await self._step_aside()
        at = self._clock.now()
        try:
            poll = await lane.fetcher.poll(claim, at)
        except Exception:  # one session must not stop the others, whatever is wrong with it
            log.exception("poll failed by a defect of the exporter", extra=fields(**session_fields(claim.ref)))
            poll = Poll(claim, at, "failed", "internal")
        poll = self._judged(lane, poll)
        self._count(poll)
        await self._commit_queue.commit(poll)

    async def _step_aside(self) -> None:
        """A webhook's sender waits, a poll doesn't: at full speed polls would leave the other threads no time.

        While webhooks keep coming polls go on one at a time: all at once would be the stall that this is to prevent.
        """
        if self._crowded():
            async with self._turn:
                until = self._clock.monotonic() + ASIDE_SECONDS_MAX
                while self._crowded() and self._clock.monotonic() < until:  # noqa: ASYNC110 - another thread's count
                    await asyncio.sleep(ASIDE_SECONDS)

    def _judged(self, lane: AccountSlots, poll: Poll) -> Poll:
        """If every session of an account is refused, none is: they stay due until the key may see them again."""
        now = self._clock.monotonic()
        if poll.outcome in {"tree", "same", "gone"}:
            lane.accepted_at = now
            if lane.paused:
                log.info(
                    "account goes on: its key may see sessions again", extra=fields(account=poll.claim.ref.account)
                )
            lane.paused = False
        elif poll.outcome == "denied" and poll.reason == "forbidden" and now - lane.accepted_at > ACCEPTED_SECONDS:
            if not lane.paused:
                log.warning(
                    "account paused: it may see nothing; check its key's rights",
                    extra=fields(**session_fields(poll.claim.ref)),
                )
            lane.paused = True
            return replace(poll, outcome="failed")
        return poll

    def _arrived(self, lane: AccountSlots, task: asyncio.Task[None]) -> None:
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
                    await self._ledger.run(Ledger.release_claims, claims)
