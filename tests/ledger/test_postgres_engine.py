"""PostgreSQL behind a pooler, read-only, full, locked, or away for a moment: the exporter reports it and recovers."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from decimal import Decimal

import psycopg
import pytest

from exporter.core.errors import LedgerAway, LedgerCorrupt, LedgerError, LedgerLocked, LedgerTooNew
from exporter.core.model import SessionRef
from exporter.ledger import open_existing, snapshot
from exporter.ledger.sharing.leases import LeaseAnswer
from exporter.ledger.views.listing import SessionQuery
from tests.ledger.test_ledger import ALL, CALL, POLICY, SETTINGS, net, opened, poll, ref
from tests.ledger.test_writers import SharedEvents, check_final_state, counters, end_leases, run_writers
from tests.support.postgres import Bouncer, Postgres, running
from tests.support.trees import node

pytestmark = pytest.mark.slow


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_pooler_may_give_each_transaction_another_connection(
    postgres: Postgres, pgbouncer: Bouncer, database: str
) -> None:
    """Four writers through pgbouncer in transaction mode: no counter decreases, and all is exact."""
    world = SharedEvents(4, 30, 30)
    through = pgbouncer.url(name_of(database))

    def watch() -> None:
        with closing(opened(through)) as ledger:
            ledger.follow(world.refs, "file", 0.0)
            before = counters(ledger)
            for _ in range(50):
                after = counters(ledger)
                assert {row: value for row, value in before.items() if after[row] < value} == {}
                before = after

    polling = run_writers(world, through, watch, 40)
    assert [writer.refused for writer in polling] == [0] * len(polling)
    check_final_state(postgres, world, through)


def test_a_read_only_server_is_away(postgres: Postgres, database: str) -> None:
    """Such as a standby: the error names the cure, and the ledger continues when the server accepts writes."""
    with closing(opened(database)) as ledger:
        ledger.follow([ref("s")], "file", 0.0)
        (claim,) = ledger.claim(0.0, ALL)
        read_only(postgres, "on")
        try:
            with pytest.raises(LedgerAway, match=r"is read-only.*name all servers in ledger\.url"):
                ledger.commit([poll(claim, CALL, 0.0)])
            with pytest.raises(LedgerAway, match="is read-only"):
                opened(database)
            assert len(ledger.totals()) > 0
        finally:
            read_only(postgres, "off")
        ledger.commit([poll(claim, CALL, 0.0)])
        assert sum(net(ledger).values()) == Decimal("0.1852")


def read_only(postgres: Postgres, word: str) -> None:
    """Set it for open connections too; return when the server has applied it."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {word}".encode())
        connection.execute("SELECT pg_reload_conf()")
    heard = threading.Event()
    while not heard.wait(0.01):
        with psycopg.connect(postgres.url()) as connection:
            row = connection.execute("SHOW default_transaction_read_only").fetchone()
            if row == (word,):
                heard.set()


@pytest.fixture
def small() -> Iterator[Postgres]:
    """A server with six connections."""
    with running(max_connections="6", superuser_reserved_connections="0") as server:
        yield server


def test_a_server_without_a_free_connection_is_away(small: Postgres) -> None:
    """The error names both cures; nothing is lost, and the ledger continues by itself."""
    url = small.url(small.create_database())
    with ExitStack() as stack:
        others = [stack.enter_context(psycopg.connect(url)) for _ in range(6)]
        with pytest.raises(LedgerAway, match="has no free connection; raise max_connections, or put pgbouncer before"):
            opened(url)
        for other in others[:3]:
            other.close()
        with closing(opened(url)) as ledger:
            ledger.follow([ref("s")], "file", 0.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("postgres@", "nobody@"), "refuses the exporter's user; check its name"),
        (("/ledger", "/elsewhere"), "has no such database; create it"),
    ],
)
def test_an_unknown_user_or_database_is_named(postgres: Postgres, change: tuple[str, str], told: str) -> None:
    """The error doesn't take a user for a database."""
    url = postgres.url("ledger").replace(*change)
    with pytest.raises(LedgerError, match=told):
        opened(url)


def test_each_call_tries_a_server_that_is_away_once() -> None:
    """An attempt may take as long as all hosts together, and each call waits for those before it."""
    with running() as server:
        ledger = opened(f"{server.url(server.create_database())}?sslmode=disable&gssencmode=disable")
        server.stop("immediate")
        with closing(ledger), socket.create_server(("127.0.0.1", server.port)) as listener:
            listener.settimeout(0.0)
            with pytest.raises(LedgerAway):
                ledger.follow([ref("s")], "file", 0.0)
            knocks(listener)
            for call in (
                lambda: ledger.follow([ref("s")], "file", 0.0),
                lambda: ledger.get_meta("metadata"),
            ):
                with ThreadPoolExecutor(1) as thread:
                    asked, looks = thread.submit(call), 0
                    while not asked.done():
                        looks += knocks(listener)
                    assert isinstance(asked.exception(), LedgerAway)
                assert looks + knocks(listener) == 1


