"""The last failed polls with their reasons, kept longer than what succeeded since.

Owns the table that tells across sessions what went wrong; runs within the caller's transaction. What one session's own
history keeps is decided here too. The surprising fact: the bound is per reason, so that a storm of time-outs doesn't
sweep away the one tree that could not be read.
"""

from collections.abc import Iterable

from msgspec.json import decode, encode

from exporter.core.model import Poll
from exporter.ledger.database import Connection

PER_REASON_MAX = 200
"""Failed polls kept of each reason; a look at what is wrong needs no more, and reasons are some dozens."""
POLLS_KEPT = 10
"""Polls that a session's history shows, whatever became of them."""
FAILURES_KEPT = 10
"""Failed polls that it shows beyond those."""
DETAIL_MAX = 500
"""Characters kept of what an error said."""

FAILED = frozenset({"failed", "denied"})
"""Outcomes of a poll that telnyx_poll_failures_total counts."""


def append_poll(polls: str, at: float, outcome: str, reason: str) -> str:
    """A session's polls as JSON, [at, outcome, reason] each, with one more: the last ones, and failures before them."""
    known = [*decode(polls), [round(at, 3), outcome, reason]]
    older, last = known[:-POLLS_KEPT], known[-POLLS_KEPT:]
    return encode([*[poll for poll in older if poll[1] in FAILED][-FAILURES_KEPT:], *last]).decode()


def record_failures(connection: Connection, polls: Iterable[Poll]) -> None:
    """Keep those that failed."""
    failed = [poll for poll in polls if poll.outcome in FAILED]
    if not failed:
        return
    connection.write(
        "INSERT INTO failures (session, at, outcome, reason, detail) VALUES (?, ?, ?, ?, ?)",
        *[(poll.claim.session, poll.at, poll.outcome, poll.reason, poll.detail[:DETAIL_MAX]) for poll in failed],
    )
    connection.write(
        "DELETE FROM failures WHERE reason = ? AND id <="
        " (SELECT id FROM failures WHERE reason = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        *[(reason, reason, PER_REASON_MAX) for reason in sorted({poll.reason for poll in failed})],
    )
