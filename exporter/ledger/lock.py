"""One process per ledger file, held by `flock`, which the kernel frees at death.

Owns `<ledger>.lock`; the file stays and holds the pid of the last holder, for the message that the second one gets.
"""

import fcntl
import os
from pathlib import Path

from exporter.errors import LedgerError, LedgerLocked


class FileLock:
    """Taken when made, until `release` or the end of the process."""

    def __init__(self, ledger: Path) -> None:
        path = Path(f"{ledger}.lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}; the ledger needs a folder that can be written") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise LedgerLocked(f"{ledger} is in use by process {holder}; one exporter per ledger") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)
