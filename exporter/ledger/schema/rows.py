"""Rows of the two large tables, `events` and `sessions`, read and written in bulk.

Booking spends most of its time here, so rows are built by position, and statements are few and constant: the drivers
keep them prepared.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from exporter.core.lifecycle import SessionState
from exporter.core.model import SessionRef
from exporter.core.money import amount_text
from exporter.ledger.database import Connection, TransactionConflict

_CHUNK = 500
"""Keys per SELECT: SQLite allows 32,766 variables, and longer lists are not faster."""


class EventRow(Struct, frozen=True, gc=False):
    """One row of `events`."""

    key: bytes
    owner: int
    claim: int
    labels: int
    cost_labels: int | None
    cost: Decimal | None
    currency: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    characters: int
    billed_seconds: Decimal
    at: float | None
    settled_unpriced: bool
    bundled: bool
    nested: bool
    alike: bool = False
    """When it was last shown, a twin of a lower ordinal had the same cost and usage: it may be listed by mistake."""
    further_twins: int = 0
    """Of the row with the ordinal 0: the highest ordinal that was booked for its key."""


class SessionRow(Struct, frozen=True):
    """One row of `sessions`, as far as booking needs it."""

    id: int
    ref: SessionRef
    standing: SessionState
    due_at: float | None
    claim: int
    observed: int
    owned: int
    latest_at: float | None
    crossed: str
    failing: str
    polls: str
    summary: str | None
    notice_due: float | None
    fingerprint: bytes | None
    stated_cost: str | None
    """A total that a webhook stated ("0.0942 USD"), until a tree has confirmed it."""
    date_time_accepted: bool | None
    """Whether the API found the session with the date of `ref`; None if it was not asked, or knew no such session."""


_EVENT = (
    "key, owner, claim, labels, cost_labels, cost, currency, input_tokens, cached_input_tokens, output_tokens,"
    " characters, billed_seconds, at, flags"
)
_SESSION = (
    "id, account, record_type, event_id, date_time, discovered_at, state, configured, interval, first_tree_at,"
    " changed_at, closed_at, plan, due_at, claim, observed, owned, latest_at, crossed, failing, polls, summary,"
    " notice, notice_due, fingerprint, stated_cost, date_time_accepted"
)
_INTO_EVENTS = f"INTO events ({_EVENT}) VALUES ({','.join('?' * len(_EVENT.split(',')))})"
_EVENT_SET = ", ".join(f"{name} = excluded.{name}" for name in _EVENT.split(", ") if name != "key")
# Example: an event is nested, and two further twins of it are booked. Its flags are 2 + 2 * 256 = 514; those of the
# twin with the ordinal 2 are 2, or 2 + 8 if it has the same bill as another one. The bits from 16 to 128 are free.
_SETTLED_UNPRICED, _NESTED, _BUNDLED, _ALIKE, _FURTHER_TWINS = 1, 2, 4, 8, 256
NOT_BUNDLED = f"(flags & {_BUNDLED}) = 0"
"""A condition of `events`."""


def read_events(connection: Connection, keys: Collection[bytes]) -> dict[bytes, EventRow]:
    """Return the rows that exist, locked until the transaction ends."""
    # Locked in the order of keys: two transactions that lock the same rows can't deadlock.
    for_update = f" ORDER BY key{connection.for_update}" if connection.shared else ""
    found = _select(connection, f"SELECT {_EVENT} FROM events WHERE key", sorted(keys), for_update)  # noqa: S608 - literals
    return {row[0]: _event(row) for row in found}


def read_sessions(connection: Connection, ids: Collection[int], *, lock: bool = True) -> dict[int, SessionRow]:
    """Return the rows that exist, locked until the transaction ends; without `lock` others may change them."""
    for_update = f" ORDER BY id{connection.for_update}" if connection.shared and lock else ""
    found = _select(connection, f"SELECT {_SESSION} FROM sessions WHERE id", sorted(ids), for_update)  # noqa: S608 - literals
    return {row[0]: _session(row) for row in found}


def read_owners(connection: Connection, keys: Collection[bytes]) -> tuple[set[int], dict[bytes, int]]:
    """Return the sessions that own these events, and `further_twins` by key of those that have any.

    Without a lock, so another transaction may change that.
    """
    twins = f"CASE WHEN flags >= {_FURTHER_TWINS} THEN key END, CASE WHEN flags >= {_FURTHER_TWINS} THEN flags END"
    query = f"SELECT DISTINCT owner, {twins} FROM events WHERE key"  # noqa: S608 - literals
    found = list(_select(connection, query, sorted(keys)))
    further = {key: flags // _FURTHER_TWINS for _, key, flags in found if key is not None}
    return {owner for owner, _, _ in found}, further


def find_events(connection: Connection, keys: Collection[bytes]) -> set[bytes]:
    """Return those of these keys that have a row, without a lock."""
    return {key for (key,) in _select(connection, "SELECT key FROM events WHERE key", sorted(keys))}


def _select(connection: Connection, select: str, wanted: Sequence[object], rest: str = "") -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        yield from connection.execute(f"{select} IN ({','.join('?' * len(chunk))}){rest}", chunk)


def write_events(connection: Connection, rows: Sequence[EventRow], new: Collection[bytes]) -> None:
    """Write rows in the order of their keys; `new` are the keys that didn't exist when they were read.

    Raises TransactionConflict if another transaction has inserted one of them since.
    """
    if not connection.shared:
        connection.executemany(f"INSERT OR REPLACE {_INTO_EVENTS}", map(_event_values, rows))
        return
    inserted = [_event_values(row) for row in rows if row.key in new]
    if inserted:
        done = connection.executemany(f"INSERT {_INTO_EVENTS} ON CONFLICT DO NOTHING", inserted).rowcount
        if done != len(inserted):
            raise TransactionConflict("another transaction booked an event of this batch for the first time")
    known = [_event_values(row) for row in rows if row.key not in new]
    connection.write(f"INSERT {_INTO_EVENTS} ON CONFLICT (key) DO UPDATE SET {_EVENT_SET}", *known)


def write_sessions(connection: Connection, rows: Iterable[SessionRow]) -> None:
    connection.write(
        "UPDATE sessions SET state = ?, interval = ?, first_tree_at = ?, changed_at = ?, closed_at = ?, plan = ?,"
        " due_at = ?, claim = ?, observed = ?, owned = ?, latest_at = ?, crossed = ?, failing = ?, polls = ?,"
        " summary = ?, fingerprint = ?, stated_cost = ?, date_time_accepted = ? WHERE id = ?",
        *map(_session_values, rows),
    )


def plan_text(plan: Iterable[float]) -> str:
    """Return planned times as the column `plan` has them; they are read back exactly."""
    return " ".join(map(repr, plan))


def invalidate_fingerprints(connection: Connection, sessions: Iterable[int]) -> None:
    """Have the next answers of these sessions read in full, even if they are the same as the last."""
    connection.write("UPDATE sessions SET fingerprint = NULL WHERE id = ?", *[(session,) for session in sessions])


# Name by name, which takes half the time of unpacking with a star: these run for each event of each poll.


def _event(row: tuple[Any, ...]) -> EventRow:
    key, owner, claim, labels, cost_labels, cost, currency = row[:7]
    tokens_in, cached, tokens_out, characters, seconds, at, flags = row[7:]
    return EventRow(
        key,
        owner,
        claim,
        labels,
        cost_labels,
        Decimal(cost) if cost is not None else None,
        currency,
        tokens_in,
        cached,
        tokens_out,
        characters,
        Decimal(seconds),
        at,
        bool(flags & _SETTLED_UNPRICED),
        bool(flags & _BUNDLED),
        bool(flags & _NESTED),
        bool(flags & _ALIKE),
        flags // _FURTHER_TWINS,
    )


def _event_values(row: EventRow) -> tuple[object, ...]:
    return (
        row.key,
        row.owner,
        row.claim,
        row.labels,
        row.cost_labels,
        amount_text(row.cost) if row.cost is not None else None,
        row.currency,
        row.input_tokens,
        row.cached_input_tokens,
        row.output_tokens,
        row.characters,
        amount_text(row.billed_seconds),
        row.at,
        _SETTLED_UNPRICED * row.settled_unpriced
        + _BUNDLED * row.bundled
        + _NESTED * row.nested
        + _ALIKE * row.alike
        + _FURTHER_TWINS * row.further_twins,
    )


def _session(row: tuple[Any, ...]) -> SessionRow:
    number, account, record_type, event_id, date_time, followed_at, state, configured, interval = row[:9]
    first_tree_at, changed_at, rested_at, plan, due_at, claim, observed, owned = row[9:17]
    latest_at, crossed, failing, polls, summary, hint, notice_due, fingerprint, stated, accepted = row[17:]
    times = (first_tree_at, changed_at, rested_at, tuple(map(float, plan.split())))
    standing = SessionState(followed_at, state, bool(configured), interval, hint, *times)
    ref = SessionRef(account, record_type, event_id, date_time)
    accepted = None if accepted is None else bool(accepted)
    booked = (observed, owned, latest_at, crossed, failing, polls, summary, notice_due, fingerprint, stated, accepted)
    return SessionRow(number, ref, standing, due_at, claim, *booked)


def _session_values(row: SessionRow) -> tuple[object, ...]:
    standing = row.standing
    return (
        standing.state,
        standing.interval,
        standing.first_tree_at,
        standing.changed_at,
        standing.closed_at,
        plan_text(standing.plan),
        row.due_at,
        row.claim,
        row.observed,
        row.owned,
        row.latest_at,
        row.crossed,
        row.failing,
        row.polls,
        row.summary,
        row.fingerprint,
        row.stated_cost,
        None if row.date_time_accepted is None else int(row.date_time_accepted),
        row.id,
    )
