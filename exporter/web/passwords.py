"""Basic authentication: parse the header and compare the password with the user's bcrypt hash.

A hash takes 50 to 300 ms of CPU on purpose. So it is computed on a thread, one at a time, and a password that was right
is remembered under a keyed digest. An unknown user's password is checked too, against another user's hash, so the time
until the refusal doesn't tell which users exist.
"""

import asyncio
import base64
import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Final

import bcrypt
from msgspec import Struct

from exporter.core.errors import Rejected

PASSWORD_BYTES_MAX = 72
"""bcrypt ignores the rest of a longer password, and the library wants it cut."""

REMEMBERED_MAX = 256
"""Right passwords; more than any exporter has users, some kB."""

CHECKS_AT_ONCE = 1
"""More would take CPU from polling, and a password guesser would use all of it."""

WAITING_MAX = 64
"""Checks in progress or queued, of all clients: at a bcrypt cost of 10, some seconds."""

WAITING_PER_CLIENT_MAX = 8
"""The same from one address, so that a guesser there doesn't fill the queue."""

UNAUTHORIZED: Final = "unauthorized"
CROWDED: Final = "crowded"

_DIGEST_BYTES = 32


class Credentials(Struct, frozen=True):
    """A name and a password, which no repr shows."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return "Credentials(***)"


def parse_credentials(header: bytes | None) -> Credentials:
    """Parse an Authorization header; raise Rejected if it has no credentials."""
    scheme, _, encoded = (header or b"").partition(b" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == b"basic" else b""
    except ValueError:
        raise Rejected(UNAUTHORIZED) from None
    name, colon, password = decoded.partition(b":")
    if not colon:
        raise Rejected(UNAUTHORIZED)
    return Credentials(name, password)


class PasswordChecker:
    """The users, and the right passwords of late; lives on the web thread."""

    def __init__(self) -> None:
        self._users: Mapping[bytes, bytes] = {}
        self._hashes: list[bytes] = []
        self._digest_key = secrets.token_bytes(_DIGEST_BYTES)
        self._verified: dict[bytes, None] = {}
        """Digests of right passwords, the last used one at the end."""
        self._in_progress: dict[bytes, asyncio.Task[bool]] = {}
        self._by_client = Counter[str]()
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)

    def set_users(self, users: Mapping[str, str]) -> None:
        """Accept these users, with their hashes, from now on."""
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        self._hashes = list(self._users.values())
        self._verified.clear()

    @property
    def required(self) -> bool:
        return bool(self._users)

    async def check(self, credentials: Credentials, client: str) -> None:
        """Return if they are right; raise Rejected: `unauthorized`, or `crowded` if too many checks are waiting."""
        hashed = self._users.get(credentials.name)
        known = hashed is not None
        if hashed is None:
            # Always the same hash for a name: a cost that varied would tell that the user is unknown.
            hashed = self._hashes[int.from_bytes(self._digest(credentials.name)) % len(self._hashes)]
        # The digest includes the hash, so a password that was right for another hash is checked again.
        digest = self._digest(credentials.name, hashed, credentials.password)
        if digest in self._verified:
            del self._verified[digest]  # it is added again at the end
        elif not await self._compare(digest, credentials.password, hashed, client) or not known:
            raise Rejected(UNAUTHORIZED)
        self._verified[digest] = None
        if len(self._verified) > REMEMBERED_MAX:
            del self._verified[next(iter(self._verified))]

    async def _compare(self, digest: bytes, password: bytes, hashed: bytes, client: str) -> bool:
        """Tell whether the password has the hash; requests with the same password share one check."""
        task = self._in_progress.get(digest)
        if task is None:
            if len(self._in_progress) >= WAITING_MAX or self._by_client[client] >= WAITING_PER_CLIENT_MAX:
                raise Rejected(CROWDED)
            task = self._in_progress[digest] = asyncio.create_task(self._compute(password, hashed))
            self._by_client[client] += 1
            task.add_done_callback(lambda _: self._done(digest, client))
        return await asyncio.shield(task)

    async def _compute(self, password: bytes, hashed: bytes) -> bool:
        async with self._slots:
            return await asyncio.to_thread(bcrypt.checkpw, password[:PASSWORD_BYTES_MAX], hashed)

    def _done(self, digest: bytes, client: str) -> None:
        del self._in_progress[digest]
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._digest_key, digest_size=_DIGEST_BYTES)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()
