"""Start a web server for tests of the web surface, and make metrics pages for it."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from exporter.core.catalog import Family
from exporter.metrics.exposition import MetricsPage, head, prefix, sample
from exporter.web import ConnectionLimits, HealthStatus, WebServer

FINE = HealthStatus(healthy=None, ready=None)

LOOPBACK = "127.0.0.1:0"

FAMILY = Family("telnyx_cost_total", "counter", "ledger", ("model",), "Costs.")


def page(version: int, lines: int = 3) -> MetricsPage:
    """Return a page on which every value is the version."""
    series = b"".join(sample(prefix(FAMILY.name, [("model", f"m{n}")]), version) for n in range(lines))
    return MetricsPage(version, (head(FAMILY, openmetrics=False), series), (head(FAMILY, openmetrics=True), series))


class Callbacks(Struct, frozen=True):
    """The calls of the server's callbacks."""

    scraped: queue.SimpleQueue[int]
    died: queue.SimpleQueue[BaseException]


class Running(Struct, frozen=True):
    """A started server."""

    server: WebServer
    url: str
    callbacks: Callbacks


@contextmanager
def running(
    *addresses: str,
    status: HealthStatus = FINE,
    published: MetricsPage | None = None,
    limits: ConnectionLimits | None = None,
) -> Iterator[Running]:
    callbacks = Callbacks(queue.SimpleQueue(), queue.SimpleQueue())
    server = WebServer(
        *(addresses or (LOOPBACK,)),
        status=lambda: status,
        on_scrape=callbacks.scraped.put,
        on_crash=callbacks.died.put,
        limits=limits or ConnectionLimits(),
    )
    if published is not None:
        server.publish(published)
    server.start()
    try:
        yield Running(server, f"http://127.0.0.1:{server.port}", callbacks)
    finally:
        server.stop(5)
    assert callbacks.died.empty()
