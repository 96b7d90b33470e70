"""A writer's image of the totals: entries are added here, and what changed is written and shown.

Owns this writer's rows of the totals table, and what is known of series and label sets, while the ledger is open, so
that booking reads none of them. It is thrown away and read again after any error. The surprising fact: a label set past
the series budget is folded into `other` here, at booking, which is why sums stay right whatever is folded.
"""

import json
import uuid
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache

from msgspec import Struct, field, structs
from msgspec.structs import replace

from exporter.config import Budget, Config, Threshold
from exporter.core.catalog import BORN_TOGETHER, BY_NAME, labels_of
from exporter.core.costs import LedgerEntry
from exporter.core.model import NONE, OTHER, Exemplar, Labels, Total
from exporter.core.money import add
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
"""In meta: changes when series end or are renamed, which those that follow the totals can't see from what is left."""


class TotalsSettings(Struct, frozen=True):
    """What of the configuration shapes the totals."""

    extra: tuple[str, ...]
    """Names of the configured labels."""
    values_max: Mapping[str, int]
    series_max: int
    bounds: Mapping[str, tuple[float, ...]]
    """Upper bounds of the buckets, by family."""
    thresholds: tuple[Threshold, ...] = ()
    budgets: tuple[Budget, ...] = ()
    above: Mapping[str, frozenset[str]] = field(default_factory=lambda: RecordTypes.documented().above())
    """Record types whose events may stand below others: a root of such a type may turn out to be no outermost one."""

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
    """All series and label sets of one ledger, with what this writer adds to them."""

    def __init__(self, engine: Engine, settings: TotalsSettings) -> None:
        self._connection = connection = engine.connection
        self._engine = engine
        self._settings = settings
        self._rows: dict[tuple[str, Labels], Total] = {}
        self._projected: dict[tuple[str, Labels], Labels] = {}
        self._changed: dict[int, Total] = {}
        self._pending: dict[tuple[str, Labels], Decimal] = {}
        self._entered: dict[tuple[int, str, Labels], Decimal] = {}
        """What is still to be added, and of entries by their label sets: a batch adds to the same few totals thousands
        of times."""
        self.lines = 0
        for total in read_totals(connection, engine.writer):
            self._rows[total.family, total.labels] = total
            self.lines += count_lines(total)
        self._sets: dict[Labels, int] = {}
        self._by_number: dict[int, Labels] = {}
        self._known: dict[int, int] = {}
        """By the address of the tuple: an event's label set is looked up five times, and to hash one takes a while."""
        self._values: dict[str, set[str]] = {name: set() for name in settings.values_max}
        for number, text in connection.execute("SELECT id, labels FROM label_sets"):
            self._know(number, read_labels(text))

    @property
    def writer(self) -> int:
        return self._engine.writer

    def all(self) -> tuple[Total, ...]:
        self._add_up()
        return tuple(self._rows.values())

    def load_new_series(self) -> None:
        """Take note of what other writers have named since: it counts towards the budgets of series and values."""
        known = {total.row for total in self._rows.values()}
        for total in read_totals(self._connection, self._engine.writer):
            if total.row not in known:
                self._rows[total.family, total.labels] = total
                self.lines += count_lines(total)
        for number, text in self._connection.execute("SELECT id, labels FROM label_sets"):
            if number not in self._by_number:
                self._know(number, read_labels(text))

    def series_id(self, family: str, labels: Labels) -> int:
        """Of a series, which exists from then on."""
        return self._row(family, labels).row

    # Label sets

    def intern(self, labels: Labels) -> int:
        """The number of a label set; a new one past the budget is folded into `other`, extra labels first."""
        number = self._known.get(id(labels))
        if number is None:
            number = self._sets.get(labels)
        if number is not None:
            return number
        folded = self._fold(labels)
        if folded not in self._sets:
            self._know(
                find_or_insert(self._engine.side_connection, "label_sets", {"labels": labels_text(folded)}, {}), folded
            )
        return self._sets[folded]

    def labels(self, number: int) -> Labels:
        """The label set of this number; one that another writer has met since is read."""
        labels = self._by_number.get(number)
        if labels is None:
            found = self._connection.execute("SELECT labels FROM label_sets WHERE id = ?", (number,)).fetchone()
            labels = read_labels(found[0])
            self._know(number, labels)
        return labels

    def _know(self, number: int, labels: Labels) -> None:
        labels = self._by_number.setdefault(number, labels)  # kept for ever, so that its address names no other
        self._sets[labels] = number
        self._known[id(labels)] = number
        for name, value in labels:
            if name in self._values and value not in {NONE, OTHER}:
                self._values[name].add(value)

    def _fold(self, labels: Labels) -> Labels:
        extra = set(self._settings.extra)
        crowded = {
            name
            for name, value in labels
            if name in self._values
            and value not in self._values[name]
            and value not in {NONE, OTHER}
            and len(self._values[name]) >= self._settings.values_max[name]
        }
        for candidates in (crowded, extra, {"model"}, {"product"}, {"record_type"}):
            labels = self._fold_names(labels, candidates if candidates is crowded or self._full(labels) else set())
        return labels

    def _full(self, labels: Labels) -> bool:
        return labels not in self._sets and self.lines >= self._settings.series_max

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
        """Add what one event adds; its totals are born now, and summed up with those of others."""
        for entry in entries:
            place = (self.intern(entry.labels), entry.family, entry.further)
            known = self._entered.get(place)
            if known is None:
                self._birth(entry.family, self.project_labels(entry.family, entry.labels + entry.further))
                self._entered[place] = entry.amount
            else:
                self._entered[place] = add(known, entry.amount)

    def project_labels(self, family: str, labels: Labels) -> Labels:
        """The labels that the family has, in its order, out of all that an event has."""
        key = (family, labels)
        projected = self._projected.get(key)
        if projected is None:
            known = dict(labels)
            names = labels_of(BY_NAME[family], self._settings.extra)
            projected = self._projected[key] = tuple((name, known.get(name, NONE)) for name in names)
        return projected

    def add(self, family: str, labels: Labels, amount: Decimal) -> None:
        """Add to a counter or gauge; a net amount's two series are born together."""
        place = (family, labels)
        pending = self._pending.get(place)
        if pending is not None:
            self._pending[place] = add(pending, amount)
            return
        total = self._birth(family, labels)
        if total.labels == labels:
            self._pending[place] = amount
        elif amount:  # folded; each time is counted
            self._put(replace(total, value=add(total.value, amount)))

    def _birth(self, family: str, labels: Labels) -> Total:
        if family in BORN_TOGETHER:
            self._row(BORN_TOGETHER[family], labels)
        return self._row(family, labels)

    def _add_up(self) -> None:
        entered, self._entered = self._entered, {}
        for (number, family, further), amount in entered.items():
            self.add(family, self.project_labels(family, self._by_number[number] + further), amount)
        pending, self._pending = self._pending, {}
        for (family, labels), amount in pending.items():
            if amount:
                total = self._row(family, labels)
                self._put(replace(total, value=add(total.value, amount)))

    def set(self, family: str, labels: Labels, value: Decimal) -> None:
        """Set a gauge."""
        self._add_up()
        total = self._row(family, labels)
        if total.value != value:
            self._put(replace(total, value=value))

    def observe(self, family: str, labels: Labels, value: Decimal, exemplar: Exemplar) -> None:
        total = self._row(family, labels)
        place = bisect_left(_exact(total.bounds), value)
        counts = tuple(count + (i == place) for i, count in enumerate(total.counts))
        exemplars = tuple(exemplar if i == place else kept for i, kept in enumerate(total.exemplars))
        self._put(replace(total, value=add(total.value, value), counts=counts, exemplars=exemplars))

    def expose(self, rows: Iterable[int]) -> None:
        """Have the values of series be shown from now on, whoever writes them."""
        self._add_up()
        wanted = set(rows)
        for total in [total for total in self._rows.values() if total.row in wanted]:
            self._put(replace(total, exposed=True))
        stamped = ", changed = DEFAULT" if self._connection.shared else ""
        released = f"UPDATE series SET exposed = 1{stamped} WHERE id = ? AND exposed = 0"  # noqa: S608 - literals
        self._connection.executemany(released, [(row,) for row in sorted(wanted)])

    def create_series(self, family: str, labels: Labels) -> None:
        """Have the series exist, at 0 if it is new."""
        self._row(family, labels)

    def end_series(self, family: str, kept: Container[Labels]) -> None:
        """Have all series of a gauge end but these; whoever shows them must load all totals again."""
        self._add_up()
        ended = [total for total in self._rows.values() if total.family == family and total.labels not in kept]
        if ended:
            change_generation(self._connection)
        for total in ended:
            self._connection.execute("DELETE FROM totals WHERE series = ?", (total.row,))
            self._connection.execute("DELETE FROM series WHERE id = ?", (total.row,))
            del self._rows[family, total.labels]
            self._changed.pop(total.row, None)
            self.lines -= count_lines(total)

    def _row(self, family: str, labels: Labels) -> Total:
        total = self._rows.get((family, labels))
        if total is None and self.lines >= self._settings.series_max:
            folded = self._fold_names(labels, {"root_record_type"})
            if folded != labels:  # an unknown type of session: the only label of these families that has no bound
                return self._row(family, folded)
        if total is None:
            total = self._begun(family, labels)
            self.lines += count_lines(total)
            self._put(total)
        return total

    def _begun(self, family: str, labels: Labels) -> Total:
        """A series that is new, at least to this writer."""
        kind = BY_NAME[family].kind
        bounds = json.dumps(self._settings.bounds[family]) if kind == "histogram" else None
        named, stated = (
            {"family": family, "labels": labels_text(labels)},
            {"bounds": bounds, "exposed": int(kind == "gauge")},
        )
        number = find_or_insert(self._engine.side_connection, "series", named, stated)
        query = "SELECT bounds, exposed FROM series WHERE id = ?"
        bounds, released = self._engine.side_connection.execute(
            query, (number,)
        ).fetchone()  # another writer's may differ
        return new_total(number, family, labels, bounds, released)

    def _put(self, total: Total) -> None:
        self._rows[total.family, total.labels] = total
        self._changed[total.row] = total

    def write(self) -> tuple[Total, ...]:
        """Write what changed since the last call, within the caller's transaction."""
        self._add_up()
        changed = tuple(self._changed.values())
        stamped = ", changed = DEFAULT" if self._connection.shared else ""
        self._connection.write(
            f"{UPSERT_TOTAL}{stamped}", *[total_values(self._engine.writer, total) for total in changed]
        )
        self._changed = {}
        return changed


def change_generation(connection: Connection) -> None:
    """Have all who follow the totals read all of them again."""
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (GENERATION, uuid.uuid4().hex),
    )


@lru_cache(maxsize=256)
def _exact(bounds: tuple[float, ...]) -> tuple[Decimal, ...]:
    """The bounds as they are printed: 0.3 belongs into the bucket of 0.3, which no float is."""
    return tuple(Decimal(repr(bound)) for bound in bounds)
