"""Render the metrics and publish each new page to the web surface."""

import asyncio

from exporter.metrics import Metrics
from exporter.web import WebServer

PUBLISH_SECONDS = 0.1
"""The shortest time between two pages."""
RENDER_SERIES = 500
"""How many changed series are rendered at a time, in about 5 ms."""


class Publisher:
    """Publishes pages until it is cancelled."""

    def __init__(self, metrics: Metrics, web: WebServer) -> None:
        self._metrics = metrics
        self._web = web
        self.published = asyncio.Event()
        """Set when /metrics has its first page."""

    async def run(self) -> None:
        while True:
            # Rendering all series at once would stop polls and commits for long, so other tasks run in between.
            while not self._metrics.render(RENDER_SERIES):  # noqa: ASYNC110
                await asyncio.sleep(0)
            page = self._metrics.page()
            if page is not None:
                self._web.publish(page)
                self.published.set()
            await asyncio.sleep(PUBLISH_SECONDS)
