"""The simulated API's rate limit and its memory of encoded answers.

Owns two bounds and nothing else. The surprising fact: the limit counts fixed one-second windows of real time, so a
client may send twice its rate around the turn of a second, as at Telnyx.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from simulator.errors import TOO_MANY_REQUESTS, Refusal


class SimulatedRateLimit:
    """Counts requests per window; `monotonic` is real time."""

    def __init__(self, requests_per_second: int, monotonic: Callable[[], float]) -> None:
        self._limit = requests_per_second
        self._monotonic = monotonic
        self._window = 0
        self._count = 0

    def take(self) -> Mapping[str, str]:
        """Count one request and give the headers of its answer; Refusal when the window is used up."""
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
            raise Refusal(TOO_MANY_REQUESTS, detail, {**headers, "retry-after": "1"})
        return headers


class AnswerCache:
    """Encoded answers, the most recently used ones, up to a number of bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._answers: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The answer kept under `key`, made now if there is none."""
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
