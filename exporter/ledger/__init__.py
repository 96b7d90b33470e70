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

from exporter.errors import LedgerError
from exporter.ledger.connection import Engine, Image
from exporter.ledger.file import LedgerFile, MemoryFile
from exporter.ledger.ledger import Ledger
from exporter.ledger.opened import LEASE_SECONDS
from exporter.ledger.reading import Snapshot
from exporter.ledger.snapshots import file_snapshot
from exporter.ledger.totals import Settings
from exporter.lifecycle import Policy

__all__ = ["Ledger", "Settings", "on_server", "open_existing", "open_ledger", "open_scratch", "snapshot"]


def open_ledger(url: str, policy: Policy, settings: Settings, lease_seconds: float = LEASE_SECONDS) -> Ledger:
    """Open the ledger at a `sqlite:///` or `postgresql://` URL; makes its file or tables if there are none."""
    return Ledger(_engine(url), policy, settings, lease_seconds)


def open_scratch(policy: Policy, settings: Settings) -> Ledger:
    """A ledger in memory, for a booking that nobody keeps."""
    return Ledger(MemoryFile, policy, settings)


def open_existing(url: str, policy: Policy, settings: Settings) -> Ledger:
    """Open a ledger that must be there already; raises LedgerError if it isn't."""
    if not on_server(url) and not _path(url).exists():
        raise LedgerError(f"{_path(url)} doesn't exist; set ledger.url to the exporter's ledger")
    return Ledger(_engine(url), policy, settings)


def snapshot(url: str) -> AbstractContextManager[Snapshot]:
    """The ledger as it is now, for as long as the block takes; LedgerError if it can't be read."""
    if on_server(url):
        from exporter.ledger.server_snapshots import server_snapshot  # noqa: PLC0415 - psycopg, for whoever needs it

        return server_snapshot(url)
    return file_snapshot(_path(url))


def _engine(url: str) -> Callable[[Image], Engine]:
    if on_server(url):
        from exporter.ledger.server import Server  # noqa: PLC0415 - psycopg, for whoever needs it
        from exporter.ledger.server_errors import Address  # noqa: PLC0415

        return partial(Server, Address.of(url))
    return partial(LedgerFile, _path(url))


def on_server(url: str) -> bool:
    """Whether others may share the ledger."""
    return url.startswith(("postgresql:", "postgres:"))


def _path(url: str) -> Path:
    """Resolved, for the lock is a file beside it: two names of one ledger must not be two locks."""
    return Path(url.removeprefix("sqlite:///")).resolve()
