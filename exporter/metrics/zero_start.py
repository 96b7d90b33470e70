"""Zero start: a new series of the ledger shows 0 until it was scraped, then its value.

`increase()` ignores the value that a series has at its first scrape. So a total waits until its series has been on a
page at 0 for `new_series_zero_seconds`, and was scraped in that time. The wait is for further Prometheus servers with
longer intervals; the scrape is for an exporter that no server scrapes for a while.
"""

# Worked example: new_series_zero_seconds is 60, and Prometheus scrapes every 30 s. A model's first LLM turn costs 0.02.
#
#   second  event
#    0.0    the ledger commits the total as pending
#    0.1    a page with the series at 0 is finished
#    1.0    exposable(1): the series is on a page, so its wait starts here. It can't start earlier: a scrape just
#           before may have got the page before that one.
#   10.0    scrape: Prometheus has a sample of 0
#   40.0    scrape: still 0
#   61.0    exposable(61) returns the row: 60 s are over, and the last scrape, at 40, came after 1. The ledger commits
#           that it is exposed, and the next page shows 0.02.
#   70.0    scrape: 0.02, and increase() counts all of it
#
# Had the series shown 0.02 from the start, the first sample would be 0.02 and increase() would return 0. If the
# exporter restarts at 30 s, the wait starts over: in the ledger the total is still pending.


class ZeroStart:
    """The rows of the ledger's totals that are pending; all times are monotonic."""

    def __init__(self, new_series_zero_seconds: float) -> None:
        self.new_series_zero_seconds = new_series_zero_seconds
        self._new: set[int] = set()
        """On no page yet."""
        self._on_page: set[int] = set()
        """On a page since the last call of `exposable`."""
        self._since: dict[int, float] = {}
        """When the wait of a row began."""
        self._scraped_at: float | None = None

    def update(self, row: int, *, exposed: bool) -> None:
        """Record whether a total is pending; the same total may come any number of times."""
        if exposed:
            self.drop(row)
        elif row not in self._since and row not in self._on_page:
            self._new.add(row)

    def drop(self, row: int) -> None:
        """Forget a row."""
        self._new.discard(row)
        self._on_page.discard(row)
        self._since.pop(row, None)

    def retain(self, rows: set[int]) -> None:
        """Forget all rows but these."""
        self._new &= rows
        self._on_page &= rows
        self._since = {row: since for row, since in self._since.items() if row in rows}

    def restart(self) -> None:
        """Start every wait over: another process exposed the ledger meanwhile, so no page of this one counts."""
        self._new |= self._on_page | self._since.keys()
        self._on_page.clear()
        self._since.clear()

    def page_finished(self) -> None:
        """Record that all rows known now are on a page."""
        self._on_page |= self._new
        self._new.clear()

    def scraped(self, now: float) -> None:
        """Record a scrape; it only stores the time, so any thread may call it."""
        self._scraped_at = now

    def exposable(self, now: float) -> list[int]:
        """Return the rows whose value may be shown now; with new_series_zero_seconds of 0 all, without a scrape."""
        if self.new_series_zero_seconds <= 0:
            return sorted({*self._new, *self._on_page, *self._since})
        self._since.update(dict.fromkeys(self._on_page, now))
        self._on_page.clear()
        if self._scraped_at is None:
            return []
        latest = min(now - self.new_series_zero_seconds, self._scraped_at)
        return [row for row, since in self._since.items() if since <= latest]
