"""The public key of an account's webhooks, as it is now.

Owns looking at the key's file, at most once a second and only when a webhook comes. Lives on one thread. The surprising
fact: a file that has become unreadable takes no key out of force, since a rotation that went wrong must not stop the
webhooks that the old key still signs.
"""

import logging
from collections.abc import Callable

from exporter.config import Account, resolve_webhook_key
from exporter.errors import ConfigError
from exporter.log import facts

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

_State = tuple[int, int, int] | int | None


class PublicKey:
    """One account's key; `failed` is told once for each change that makes the file unusable."""

    def __init__(self, account: Account, monotonic: Callable[[], float], failed: Callable[[], None]) -> None:
        self._account = account
        self._monotonic = monotonic
        self._failed = failed
        self._key = account.webhook_key
        self._looked_at: float | None = None
        self._seen: _State = None
        self._good = False

    def current(self) -> bytes | None:
        """None: the account takes no signed webhooks."""
        now = self._monotonic()
        if self._account.webhook_public_key_file is not None and (
            self._looked_at is None or now - self._looked_at >= LOOK_SECONDS
        ):
            self._looked_at = now
            self._look()
        return self._key

    def _look(self) -> None:
        before, self._seen = self._seen, self._state()
        if self._good and self._seen == before:
            return
        try:
            self._key = resolve_webhook_key(self._account, {})
            self._good = True
        except ConfigError as error:
            self._good = False
            if self._seen != before:
                log.warning(
                    "webhook key not read; the last good one stays in force",
                    extra=facts(account=self._account.name, error=str(error)),
                )
                self._failed()

    def _state(self) -> _State:
        """What changes with the file: read before the file itself, so that no change goes unseen."""
        path = self._account.webhook_public_key_file
        assert path is not None, "looked at only if there is one"
        try:
            found = path.stat()
        except OSError as error:
            return error.errno or 0
        return found.st_mtime_ns, found.st_size, found.st_ino
