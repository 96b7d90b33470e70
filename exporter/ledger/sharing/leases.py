"""What one process does for all: a row each in one table, and how long the holder may rely on it.

Owns both sides of a lease: the row, by the server's clock, and the holder's own reckoning, by its monotonic clock. The
surprising fact: the holder looks at its clock before it asks, so it takes the lease to be over before the server does,
however long the answer took; it needs nobody's word for that.
"""

import math

from msgspec import Struct

from exporter.ledger.database import Connection

EXPOSITION, PRUNING, BACKFILL, BALANCE = "exposition", "pruning", "backfill", "balance"


def account_lease(account: str, what: str) -> str:
    """The name of the lease of whoever asks the API this of an account."""
    return f"{what}/{account}"


class LeaseAnswer(Struct, frozen=True):
    """What became of a question for a lease."""

    held: bool
    first: bool = False
    """Nobody ever had it before."""


def acquire(connection: Connection, name: str, holder: int, seconds: float) -> LeaseAnswer | None:
    """Have the lease for so long from now, unless it is somebody else's; within the caller's transaction.

    None, at once, while another asks for it: who stands still in the middle of that keeps nobody from other work.
    """
    free = f"{connection.for_update} SKIP LOCKED"
    before = connection.execute(f"SELECT holder FROM leases WHERE name = ?{free}", (name,)).fetchone()  # noqa: S608 - literals
    if before is None:
        if connection.execute("SELECT 1 FROM leases WHERE name = ?", (name,)).fetchone() is not None:
            return None
        connection.execute("INSERT INTO leases VALUES (?, 0, '-infinity') ON CONFLICT DO NOTHING", (name,))
        before = (0,)
    taken = connection.execute(
        "UPDATE leases SET holder = ?, until = clock_timestamp() + ? * interval '1 second'"
        " WHERE name = ? AND (holder = ? OR until < clock_timestamp())",
        (holder, seconds, name, holder),
    )
    return LeaseAnswer(taken.rowcount == 1, first=before[0] == 0)


class Lease:
    """The holder's own reckoning of one lease; times are monotonic."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = -math.inf
        """Over from then on, whatever anybody says."""
        self.since = math.inf
        """Held without a gap since then."""
        self.first = False
        """Nobody ever had it before."""

    def answered(self, asked_at: float, now: float, answer: LeaseAnswer) -> None:
        """Take note of the answer to a question that was asked at `asked_at`."""
        if not answer.held:
            self.until, self.since = -math.inf, math.inf
            return
        if not self.held(now):
            self.since, self.first = now, answer.first
        self.until = asked_at + self.seconds

    def held(self, now: float) -> bool:
        return now < self.until
