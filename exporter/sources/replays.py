"""Which webhooks were taken already, for as long as somebody could send one again.

Owns how many ids are remembered and for how long. Not durable: after a restart a repeated webhook is taken once more.
The surprising fact: that does no harm, since following a session twice changes nothing. What this spares is the polls
that a recorded webhook could cause when it is sent over and over.
"""

from collections import deque

from exporter.sources.webhooks import TOLERANCE_SECONDS

KEPT_SECONDS = 2 * TOLERANCE_SECONDS
"""A signature may be from the future as far as from the past: so long passes between its first and last moment."""

KEPT_MAX = 300_000
"""500 a second for all that time, some 60 MB; beyond, the oldest ids are forgotten first."""

Place = tuple[str, str]
"""An account and the id of one of its webhooks."""


class ReplayWindow:
    """The webhooks that were taken; `now` is the time that signatures are compared with."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._known: set[Place] = set()
        self._order: deque[tuple[float, Place]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, place: Place, now: float) -> bool:
        self._forget(now)
        return place in self._known

    def add(self, place: Place, now: float) -> None:
        """Remember a webhook that was not known."""
        self._known.add(place)
        self._order.append((now, place))
        if len(self._order) > self._kept_max:
            self._drop()

    def _forget(self, now: float) -> None:
        while self._order and self._order[0][0] < now - KEPT_SECONDS:
            self._drop()

    def _drop(self) -> None:
        _, place = self._order.popleft()
        self._known.discard(place)
