"""The benchmarks of replicas run, at the smallest size; no test asserts a speed."""

import time
from pathlib import Path

import pytest

from benchmarks import forgetting, replicas, writers
from benchmarks.grown import multiply
from benchmarks.ledgers import build
from benchmarks.replicas import Size
from exporter.ledger.copy import copy
from tests.support.postgres import Postgres

pytestmark = pytest.mark.slow


def rows(lines: list[str]) -> list[list[str]]:
    """Return the cells of all tables, without their heads."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if row[1].split(", ")[0] in {"SQLite", "PostgreSQL"}]


def test_replicas(nginx: Path, postgres: Postgres) -> None:
    """Replicas poll all sessions, and the table has the CPU time of exporters and server."""
    assert nginx, postgres
    found = rows(replicas.report(Size(sessions=100, late_sessions=40, seconds=0.5, rounds=1, replicas=(2,))))
    names = [(phase, configuration) for phase, configuration, *_ in found]
    assert names == [
        *((phase, configuration) for phase in ("first", "again") for configuration in ("SQLite, 1", "PostgreSQL, 2")),
        *((phase, "PostgreSQL, 2") for phase in ("first", "again")),
    ]
    for phase, configuration, _, _, exporters, server, *_ in found:
        assert float(exporters) > 0
        assert phase == "again" or (float(server) > 0) == configuration.startswith("PostgreSQL")


@pytest.mark.usefixtures("postgres")
def test_writers() -> None:
    """The benchmark of several writers has a row per number of writers, for commits and for claims."""
    lines = writers.report(90, 1, (2,))
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        *("| ledger, writers", "| ---", "| SQLite, 1", "| PostgreSQL, 2"),
        *("| writers", "| ---", "| 2"),
    ]


@pytest.mark.usefixtures("postgres")
def test_forgetting() -> None:
    """The benchmark copies, grows, commits to and prunes a ledger, and reports each step."""
    lines = forgetting.report(forgetting.Size(copied=200, times=3, commits=1, portions=2))
    figures = dict(line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
    assert "have become 560" in lines[2]
    assert float(figures["sessions pruned per second"].replace(",", "")) > 0
    assert "statements that read a large table from end to end" in figures


def test_a_ledger_grows_whole(postgres: Postgres, tmp_path: Path) -> None:
    """Multiplied sessions have as many rows as their originals; constraints and indexes stay the same."""
    build(tmp_path / "ledger.sqlite", 20, time.time(), live=5)
    name = postgres.create_database()
    copy(f"sqlite:///{tmp_path / 'ledger.sqlite'}", postgres.url(name), lambda _: None)
    before = schema(postgres, name)
    multiply(postgres.url(name), 3)
    assert schema(postgres, name) == before
    counts = "SELECT count(*), count(DISTINCT owner), count(DISTINCT key) FROM events"
    assert postgres.execute(counts, name) == [(11 * 50, 50, 11 * 50)]
    for table in ("trees", "session_index", "session_index_costs"):
        joined = f"SELECT count(*), count(DISTINCT event_id) FROM sessions JOIN {table} ON session = sessions.id"
        assert postgres.execute(joined, name) == [(50, 50)]
    postgres.drop_database(name)


def schema(server: Postgres, name: str) -> list[tuple[str, ...]]:
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    constraints = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    return sorted(server.execute(indexes, name) + server.execute(constraints, name))
