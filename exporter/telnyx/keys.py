"""Keys in files, read again when the file changes.

A file is checked at most once a second, and only when the key is needed. If it becomes unreadable, the last good key
stays in use: a rotation that went wrong must not stop the polls that the old key still allows.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from exporter.config import Account, Secret, resolve_key, resolve_webhook_key
from exporter.core.errors import ConfigError
from exporter.log import fields

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0

_FileState = tuple[int, int, int] | int | None
_Kind = TypeVar("_Kind")
_NO_ENVIRONMENT: Mapping[str, str] = {}
"""For the key readers, which prefer a variable to a file: only the file is read again."""


class FileKey(Generic[_Kind]):
    """One key of an account; each instance belongs to one thread."""

    def __init__(
        self,
        account: Account,
        path: Path | None,
        key: _Kind,
        read: Callable[[Account, Mapping[str, str]], _Kind],
        *,
        monotonic: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        """`key` was read with the configuration and never changes without a `path`.

        `failed` is called once for each change that makes the file unusable.
        """
        self._account = account
        self._path = path
        self._key = key
        self._read = read
        self._monotonic = monotonic
        self._failed = failed
        self._checked_at: float | None = None
        self._file_state: _FileState = None
        self._good = False

    def current(self) -> _Kind:
        """Return the key, from the file as it is now or was last readable."""
        now = self._monotonic()
        if self._path is not None and (self._checked_at is None or now - self._checked_at >= CHECK_SECONDS):
            self._checked_at = now
            self._check(self._path)
        return self._key

    @property
    def readable(self) -> bool:
        """Whether the file held a key at the last check by `current`; True for a key without a file."""
        return self._path is None or self._good

    def _check(self, path: Path) -> None:
        before = self._file_state
        try:  # before the file is read: a change in between is then seen at the next check
            found = path.stat()
            self._file_state = found.st_mtime_ns, found.st_size, found.st_ino
        except OSError as error:
            self._file_state = error.errno or 0
        if self._good and self._file_state == before:
            return
        try:
            key = self._read(self._account, _NO_ENVIRONMENT)
            if key != self._key:
                log.info("key file has a new key", extra=fields(account=self._account.name, file=path.name))
            self._key, self._good = key, True
        except ConfigError as error:
            self._good = False
            if self._file_state != before:
                log.warning(
                    "key file not read; the last good key stays in use",
                    extra=fields(account=self._account.name, error=str(error)),
                )
                self._failed()


def api_key(account: Account, monotonic: Callable[[], float], failed: Callable[[], None]) -> FileKey[Secret]:
    """Return the account's API key."""
    return FileKey(account, account.api_key_file, account.api_key(), resolve_key, monotonic=monotonic, failed=failed)


def webhook_key(account: Account, monotonic: Callable[[], float], failed: Callable[[], None]) -> FileKey[bytes | None]:
    """Return the public key of the account's webhooks, whose value is None if signed webhooks are not accepted."""
    return FileKey(
        account,
        account.webhook_public_key_file,
        account.webhook_key,
        resolve_webhook_key,
        monotonic=monotonic,
        failed=failed,
    )
