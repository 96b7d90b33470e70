"""Keys that lie in files, as they are now.

Owns looking at a key's file, at most once a second and only when the key is asked for. Each lives on one thread. The
surprising fact: a file that has become unreadable takes no key out of force, since a rotation that went wrong must not
stop what the old key still opens.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from exporter.config import Account, Secret, resolve_key, resolve_webhook_key
from exporter.core.errors import ConfigError
from exporter.log import fields

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

_State = tuple[int, int, int] | int | None
_Kind = TypeVar("_Kind")
_NO_ENVIRONMENT: Mapping[str, str] = {}
"""What is read again is a file."""


class FileKey(Generic[_Kind]):
    """One account's key of some kind; `failed` is told once for each change that makes the file unusable."""

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
        """`key` is the one that was read with the configuration; without a path it is the only one."""
        self._account = account
        self._path = path
        self._key = key
        self._read = read
        self._monotonic = monotonic
        self._failed = failed
        self._looked_at: float | None = None
        self._seen: _State = None
        self._good = False

    def current(self) -> _Kind:
        now = self._monotonic()
        if self._path is not None and (self._looked_at is None or now - self._looked_at >= LOOK_SECONDS):
            self._looked_at = now
            self._look(self._path)
        return self._key

    def _look(self, path: Path) -> None:
        before, self._seen = self._seen, _state(path)
        if self._good and self._seen == before:
            return
        try:
            key = self._read(self._account, _NO_ENVIRONMENT)
            if key != self._key:
                log.info("key file has another key", extra=fields(account=self._account.name, file=path.name))
            self._key, self._good = key, True
        except ConfigError as error:
            self._good = False
            if self._seen != before:
                log.warning(
                    "key file not read; the last good key stays in force",
                    extra=fields(account=self._account.name, error=str(error)),
                )
                self._failed()


def api_key(account: Account, monotonic: Callable[[], float], failed: Callable[[], None]) -> FileKey[Secret]:
    """The account's API key."""
    return FileKey(account, account.api_key_file, account.api_key(), resolve_key, monotonic=monotonic, failed=failed)


def webhook_key(account: Account, monotonic: Callable[[], float], failed: Callable[[], None]) -> FileKey[bytes | None]:
    """The public key of the account's webhooks; None: it takes no signed ones."""
    return FileKey(
        account,
        account.webhook_public_key_file,
        account.webhook_key,
        resolve_webhook_key,
        monotonic=monotonic,
        failed=failed,
    )


def _state(path: Path) -> _State:
    """What changes with the file: read before the file itself, so that no change goes unseen."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno or 0
    return found.st_mtime_ns, found.st_size, found.st_ino
