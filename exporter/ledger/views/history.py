"""The past of sessions for the pages: amended costs, past polls, failed polls.

Writes within the caller's transaction, and is no part of the accounting. Everything here has a bound, so a session that
changes for years doesn't fill the ledger.
"""

from collections.abc import Iterable
from decimal import Decimal

from msgspec.json import decode, encode

from exporter.core.model import Event, Poll
from exporter.core.money import amount_text
from exporter.ledger.database import Connection

AMENDMENTS_KEPT = 100
"""Amendments kept per session, the newest."""
POLLS_KEPT = 10
"""Polls that a session's history has, whatever their outcome."""
FAILURES_KEPT = 10
"""Failed polls that a session's history has beyond those."""
PER_REASON_MAX = 200
"""Failed polls kept of all sessions, for each of some dozens of reasons.

The bound is per reason, so that a storm of time-outs doesn't displace the one tree that couldn't be read.
"""
DETAIL_MAX = 500
"""Characters kept of an error's text."""

FAILED = frozenset({"failed", "denied"})
"""Outcomes of a poll that telnyx_poll_failures_total counts."""


def record_amendment(connection: Connection, session: int, at: float, event: Event, before: Decimal) -> None:
    """Record that the event's cost was `before` until `at`."""
    texts = [amount_text(amount) if amount is not None else None for amount in (before, event.cost)]
    connection.write(
        "INSERT INTO amendments (session, at, record_type, event_id, before, after, currency)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session, at, event.record_type, event.id, *texts, event.currency),
    )
    connection.write(
        "DELETE FROM amendments WHERE session = ? AND id <="
        " (SELECT id FROM amendments WHERE session = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (session, session, AMENDMENTS_KEPT),
    )


def append_poll(polls: str, at: float, outcome: str, reason: str) -> str:
    """Return the polls of `sessions.polls`, JSON [[at, outcome, reason], ...], with one more and within the bounds."""
    known = [*decode(polls), [round(at, 3), outcome, reason]]
    older, last = known[:-POLLS_KEPT], known[-POLLS_KEPT:]
    return encode([*[poll for poll in older if poll[1] in FAILED][-FAILURES_KEPT:], *last]).decode()


def record_failures(connection: Connection, polls: Iterable[Poll]) -> None:
    """Record those of the polls that failed."""
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
