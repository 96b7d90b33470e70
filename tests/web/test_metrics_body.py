"""A page made of old and new compressed pieces is one ordinary gzip stream with the right content."""

import asyncio
import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.metrics_body import PIECE_BYTES, YIELD_BYTES, IncrementalGzip

WRAPPED = zlib.MAX_WBITS | 16
kilobytes = st.integers(0, 40).map(lambda number: bytes([number]) * 1000 * number)
pages = st.lists(st.lists(kilobytes, max_size=12).map(tuple), min_size=1, max_size=4)


def unpacked(packed: bytes) -> bytes:
    """Return the decompressed body; it must be one gzip member with the right checksum and length, and no rest."""
    stream = zlib.decompressobj(WRAPPED)
    plain = stream.decompress(packed)
    assert (stream.eof, stream.unused_data) == (True, b"")
    return plain


@given(pages, st.binary(max_size=100))
def test_pages_come_back(drawn: list[tuple[bytes, ...]], rest: bytes) -> None:
    """Every page is decompressed to its parts in order and its end, whatever pages came before."""
    gzipped = IncrementalGzip()
    for parts in drawn:
        start = asyncio.run(gzipped.compress(parts))
        for end in (rest, b"", b"another"):
            assert unpacked(start.finish(end)) == b"".join(parts) + end


def test_pieces_are_independent() -> None:
    """A change in one piece changes no compressed byte of the pieces before and after it."""
    gzipped = IncrementalGzip()
    parts = [bytes([number]) * PIECE_BYTES for number in range(9)]
    before = asyncio.run(gzipped.compress(tuple(parts)))
    parts[4] = bytes(reversed(range(256))) * (PIECE_BYTES // 256)
    after = asyncio.run(gzipped.compress(tuple(parts)))
    same = len(before.packed) // 9 * 4
    assert before.packed[:same] == after.packed[:same]
    assert before.packed[-same:] == after.packed[-same:]
    assert before.packed != after.packed


def test_large_pages_take_turns() -> None:
    """The event loop stays responsive while a large page is compressed."""

    async def turns() -> int:
        count, page = 0, tuple(bytes(PIECE_BYTES) + bytes([number]) for number in range(4 * YIELD_BYTES // PIECE_BYTES))
        compressing = asyncio.create_task(IncrementalGzip().compress(page))
        while not compressing.done():
            count += 1
            await asyncio.sleep(0)
        return count

    assert asyncio.run(turns()) >= 4
