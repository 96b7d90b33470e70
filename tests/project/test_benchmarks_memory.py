"""The benchmarks of memory, start, growth and the ledger run, and the ledgers that they build are consistent.

No test asserts a time. Instead, every statement that runs regularly must find its rows by an index.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import growth, keeping, memory, start
from benchmarks.ledgers import ACCOUNT, build, day_before, poll, session
from exporter.config import Budget, Config
from exporter.core.model import DetailRecord, SessionNotice, SessionRef
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.ledger.queue.sessions import START
from exporter.runtime.plan import policy

pytestmark = pytest.mark.slow

SESSIONS, LIVE = 60, 20
CONFIG = Config(budgets=(Budget(name="all", amount=Decimal(100), currency="USD", window="month"),))


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(f"sqlite:///{path}", policy(CONFIG), TotalsSettings.of(CONFIG))) as ledger:
        yield ledger


@pytest.fixture
def built(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    build(path, SESSIONS, time.time(), live=LIVE, due_within=1.0)
    return path


def test_what_is_built_agrees_with_itself(built: Path) -> None:
    """A built ledger passes its check and has the requested number of sessions in each state."""
    with opened(built) as ledger:
        assert ledger.check() == []
        states = {
            total.labels[1][1]: int(total.value) for total in ledger.totals() if total.family == "telnyx_sessions"
        }
        assert (states["active"], states["settled"]) == (LIVE, SESSIONS - LIVE)


def test_a_poll_of_a_copy_changes_nothing(built: Path) -> None:
    """A poll of a copied session finds its events already booked, so no total changes."""
    now = time.time() + 2
    with opened(built) as ledger:
        before = values(ledger)
        claims = ledger.claim(now, {ACCOUNT: LIVE})
        day = day_before(now)
        ledger.commit(poll(claim, session(int(claim.ref.event_id[:8], 16), day), now) for claim in claims)
        assert len(claims) == LIVE
        assert values(ledger) == before
        assert ledger.check() == []


def values(ledger: Ledger) -> dict[object, Decimal]:
    """Return the totals by family and labels, without budgets, which the first commit adds up."""
    totals = (total for total in ledger.totals() if not total.family.startswith("telnyx_budget"))
    return {(total.family, total.labels): total.value for total in totals}


def test_the_benchmarks_run() -> None:
    """Each benchmark runs at the smallest size and reports a result."""
    assert start.started(10, 1)[0] == "10 sessions"
    assert memory.polled(30, 10, 1)[0] == "30 sessions"
    assert memory.idle(0.0)[0] == "idle"
    assert memory.series(100).startswith("A series takes")
    assert len(growth.costs((300, 600), 10, 1)) == 2
    assert next(name for name, _ in keeping.sizes(30)) == "an event"
    assert keeping.kept(600, 2, 2)[0] == "600"


# What must not grow

LARGE = "sessions|events|session_index|session_index_costs|trees|records|amendments|failures|root_ids|substitutes|spend"
SCAN = re.compile(rf"SCAN ({LARGE})\b(?! USING INDEX sessions_claimed)")
"""The index of claimed sessions is exempt: it contains only sessions that are being polled."""


def test_no_regular_statement_scans_a_large_table(built: Path) -> None:
    """Each statement of polling, commits, gauges, sources, a reload and a start finds its rows by an index."""
    executed: list[str] = []
    with opened(built) as ledger:
        connection = ledger._connection  # noqa: SLF001 - the trace callback sees every statement
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(executed.append)
        everything(ledger, time.time() + 2)
    statements = {text for text in executed if re.match("SELECT|INSERT|UPDATE|DELETE|WITH", text)}
    assert len(statements) > 50
    with closing(sqlite3.connect(built)) as copy:
        plans = {text: [row[3] for row in copy.execute(f"EXPLAIN QUERY PLAN {text}")] for text in statements}
    assert {text: plan for text, plan in plans.items() if any(map(SCAN.match, plan))} == {}


def everything(ledger: Ledger, now: float) -> None:
    """Call everything that a running exporter calls regularly, at a start and at a reload."""
    ref = SessionRef(ACCOUNT, "message", "new")
    ledger.configure([ref], now)
    ledger.report([SessionNotice(ref, "started"), SessionNotice(ref, "rated")], "webhooks", now)
    record = DetailRecord("r1", "message", now, Decimal("0.01"), "USD", SessionNotice(ref, "listed"))
    ledger.ingest_records(ACCOUNT, [record], now)
    ledger.record_times(ACCOUNT, "message", now - 86_400, now)
    ledger.forget_records(ACCOUNT, {"message": now - 86_400})
    ledger.mark_success("files", [ACCOUNT], now)
    day = day_before(now)
    for claim in ledger.claim(now, {ACCOUNT: 10}):
        if claim.ref.record_type == ref.record_type:
            ledger.defer(claim, now)
        else:
            ledger.commit([poll(claim, session(int(claim.ref.event_id[:8], 16), day), now)])
    ledger.count_due(now, [ACCOUNT])
    ledger.clamp_due(now, START)
    ledger.requeue_failed(now)
    ledger.refresh_budgets(now)
    ledger.expose(total.row for total in ledger.totals())
    ledger.put_meta("key", ledger.get_meta("key") or "value")
    ledger.last_session_id()
    ledger.write_probe(now)
    ledger.recent_sessions(now - 3600, 1000)
    ledger.reconfigure(policy(CONFIG), TotalsSettings.of(CONFIG), [ref], [], now)
    ledger.prune(now, 10)
