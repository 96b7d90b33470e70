"""The last step of a page: the process's own families behind it, and compression.

Owns what may be kept between two scrapes of one page. Knows no HTTP and lives on the web thread alone. The surprising
fact: a gzip stream can be copied half-way, so a page is compressed once per version while the fresh end of each scrape
is compressed behind a copy, and the client gets one ordinary stream (several joined ones are legal, but httpx and some
browsers stop reading after the first).
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.exposition import Format, Page

GZIP_LEVEL = 1
"""1.3 MB of 10k series: 7 ms and 193 kB, against 22 ms and 156 kB at level 6; scrapes go over short wires."""

PIECE_BYTES = 2**20
"""So much is compressed at a time, in about 5 ms; a large page must not keep webhooks and probes waiting."""

_GZIP_WRAPPED = zlib.MAX_WBITS | 16


class _Compressor(Protocol):
    """What zlib.compressobj() returns; its type has no public name."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...
    def copy(self) -> "_Compressor": ...


class Bodies:
    """Finished response bodies."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._compressed: dict[Format, tuple[int, bytes, _Compressor]] = {}
        """A page's version, its bytes so far, and the stream that goes on behind them."""

    async def body(self, page: Page, form: Format, *, gzip: bool) -> bytes:
        """The whole exposition in one format, compressed or not."""
        end = self._process_families(form)
        if not gzip:
            return b"".join((*page.parts(form), end))
        start, compressor = await self._compressed_part(page, form)
        rest = compressor.copy()
        return start + rest.compress(end) + rest.flush()

    def _process_families(self, form: Format) -> bytes:
        """Comes last, since client_python ends its OpenMetrics with the `# EOF` that ends ours."""
        generate = generate_openmetrics if form is Format.OPENMETRICS else generate_text
        return generate(self._registry)

    async def _compressed_part(self, page: Page, form: Format) -> tuple[bytes, _Compressor]:
        version, start, compressor = self._compressed.get(form, (None, b"", None))
        if version != page.version or compressor is None:
            compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WRAPPED)
            start = b"".join([compressor.compress(piece) async for piece in _pieces(b"".join(page.parts(form)))])
            self._compressed[form] = page.version, start, compressor
        return start, compressor


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """Before each but the first it's the turn of whatever else the loop has to do."""
    yield body[:PIECE_BYTES]
    for place in range(PIECE_BYTES, len(body), PIECE_BYTES):
        await asyncio.sleep(0)
        yield body[place : place + PIECE_BYTES]
