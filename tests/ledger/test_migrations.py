"""Ledgers that older versions of the exporter wrote: they open with all they held, in the tables of a new one."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from exporter.core.errors import LedgerError
from exporter.core.model import SessionRef
from exporter.ledger import Ledger, snapshot
from exporter.ledger.copy import copy
from exporter.ledger.copy_targets import open_original
from exporter.ledger.schema.rows import read_sessions
from exporter.ledger.schema.version import SCHEMA_VERSION
from exporter.ledger.views.listing import SessionQuery, Sort
from tests.ledger.test_ledger import ALL, CALL, net, opened, poll
from tests.support.postgres import Postgres
from tests.support.trees import node
from tests.support.waiting import until

DATA = Path(__file__).parents[1] / "data"
COST_OF_V5 = {"USD": Decimal("0.6342"), "EUR": Decimal("1.5")}
"""Three times a call of 0.2114 USD and one of 0.5 EUR, booked by two processes."""


def restored(script: str, path: Path) -> str:
    """Return the URL of a file with the ledger that a dump holds."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / script).read_text())
    return f"sqlite:///{path}"


@pytest.fixture
def v5_server(database: str, postgres: Postgres) -> str:
    postgres.execute((DATA / "ledger-v5-postgres.sql").read_text(), database.rpartition("/")[2])
    return database


@pytest.fixture
def v5_file(tmp_path: Path) -> str:
    return restored("ledger-v5-sqlite.sql", tmp_path / "v5.sqlite")


