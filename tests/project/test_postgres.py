"""The PostgreSQL of the tests: it starts, restarts, dies and leaves nothing behind."""

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
    """It is empty, may be written to, and takes money as it is."""
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE money (amount numeric)")
        connection.execute("INSERT INTO money VALUES (12345678.123456789012)")
        row = connection.execute("SELECT amount::text FROM money").fetchone()
    assert row == ("12345678.123456789012",)
    assert postgres.execute("SHOW max_connections") == [("100",)]


@pytest.mark.parametrize("how", [*MODES, "killed"])
def test_what_is_committed_outlives_every_kind_of_end(how: str) -> None:
    """Stopped, stopped as if crashed, or killed with all its processes: the row is there, on the same port."""
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


def test_a_session_is_worth_a_transaction_behind_the_pooler(postgres: Postgres, pgbouncer: Bouncer) -> None:
    """Two clients of pgbouncer share a connection of the server between their transactions."""
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
def test_nothing_stays_of_a_maker_that_ends(end: str) -> None:
    """On Ctrl-C as on SIGKILL its servers end, and the folder goes."""
    with subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as maker:
        assert maker.stdout is not None
        data = Path(maker.stdout.readline().decode().strip())
        assert processes_in(data)
        maker.kill() if end == "killed" else maker.send_signal(2)
    until(lambda: not data.parent.exists())
    assert not processes_in(data.parent)


def test_a_folder_goes_with_what_works_in_it() -> None:
    """Whatever a server leaves running in its folder ends before the folder does."""
    with process_folder("test") as folder:
        idler = subprocess.Popen(["sleep", "3600"], cwd=folder)
        until(lambda: processes_in(folder) == [idler.pid])
    assert idler.wait() == -9
    assert not folder.exists()
