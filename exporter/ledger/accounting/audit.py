"""Recount the totals from the events and sessions that they were booked from.

Reads only. Net cost can be recounted exactly; costs and credits alone can't, since the ledger doesn't keep how often a
price changed.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from decimal import Decimal
from typing import Any

from exporter.core.catalog import BY_NAME
from exporter.core.costs import AWAITING, COST, CREDITS, EVENTS, TURNS, USAGE, is_inference
from exporter.core.model import Labels, Total
from exporter.core.money import ZERO, add, amount_text, subtract
from exporter.ledger.accounting.pruned_events import PRUNED
from exporter.ledger.database import Connection
from exporter.ledger.queue.awaited_records import AWAITED
from exporter.ledger.schema.rows import NOT_BUNDLED
from exporter.ledger.totals.totals import Totals
from exporter.ledger.views.index import check_index

Sums = dict[tuple[str, Labels], Decimal]

NET = "net cost"
_USAGE = {family for _, family, _ in USAGE}
_PRUNED = {NET, EVENTS, TURNS, *_USAGE}
"""Totals that keep what was pruned, so they may be anything beside what is left."""
_RECOUNTED = {
    EVENTS,
    TURNS,
    AWAITING,
    AWAITED,
    *_USAGE,
    "telnyx_sessions",
    "telnyx_unsettled_cost",
    "telnyx_ledger_events",
}
_ONE = Decimal(1)


def find_differences(connection: Connection, totals: Totals, all_totals: Iterable[Total]) -> Iterator[str]:
    """Yield a line for each total that differs from the sum of its events and sessions."""
    yield from check_index(connection)
    (pruned,) = connection.execute(f"SELECT {PRUNED}").fetchone()
    booked, recounted = _booked(all_totals), _recount(connection, totals)
    relabelled = {family for family, labels in booked if _has_other_labels(family, labels, totals)}
    booked, recounted = _without_own_labels(booked, relabelled), _without_own_labels(recounted, relabelled)
    for key in sorted(booked.keys() | recounted.keys()):
        total, recount = booked.get(key, ZERO), recounted.get(key, ZERO)
        family, labels = key
        if total == recount or (pruned and family in _PRUNED):
            continue
        named = ", ".join(f"{name}={value}" for name, value in labels)
        yield f"{family} {{{named}}}: the total is {amount_text(total)}, the rows add up to {amount_text(recount)}"


def _booked(totals: Iterable[Total]) -> Sums:
    sums: Sums = defaultdict(lambda: ZERO)
    for total in totals:
        if total.family == COST:
            sums[NET, total.labels] = add(sums[NET, total.labels], total.value)
        elif total.family == CREDITS:
            sums[NET, total.labels] = subtract(sums[NET, total.labels], total.value)
        elif total.family in _RECOUNTED:
            sums[total.family, total.labels] = total.value
    return sums


# Example: an event cost 0.30 USD and was booked with `metrics.labels: [team]`, as {team=red}. Then the configuration
# named `campaign` instead, and the price fell to 0.20: the credit of 0.10 went to {campaign=none}. The net cost under
# each label set is that of no event. Their sum, without the labels of `metrics.labels`, is the event's 0.20.


def _has_other_labels(family: str, labels: Labels, totals: Totals) -> bool:
    """Return whether a series was booked under other labels than the configuration has now."""
    present = totals.project_labels(COST if family == NET else family, ())
    return [name for name, _ in labels] != [name for name, _ in present]


def _without_own_labels(sums: Sums, families: Container[str]) -> Sums:
    """Add up these families' sums over the labels that `metrics.labels` configures."""
    reduced: Sums = defaultdict(lambda: ZERO)
    for (family, labels), amount in sums.items():
        names = BY_NAME[COST if family == NET else family].labels
        kept = tuple(label for label in labels if label[0] in names) if family in families else labels
        reduced[family, kept] = add(reduced[family, kept], amount)
    return reduced


def _counted(labels: Labels, usage: Iterable[Any]) -> Iterator[tuple[str, Labels, Decimal]]:
    """Yield the family, its labels and the amount of each counter that an event adds to, but for its cost."""
    yield EVENTS, labels, _ONE
    if is_inference(labels):
        yield TURNS, labels, _ONE
    for (_, family, further), used in zip(USAGE, usage, strict=True):
        if amount := Decimal(used):
            yield family, labels + further, amount


def _recount(connection: Connection, totals: Totals) -> Sums:
    sums: Sums = defaultdict(lambda: ZERO)

    def count(family: str, labels: Labels, amount: Decimal = _ONE) -> None:
        sums[family, labels] = add(sums[family, labels], amount)

    accounts, unsettled = {}, set()
    for session, account, state in connection.execute("SELECT id, account, state FROM sessions"):
        accounts[session] = account
        if state != "settled":
            unsettled.add(session)
        count("telnyx_sessions", (("account", account), ("state", state)))
    for account, record_type in connection.execute("SELECT account, record_type FROM awaited_records"):
        count(AWAITED, (("account", account), ("record_type", record_type)))
    fields = ", ".join(field for field, _, _ in USAGE)
    rows = connection.execute(f"SELECT owner, labels, cost_labels, cost, currency, {NOT_BUNDLED}, {fields} FROM events")  # noqa: S608 - literals
    for owner, label_set, cost_label_set, cost, currency, awaits, *usage in rows:
        count("telnyx_ledger_events", ())
        labels = totals.labels(label_set)
        for family, its_labels, amount in _counted(labels, usage):
            count(family, totals.project_labels(family, its_labels), amount)
        if cost is None:
            if awaits:
                count(AWAITING, totals.project_labels(AWAITING, labels))
            continue
        cost_labels = (*totals.labels(cost_label_set), ("currency", currency))
        count(NET, totals.project_labels(COST, cost_labels), Decimal(cost))
        if owner in unsettled:
            count("telnyx_unsettled_cost", (("account", accounts[owner]), ("currency", currency)), Decimal(cost))
    return sums
