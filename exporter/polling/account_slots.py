"""The polls of one account that are running, bounded so that a slow account takes no slot from another."""

import asyncio
import math

from msgspec import Struct

from exporter.polling.fetcher import SessionFetcher


class AccountSlots(Struct):
    """The slots of one account."""

    fetcher: SessionFetcher
    slots: int
    running: set[asyncio.Task[None]]
    more_due: bool = False
    """The last claim filled all free slots, so more sessions are probably due."""
    accepted_at: float = -math.inf
    """Monotonic time of the last poll that the API answered with a tree or with 404."""
    paused: bool = False
    """True once the exporter has logged that the API forbids every session of this account."""
