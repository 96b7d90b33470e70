"""What is durable: followed sessions, booked events, totals.

Owns every read and write of them; whoever wants something booked hands over finished polls and gets a receipt of
absolute totals. Performs no requests and shows nothing itself. Read `booking.Batch.book` first: it is one transaction
of accounting from top to bottom. The surprising fact: nothing outside keeps a number of its own; memory is an image
of the totals table and is thrown away after any error.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from exporter.core.errors import LedgerError
from exporter.core.lifecycle import PollPolicy
from exporter.ledger.database import Engine, Reload
from exporter.ledger.engine.sqlite import MemoryEngine, SqliteEngine
from exporter.ledger.ledger import LEASE_SECONDS, Ledger
from exporter.ledger.totals.totals import TotalsSettings
from exporter.ledger.views.snapshot import Snapshot
from exporter.ledger.views.sqlite_snapshot import file_snapshot

__all__ = ["Ledger", "TotalsSettings", "on_server", "open_existing", "open_ledger", "open_scratch", "snapshot"]


def open_ledger(
    url: str,
    policy: PollPolicy,
    settings: TotalsSettings,
    lease_seconds: float = LEASE_SECONDS,
    password_file: Path | None = None,
) -> Ledger:
    """Open the ledger at a `sqlite:///` or `postgresql://` URL; makes its file or tables if there are none."""
    return Ledger(_engine(url, password_file), policy, settings, lease_seconds)


def open_scratch(policy: PollPolicy, settings: TotalsSettings) -> Ledger:
    """A ledger in memory, for a booking that nobody keeps."""
    return Ledger(MemoryEngine, policy, settings)


def open_existing(url: str, policy: PollPolicy, settings: TotalsSettings, password_file: Path | None = None) -> Ledger:
    """Open a ledger that must be there already; raises LedgerError if it isn't."""
    if on_server(url):
        with snapshot(url, password_file):
            pass
    elif not path_of(url).exists():
        raise LedgerError(f"{path_of(url)} doesn't exist; set ledger.url to the exporter's ledger")
    return Ledger(_engine(url, password_file), policy, settings)


def snapshot(url: str, password_file: Path | None = None) -> AbstractContextManager[Snapshot]:
    """The ledger as it is now, for as long as the block takes; LedgerError if it can't be read."""
    if on_server(url):
        from exporter.ledger.engine.errors import ServerAddress  # noqa: PLC0415 - psycopg, for whoever needs it
        from exporter.ledger.views.postgres_snapshot import server_snapshot  # noqa: PLC0415

        return server_snapshot(ServerAddress.of(url, password_file))
    return file_snapshot(path_of(url))


def _engine(url: str, password_file: Path | None) -> Callable[[Reload], Engine]:
    if on_server(url):
        from exporter.ledger.engine.errors import ServerAddress  # noqa: PLC0415
        from exporter.ledger.engine.postgres import PostgresEngine  # noqa: PLC0415 - psycopg, for whoever needs it

        return partial(PostgresEngine, ServerAddress.of(url, password_file))
    return partial(SqliteEngine, path_of(url))


def on_server(url: str) -> bool:
    """Whether others may share the ledger."""
    return url.startswith(("postgresql:", "postgres:"))


def path_of(url: str) -> Path:
    """The file that the URL names; resolved, for its lock is a file beside it: two names must not be two locks."""
    return Path(url.removeprefix("sqlite:///")).resolve()
