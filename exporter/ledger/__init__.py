"""The durable state: discovered sessions, booked events, totals.

All of it is read and written here, and nothing outside keeps a number of its own: a caller hands over finished polls
and gets a receipt with absolute totals. `Ledger` has the operations; start reading at `accounting.batch.BatchWriter`,
which is one transaction of accounting. Sends no requests and shows nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from exporter.core.errors import LedgerError
from exporter.core.lifecycle import PollPolicy
from exporter.ledger.database import Engine, Reload
from exporter.ledger.engine import sqlite
from exporter.ledger.ledger import LEASE_SECONDS, Ledger
from exporter.ledger.totals.totals import TotalsSettings
from exporter.ledger.views.snapshot import Snapshot

__all__ = ["Ledger", "TotalsSettings", "on_server", "open_existing", "open_ledger", "open_scratch", "snapshot"]


def open_ledger(
    url: str,
    policy: PollPolicy,
    settings: TotalsSettings,
    lease_seconds: float = LEASE_SECONDS,
    password_file: Path | None = None,
) -> Ledger:
    """Open the ledger at a `sqlite:///` or `postgresql://` URL; create its file or tables if there are none."""
    return Ledger(_engine(url, password_file), policy, settings, lease_seconds)


def open_scratch(policy: PollPolicy, settings: TotalsSettings) -> Ledger:
    """Open a ledger in memory that ends with the process."""
    return Ledger(sqlite.MemoryEngine, policy, settings)


def open_existing(url: str, policy: PollPolicy, settings: TotalsSettings, password_file: Path | None = None) -> Ledger:
    """Open a ledger that must exist; raise LedgerError if it doesn't."""
    if on_server(url):
        with snapshot(url, password_file):
            pass
    elif not path_of(url).exists():
        raise LedgerError(f"{path_of(url)} doesn't exist; set ledger.url to the exporter's ledger")
    return Ledger(_engine(url, password_file), policy, settings)


@contextmanager
def snapshot(url: str, password_file: Path | None = None) -> Iterator[Snapshot]:
    """Yield a view of the ledger as it is now, for any thread; raise LedgerError if it can't be read."""
    if on_server(url):
        from exporter.ledger.engine import postgres  # noqa: PLC0415 - psycopg, only for those who need it
        from exporter.ledger.engine.errors import ServerAddress  # noqa: PLC0415

        opened = postgres.read_only(ServerAddress.of(url, password_file))
    else:
        opened = sqlite.read_only(path_of(url))
    with opened as connection:
        view = Snapshot(connection)
        view.check_version()
        yield view


def _engine(url: str, password_file: Path | None) -> Callable[[Reload], Engine]:
    if on_server(url):
        from exporter.ledger.engine.errors import ServerAddress  # noqa: PLC0415
        from exporter.ledger.engine.postgres import PostgresEngine  # noqa: PLC0415 - psycopg, only for those who need it

        return partial(PostgresEngine, ServerAddress.of(url, password_file))
    return partial(sqlite.SqliteEngine, path_of(url))


def on_server(url: str) -> bool:
    """Return whether the URL is of a server, so that several processes may share the ledger."""
    return url.startswith(("postgresql:", "postgres:"))


def path_of(url: str) -> Path:
    """Return the file of a `sqlite:///` URL."""
    # Links are resolved because the lock lies beside the file: two names of it must not be two locks.
    return Path(url.removeprefix("sqlite:///")).resolve()
