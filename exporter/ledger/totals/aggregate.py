"""What all writers' totals add up to, read again and again.

Owns the sums of series over the writers, and which part of the tables need be read for them. The surprising fact: what
a reading may have missed is known exactly, since every row says which transaction changed it last, and PostgreSQL which
transactions were not over at the time; nothing is lost between two readings, and no clock has a say in it.
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
    """What changed since the reading before."""

    totals: tuple[Total, ...]
    whole: bool
    """These are all; a series that is not among them has ended."""


class TotalsAggregate:
    """The totals as they were last read."""

    def __init__(self) -> None:
        self._forget("", None)

    def _forget(self, generation: str, connection: Connection | None) -> None:
        self._generation = generation
        self._connection = connection
        """Another one may be to another server, which numbers transactions anew, and what the last reading on one that
        broke has said may not have been heard."""
        self._since = _BEGINNING
        self._series: dict[int, Total] = {}
        self._parts: dict[int, dict[int, Total]] = {}
        """By series and writer."""
        self._writers: set[int] = set()

    def read(self, connection: Connection) -> TotalsReading:
        """Within a transaction that sees one state; after an error the next reading is whole."""
        try:
            return self._read(connection)
        except BaseException:
            self._forget("", None)
            raise

    def _read(self, connection: Connection) -> TotalsReading:
        query = "SELECT coalesce(max(value), '') FROM meta WHERE key = ?"
        generation = connection.execute(query, (GENERATION,)).fetchone()[0]
        if generation != self._generation or connection is not self._connection:
            self._forget(generation, connection)
        whole = self._since == _BEGINNING
        changed = self._read_series(connection) | self._read_parts(connection) | self._drop_parts(connection)
        self._since = connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()[0]
        return TotalsReading(tuple(self._sum(number) for number in sorted(changed) if number in self._series), whole)

    def _read_series(self, connection: Connection) -> set[int]:
        query = "SELECT id, family, labels, bounds, exposed FROM series WHERE changed >= ?::xid8"
        found = {
            number: new_total(number, family, read_labels(labels), bounds, released)
            for number, family, labels, bounds, released in connection.execute(query, (self._since,))
            if family in BY_NAME
        }
        self._series |= found
        return set(found)

    def _read_parts(self, connection: Connection) -> set[int]:
        query = "SELECT series, writer, value, counts, exemplars FROM totals WHERE changed >= ?::xid8"
        found = set()
        for number, writer, *values in connection.execute(query, (self._since,)):
            if number in self._series:
                self._parts.setdefault(number, {})[writer] = with_values(self._series[number], *values)
                found.add(number)
        return found

    def _drop_parts(self, connection: Connection) -> set[int]:
        """Of writers that are gone: what they had was added to another's in the same transaction."""
        writers = {0, *(number for (number,) in connection.execute("SELECT id FROM writers"))}
        gone, self._writers = self._writers - writers, writers
        if not gone:
            return set()
        touched = {number for number, parts in self._parts.items() if gone & parts.keys()}
        for number in touched:
            for writer in gone & self._parts[number].keys():
                del self._parts[number][writer]
        return touched

    def _sum(self, number: int) -> Total:
        return sum_parts(self._series[number], self._parts.get(number, {}).values())


def sum_parts(series: Total, parts: Iterable[Total]) -> Total:
    """Counters and most gauges add up; of times the latest counts."""
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
