"""Read request bodies within limits of size, time and number.

If too many clients are sending at once, the one that has been sending longest is cut off, and not the newest: an honest
client is done in milliseconds, so slow ones can't use up the limit. Lives on the web thread.
"""

import asyncio

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from exporter.core.errors import Rejected


class UploadLimits(Struct, frozen=True):
    bytes_max: int = 262_144
    """Telnyx's webhooks have a few kB; the longest contain a transcript."""
    seconds: float = 10.0
    """For the whole body; Telnyx itself waits for an answer for less than that."""
    at_once: int = 128
    """Bodies in progress; together at most 32 MiB."""


DEFAULT_LIMITS = UploadLimits()


class Uploads:
    """Reads bodies."""

    def __init__(self, limits: UploadLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._in_progress: dict[asyncio.Timeout, None] = {}
        """The oldest first."""

    async def read(self, request: Request) -> bytes:
        """Return the whole body; raise Rejected: `too_large`, `slow` or `disconnected`."""
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.bytes_max:
            raise Rejected("too_large")
        body = bytearray()
        timeout = asyncio.timeout(self._limits.seconds)
        try:
            async with timeout:
                self._in_progress[timeout] = None
                if len(self._in_progress) > self._limits.at_once:
                    oldest = next(iter(self._in_progress))
                    del self._in_progress[oldest]
                    if not oldest.expired():
                        oldest.reschedule(0.0)  # long ago on any loop's clock
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._limits.bytes_max:
                        raise Rejected("too_large")
        except TimeoutError:
            raise Rejected("slow") from None
        except ClientDisconnect:
            raise Rejected("disconnected") from None
        finally:
            self._in_progress.pop(timeout, None)
        return bytes(body)
