"""What is durable: followed sessions, booked events, totals.

Owns every read and write of them; whoever wants something booked hands over finished polls and gets a receipt of
absolute totals. Performs no requests and shows nothing itself. Read `booking.Batch.book` first: it is one transaction
of accounting from top to bottom. The surprising fact: nothing outside keeps a number of its own; memory is an image
of the totals table and is thrown away after any error.
"""

from pathlib import Path

from exporter.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.ledger.totals import Settings
from exporter.lifecycle import Policy

__all__ = ["Ledger", "Settings", "open_existing", "open_ledger", "open_scratch", "path_of"]


def open_ledger(url: str, policy: Policy, settings: Settings) -> Ledger:
    """Open the ledger at a `sqlite:///` URL; creates the file if there is none."""
    return Ledger(path_of(url), policy, settings)


def open_scratch(policy: Policy, settings: Settings) -> Ledger:
    """A ledger in memory, for a booking that nobody keeps."""
    return Ledger(None, policy, settings)


def open_existing(url: str, policy: Policy, settings: Settings) -> Ledger:
    """Open a ledger that must be there already; raises LedgerError if it isn't."""
    path = path_of(url)
    if not path.exists():
        raise LedgerError(f"{path} doesn't exist; set ledger.url to the exporter's ledger")
    return Ledger(path, policy, settings)


def path_of(url: str) -> Path:
    """Resolved, for the lock is a file beside it: two names of one ledger must not be two locks."""
    return Path(url.removeprefix("sqlite:///")).resolve()
