"""The sums of all writers' totals, read again and again without reading all of them.

Every row says which transaction changed it last, and PostgreSQL says which transactions were still running at the last
reading. So a reading finds exactly the rows that the one before may have missed, and no clock is involved.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from exporter.core.catalog import BY_NAME
from exporter.core.model import Exemplar, Total
from exporter.core.money import add
from exporter.ledger.database import Connection
from exporter.ledger.totals.series import new_total, read_labels, with_values
from exporter.ledger.totals.totals import GENERATION

_BEGINNING = "0"
"""Before the first transaction."""


class TotalsReading(Struct, frozen=True):
    """The totals that changed since the reading before."""

    totals: tuple[Total, ...]
    whole: bool
    """True if these are all totals: a series that is not among them has ended."""


class TotalsAggregate:
    """The totals as they were last read."""

    def __init__(self) -> None:
        self._reset("", None)

    def _reset(self, generation: str, connection: Connection | None) -> None:
        self._generation = generation
        self._connection = connection
        self._since = _BEGINNING
        self._series: dict[int, Total] = {}
        self._parts: dict[int, dict[int, Total]] = {}
        """By series and writer."""
        self._writers: set[int] = set()

    def read(self, connection: Connection) -> TotalsReading:
        """Read within a transaction that sees one state of the tables; the next reading after an error is whole."""
        try:
            return self._read(connection)
        except BaseException:
            self._reset("", None)
            raise

    # Example: two writers count telnyx_sessions_started_total; `xmin` is the oldest transaction that is running.
    #
    #     reading 1   xmin 100. Writer 1 has 5 (changed by 90), writer 2 has 3 (95): the sum is 8.
    #     writer 2    adds 1 in transaction 101, writer 1 adds 1 in transaction 100, which takes long.
    #     reading 2   rows changed by 100 or later: writer 2 has 4, so the sum is 9. xmin is still 100.
    #     writer 1    commits.
    #     reading 3   rows changed by 100 or later: writer 1 has 6, writer 2 has 4 again, so the sum is 10.

    def _read(self, connection: Connection) -> TotalsReading:
        query = "SELECT coalesce(max(value), '') FROM meta WHERE key = ?"
        generation = connection.execute(query, (GENERATION,)).fetchone()[0]
        # A new connection may lead to another server, which numbers transactions anew.
        if generation != self._generation or connection is not self._connection:
            self._reset(generation, connection)
        whole = self._since == _BEGINNING
        changed = set()
        query = "SELECT id, family, labels, bounds, exposed FROM series WHERE changed >= ?::xid8"
        for number, family, labels, bounds, exposed in connection.execute(query, (self._since,)):
            if family in BY_NAME:
                self._series[number] = new_total(number, family, read_labels(labels), bounds, exposed)
                changed.add(number)
        query = "SELECT series, writer, value, counts, exemplars FROM totals WHERE changed >= ?::xid8"
        for number, writer, *values in connection.execute(query, (self._since,)):
            if number in self._series:
                self._parts.setdefault(number, {})[writer] = with_values(self._series[number], *values)
                changed.add(number)
        changed |= self._drop_dead_writers(connection)
        self._since = connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()[0]
        sums = [
            sum_parts(self._series[number], self._parts.get(number, {}).values())
            for number in sorted(changed)
            if number in self._series
        ]
        return TotalsReading(tuple(sums), whole)

    def _drop_dead_writers(self, connection: Connection) -> set[int]:
        """Drop their parts: they were added to writer 0 in the transaction that deleted the writer."""
        writers = {0, *(number for (number,) in connection.execute("SELECT id FROM writers"))}
        dead, self._writers = self._writers - writers, writers
        touched = {number for number, parts in self._parts.items() if dead & parts.keys()} if dead else set()
        for number in touched:
            for writer in dead & self._parts[number].keys():
                del self._parts[number][writer]
        return touched


def sum_parts(series: Total, parts: Iterable[Total]) -> Total:
    """Return the sum of the writers' parts of a series; of times the latest."""
    latest = series.family.endswith("_timestamp_seconds")
    for part in parts:
        series = replace(
            series,
            value=max(series.value, part.value) if latest else add(series.value, part.value),
            counts=tuple(map(sum, zip(series.counts, part.counts, strict=True))),
            exemplars=tuple(map(_latest, series.exemplars, part.exemplars)),
        )
    return series


def _latest(left: Exemplar | None, right: Exemplar | None) -> Exemplar | None:
    return max(filter(None, (left, right)), key=lambda found: found.at, default=None)
