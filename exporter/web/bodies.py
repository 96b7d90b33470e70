"""The last step of a page: the process's own families behind it, and compression.

Owns what may be kept between two scrapes of one page. Knows no HTTP and lives on the web thread alone. The surprising
fact: what is compressed of a page can be kept although each scrape ends differently, with the process as it is now.
"""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.metrics.exposition import Format, MetricsPage
from exporter.web.gzipped import Gzipped, Start


class Bodies:
    """Finished response bodies."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._gzipped = {form: Gzipped() for form in Format}
        self._starts: dict[Format, tuple[int, Start]] = {}
        """The versions of the pages that were compressed last."""

    async def body(self, page: MetricsPage, form: Format, *, gzip: bool) -> bytes:
        """The whole exposition in one format, compressed or not."""
        end = self._process_families(form)
        if not gzip:
            return b"".join((*page.parts(form), end))
        return (await self._start(page, form)).ended(end)

    def _process_families(self, form: Format) -> bytes:
        """Comes last, since client_python ends its OpenMetrics with the `# EOF` that ends ours."""
        generate = generate_openmetrics if form is Format.OPENMETRICS else generate_text
        return generate(self._registry)

    async def _start(self, page: MetricsPage, form: Format) -> Start:
        version, start = self._starts.get(form, (None, None))
        if start is None or version != page.version:
            start = await self._gzipped[form].start(page.parts(form))
            self._starts[form] = page.version, start
        return start
