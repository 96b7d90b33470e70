"""How often may be asked: a bucket of tokens that fills up over time.

Owns the arithmetic of `rate_limit`; the time is an argument. The surprising fact: there is one bucket for everybody, as
with exporter-toolkit, so it protects the exporter and no client from another.
"""

from exporter.web.config import RateLimit


class TokenBucket:
    """Full at first; an interval of 0 means no limit."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take a token, if there is one; `now` in seconds on a clock that never steps."""
        if self.limit.interval <= 0:
            return True
        if self._at is not None:
            self._tokens = min(self.limit.burst, self._tokens + (now - self._at) / self.limit.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
