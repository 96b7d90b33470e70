"""`ledger copy`: a ledger moves between SQLite and PostgreSQL, complete and exact, or not at all."""

import json
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from threading import Thread
from typing import Any

import psycopg
import pytest

from exporter.cli.main import main
from exporter.core.errors import LedgerError
from exporter.core.model import SessionRef
from exporter.core.money import ZERO, add, amount_text
from exporter.ledger import Ledger, open_ledger
from exporter.ledger.copy import KEYS, WRITER, CopyReport, copy
from exporter.ledger.copy_targets import columns, open_original
from tests.ledger.test_ledger import POLICY, SETTINGS, poll
from tests.support.postgres import Postgres
from tests.support.trees import node
from tests.support.waiting import until

pytestmark = pytest.mark.slow

SESSIONS = 25
EXACT = "12345678.123456789012"


def opened(url: str) -> Ledger:
    return open_ledger(url, POLICY, SETTINGS)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture(params=["to the server", "to the file", "to a file"])
def ends(request: pytest.FixtureRequest, file: str, database: str, tmp_path: Path) -> tuple[str, str]:
    """Where a ledger is copied from, and where to."""
    other = f"sqlite:///{tmp_path / 'other.sqlite'}"
    return {"to the server": (file, database), "to the file": (database, file), "to a file": (file, other)}[
        request.param
    ]


def fill(url: str) -> None:
    """Write a ledger by two writers in turn: sessions in all states, unpriced, amended, vanished events, histograms."""
    for writer in (1, 2):
        with closing(opened(url)) as ledger:
            refs = [SessionRef("main", "call-session", f"{writer}-{number}") for number in range(SESSIONS)]
            ledger.follow(refs, "file", 1000.0 * writer)
            first = ledger.claim(1000.0 * writer, {"main": SESSIONS})
            ledger.commit([poll(claim, _tree(claim.ref.event_id, place), 1100.0) for place, claim in enumerate(first)])
            ledger.claim(10_000.0, {"main": 2})  # by a process that dies
            for now in (10_000.0 + writer, 90_000.0 + writer):
                again = ledger.claim(now, {"main": SESSIONS})
                ledger.commit([poll(claim, _tree(claim.ref.event_id, place), now) for place, claim in enumerate(again)])
            ledger.put_meta("metadata", json.dumps({"written by": writer}))
            ledger.expose(total.row for total in ledger.totals() if total.row % 2)


def _tree(name: str, place: int) -> dict[str, Any] | None:
    unpriced = None if place % 5 == 0 else f"0.{place + 1:012d}"
    children = [node(f"recording:r-{name}-{each}", unpriced) for each in range(place % 3)]
    return node(f"call-session:c-{name}", EXACT, *children) if place % 7 else None


def state(url: str) -> dict[str, Any]:
    """Return all that a ledger holds, without writers and claims; writers' parts are added up."""
    with closing(opened(url)) as ledger:
        held: dict[str, Any] = {"totals": {(total.family, total.labels): total for total in ledger.totals()}}
    with open_original(url) as connection:
        for table in KEYS.keys() - held.keys():
            unlike = {WRITER} | ({"claim"} if table == "sessions" else set())
            names = sorted(set(columns(connection, table)) - unlike)
            found = connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall()
            held[table] = sorted(str([_amount(value) for value in row]) for row in found)
        spent: dict[Any, Decimal] = defaultdict(lambda: ZERO)
        for *place, amount in connection.execute("SELECT quarter, labels, currency, amount FROM spend"):
            spent[tuple(place)] = add(spent[tuple(place)], Decimal(amount))
        held["spend"] = spent
        held["meta"] = sorted(connection.execute("SELECT key, value FROM meta WHERE key <> 'claims'").fetchall())
    return held


def _amount(value: object) -> object:
    """Return PostgreSQL's amounts as SQLite has them."""
    return amount_text(value) if isinstance(value, Decimal) else value


def test_a_copy_holds_the_same(ends: tuple[str, str]) -> None:
    """Every table, which series are exposed, money to the last digit, the ledger's id."""
    source, target = ends
    fill(source)
    told: list[CopyReport] = []
    copy(source, target, told.append, 7)
    assert {each.table: each.rows for each in told}["sessions"] == 2 * SESSIONS
    assert state(target) == state(source)
    with closing(opened(target)) as copied:
        assert copied.check() == []
        assert {total.exposed for total in copied.totals()} == {True, False}


def test_a_copy_can_be_used(ends: tuple[str, str]) -> None:
    """Ids and claims continue after the original's, nothing is claimed, and nothing is booked twice."""
    source, target = ends
    fill(source)
    copy(source, target, lambda _: None)
    with closing(opened(target)) as ledger:
        newest, booked = ledger.last_session_id(), ledger.totals()
        claims = ledger.claim(100_000.0, {"main": 1000})
        assert len(claims) >= SESSIONS
        ledger.commit([poll(claims[-1], _tree(claims[-1].ref.event_id, 0), 100_000.0)])
        assert [total.value for total in ledger.totals() if total.family == "telnyx_cost_total"] == [
            total.value for total in booked if total.family == "telnyx_cost_total"
        ]
        ledger.follow([SessionRef("main", "call-session", "new")], "file", 100_000.0)
        assert ledger.last_session_id() == newest + 1
    with open_original(source) as connection:
        last = connection.execute("SELECT max(claim) FROM events").fetchone()[0]
    assert min(claim.number for claim in claims) > last
    with pytest.raises(LedgerError, match="holds a ledger already"):
        copy(source, target, lambda _: None)


