"""What one session is and what it yields: its tree with costs, its checks, and every sample on /metrics it leads to.

Owns the picture of a tree, and the booking of one session into a ledger of its own that is thrown away: the samples are
those of the real rooms, not a second opinion. Books nothing that lasts. The surprising fact: the session is booked
twice, the second time when it would have settled, so that the histograms show too.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from exporter.app import App, SystemClock
from exporter.config import Config
from exporter.errors import ConfigError
from exporter.ledger import Settings, open_ledger
from exporter.metrics import Metrics
from exporter.model import Event, Facts, Poll, Profile, Session, SessionRef
from exporter.money import ZERO, amount_text
from exporter.plan import policy

BOOKKEEPING = (
    *("telnyx_sessions", "telnyx_ledger_events"),
    *("telnyx_discovered_sessions_total", "telnyx_discovery_last_success_timestamp_seconds"),
)
"""Families that speak of the ledger rather than of the session."""

SAMPLES_HEADING = "on /metrics, once it has settled:"


async def explain(config: Config, account: str | None, record_type: str, event_id: str) -> str:
    """The session's picture as text; raises PollError if the API doesn't give it."""
    names = [known.name for known in config.accounts]
    name = names[0] if account is None else account
    if name not in names:
        raise ConfigError("--account", f"no account {name!r}; configured: {', '.join(names)}")
    app = App(config, listen="", clock=SystemClock())
    try:
        session = await app.plan.journeys[name].session(SessionRef(name, record_type, event_id))
    finally:
        await app.close_clients()
    found = app.labeller.facts(session)
    samples = _samples(config, session, found, app.labeller.profile(session, found))
    return "\n".join([*tree_lines(session), "", *_check_lines(session), "", SAMPLES_HEADING, *samples, ""])


def tree_lines(session: Session) -> Iterator[str]:
    """The tree, one event a line: record type, product, its own cost and the cumulative one."""
    children: dict[int, list[int]] = {}
    for index, event in enumerate(session.events):
        children.setdefault(event.parent, []).append(index)
    rows: list[tuple[str, Event]] = []
    waiting = [(0, "", "")]
    while waiting:
        index, lead, below = waiting.pop()
        event = session.events[index]
        rows.append((f"{lead}{event.record_type} ({event.product or '-'}) {event.id or '-'}", event))
        found = children.get(index, [])
        for child in reversed(found):
            last = child == found[-1]
            waiting.append((child, below + ("└── " if last else "├── "), below + ("    " if last else "│   ")))
    width = max(len(name) for name, _ in rows)
    for name, event in rows:
        own = "unpriced" if event.cost is None else str(event.cost)
        cumulative = "?" if event.cumulative is None else str(event.cumulative)
        yield f"{name.ljust(width)}  event {own}  cumulative {cumulative}  {event.currency}"


def _check_lines(session: Session) -> Iterator[str]:
    if not session.complete:
        yield f"incomplete: {session.cuts_unresolved} of {session.cuts} cut subtrees could not be had"
    for mismatch in session.mismatches:
        yield f"check {mismatch.check} fails: {mismatch.detail}"
    if session.complete and not session.mismatches:
        yield f"checks hold: {len(session.events)} events, {amount_text(session.events[0].cumulative or ZERO)} in all"


def _samples(config: Config, session: Session, found: tuple[Facts, ...], profile: Profile) -> list[str]:
    pace = policy(config)
    with tempfile.TemporaryDirectory(prefix="telnyx-session-") as folder:
        ledger = open_ledger(f"sqlite:///{Path(folder) / 'one.sqlite'}", pace, Settings.of(config))
        try:
            for at in (0.0, pace.settle_after):
                ledger.follow([session.ref], "config", at)
                for claim in ledger.claim(at + pace.max_interval, {session.ref.account: 1}):
                    ledger.record([Poll(claim, at, "tree", "", session, found, profile)])
            totals = [total for total in ledger.totals() if total.family not in BOOKKEEPING]
        finally:
            ledger.close()
    metrics = Metrics(config.metrics)
    metrics.load([replace(total, released=True) for total in totals if total.value or total.counts])
    page = metrics.page()
    lines = page.text.decode().splitlines() if page is not None else []
    families = tuple({total.family for total in totals})
    return [line for line in lines if line.startswith(families)]
