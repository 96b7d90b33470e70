"""One writer's totals in memory: entries are added here, and what changed is written and shown.

Contains all series and label sets of the ledger, so booking reads none of them. It is loaded again after any error. A
label set beyond the series budget is folded into `other` when it is booked, so sums stay right.
"""

import json
import uuid
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping
from decimal import Decimal

from msgspec import Struct, field, structs
from msgspec.structs import replace

from exporter.config import Budget, Config, Threshold
from exporter.core.catalog import BY_NAME, NET_COUNTERPART, labels_of
from exporter.core.costs import LedgerEntry
from exporter.core.model import NONE, OTHER, Exemplar, Labels, Total
from exporter.core.money import ZERO, add
from exporter.core.record_types import RecordTypes
from exporter.ledger.database import Connection, Engine
from exporter.ledger.totals.series import (
    UPSERT_TOTAL,
    count_lines,
    find_or_insert,
    labels_text,
    new_total,
    read_labels,
    read_totals,
    total_values,
)

_ONE = Decimal(1)
OVERFLOWS = "telnyx_label_overflows_total"

GENERATION = "generation"
"""A key in `meta`; its value changes when series end or are renamed, which their rows don't tell `TotalsAggregate`."""


class TotalsSettings(Struct, frozen=True):
    """The part of the configuration that the totals depend on."""

    extra: tuple[str, ...]
    """Names of the configured labels."""
    values_max: Mapping[str, int]
    series_max: int
    bounds: Mapping[str, tuple[float, ...]]
    """Upper bounds of the buckets, by family."""
    thresholds: tuple[Threshold, ...] = ()
    budgets: tuple[Budget, ...] = ()
    above: Mapping[str, frozenset[str]] = field(default_factory=lambda: RecordTypes.documented().above())
    """Root record types that may be part of another session, with the record types of those sessions."""

    @classmethod
    def of(cls, config: Config) -> "TotalsSettings":
        metrics = config.metrics
        return cls(
            thresholds=metrics.thresholds,
            budgets=config.budgets,
            extra=tuple(label.name for label in metrics.labels),
            values_max={label.name: label.values_max for label in metrics.labels},
            series_max=metrics.series_max,
            bounds={
                f"telnyx_{name}": tuple(map(float, bounds)) for name, bounds in structs.asdict(metrics.buckets).items()
            },
        )


