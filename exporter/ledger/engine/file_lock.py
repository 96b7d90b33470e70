"""One process per ledger file, held by `flock`, which the kernel frees at death.

Owns `<ledger>.lock`; the file stays and holds the pid of the last holder, for the message that the second one gets.
The surprising fact: a lock file can be removed while it is held, and then a second process would get a lock of its own;
so it is looked at before each use of the ledger, and taken again if it is gone.
"""

import fcntl
import os
from pathlib import Path

from exporter.core.errors import LedgerError, LedgerLocked


class FileLock:
    """Taken when made, until `release` or the end of the process."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._path = Path(f"{ledger}.lock")
        self._file = self._take()

    def hold(self) -> None:
        """Make sure that the lock is still the one that others would ask for; raises LedgerError if it can't be had."""
        held = os.fstat(self._file)
        try:
            found = self._path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
            again = self._take()
            os.close(self._file)
            self._file = again

    def release(self) -> None:
        os.close(self._file)

    def _take(self) -> int:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            problem = f"{self._path}: {error.strerror}; the ledger needs a folder that can be written"
            raise LedgerError(problem) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise LedgerLocked(f"{self._ledger} is in use by process {holder}; one exporter per ledger") from None
        _write_pid(file)
        return file


def _write_pid(file: int) -> None:
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # a full disk: the lock holds all the same, only its message will say less
        return
