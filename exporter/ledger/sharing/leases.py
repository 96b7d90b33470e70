"""Leases: tasks that one replica does for all, each a row in one table.

A lease has two ends: the row's, by the server's clock, and the holder's, by its own monotonic clock. No clocks are
compared. The holder measures from before its request, so its own end always comes first.

Example: the exposition lease lasts 20 s and is renewed every 5 s. A and B have different monotonic clocks; the server's
is the third.

    server    A        B
    1000.0    50.0     -      A asks. The row's end: 1020.0. The answer arrives at 50.4; A's own end: 50.0 + 20 = 70.0.
    1005.0    55.0     -      A renews: row 1025.0, own end 75.0. Then A is cut off from the server.
    1010.0    60.0     900.0  B asks: the row is A's until 1025.0, so B gets nothing.
    1025.0    75.0     915.0  A's own end: it stops, without having heard of B.
    1025.1    75.1     915.1  B asks: 1025.0 is over, so B holds the lease until 1045.1 (own end 935.1).

Had A's request of 55.0 been slow and reached the server at 1007.0, the row would end at 1027.0 and A still at 75.0.
"""

import math

from msgspec import Struct

from exporter.ledger.database import Connection

EXPOSITION, PRUNING, BACKFILL, BALANCE = "exposition", "pruning", "backfill", "balance"


def account_lease(account: str, task: str) -> str:
    """Return the name of the lease for a task that the API is asked of each account."""
    return f"{task}/{account}"


class LeaseAnswer(Struct, frozen=True):
    """The answer to a request for a lease."""

    held: bool
    first: bool = False
    """No writer ever had it before."""


def acquire(connection: Connection, name: str, holder: int, seconds: float) -> LeaseAnswer | None:
    """Acquire or renew the lease for so long from now, unless another holds it; within the caller's transaction.

    Return None at once if another process holds the row's lock: a stalled process never blocks this one.
    """
    skip = f"{connection.for_update} SKIP LOCKED"
    before = connection.execute(f"SELECT holder FROM leases WHERE name = ?{skip}", (name,)).fetchone()  # noqa: S608 - literals
    if before is None:
        if connection.execute("SELECT 1 FROM leases WHERE name = ?", (name,)).fetchone() is not None:
            return None
        connection.execute("INSERT INTO leases VALUES (?, 0, '-infinity') ON CONFLICT DO NOTHING", (name,))
        before = (0,)
    updated = connection.execute(
        "UPDATE leases SET holder = ?, until = clock_timestamp() + ? * interval '1 second'"
        " WHERE name = ? AND (holder = ? OR until < clock_timestamp())",
        (holder, seconds, name, holder),
    )
    return LeaseAnswer(updated.rowcount == 1, first=before[0] == 0)


class Lease:
    """The holder's own end of one lease; times are monotonic."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = -math.inf
        self.since = math.inf
        """Held without a gap since then."""
        self.first = False
        """No writer ever had it before."""

    def answered(self, asked_at: float, now: float, answer: LeaseAnswer) -> None:
        """Apply the answer to a request that was made at `asked_at`."""
        if not answer.held:
            self.until, self.since = -math.inf, math.inf
            return
        if not self.held(now):
            self.since, self.first = now, answer.first
        self.until = asked_at + self.seconds

    def held(self, now: float) -> bool:
        return now < self.until
