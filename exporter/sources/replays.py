"""Remember the webhooks that were accepted, so that a recorded one can't cause polls by being sent again and again.

The memory is not durable. After a restart a repeated webhook is accepted once more, which is harmless: following a
session twice changes nothing.
"""

from collections import deque

from exporter.sources.webhooks import TOLERANCE_SECONDS

KEPT_SECONDS = 2 * TOLERANCE_SECONDS
"""The time in which one signature can be valid: it may be as far in the future as in the past."""

KEPT_MAX = 300_000
"""500 a second for KEPT_SECONDS, about 60 MB; above that the oldest are forgotten first."""

WebhookId = tuple[str, str]
"""An account and the id of one of its webhooks."""


class ReplayWindow:
    """The accepted webhooks; `now` is the time with which signatures are compared."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._known: set[WebhookId] = set()
        self._order: deque[tuple[float, WebhookId]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def knows(self, webhook: WebhookId, now: float) -> bool:
        while self._order and self._order[0][0] < now - KEPT_SECONDS:
            self._known.discard(self._order.popleft()[1])
        return webhook in self._known

    def add(self, webhook: WebhookId, now: float) -> None:
        """Remember a webhook that was not known."""
        self._known.add(webhook)
        self._order.append((now, webhook))
        if len(self._order) > self._kept_max:
            self._known.discard(self._order.popleft()[1])
