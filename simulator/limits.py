"""The simulated API's rate limit and its cache of encoded answers.

The limit counts fixed one-second windows of real time, so a client may send twice its rate around the turn of a second,
as at Telnyx.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from simulator.errors import TOO_MANY_REQUESTS, ApiError


class SimulatedRateLimit:
    """Counts requests per window; `monotonic` is real time."""

    def __init__(self, requests_per_second: int, monotonic: Callable[[], float]) -> None:
        self._limit = requests_per_second
        self._monotonic = monotonic
        self._window = 0
        self._count = 0

    def take(self) -> Mapping[str, str]:
        """Count one request and return the headers of its answer; raise ApiError if the window is used up."""
        window = int(self._monotonic())
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        headers = {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(max(0, self._limit - self._count)),
            "x-ratelimit-reset": "1",
        }
        if self._count > self._limit:
            detail = f"more than {self._limit} requests in this second"
            raise ApiError(TOO_MANY_REQUESTS, detail, {**headers, "retry-after": "1"})
        return headers


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