@pytest.fixture(params=["v5_file", pytest.param("v5_server", marks=pytest.mark.slow)])
def v5(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger of version 5, on each engine in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


def ranked(url: str) -> dict[Sort, list[str]]:
    sorts: tuple[Sort, ...] = ("cost", "changed", "events")
    with snapshot(url) as view:
        return {
            sort: [row.ref.event_id for row in view.sessions(SessionQuery(sort=sort, currency="USD")).rows]
            for sort in sorts
        }


def test_a_ledger_of_version_1_is_migrated(tmp_path: Path) -> None:
    """Totals, events and sessions are as they were, stand in the lists of the pages, and booking goes on."""
    url = restored("ledger-v1.sql", tmp_path / "v1.sqlite")
    with closing(opened(url)) as ledger:
        assert sum(net(ledger).values()) == Decimal("0.6852")
        assert ledger.check() == []
        assert ranked(url) == {"cost": ["t", "s"], "changed": ["t", "s"], "events": ["s", "t"]}
        ledger.claim(1000.0, ALL)
        for claim in ledger.claim(50_000.0, ALL):
            tree = CALL if claim.ref.event_id == "s" else node("call-session:t", "0.7")
            ledger.commit([poll(claim, tree, 50_000.0)])
        assert sum(net(ledger).values()) == Decimal("0.8852")


def test_a_ledger_of_version_5_is_migrated(v5: str) -> None:
    """Its money, its sessions, what sources said of them, and how far back it remembers."""
    with closing(opened(v5)) as ledger:
        costs = {currency: Decimal(0) for currency in COST_OF_V5}
        for (*_, currency), cost in net(ledger).items():
            costs[currency] += cost
        assert costs == COST_OF_V5
        assert ledger.check() == []
        assert ledger.get_meta("schema_version") == str(SCHEMA_VERSION)
        assert ledger.get_meta("retention_watermark") == "150000.0"
        assert ledger.get_meta("horizon") is None
        assert ledger.get_meta("backfill") == "done"
        before = ledger.totals()
        ledger.fold_dead_writers()
        assert {(total.family, total.labels, total.value, total.counts) for total in ledger.totals()} == {
            (total.family, total.labels, total.value, total.counts) for total in before
        }
        assert ledger.check() == []
    with open_original(v5) as connection:
        rows = connection.execute("SELECT id FROM sessions WHERE event_id IN ('begun', 'ended')").fetchall()
        sessions = read_sessions(connection, [number for (number,) in rows], lock=False).values()
        notices = {(row.ref.event_id, row.standing.notice) for row in sessions}
        query = "SELECT id FROM sessions WHERE account = 'other' AND event_id = 'old'"
        (row,) = read_sessions(connection, connection.execute(query).fetchone(), lock=False).values()
    assert notices == {("begun", "started"), ("ended", "rated")}
    assert [(at - 202_000) / 86_400 for at in row.standing.plan] == [1, 7, 35]
    with snapshot(v5) as view:
        assert [row.ref.account for row in view.by_id("main-root")] == ["main"]
        assert [failure.reason for failure in view.failures(10)] == ["timeout"]


@pytest.mark.parametrize(
    ("rechecks", "due", "left"),
    [(1, True, [7, 35]), (2, True, [35]), (3, False, []), (1, False, [])],
)
def test_a_migrated_ledger_makes_the_rechecks_that_were_left(
    v5: str, request: pytest.FixtureRequest, rechecks: int, due: bool, left: list[int]
) -> None:
    """Those that were made before aren't planned again, nor is any for a session that wasn't due again."""
    change = f"UPDATE sessions SET rechecks = {rechecks}, due_at = {'due_at' if due else 'NULL'}"
    change += " WHERE account = 'other' AND event_id = 'old'"
    if v5.startswith("sqlite"):
        with closing(sqlite3.connect(v5.removeprefix("sqlite:///"))) as connection:
            connection.execute(change)
            connection.commit()
    else:
        request.getfixturevalue("postgres").execute(change, v5.rpartition("/")[2])
    opened(v5).close()
    with open_original(v5) as connection:
        query = "SELECT id FROM sessions WHERE account = 'other' AND event_id = 'old'"
        (row,) = read_sessions(connection, connection.execute(query).fetchone(), lock=False).values()
    assert [(at - 202_000) / 86_400 for at in row.standing.plan] == left


def shape_of_file(path: Path) -> object:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # A column that a step added is the table's last one: the order may differ.
        columns = {
            table: sorted(row[1:4] for row in connection.execute(f"PRAGMA table_info({table})")) for table in tables
        }
        indexes = sorted(connection.execute("SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'"))
        return columns, indexes


@pytest.mark.parametrize("version", [1, 5])
def test_a_migrated_file_has_the_schema_of_a_new_one(tmp_path: Path, version: int) -> None:
    """However a file came to this version, its tables have the same columns and indexes."""
    script = "ledger-v1.sql" if version == 1 else "ledger-v5-sqlite.sql"
    for url in (restored(script, tmp_path / "old.sqlite"), f"sqlite:///{tmp_path / 'new.sqlite'}"):
        opened(url).close()
    assert shape_of_file(tmp_path / "old.sqlite") == shape_of_file(tmp_path / "new.sqlite")


SHAPE = """
    SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
        FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'relation', relname, relkind::text, coalesce(reloptions::text, '') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3, 4"""


def test_a_migrated_database_has_the_schema_of_a_new_one(v5_server: str, postgres: Postgres) -> None:
    """Columns, indexes, constraints, sequences and settings, down to their names."""
    new = postgres.create_database()
    for url in (v5_server, postgres.url(new)):
        opened(url).close()
    assert postgres.execute(SHAPE, v5_server.rpartition("/")[2]) == postgres.execute(SHAPE, new)
    postgres.drop_database(new)


@pytest.fixture
def old_replica(v5_server: str) -> Iterator[Callable[[], int]]:
    """How a replica of version 5, writer 2, begins each transaction: the rows that it changes; it has one open."""
    with psycopg.connect(v5_server) as connection:

        def begin() -> int:
            connection.commit()
            return connection.execute("UPDATE writers SET seen = clock_timestamp() WHERE id = 2").rowcount

        assert begin() == 1
        connection.execute("UPDATE totals SET value = value + 1000 WHERE writer = 2 AND series = 1")
        yield begin


def test_a_replica_of_the_version_before_is_fenced(
    v5_server: str, postgres: Postgres, old_replica: Callable[[], int]
) -> None:
    """Its open transaction counts, and it never writes again; several new replicas may start at once."""
    name = v5_server.rpartition("/")[2]
    (before,) = postgres.execute("SELECT sum(value) FROM totals WHERE series = 1", name)[0]
    found: list[Ledger] = []
    replicas = [Thread(target=lambda: found.append(opened(v5_server))) for _ in range(3)]
    for replica in replicas:
        replica.start()
    waiting = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
    until(lambda: postgres.execute(waiting) == [(3,)])
    assert old_replica() == 0
    for replica in replicas:
        replica.join()
    assert len(found) == 3
    totals = {total.row: total.value for total in found[0].totals()}
    assert totals[1] == before + 1000
    for ledger in found:
        ledger.follow([SessionRef("main", "call-session", "new")], "file", 1.0)
        ledger.close()


def test_a_copy_fences_no_replica_of_the_version_before(v5_server: str, tmp_path: Path, postgres: Postgres) -> None:
    """While one runs at either end, `ledger copy` refuses, and upgrades nothing."""
    name = v5_server.rpartition("/")[2]
    postgres.execute("UPDATE writers SET seen = clock_timestamp() WHERE id = 2", name)
    file = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    opened(file).close()
    for original, target in ((v5_server, file), (file, v5_server)):
        with pytest.raises(LedgerError, match=r"in use by 1 exporter\(s\)"):
            copy(original, target, lambda _: None)
    assert postgres.execute("SELECT 1 FROM writers WHERE id = 2", name) == [(1,)]
    assert postgres.execute("SELECT value FROM meta WHERE key = 'schema_version'", name) == [("5",)]


def test_an_old_ledger_is_copied(v5: str, tmp_path: Path, postgres: Postgres) -> None:
    """Between the engines, in the form of this version."""
    name = postgres.create_database()
    target = postgres.url(name) if v5.startswith("sqlite") else f"sqlite:///{tmp_path / 'copy.sqlite'}"
    copy(v5, target, lambda _: None)
    with closing(opened(target)) as copied, closing(opened(v5)) as original:
        assert net(copied) == net(original)
        assert copied.check() == []
    postgres.drop_database(name)
