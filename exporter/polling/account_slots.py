"""The polls of one account that are under way, bounded so that a slow account takes no slot from another."""

import asyncio
import math

from msgspec import Struct

from exporter.polling.fetcher import SessionFetcher


class AccountSlots(Struct):
    """The polls of one account under way, so that a slow account takes no place from another."""

    fetcher: SessionFetcher
    slots: int
    running: set[asyncio.Task[None]]
    more: bool = False
    """The last claim filled all free slots: more is due."""
    accepted_at: float = -math.inf
    """Monotonic time of the last poll that the API answered with a tree, or that there is none."""
    paused: bool = False
    """Every session was refused, and that was said."""
