"""The simulated API's quotas and its cache of encoded answers.

Each endpoint has a quota of its own, which is counted per UTC minute. A 429 doesn't say when to try again; the header
`x-ratelimit-reset` has the seconds to the end of the minute, as on every answer.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from simulator.errors import TOO_MANY_REQUESTS, ApiError

WINDOW_SECONDS = 60


class SimulatedQuota:
    """Counts the requests to one endpoint; `wall` is in seconds since the epoch."""

    def __init__(self, limit: int, wall: Callable[[], float]) -> None:
        self.limit = limit
        """Requests per minute; a test may change it at any time."""
        self.refused = 0
        """The number of 429s."""
        self._wall = wall
        self._by_minute: Counter[int] = Counter()

    @property
    def busiest_minute(self) -> int:
        """The most requests of one UTC minute, those that got 429 included."""
        return max(self._by_minute.values(), default=0)

    def take(self) -> Mapping[str, str]:
        """Count one request and return the headers of its answer; raise ApiError if the minute is used up."""
        now = self._wall()
        minute = math.floor(now / WINDOW_SECONDS)
        self._by_minute[minute] += 1
        count = self._by_minute[minute]
        headers = {
            "x-ratelimit-limit": f"{self.limit}, {self.limit};w={WINDOW_SECONDS}",
            "x-ratelimit-remaining": str(max(0, self.limit - count)),
            "x-ratelimit-reset": str(math.ceil((minute + 1) * WINDOW_SECONDS - now)),
        }
        if count > self.limit:
            self.refused += 1
            raise ApiError(TOO_MANY_REQUESTS, f"more than {self.limit} requests in this minute", headers)
        return headers

    def stated(self) -> dict[str, Any]:
        """Return what `/_quotas` shows."""
        return {
            "limit": self.limit,
            "requests": self._by_minute.total(),
            "busiest_minute": self.busiest_minute,
            "refused": self.refused,
        }


class AnswerCache:
    """LRU cache of encoded answers, limited by bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._answers: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the cached answer; make it if there is none."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._keep(key, make())
        self._answers.move_to_end(key)
        return answer

    def _keep(self, key: Hashable, answer: bytes) -> bytes:
        self._answers[key] = answer
        self._bytes += len(answer)
        while self._bytes > self._bytes_max and len(self._answers) > 1:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest)
        return answer
