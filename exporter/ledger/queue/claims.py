"""Who polls what: due sessions, each taken by one poll at a time.

Owns the queue's front, within the caller's transaction. A claim's number comes from one rising sequence: it tells which
of two polls was claimed later, and whose claim a session has now, so that whoever lost it can book nothing. The
surprising fact: a file needs no lease, since the lock that the kernel frees at death proves that nobody else polls;
among several a claim is good for as long as its lease, by the server's clock, unless it is renewed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from exporter.core.lifecycle import PollPolicy
from exporter.core.model import Claim, SessionRef
from exporter.ledger.database import Connection

_CLAIMED = "id, record_type, event_id, date_time, due_at, fingerprint"
_FREE = "(claim = 0 OR leased_until < clock_timestamp())"
"""Nobody has claimed it, or not for long enough."""
_LEASE = "clock_timestamp() + ? * interval '1 second'"


def claim(
    connection: Connection, policy: PollPolicy, now: float, limits: Mapping[str, int], lease_seconds: float
) -> list[Claim]:
    """Due sessions, the longest due first: at most as many of an account as its limit."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    for account, limit in limits.items():
        count_due = _due(connection, "due_at <= ?", account, now, limit)
        count_due += _due(connection, "due_at > ?", account, now + policy.longest, limit - len(count_due))
        found += [(account, row) for row in count_due]
    numbers = _numbers(connection, len(found)) if found else []
    claims = [
        Claim(session, number, SessionRef(account, *named), due_at, fingerprint)
        for number, (account, (session, *named, due_at, fingerprint)) in zip(numbers, found, strict=True)
    ]
    leased = f", leased_until = {_LEASE}" if connection.shared else ""
    connection.executemany(
        f"UPDATE sessions SET claim = ?, notice_due = NULL{leased} WHERE id = ?",  # noqa: S608 - literals of this module
        [(each.number, *([lease_seconds] if connection.shared else ()), each.session) for each in claims],
    )
    return claims


def renew_claims(connection: Connection, claims: Iterable[Claim], lease_seconds: float) -> None:
    """Of polls that are still under way; a claim that somebody else has by now stays theirs."""
    if connection.shared:
        connection.executemany(
            f"UPDATE sessions SET leased_until = {_LEASE} WHERE id = ? AND claim = ?",  # noqa: S608 - literals of this module
            [(lease_seconds, each.session, each.number) for each in sorted(claims, key=lambda each: each.session)],
        )


def free_claims(connection: Connection) -> None:
    """Of a process that died: at once where nobody else can be polling."""
    if not connection.shared:
        connection.execute("UPDATE sessions SET claim = 0 WHERE claim <> 0")


def release_claims(connection: Connection, claims: Iterable[Claim]) -> None:
    """Of polls that came to nothing: their sessions are as due as they were."""
    connection.executemany(
        "UPDATE sessions SET claim = 0 WHERE id = ? AND claim = ?",
        [(each.session, each.number) for each in sorted(claims, key=lambda each: each.session)],
    )


def count_due(connection: Connection, now: float, far: float, accounts: Sequence[str]) -> int:
    """How many sessions are due, or due so far off that the clock was set back, and not claimed."""
    if connection.shared:  # an index of claims would cost each poll more than this count costs
        query = f"SELECT count(*) FROM sessions WHERE account = ? AND {_FREE} AND (due_at <= ? OR due_at > ?)"  # noqa: S608 - literals
        return sum(int(connection.execute(query, (account, now, far)).fetchone()[0]) for account in accounts)
    # By the index alone, which has no claims; those are few, and have an index of their own.
    query = (
        "SELECT (SELECT count(*) FROM sessions WHERE account = ? AND due_at <= ?)"
        " + (SELECT count(*) FROM sessions WHERE account = ? AND due_at > ?)"
    )
    counts = [int(connection.execute(query, (account, now, account, far)).fetchone()[0]) for account in accounts]
    claimed = connection.execute("SELECT account, due_at FROM sessions WHERE claim <> 0").fetchall()
    return sum(counts) - len([at for account, at in claimed if account in accounts and (at <= now or at > far)])


def _due(connection: Connection, when: str, account: str, moment: float, limit: int) -> list[tuple[Any, ...]]:
    # Two questions, not one with OR: each is answered from the front of the index.
    free = _FREE if connection.shared else "claim = 0"
    order = "due_at, id" if connection.shared else "due_at"  # SQLite's index ends with the id
    for_update = f"{connection.for_update} SKIP LOCKED" if connection.shared else ""
    query = (
        f"SELECT {_CLAIMED} FROM sessions WHERE account = ? AND {free} AND {when}"  # noqa: S608 - literals of this module
        f" ORDER BY {order} LIMIT ?{for_update}"
    )
    return connection.execute(query, (account, moment, limit)).fetchall()


def _numbers(connection: Connection, count: int) -> list[int]:
    if connection.shared:
        rows = connection.execute("SELECT nextval('claims') FROM generate_series(1, ?::int)", (count,)).fetchall()
        return [number for (number,) in rows]
    last = int(connection.execute("SELECT value FROM meta WHERE key = 'claims'").fetchone()[0])
    connection.execute("UPDATE meta SET value = ? WHERE key = 'claims'", (str(last + count),))
    return list(range(last + 1, last + count + 1))