class Totals:
    """All series and label sets of one ledger, with the values of this writer."""

    def __init__(self, engine: Engine, settings: TotalsSettings) -> None:
        self._connection = connection = engine.connection
        self._engine = engine
        self._settings = settings
        self._rows: dict[tuple[str, Labels], Total] = {}
        self._changed: dict[int, Total] = {}
        self._entered: dict[tuple[int, str, Labels], Decimal] = {}
        """Entries by (label set, family, further labels). A batch adds to the same few totals thousands of times."""
        self._projected: dict[tuple[str, Labels], Labels] = {}
        self._lines = 0
        """Sample lines on the page, as far as the series budget counts them."""
        for total in read_totals(connection, engine.writer):
            self._rows[total.family, total.labels] = total
            self._lines += count_lines(total)
        self._ids: dict[Labels, int] = {}
        self._label_sets: dict[int, Labels] = {}
        self._values: dict[str, set[str]] = {name: set() for name in settings.values_max}
        """The values of each configured label."""
        for number, text in connection.execute("SELECT id, labels FROM label_sets"):
            self._add_label_set(number, read_labels(text))

    @property
    def writer(self) -> int:
        return self._engine.writer

    def all(self) -> tuple[Total, ...]:
        self._add_up()
        return tuple(self._rows.values())

    def load_new_series(self) -> None:
        """Load the series and label sets that other writers have created since: they use up the same budgets."""
        known = {total.row for total in self._rows.values()}
        for total in read_totals(self._connection, self._engine.writer):
            if total.row not in known:
                self._rows[total.family, total.labels] = total
                self._lines += count_lines(total)
        for number, text in self._connection.execute("SELECT id, labels FROM label_sets"):
            if number not in self._label_sets:
                self._add_label_set(number, read_labels(text))

    def write(self) -> tuple[Total, ...]:
        """Write the totals that changed since the last call; return them."""
        self._add_up()
        changed = tuple(self._changed.values())
        stamped = ", changed = DEFAULT" if self._connection.shared else ""
        self._connection.write(f"{UPSERT_TOTAL}{stamped}", *[total_values(self.writer, total) for total in changed])
        self._changed = {}
        return changed

    # Label sets

    def intern(self, labels: Labels) -> int:
        """Return the id of a label set; a new one beyond the budgets is folded into `other`."""
        number = self._ids.get(labels)
        if number is not None:
            return number
        folded = self._fold(labels)
        if folded not in self._ids:
            row = {"labels": labels_text(folded)}
            self._add_label_set(find_or_insert(self._engine.side_connection, "label_sets", row, {}), folded)
        return self._ids[folded]

    def labels(self, number: int) -> Labels:
        """Return the label set with this id; it is read if another writer has created it since."""
        labels = self._label_sets.get(number)
        if labels is None:
            found = self._connection.execute("SELECT labels FROM label_sets WHERE id = ?", (number,)).fetchone()
            labels = read_labels(found[0])
            self._add_label_set(number, labels)
        return labels

    def project_labels(self, family: str, labels: Labels) -> Labels:
        """Return those labels of an event that the family has, in its order."""
        key = (family, labels)
        projected = self._projected.get(key)
        if projected is None:
            values = dict(labels)
            names = labels_of(BY_NAME[family], self._settings.extra)
            projected = self._projected[key] = tuple((name, values.get(name, NONE)) for name in names)
        return projected

    def _add_label_set(self, number: int, labels: Labels) -> None:
        self._label_sets[number] = labels
        self._ids[labels] = number
        for name, value in labels:
            if name in self._values and value not in {NONE, OTHER}:
                self._values[name].add(value)

    def _fold(self, labels: Labels) -> Labels:
        """Fold the values beyond a label's own maximum; then, while the series budget is used up, more and more."""
        crowded = {
            name
            for name, value in labels
            if name in self._values
            and value not in self._values[name]
            and value not in {NONE, OTHER}
            and len(self._values[name]) >= self._settings.values_max[name]
        }
        labels = self._fold_names(labels, crowded)
        for names in (set(self._settings.extra), {"model"}, {"product"}, {"record_type"}):
            if labels not in self._ids and self._lines >= self._settings.series_max:
                labels = self._fold_names(labels, names)
        return labels

    def _fold_names(self, labels: Labels, names: set[str]) -> Labels:
        folded = []
        for name, value in labels:
            fold = name in names and value not in {NONE, OTHER}
            if fold:
                self.add(OVERFLOWS, (("account", dict(labels)["account"]), ("label", name)), _ONE)
            folded.append((name, OTHER if fold else value))
        return tuple(folded)

    # Values

    def add_entries(self, entries: Iterable[LedgerEntry]) -> None:
        """Add the entries of one event; they are summed up by label set before they reach the totals."""
        for entry in entries:
            key = (self.intern(entry.labels), entry.family, entry.further)
            known = self._entered.get(key)
            if known is None:
                # The series is created now, since it counts towards the budget of the next label set.
                self.add(entry.family, self.project_labels(entry.family, entry.labels + entry.further), ZERO)
                self._entered[key] = entry.amount
            else:
                self._entered[key] = add(known, entry.amount)

    def _add_up(self) -> None:
        entered, self._entered = self._entered, {}
        for (number, family, further), amount in entered.items():
            self.add(family, self.project_labels(family, self._label_sets[number] + further), amount)

    def add(self, family: str, labels: Labels, amount: Decimal) -> None:
        """Add to a counter or gauge."""
        if family in NET_COUNTERPART:  # a query subtracts credits from costs, so neither exists without the other
            self._series(NET_COUNTERPART[family], labels)
        total = self._series(family, labels)
        if amount:
            self._store(replace(total, value=add(total.value, amount)))

    def set(self, family: str, labels: Labels, value: Decimal) -> None:
        """Set a gauge."""
        self._add_up()
        total = self._series(family, labels)
        if total.value != value:
            self._store(replace(total, value=value))

    def observe(self, family: str, labels: Labels, value: Decimal, exemplar: Exemplar) -> None:
        """Add an observation to a histogram."""
        total = self._series(family, labels)
        # A bound as it is printed: 0.3 belongs into the bucket of 0.3, and the float 0.3 is a little less.
        bucket = bisect_left([Decimal(repr(bound)) for bound in total.bounds], value)
        counts = tuple(count + (i == bucket) for i, count in enumerate(total.counts))
        exemplars = tuple(exemplar if i == bucket else kept for i, kept in enumerate(total.exemplars))
        self._store(replace(total, value=add(total.value, value), counts=counts, exemplars=exemplars))

    # Series

    # Example: the first call of a new account costs 0.18, and new_series_zero_seconds is 150.
    #
    #     10:00:00   commit: the series is created with the value 0.18 and exposed = 0. A gauge is exposed at once.
    #     10:00:10   Prometheus scrapes 0; the page shows 0.18 as telnyx_pending_cost.
    #     10:02:40   expose([row]): exposed = 1, in every writer's memory and for every replica.
    #     10:03:10   Prometheus scrapes 0.18, so increase() sees 0.18. Without the zero it would see nothing.
    #
    # Old calls that the initial backfill finds are no increase: `expose_all` shows them at their value at once.

    def expose(self, rows: Iterable[int]) -> None:
        """Have the values of these series shown from now on, whichever writer they are from."""
        self._add_up()
        wanted = set(rows)
        for total in [total for total in self._rows.values() if total.row in wanted]:
            self._store(replace(total, exposed=True))
        stamped = ", changed = DEFAULT" if self._connection.shared else ""
        statement = f"UPDATE series SET exposed = 1{stamped} WHERE id = ? AND exposed = 0"  # noqa: S608 - literals
        self._connection.executemany(statement, [(row,) for row in sorted(wanted)])

    def create_series(self, family: str, labels: Labels) -> None:
        """Create the series at 0 if it doesn't exist."""
        self._series(family, labels)

    def series_id(self, family: str, labels: Labels) -> int:
        """Return the id of the series, created if it doesn't exist."""
        return self._series(family, labels).row

    def end_series(self, family: str, kept: Container[Labels]) -> None:
        """Delete the series of a gauge but for those with `kept` labels; every page must load all totals again."""
        self._add_up()
        ended = [total for total in self._rows.values() if total.family == family and total.labels not in kept]
        if ended:
            change_generation(self._connection)
        for total in ended:
            self._connection.execute("DELETE FROM totals WHERE series = ?", (total.row,))
            self._connection.execute("DELETE FROM series WHERE id = ?", (total.row,))
            del self._rows[family, total.labels]
            self._changed.pop(total.row, None)
            self._lines -= count_lines(total)

    def _series(self, family: str, labels: Labels) -> Total:
        """Return the series, created if it doesn't exist."""
        total = self._rows.get((family, labels))
        if total is not None:
            return total
        if self._lines >= self._settings.series_max:
            # The API may invent record types without end; no other label of such a family can have ever new values.
            folded = self._fold_names(labels, {"root_record_type"})
            if folded != labels:
                return self._series(family, folded)
        kind = BY_NAME[family].kind
        bounds = json.dumps(self._settings.bounds[family]) if kind == "histogram" else None
        key, rest = (
            {"family": family, "labels": labels_text(labels)},
            {"bounds": bounds, "exposed": int(kind == "gauge")},
        )
        connection = self._engine.side_connection
        number = find_or_insert(connection, "series", key, rest)
        # Another writer may have created it, with other bounds.
        query = "SELECT bounds, exposed FROM series WHERE id = ?"
        total = new_total(number, family, labels, *connection.execute(query, (number,)).fetchone())
        self._lines += count_lines(total)
        self._store(total)
        return total

    def _store(self, total: Total) -> None:
        self._rows[total.family, total.labels] = total
        self._changed[total.row] = total


def change_generation(connection: Connection) -> None:
    """Have every `TotalsAggregate` read all totals again."""
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (GENERATION, uuid.uuid4().hex),
    )