BY_ONE = dedent("""
    import sys
    from exporter.ledger.copy import copy
    copy(*sys.argv[1:], lambda table: print(table.table, flush=True), 1)
""")


def interrupted(source: str, target: str, after: str) -> None:
    """Start a copy, and kill it some time after it has copied a table."""
    command = [sys.executable, "-c", BY_ONE, source, target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as copying:
        assert copying.stdout is not None
        for line in copying.stdout:
            if line.strip() == after:
                break
        copying.kill()


@pytest.mark.parametrize("after", ["spend", "sessions"])
def test_a_killed_copy_is_resumed(ends: tuple[str, str], after: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No exporter opens it meanwhile; the second attempt finds the rows of the first one, and completes them."""
    source, target = ends
    fill(source)
    interrupted(source, target, after)
    with pytest.raises(LedgerError, match="a copy that was not finished; run `ledger copy` again"):
        opened(target)
    assert main(["ledger", "copy", source, target]) == 0
    printed = capsys.readouterr().out
    assert f"sessions: {2 * SESSIONS} row(s)" in printed
    assert "of them copied before" in printed
    assert state(target) == state(source)


def test_half_a_copy_belongs_to_its_original(ends: tuple[str, str], tmp_path: Path) -> None:
    """It is not completed from another ledger, nor from its own after that was used again."""
    source, target = ends
    fill(source)
    interrupted(source, target, "sessions")
    other = f"sqlite:///{tmp_path / 'another.sqlite'}"
    fill(other)
    with pytest.raises(LedgerError, match="holds the beginning of another copy"):
        copy(other, target, lambda _: None)
    with closing(opened(source)) as ledger:
        ledger.claim(200_000.0, {"main": 1})
    with pytest.raises(LedgerError, match="or the original was used since"):
        copy(source, target, lambda _: None)
    with pytest.raises(LedgerError, match="itself a copy"):
        copy(target, f"sqlite:///{tmp_path / 'third.sqlite'}", lambda _: None)


def test_a_difference_is_found(file: str, database: str) -> None:
    """A single digit is enough, and the copy stays unusable."""
    fill(file)
    interrupted(file, database, "events")
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE events SET cost = cost + 0.000000000001 WHERE key = (SELECT key FROM events LIMIT 1)"
        )
    with pytest.raises(LedgerError, match="the copy is not the same: events differs at"):
        copy(file, database, lambda _: None)
    with pytest.raises(LedgerError, match="not finished"):
        opened(database)


def test_no_exporter_runs_meanwhile(file: str, database: str) -> None:
    """An exporter at either end must be stopped first; during a copy none can start."""
    fill(file)
    with closing(opened(database)), pytest.raises(LedgerError, match=r"in use by 1 exporter\(s\)"):
        copy(file, database, lambda _: None)
    with closing(opened(file)), pytest.raises(LedgerError, match="in use by process"):
        copy(file, database, lambda _: None)

    def refused(_: CopyReport) -> None:
        for url in (file, database):
            with pytest.raises(LedgerError):
                opened(url)

    copy(file, database, refused)


def test_a_server_that_is_copied_is_not_written_to(database: str, file: str, postgres: Postgres) -> None:
    """An exporter that starts meanwhile waits until the copy is done."""
    fill(database)
    begun: list[Thread] = []
    waiting = "SELECT 1 FROM pg_locks WHERE relation = 'writers'::regclass AND NOT granted"

    def begin(table: CopyReport) -> None:
        if table.table == "label_sets":
            begun.append(Thread(target=lambda: opened(database).close()))
            begun[0].start()
        until(lambda: bool(postgres.execute(waiting, database.rpartition("/")[2])))

    copy(database, file, begin)
    begun[0].join()
    with closing(opened(file)) as copied:
        assert copied.last_session_id() == 2 * SESSIONS


def test_every_table_is_copied(file: str, database: str) -> None:
    """By its primary key, with all columns that both engines have; both have the same, in the same order."""
    for url in (file, database):
        opened(url).close()
    with open_original(file) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'meta'").fetchall()
        tables = {name: columns(connection, name) for (name,) in found}
        query = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 AND name <> ? ORDER BY pk"
        keys = {table: tuple(key for (key,) in connection.execute(query, (table, WRITER))) for table in tables}
    assert dict(KEYS) == keys
    assert {table for table, names in tables.items() if WRITER in names} == {"totals", "spend"}
    with open_original(database) as connection:
        assert {table: columns(connection, table) for table in tables} == tables


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sqlite:///absent.sqlite", "sqlite:///new.sqlite"], "absent.sqlite doesn't exist"),
        (["sqlite:///absent.sqlite"], "expected two URLs"),
        (["postgresql://127.0.0.1:1/none", "sqlite:///new.sqlite"], "can't be reached"),
    ],
)
def test_what_is_wrong_with_the_ends_is_said(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert main(["ledger", "copy", *arguments]) == 2
    assert said in capsys.readouterr().err
