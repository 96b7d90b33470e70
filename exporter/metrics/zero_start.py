"""When a new series may show its value: after it was scraped at 0.

Owns since when each unreleased total is on a page at 0. `increase()` loses whatever a series has when it is first
scraped, so a value waits for `new_series_zero_seconds` and for a scrape. The time
starts at the first question after a page that has the series, because a scrape of an older page proves nothing.
"""


class ZeroStart:
    """Rows of the ledger's totals on their way to being shown; times are monotonic."""

    def __init__(self, new_series_zero_seconds: float) -> None:
        self.new_series_zero_seconds = new_series_zero_seconds
        self._new: set[int] = set()
        """Not on any page yet."""
        self._exposed: set[int] = set()
        """On a page since the last question."""
        self._since: dict[int, float] = {}
        self._scraped_at: float | None = None

    def put(self, row: int, *, released: bool) -> None:
        """Take note of a total, as often as one likes."""
        if released:
            self.forget(row)
        elif row not in self._since and row not in self._exposed:
            self._new.add(row)

    def forget(self, row: int) -> None:
        self._new.discard(row)
        self._exposed.discard(row)
        self._since.pop(row, None)

    def keep(self, rows: set[int]) -> None:
        """Forget every row but these: the ledger was read again."""
        self._new &= rows
        self._exposed &= rows
        self._since = {row: since for row, since in self._since.items() if row in rows}

    def begin_anew(self) -> None:
        """None of them is on a page any more: another process had the pages meanwhile."""
        self._new |= self._exposed | self._since.keys()
        self._exposed.clear()
        self._since.clear()

    def exposed(self) -> None:
        """A page was finished that has all series known by now."""
        self._exposed |= self._new
        self._new.clear()

    def scraped(self, now: float) -> None:
        """Prometheus was served a page; may be called from another thread, so it only stores."""
        self._scraped_at = now

    def exposable(self, now: float) -> list[int]:
        """Rows that may be released now; with no new_series_zero_seconds at once, without a scrape."""
        if self.new_series_zero_seconds <= 0:
            return sorted({*self._new, *self._exposed, *self._since})
        self._since.update(dict.fromkeys(self._exposed, now))
        self._exposed.clear()
        if self._scraped_at is None:
            return []
        born_by = min(now - self.new_series_zero_seconds, self._scraped_at)
        return [row for row, since in self._since.items() if since <= born_by]
