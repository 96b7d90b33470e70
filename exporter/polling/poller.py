"""The poll scheduler, and the file to read first: due -> claimed -> fetched -> committed -> shown.

`Poller.tick` claims due sessions for the free slots, `SessionFetcher.poll` turns a claim into a finished poll, and
`CommitQueue` commits finished polls and shows what changed. A failed poll is an outcome like any other: it is counted
and committed, and the session is due again.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

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
"""A clock that falls by more was set back; time servers correct by less."""
YIELD_SECONDS, YIELD_SECONDS_MAX = 0.005, 0.02
"""How often a poll that lets webhooks go first checks whether one still waits, and how long it does so at most."""


class Poller:
    """Claims due sessions, and keeps a bounded number of polls running."""

    def __init__(
        self,
        slots: Mapping[str, AccountSlots],
        ledger: LedgerWorker,
        commit_queue: CommitQueue,
        metrics: Metrics,
        clock: Clock,
        *,
        crowded: Callable[[], bool],
    ) -> None:
        """`slots` is by account; `crowded` returns whether a webhook waits for its answer, and must be cheap."""
        self._slots = dict(slots)
        self._removed: list[AccountSlots] = []
        """Slots of accounts that are no longer configured, until their last poll ends."""
        self._ledger = ledger
        self._commit_queue = commit_queue
        self._metrics = metrics
        self._clock = clock
        self._crowded = crowded
        self._claims: dict[int, Claim] = {}
        """Claims of the polls that aren't committed yet, by claim number."""
        self._claiming = asyncio.Lock()
        self._yielding = asyncio.Lock()
        self._stopping = False
        self._latest = -math.inf
        """Session time of the last claim."""
        self._clamp_from: QueuePosition | None = START
        """Position in the walk over all live sessions that limits their due times; None when it is finished. A start,
        a reload and a clock that was set back begin it."""
        self._requeueing = False
        self.ticked_at: float | None = None
        """Monotonic time at which the last tick ended."""
        self.claimed_once = False

    @property
    def idle(self) -> bool:
        return not self.under_way

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """The running polls."""
        return {task for slots in (*self._slots.values(), *self._removed) for task in slots.running}

    @property
    def claims(self) -> list[Claim]:
        """The claims of the polls that aren't committed yet."""
        return list(self._claims.values())

    @asynccontextmanager
    async def between_claims(self) -> AsyncIterator[None]:
        """Hold back the next claim, so that `apply_config` may be called inside."""
        async with self._claiming:
            yield

    def apply_config(self, slots: Mapping[str, AccountSlots]) -> None:
        """Claim for these accounts from now on; running polls continue, also those of removed accounts."""
        for name, new in slots.items():
            known = self._slots.setdefault(name, new)
            if new.fetcher.client is not known.fetcher.client:
                known.accepted_at = -math.inf  # another key: nothing is known yet about its rights
            known.fetcher, known.slots = new.fetcher, new.slots
        self._removed = [removed for removed in self._removed if removed.running]
        self._removed += [self._slots.pop(name) for name in self._slots.keys() - slots.keys()]

    async def tick(self) -> None:
        """Claim due sessions for all free slots, and start their polls."""
        if self._claiming.locked():
            return  # a running claim fills the same slots
        async with self._claiming:
            free = {name: slots.free for name, slots in self._slots.items()}
            free = {name: count for name, count in free.items() if count > 0}
            if free and not self._stopping and self._commit_queue.failing is None:
                await self._claim(free)
            self.ticked_at = self._clock.monotonic()

    async def _claim(self, free: Mapping[str, int]) -> None:
        now = self._clock.now()
        try:
            if now < self._latest - SET_BACK_SECONDS:
                self._metrics.inc("telnyx_exporter_clock_steps_total", ())
                log.warning("the clock was set back", extra=fields(seconds=self._latest - now))
                self._clamp_from = START
            self._latest = now
            await self._catch_up(now)
            claims = await self._ledger.run(Ledger.claim, now, free)
        except LedgerError as error:
            self._commit_queue.report_failure(error)
            return
        self.claimed_once = True
        claimed = dict.fromkeys(free, 0)
        for claim in claims:
            claimed[claim.ref.account] += 1
            self._start(claim)
        for name, count in claimed.items():
            self._slots[name].more_due = count == free[name]

    async def reschedule(self, now: float) -> None:
        """Apply changed intervals to all live sessions and requeue failed ones: a portion now, the rest with ticks."""
        self._clamp_from, self._requeueing = START, True
        await self._catch_up(now)

    async def _catch_up(self, now: float) -> None:
        # In portions, so that a webhook never waits while a million sessions are updated.
        if self._clamp_from is not None:
            self._clamp_from = await self._ledger.run(Ledger.clamp_due, now, self._clamp_from)
        if self._requeueing:
            self._requeueing = await self._ledger.run(Ledger.requeue_failed, now)

    def _start(self, claim: Claim) -> None:
        slots = self._slots[claim.ref.account]
        self._metrics.observe("telnyx_poll_lag_seconds", (), max(0.0, self._clock.now() - claim.due_at))
        task = asyncio.get_running_loop().create_task(self._poll(slots, claim))
        slots.running.add(task)
        self._claims[claim.number] = claim
        task.add_done_callback(lambda task: self._ended(slots, task))
        task.add_done_callback(lambda _: self._claims.pop(claim.number))

    async def _poll(self, slots: AccountSlots, claim: Claim) -> None:
        await self._yield_to_webhooks()
        at = self._clock.now()
        try:
            poll = await slots.fetcher.poll(claim, at)
        except Exception:  # whatever it is, it must not stop the other sessions
            log.exception("poll failed by a defect of the exporter", extra=fields(**session_fields(claim.ref)))
            poll = Poll(claim, at, "failed", "internal")
        poll = slots.judge(poll, self._clock.monotonic())
        account = claim.ref.account
        self._metrics.inc("telnyx_polls_total", (account,))
        if poll.outcome in {"failed", "denied"}:
            self._metrics.inc("telnyx_poll_failures_total", (account, poll.reason))
        if poll.session is not None and poll.session.cuts:
            self._metrics.inc("telnyx_trees_cut_total", (account,), poll.session.cuts)
            self._metrics.inc("telnyx_trees_cut_unresolved_total", (account,), poll.session.cuts_unresolved)
        await self._commit_queue.commit(poll)

    async def _yield_to_webhooks(self) -> None:
        """Let waiting webhooks go first: their senders wait, while at full speed polls use all of the CPU.

        While webhooks keep coming, polls continue one at a time. Without the lock all would continue at once after the
        longest wait, which is the very stall to prevent.
        """
        if self._crowded():
            async with self._yielding:
                until = self._clock.monotonic() + YIELD_SECONDS_MAX
                while self._crowded() and self._clock.monotonic() < until:  # noqa: ASYNC110 - another thread's count
                    await asyncio.sleep(YIELD_SECONDS)

    def _ended(self, slots: AccountSlots, task: asyncio.Task[None]) -> None:
        slots.running.discard(task)
        # Claim again at half-empty, not at the next tick. The refill counts as running, so there is only one.
        if slots.more_due and 2 * len(slots.running) <= slots.slots and not self._stopping:
            slots.more_due = False
            refill = asyncio.get_running_loop().create_task(self.tick())
            slots.running.add(refill)
            refill.add_done_callback(slots.running.discard)

    async def stop(self, timeout_seconds: float) -> None:
        """Wait for running polls; cancel those that take longer, and release their claims, due as before."""
        self._stopping = True
        async with self._claiming:  # a running claim still starts its polls
            running = self.under_way
        if running:
            _, late = await asyncio.wait(running, timeout=timeout_seconds)
            claims = self.claims
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if claims:
                with suppress(LedgerError):  # then they are released when their leases end, or at the next start
                    await self._ledger.run(Ledger.release_claims, claims)
