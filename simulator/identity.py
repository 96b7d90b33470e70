"""The ids of the simulated world: UUIDs that contain, encrypted, the number of their session.

Nothing stores ids. A session is generated again from its number when it is needed, so a world of millions of sessions
takes as much memory as one of hundreds.
"""

import hashlib
import uuid

_NUMBER_BYTES = 6


class Ids:
    """Makes ids from a seed; the same seed, session number and index give the same id."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(16, "big", signed=True)

    def make(self, number: int, index: int) -> str:
        tail = bytearray(self._digest(b"%d/%d" % (number, index), 16 - _NUMBER_BYTES))
        tail[0] = tail[0] & 0x0F | 0x40  # version 4
        tail[2] = tail[2] & 0x3F | 0x80  # the variant of RFC 9562
        head = (number ^ self._mask(tail)).to_bytes(_NUMBER_BYTES, "big")
        return str(uuid.UUID(bytes=head + bytes(tail)))

    def session_of(self, event_id: uuid.UUID) -> int:
        """Return the session number in an id; a foreign id gives a number that is far too large."""
        head, tail = event_id.bytes[:_NUMBER_BYTES], event_id.bytes[_NUMBER_BYTES:]
        return int.from_bytes(head, "big") ^ self._mask(tail)

    def chance(self, number: int) -> float:
        """Return a number in [0, 1), always the same for this session."""
        return int.from_bytes(self._digest(b"%d" % number, 6), "big") / 2**48

    def chance_of(self, name: str) -> float:
        """Return a number in [0, 1), always the same for this name; a name must not be a plain number."""
        return int.from_bytes(self._digest(name.encode(), 6), "big") / 2**48

    def _mask(self, tail: bytes | bytearray) -> int:
        return int.from_bytes(self._digest(bytes(tail), _NUMBER_BYTES), "big")

    def _digest(self, data: bytes, size: int) -> bytes:
        return hashlib.blake2b(data, digest_size=size, key=self._key).digest()
