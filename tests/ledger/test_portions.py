"""Work on all sessions is done in portions, and no session is left out."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.ledgers import build
from exporter.config import Config
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.ledger.queue.sessions import PORTION, START, QueuePosition
from exporter.runtime.plan import policy

LIVE = 2 * PORTION + 10
NOW = time.time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger whose live sessions are all due in a week, as if the clock had been set back."""
    path = tmp_path / "ledger.sqlite"
    build(path, LIVE + 10, NOW, live=LIVE)
    change(path, f"UPDATE sessions SET due_at = {NOW + 7 * 86_400} WHERE state = 'active'")
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(f"sqlite:///{path}", policy(Config()), TotalsSettings.of(Config()))) as opened:
        yield opened


def test_due_times_of_live_sessions_are_clamped_in_portions(ledger: Ledger) -> None:
    """Each call makes one portion due; at the end all live sessions are due, and no other."""
    position: QueuePosition | None = START
    due = []
    while position is not None:
        position = ledger.clamp_due(NOW, position)
        due.append(ledger.count_due(NOW, ["main"]))
    assert due == [PORTION, 2 * PORTION, LIVE]


def test_missing_and_denied_sessions_are_requeued_in_portions(path: Path) -> None:
    """Each becomes due once, whether it was due later or never."""
    change(path, "UPDATE sessions SET state = 'missing', due_at = NULL WHERE id % 2 AND state = 'active'")
    change(path, "UPDATE sessions SET state = 'denied' WHERE state = 'active'")
    with closing(open_ledger(f"sqlite:///{path}", policy(Config()), TotalsSettings.of(Config()))) as ledger:
        more = [ledger.requeue_failed(NOW) for _ in range(4)]
        assert more == [True, True, False, False]
        assert ledger.count_due(NOW, ["main"]) == LIVE


def test_claimed_sessions_are_not_due(ledger: Ledger) -> None:
    """Sessions that are being polled don't count as due, though the index of due times has no claims."""
    ledger.clamp_due(NOW, START)
    claims = ledger.claim(NOW, {"main": 7})
    assert ledger.count_due(NOW, ["main"]) == PORTION - len(claims)
    assert ledger.count_due(NOW, ["other"]) == 0
