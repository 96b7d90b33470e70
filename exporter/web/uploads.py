"""What clients send: read within limits of size, time and number.

Owns the reading of a request's body; knows nothing of what is in it. Lives on the web thread. The surprising fact: when
too many are sending at once, whoever has been at it longest is cut off, not the one who comes last: an honest sender is
done in milliseconds, so those who hold their place for seconds can't keep it from anybody.
"""

import asyncio

from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from exporter.core.errors import Rejected

_AT_ONCE_PAST = 0.0
"""A time long ago on any loop's clock."""


class UploadLimits(Struct, frozen=True):
    """What one sender, and all together, may take."""

    bytes_max: int = 262_144
    """Telnyx's webhooks have a few kB; the longest carry a transcript."""
    seconds: float = 10.0
    """For the whole body; Telnyx itself gives an answer less than that."""
    at_once: int = 128
    """Bodies on their way: together at most 32 MiB."""


DEFAULT_LIMITS = UploadLimits()


class Uploads:
    """Reads bodies."""

    def __init__(self, limits: UploadLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._under_way: dict[asyncio.Timeout, None] = {}
        """In the order in which they began."""

    async def read(self, request: Request) -> bytes:
        """The whole body; raises Refused: `too_large`, `slow` or `disconnected`."""
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.bytes_max:
            raise Rejected("too_large")
        limit = asyncio.timeout(self._limits.seconds)
        try:
            async with limit:
                self._admit(limit)
                return await self._body(request)
        except TimeoutError:
            raise Rejected("slow") from None
        except ClientDisconnect:
            raise Rejected("disconnected") from None
        finally:
            self._under_way.pop(limit, None)

    def _admit(self, limit: asyncio.Timeout) -> None:
        self._under_way[limit] = None
        if len(self._under_way) > self._limits.at_once:
            oldest = next(iter(self._under_way))
            del self._under_way[oldest]
            if not oldest.expired():
                oldest.reschedule(_AT_ONCE_PAST)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limits.bytes_max:
                raise Rejected("too_large")
        return bytes(body)
