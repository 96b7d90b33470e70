"""One process per ledger file: a lock on `<ledger>.lock` that the kernel frees when the process ends.

The lock file stays and holds the process id of its last holder, for the error that a second process gets.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from exporter.core.errors import LedgerError, LedgerLocked


class FileLock:
    """Locked from its creation until `release` or the end of the process."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._path = Path(f"{ledger}.lock")
        self._file = self._lock()

    def ensure_held(self) -> None:
        """Lock again if the lock file was removed or replaced; raise LedgerError if another process has it now.

        A second process would create a new lock file and get a lock of its own, so this is checked before each use.
        """
        held = os.fstat(self._file)
        try:
            found = self._path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
            again = self._lock()
            os.close(self._file)
            self._file = again

    def release(self) -> None:
        os.close(self._file)

    def _lock(self) -> int:
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
        with suppress(OSError):  # on a full disk the lock holds all the same, only its message says less
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        return file
