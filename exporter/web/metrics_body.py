"""The body of an answer of /metrics: the page, the process's own families after it, and gzip.

A new page shares most of its text with the one before, so compressed pieces are kept and reused. The process's families
differ from scrape to scrape and end the stream. Knows no HTTP; lives on the web thread.
"""

import asyncio
import struct
import zlib
from collections.abc import Iterable, Iterator

from msgspec import Struct
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.metrics.exposition import Format, MetricsPage

Parts = tuple[bytes, ...]

GZIP_LEVEL = 1
"""1.4 MB of 10k series take 5 ms and 131 kB, against 13 ms and 114 kB at level 6."""

PIECE_BYTES = 65_536
"""Smaller pieces are reused more often, but compress less, since each starts without what came before it."""

YIELD_BYTES = 2**20
"""After compressing so much, some 5 ms, the loop runs other tasks, so that webhooks and probes don't wait."""

_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(5) + b"\x04\xff"
"""RFC 1952: deflate, no name, no time, fastest level, unknown system."""


class MetricsBodies:
    """Makes bodies; compresses each version of a page once per format."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._gzip = {form: IncrementalGzip() for form in Format}
        self._compressed: dict[Format, tuple[int, GzipPrefix]] = {}
        """The version of the page that was compressed last, and its compressed form."""

    async def body(self, page: MetricsPage, form: Format, *, gzip: bool) -> bytes:
        # The process's families come last: client_python ends its OpenMetrics with the `# EOF` that ends the page.
        end = (generate_openmetrics if form is Format.OPENMETRICS else generate_text)(self._registry)
        if not gzip:
            return b"".join((*page.parts(form), end))
        version, prefix = self._compressed.get(form, (None, None))
        if prefix is None or version != page.version:
            prefix = await self._gzip[form].compress(page.parts(form))
            self._compressed[form] = page.version, prefix
        return prefix.finish(end)


class GzipPrefix(Struct, frozen=True):
    """The start of a gzip stream; it can be finished more than once."""

    packed: bytes
    checksum: int
    length: int

    def finish(self, rest: bytes) -> bytes:
        """Return the whole stream, with `rest` after the prefix."""
        checksum = zlib.crc32(rest, self.checksum)
        length = (self.length + len(rest)) & 0xFFFFFFFF
        return b"".join((self.packed, _deflate(rest, zlib.Z_FINISH), struct.pack("<LL", checksum, length)))


class IncrementalGzip:
    """Compresses pages; pieces of the last page are reused.

    Example: a page of parts a b c d makes the pieces ab and cd. If c changes, ab is reused and only cd is compressed.
    After a full flush deflate refers to nothing before it, so pieces of any age can be joined. The result is one
    ordinary gzip stream; several joined streams are legal too, but httpx and some browsers read only the first.
    """

    def __init__(self) -> None:
        self._pieces: dict[Parts, bytes] = {}

    async def compress(self, parts: Parts) -> GzipPrefix:
        """Return all parts compressed, without an end of the stream."""
        packed_pieces: list[tuple[Parts, bytes]] = []
        compressed = 0
        for piece in _pieces(parts):
            packed = self._pieces.get(piece)
            if packed is None:
                if compressed >= YIELD_BYTES:
                    await asyncio.sleep(0)
                    compressed = 0
                plain = b"".join(piece)
                compressed += len(plain)
                packed = _deflate(plain, zlib.Z_FULL_FLUSH)
            packed_pieces.append((piece, packed))
        self._pieces = dict(packed_pieces)
        plain = b"".join(parts)  # one long call of crc32 and not one per piece: after each, Python waits for the GIL
        return GzipPrefix(
            b"".join((_GZIP_HEADER, *(packed for _, packed in packed_pieces))), zlib.crc32(plain), len(plain)
        )


def _pieces(parts: Iterable[bytes]) -> Iterator[Parts]:
    piece: list[bytes] = []
    length = 0
    for part in parts:
        piece.append(part)
        length += len(part)
        if length >= PIECE_BYTES:
            yield tuple(piece)
            piece, length = [], 0
    yield tuple(piece)


def _deflate(plain: bytes, mode: int) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(plain) + compressor.flush(mode)