def knocks(listener: socket.socket) -> int:
    """Return how many connections came; none is accepted."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_a_connection_that_broke_while_idle_is_made_anew(postgres: Postgres, database: str) -> None:
    """Neither booking, nor reading, nor a new label set fails."""
    with closing(opened(database)) as ledger:
        for number in range(3):
            ledger.follow([ref(f"{number}")], "file", float(number))
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{name_of(database)}' AND pid <> pg_backend_pid()"
            )
            assert len(ledger.totals()) > 0
        ledger.commit([poll(claim, CALL, 10.0) for claim in ledger.claim(10.0, ALL)])
        assert ledger.check() == []


def test_a_lock_that_is_never_released_is_reported(postgres: Postgres, database: str) -> None:
    """Polls wait, and the error says where to look; without the lock all is booked."""
    with closing(opened(database)) as ledger, psycopg.connect(database) as other:
        ledger.follow([ref("s")], "file", 0.0)
        (claim,) = ledger.claim(0.0, ALL)
        other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LedgerError, match=r"had a row locked for too long; look .* in pg_stat_activity"):
            ledger.commit([poll(claim, CALL, 0.0)])
        other.rollback()
        ledger.commit([poll(claim, CALL, 0.0)])
        assert sum(net(ledger).values()) == Decimal("0.1852")
    assert postgres.execute("SELECT count(*) FROM events", name_of(database)) == [(3,)]


def test_a_process_that_stalls_while_it_acquires_a_lease_blocks_no_other(database: str) -> None:
    """Others get None at once, and ask again later; the holder keeps the lease."""
    with closing(opened(database)) as ledger, psycopg.connect(database) as other:
        assert ledger.acquire_lease("exposition", 20.0) == LeaseAnswer(held=True, first=True)
        other.execute("SELECT 1 FROM leases WHERE name = 'exposition' FOR UPDATE")
        assert ledger.acquire_lease("exposition", 20.0) is None
        other.rollback()
        assert ledger.acquire_lease("exposition", 20.0) == LeaseAnswer(held=True)


def test_text_that_postgresql_can_not_store_is_replaced(database: str) -> None:
    """A NUL in an id becomes another character; the next poll finds the same event."""
    named = SessionRef("main", "call-session", "a\0b")
    with closing(opened(database)) as ledger:
        ledger.follow([named, named], "file", 0.0)
        for now in (0.0, 1000.0):
            (claim,) = ledger.claim(now, ALL)
            assert claim.ref.event_id == "a\ufffdb"
            ledger.commit([poll(claim, node("call-session:a\0b", "1", node("call-control:c\0", "0.5")), now)])
        assert sum(net(ledger).values()) == Decimal("1.5")
        assert ledger.check() == []
    with snapshot(database) as view:
        assert [row.ref.event_id for row in view.sessions(SessionQuery()).rows] == ["a\ufffdb"]


def test_a_database_of_another_program_is_left_alone(postgres: Postgres, database: str) -> None:
    """It has a table of the same name, or the ledger of a newer version."""
    name = name_of(database)
    postgres.execute("CREATE TABLE meta (key text, value text)", name)
    with pytest.raises(LedgerCorrupt, match="no ledger of this exporter"):
        opened(database)
    postgres.execute("INSERT INTO meta VALUES ('schema_version', '999')", name)
    with pytest.raises(LedgerTooNew, match="newer version"):
        opened(database)
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [(1,)]


def test_a_command_creates_no_ledger(postgres: Postgres, database: str) -> None:
    """`ledger check` of a wrong database raises an error, and leaves it as it is."""
    with pytest.raises(LedgerError, match="lacks a table of the ledger"):
        open_existing(database, POLICY, SETTINGS)
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name_of(database)) == [(0,)]
    opened(database).close()
    open_existing(database, POLICY, SETTINGS).close()


def test_a_writer_that_an_upgrade_has_fenced_refuses_the_tables(postgres: Postgres, database: str) -> None:
    """An upgrade removes all writers; a replica of the version before then finds a newer schema."""
    with closing(opened(database)) as ledger:
        ledger.follow([ref("s")], "file", 0.0)
        postgres.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'", name_of(database))
        postgres.execute("DELETE FROM writers", name_of(database))
        for _ in range(2):
            with pytest.raises(LedgerTooNew, match="newer version"):
                ledger.follow([ref("t")], "file", 0.0)
        assert postgres.execute("SELECT event_id FROM sessions", name_of(database)) == [("s",)]
        assert postgres.execute("SELECT count(*) FROM writers", name_of(database)) == [(0,)]


def test_claims_of_a_stopped_exporter_are_free_at_once(postgres: Postgres, database: str) -> None:
    """Released claims don't have to run out; one that another process has by now stays with it."""
    with closing(opened(database)) as first, closing(opened(database)) as second:
        first.follow([ref("a"), ref("b")], "file", 0.0)
        claims = first.claim(0.0, ALL)
        first.release_claims(claims[:1])
        (again,) = second.claim(0.0, ALL)
        first.release_claims(claims)
        assert [claim.ref for claim in first.claim(0.0, ALL)] == [claims[1].ref]
        second.commit([poll(again, CALL, 0.0)])
        end_leases(postgres, database)
        assert len(first.claim(1e6, ALL)) == 2


def test_a_database_that_is_not_utf8_is_refused(postgres: Postgres) -> None:
    """No table is created; the error says how to create a database."""
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(LedgerError, match="encoded in LATIN1; create it with ENCODING 'UTF8'"):
        opened(postgres.url("latin"))
    postgres.drop_database("latin")


def test_an_account_is_not_renamed_while_others_write(database: str) -> None:
    """They would still book under the old name."""
    with closing(opened(database)) as ledger:
        ledger.follow([ref("s")], "file", 0.0)
        with closing(opened(database)), pytest.raises(LedgerLocked, match="other exporters use the ledger"):
            ledger.rename_account("main", "prod")
        assert ledger.rename_account("main", "prod") == 1
