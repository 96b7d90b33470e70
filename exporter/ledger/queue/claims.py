"""Claims: the right to poll a due session, for one poll at a time.

Claim numbers come from one rising sequence, so they tell which of two polls was claimed later, and whether a poll still
has the claim of its session; without it, it books nothing. A file needs no lease, since its lock proves that no other
process polls. On a server a claim is valid for its lease, by the server's clock, unless it is renewed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Claim, SessionRef
from exporter.ledger.database import Connection

_UNCLAIMED = "(claim = 0 OR leased_until < clock_timestamp())"
"""On a server: never claimed, released, or not renewed in time."""
_LEASE = "clock_timestamp() + ? * interval '1 second'"


def claim(
    connection: Connection, policy: PollPolicy, now: float, limits: Mapping[str, int], lease_seconds: float
) -> list[Claim]:
    """Claim due sessions, the longest due first, at most as many of an account as its limit."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    for account, limit in limits.items():
        # Two queries, not one with OR: each is answered from the front of the index.
        due = _find_due(connection, "due_at <= ?", account, now, limit)
        # Due later than any policy allows: written before the clock was set back.
        due += _find_due(connection, "due_at > ?", account, now + policy.longest, limit - len(due))
        found += [(account, row) for row in due]
    numbers = _next_numbers(connection, len(found)) if found else []
    claims = [
        Claim(session, number, SessionRef(account, *named), due_at, fingerprint)
        for number, (account, (session, *named, due_at, fingerprint)) in zip(numbers, found, strict=True)
    ]
    leased, seconds = (f", leased_until = {_LEASE}", (lease_seconds,)) if connection.shared else ("", ())
    connection.executemany(
        f"UPDATE sessions SET claim = ?, notice_due = NULL{leased} WHERE id = ?",  # noqa: S608 - literals of this module
        [(each.number, *seconds, each.session) for each in claims],
    )
    return claims


def _find_due(connection: Connection, condition: str, account: str, moment: float, limit: int) -> list[tuple[Any, ...]]:
    unclaimed = _UNCLAIMED if connection.shared else "claim = 0"
    order = "due_at, id" if connection.shared else "due_at"  # SQLite's index ends with the id
    for_update = f"{connection.for_update} SKIP LOCKED" if connection.shared else ""
    query = (
        "SELECT id, record_type, event_id, CASE WHEN date_time_accepted = 0 THEN NULL ELSE date_time END, due_at,"  # noqa: S608 - literals of this module
        f" fingerprint FROM sessions WHERE account = ? AND {unclaimed} AND {condition} ORDER BY {order} LIMIT ?"
        + for_update
    )
    return connection.execute(query, (account, moment, limit)).fetchall()


def _next_numbers(connection: Connection, count: int) -> list[int]:
    if connection.shared:
        rows = connection.execute("SELECT nextval('claims') FROM generate_series(1, ?::int)", (count,)).fetchall()
        return [number for (number,) in rows]
    last = int(connection.execute("SELECT value FROM meta WHERE key = 'claims'").fetchone()[0])
    connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(last + count),))
    return list(range(last + 1, last + count + 1))


def renew_claims(connection: Connection, claims: Iterable[Claim], lease_seconds: float) -> None:
    """Extend the leases of claims; one that another process has claimed since stays with that process."""
    if connection.shared:
        connection.executemany(
            f"UPDATE sessions SET leased_until = {_LEASE} WHERE id = ? AND claim = ?",  # noqa: S608 - literals of this module
            [(lease_seconds, each.session, each.number) for each in _in_locking_order(claims)],
        )


def release_claims(connection: Connection, claims: Iterable[Claim]) -> None:
    """Release claims; their sessions are due as before."""
    connection.executemany(
        "UPDATE sessions SET claim = 0 WHERE id = ? AND claim = ?",
        [(each.session, each.number) for each in _in_locking_order(claims)],
    )


def _in_locking_order(claims: Iterable[Claim]) -> list[Claim]:
    return sorted(claims, key=lambda each: each.session)  # every writer locks sessions in this order


def free_claims(connection: Connection) -> None:
    """Release the claims of a process that died, at the start of the file's next one; on a server leases run out."""
    if not connection.shared:
        connection.execute("UPDATE sessions SET claim = 0 WHERE claim <> 0")


def count_due(connection: Connection, now: float, too_far: float, accounts: Sequence[str]) -> int:
    """Return how many sessions are due and not claimed; those due after `too_far` are due, too."""
    if connection.shared:  # an index of claims would cost each poll more than this count costs
        query = f"SELECT count(*) FROM sessions WHERE account = ? AND {_UNCLAIMED} AND (due_at <= ? OR due_at > ?)"  # noqa: S608 - literals
        return sum(int(connection.execute(query, (account, now, too_far)).fetchone()[0]) for account in accounts)
    # Counted by the index of due times alone, which has no claims; claims are few, and have an index of their own.
    query = (
        "SELECT (SELECT count(*) FROM sessions WHERE account = ? AND due_at <= ?)"
        " + (SELECT count(*) FROM sessions WHERE account = ? AND due_at > ?)"
    )
    counts = [int(connection.execute(query, (account, now, account, too_far)).fetchone()[0]) for account in accounts]
    claimed = connection.execute("SELECT account, due_at FROM sessions WHERE claim <> 0").fetchall()
    return sum(counts) - len([at for account, at in claimed if account in accounts and (at <= now or at > too_far)])
