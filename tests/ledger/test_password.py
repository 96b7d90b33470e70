"""PostgreSQL's password: read from its file for each new connection, and never shown."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.core.errors import LedgerError
from exporter.ledger import Ledger, open_ledger, snapshot
from tests.ledger.test_ledger import POLICY, SETTINGS
from tests.support.postgres import Postgres

FIRST, SECOND = "PASSWORD-f1rst", "PASSWORD-s3cond"


@pytest.fixture
def guarded(postgres: Postgres) -> Iterator[str]:
    """The URL of a database whose owner must have the first password."""
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
    postgres.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{FIRST}'")
    postgres.execute("CREATE DATABASE guarded OWNER guarded")
    postgres.execute("SELECT pg_reload_conf()")
    yield postgres.url("guarded").replace("postgres@", "guarded@")
    postgres.drop_database("guarded")
    postgres.execute("DROP ROLE guarded")
    rules.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")


def opened(url: str, file: Path | None) -> Ledger:
    return open_ledger(url, POLICY, SETTINGS, password_file=file)


def test_another_password_needs_no_restart(guarded: str, postgres: Postgres, tmp_path: Path) -> None:
    """The next connection uses it, the exporter's and a page's."""
    file = tmp_path / "password"
    file.write_text(f"{FIRST}\n")
    with closing(opened(guarded, file)) as ledger:
        ledger.put_meta("before", "1")
        postgres.execute(f"ALTER ROLE guarded PASSWORD '{SECOND}'")
        file.write_text(SECOND)
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded'")
        ledger.put_meta("after", "1")
        assert (ledger.get_meta("before"), ledger.get_meta("after")) == ("1", "1")
        with snapshot(guarded, file) as view:
            assert view is not None


@pytest.mark.parametrize("content", ["PASSWORD-wr0ng", "", None], ids=["wrong", "empty", "absent"])
def test_a_bad_password_is_not_shown(guarded: str, tmp_path: Path, content: str | None) -> None:
    """The error says what is wrong, and what to change."""
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(LedgerError) as refused:
        opened(guarded, file)
    assert "PASSWORD-" not in str(refused.value)
    assert ("check its name, password" if content else "ledger.password_file: ") in str(refused.value)
