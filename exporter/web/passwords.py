"""Basic authentication: is this password this user's?

Owns the reading of the header, the check against the bcrypt hash, and what it may cost. A hash takes 50 to 300 ms of a
processor on purpose, so it is computed beside the loop, one at a time, and a password that was right is remembered
(under a keyed digest, never itself). The surprising fact: an unknown user is checked as well, against the hash of some
user, always the same one for a name, so that the time to a refusal says nothing about who exists.
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
"""Of a longer password bcrypt takes no more; the library wants it said."""

REMEMBERED_MAX = 256
"""Right passwords; more than the users of any exporter, some kB."""

CHECKS_AT_ONCE = 1
"""More would take processors from polling; a guesser would get all of them."""

WAITING_MAX = 64
"""Checks that wait for their turn, of all clients: 64 at a cost of 10 are some seconds."""

WAITING_PER_CLIENT_MAX = 8
"""Of one address: who guesses from one address leaves turns to others."""

UNAUTHORIZED: Final = "unauthorized"
CROWDED: Final = "crowded"

_DIGEST_BYTES = 32


class Credentials(Struct, frozen=True):
    """What a client sent; shown nowhere."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return "Credentials(***)"


def read(header: bytes | None) -> Credentials:
    """The credentials in an Authorization header; raises Refused if there are none."""
    scheme, _, encoded = (header or b"").partition(b" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == b"basic" else b""
    except ValueError:
        raise Rejected(UNAUTHORIZED) from None
    name, colon, password = decoded.partition(b":")
    if not colon:
        raise Rejected(UNAUTHORIZED)
    return Credentials(name, password)


class Passwords:
    """The users as they are now, and who was right of late; lives on the web thread."""

    def __init__(self) -> None:
        self._users: Mapping[bytes, bytes] = {}
        self._hashes: list[bytes] = []
        self._digest_key = secrets.token_bytes(_DIGEST_BYTES)
        self._right: dict[bytes, None] = {}
        """Digests, the one that was used last at the end."""
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._clients = Counter[str]()
        self._turns = asyncio.Semaphore(CHECKS_AT_ONCE)

    def follow(self, users: Mapping[str, str]) -> None:
        """These users with their hashes from now on."""
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        self._hashes = list(self._users.values())
        self._right.clear()

    @property
    def required(self) -> bool:
        return bool(self._users)

    async def check(self, credentials: Credentials, client: str) -> None:
        """Return if they are right; raises Refused: `unauthorized`, or `crowded` if there are too many to check."""
        hashed = self._users.get(credentials.name)
        known = hashed is not None
        if hashed is None:
            hashed = self._hashes[int.from_bytes(self._digest(credentials.name)) % len(self._hashes)]
        # The hash is part of it: what was right for another hash is not right for this one.
        digest = self._digest(credentials.name, hashed, credentials.password)
        if digest in self._right:
            del self._right[digest]  # and at the end again
        elif not await self._checked(digest, credentials.password, hashed, client) or not known:
            raise Rejected(UNAUTHORIZED)
        self._right[digest] = None
        if len(self._right) > REMEMBERED_MAX:
            del self._right[next(iter(self._right))]

    async def _checked(self, digest: bytes, password: bytes, hashed: bytes, client: str) -> bool:
        """Whether the password has the hash; who asks the same meanwhile waits for the first."""
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= WAITING_MAX or self._clients[client] >= WAITING_PER_CLIENT_MAX:
                raise Rejected(CROWDED)
            task = self._under_way[digest] = asyncio.create_task(self._take_turn(password, hashed))
            self._clients[client] += 1
            task.add_done_callback(lambda _: self._done(digest, client))
        return await asyncio.shield(task)

    async def _take_turn(self, password: bytes, hashed: bytes) -> bool:
        async with self._turns:
            return await asyncio.to_thread(bcrypt.checkpw, password[:PASSWORD_BYTES_MAX], hashed)

    def _done(self, digest: bytes, client: str) -> None:
        del self._under_way[digest]
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def _digest(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(key=self._digest_key, digest_size=_DIGEST_BYTES)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()
