"""The polls of one account that run, how many more may, and whether its key or a session is to blame for a 403."""

import asyncio
import logging
import math

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.model import Poll
from exporter.log import fields
from exporter.polling.commit_queue import session_fields
from exporter.polling.fetcher import SessionFetcher

log = logging.getLogger(__name__)

ACCEPTED_SECONDS = 600.0
"""A 403 counts against its session only if the account had a good answer within this time; else against its key."""


class AccountSlots(Struct):
    """The running polls of one account, bounded so that a slow account takes no slot from another."""

    fetcher: SessionFetcher
    slots: int
    running: set[asyncio.Task[None]]
    more_due: bool = False
    """The last claim filled all free slots, so more sessions are probably due."""
    accepted_at: float = -math.inf
    """Monotonic time of the last poll that the API answered with a tree or with 404."""
    paused: bool = False
    """True once the exporter has logged that the API forbids every session of this account."""

    @property
    def free(self) -> int:
        """Return how many more polls may run."""
        return self.slots - len(self.running)

    def judge(self, poll: Poll, now: float) -> Poll:
        """Return the poll; a denied one becomes a failed one while the API forbids every session of the account.

        Then the key is at fault, not the session, so the sessions stay due. `now` is monotonic time.
        """
        if poll.outcome in {"tree", "same", "gone"}:
            self.accepted_at = now
            if self.paused:
                log.info(
                    "account resumed: its key may see sessions again", extra=fields(account=poll.claim.ref.account)
                )
            self.paused = False
        elif poll.outcome == "denied" and poll.reason == "forbidden" and now - self.accepted_at > ACCEPTED_SECONDS:
            if not self.paused:
                log.warning(
                    "account paused: the API forbids all its sessions; check the rights of its key",
                    extra=fields(**session_fields(poll.claim.ref)),
                )
            self.paused = True
            return replace(poll, outcome="failed")
        return poll
