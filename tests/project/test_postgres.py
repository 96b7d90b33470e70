"""The PostgreSQL server for tests starts, restarts, survives a kill and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from tests.support.postgres import MODES, Bouncer, Postgres, running
from tests.support.process_folder import process_folder, processes_in
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def test_a_test_has_a_database_of_its_own(database: str, postgres: Postgres) -> None:
    """The database of a test is empty and writable, and stores costs exactly."""
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE money (amount numeric)")
        connection.execute("INSERT INTO money VALUES (12345678.123456789012)")
        row = connection.execute("SELECT amount::text FROM money").fetchone()
    assert row == ("12345678.123456789012",)
    assert postgres.execute("SHOW max_connections") == [("100",)]


@pytest.mark.parametrize("how", [*MODES, "killed"])
def test_commits_survive_every_shutdown(how: str) -> None:
    """A committed row survives every shutdown mode and SIGKILL, and the server keeps its port."""
    with running(fsync=True) as server:
        server.execute("CREATE TABLE t AS SELECT 1 AS n")
        url = server.url()
        if how == "killed":
            server.kill()
            server.start()
        else:
            server.restart(how)
        assert server.url() == url
        assert server.execute("SELECT n FROM t") == [(1,)]
        assert server.execute("SHOW fsync") == [("on",)]


def test_the_pooler_shares_connections_per_transaction(postgres: Postgres, pgbouncer: Bouncer) -> None:
    """Two clients of pgbouncer use the same server connection for one transaction each."""
    name = postgres.create_database()
    with psycopg.connect(pgbouncer.url(name)) as one, psycopg.connect(pgbouncer.url(name)) as other:
        backends = []
        for client in (one, other):
            backends.append(client.execute("SELECT pg_backend_pid()").fetchone())
            client.commit()
    assert backends[0] == backends[1]


MAKER = dedent("""
    import signal
    from tests.support.postgres import running
    with running() as server:
        print(server.data, flush=True)
        signal.pause()
""")


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_nothing_remains_after_its_process(end: str) -> None:
    """After Ctrl-C or SIGKILL of a test process its servers end and their folder is removed."""
    with subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as maker:
        assert maker.stdout is not None
        data = Path(maker.stdout.readline().decode().strip())
        assert processes_in(data)
        maker.kill() if end == "killed" else maker.send_signal(2)
    until(lambda: not data.parent.exists())
    assert not processes_in(data.parent)


def test_a_folder_is_removed_with_its_processes() -> None:
    """Processes that still run in a process folder end before the folder is removed."""
    with process_folder("test") as folder:
        idler = subprocess.Popen(["sleep", "3600"], cwd=folder)
        until(lambda: processes_in(folder) == [idler.pid])
    assert idler.wait() == -9
    assert not folder.exists()
