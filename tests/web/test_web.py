"""The web server's answers, over real HTTP."""

import gzip
import re
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import httpx
import prometheus_client.openmetrics.parser
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter import __version__
from exporter.metrics.exposition import Format
from exporter.web import HealthStatus, WebServer
from tests.support.web_surface import FAMILY, FINE, LOOPBACK, Running, page, running

OPENMETRICS = {"Accept": "application/openmetrics-text"}
SCRAPER = {"X-Prometheus-Scrape-Timeout-Seconds": "10"}


@pytest.fixture(scope="module")
def exporter() -> Iterator[Running]:
    """A server with a page, shared by tests that don't change it."""
    with running(published=page(7)) as started:
        yield started


def families(body: str, *, openmetrics: bool) -> dict[str, list[float]]:
    """Return the values of each family, as client_python reads them from a page."""
    read = prometheus_client.openmetrics.parser.text_string_to_metric_families if openmetrics else read_text
    return {family.name: [float(sample.value) for sample in family.samples] for family in read(body)}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_metrics(exporter: Running, openmetrics: bool, encoding: str) -> None:
    """/metrics has the published page and the process families, in both formats, compressed or not."""
    headers = {"Accept-Encoding": encoding, **(OPENMETRICS if openmetrics else {})}
    answer = httpx.get(f"{exporter.url}/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (Format.OPENMETRICS if openmetrics else Format.TEXT).value
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers.get("content-encoding") == (None if encoding == "identity" else encoding)
    assert answer.text.endswith("# EOF\n") is openmetrics
    found = families(answer.text, openmetrics=openmetrics)
    assert found[FAMILY.name.removesuffix("_total")] == [7, 7, 7]
    assert found["python_info"] == [1]
    assert found["process_cpu_seconds"][0] > 0
    assert len(found["python_gc_collections"]) == 3


def test_gzip_is_one_member(exporter: Running) -> None:
    """A compressed page is one ordinary gzip stream, at each scrape: some clients stop reading after one member."""
    for _ in range(3):
        request = Request(f"{exporter.url}/metrics", headers={"Accept-Encoding": "gzip"})
        with urlopen(request) as answer:
            body = answer.read()
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        read = stream.decompress(body)
        assert (stream.eof, stream.unused_data) == (True, b"")
        assert read == gzip.decompress(body)
        assert read.startswith(page(7).text)


def test_new_page_is_served_compressed_too() -> None:
    """A new page is never answered with the compressed body of an older one, in either format."""
    with running() as exporter:
        for version in (1, 2, 2, 3):
            exporter.server.publish(page(version))
            for openmetrics in (False, True):
                answer = httpx.get(f"{exporter.url}/metrics", headers=OPENMETRICS if openmetrics else {})
                assert answer.headers["content-encoding"] == "gzip"
                assert families(answer.text, openmetrics=openmetrics)["telnyx_cost"] == [version] * 3


def test_head(exporter: Running) -> None:
    """HEAD has the headers of GET and no body."""
    answer = httpx.head(f"{exporter.url}/metrics")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0
    assert answer.headers["content-type"] == Format.TEXT.value


def test_no_page_yet() -> None:
    """Before the first page a scrape fails instead of showing that all series ended."""
    with running() as exporter:
        answer = httpx.get(f"{exporter.url}/metrics", headers=SCRAPER)
        assert exporter.callbacks.scraped.empty()
    assert (answer.status_code, answer.text) == (503, "no metrics yet: the ledger is being read\n")


def test_scrapes_are_reported() -> None:
    """A GET of /metrics with a scrape timeout counts as one scrape; curl, HEAD and probes don't."""
    with running(published=page(42)) as exporter:
        httpx.get(f"{exporter.url}/metrics")
        httpx.head(f"{exporter.url}/metrics", headers=SCRAPER)
        httpx.get(f"{exporter.url}/-/ready", headers=SCRAPER)
        assert exporter.callbacks.scraped.empty()
        httpx.get(f"{exporter.url}/metrics", headers=SCRAPER)
        assert exporter.callbacks.scraped.get_nowait() == 42
        assert exporter.callbacks.scraped.empty()


def test_scrapes_are_reported_before_the_page_is_read() -> None:
    """A scrape gets at least the page published when it was reported: the zero start counts scrapes by that moment."""
    server = WebServer(
        LOOPBACK,
        status=lambda: FINE,
        on_scrape=lambda version: server.publish(page(version + 1)),
        on_crash=lambda error: pytest.fail(str(error)),
    )
    server.publish(page(1))
    server.start()
    answer = httpx.get(f"http://127.0.0.1:{server.port}/metrics", headers=SCRAPER)
    server.stop(5)
    assert families(answer.text, openmetrics=False)["telnyx_cost"] == [2, 2, 2]


def test_pages_are_swapped_whole() -> None:
    """Concurrent scrapes each get one whole page, never older than the one before."""
    lines, scrapes, scrapers = 1000, 10, 4
    version = 1
    with running(published=page(version, lines)) as exporter:

        def scrape(number: int) -> list[int]:
            seen: list[int] = []
            with httpx.Client(headers=OPENMETRICS if number % 2 else {}) as client:
                for _ in range(scrapes):
                    body = client.get(f"{exporter.url}/metrics").text
                    values = re.findall(r"^telnyx_cost_total\{.*\} (\d+)$", body, re.MULTILINE)
                    assert len(values) == lines
                    seen.extend(map(int, set(values)))
            return seen

        with ThreadPoolExecutor(scrapers) as pool:
            results = [pool.submit(scrape, number) for number in range(scrapers)]
            while not all(result.done() for result in results):
                version += 1
                exporter.server.publish(page(version, lines))
        for result in results:
            seen = result.result()
            assert len(seen) == scrapes
            assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("path", "status", "code", "text"),
    [
        ("/-/healthy", HealthStatus(None, "starting"), 200, "telnyx-session-exporter is healthy.\n"),
        ("/-/ready", HealthStatus(None, "starting"), 503, "starting\n"),
        ("/-/healthy", HealthStatus("stuck", None), 503, "stuck\n"),
        ("/-/ready", HealthStatus("stuck", None), 200, "telnyx-session-exporter is ready.\n"),
        ("/metrics/", HealthStatus(None, None), 404, "Not Found"),
        ("/favicon.ico", HealthStatus(None, None), 404, "Not Found"),
    ],
)
def test_plain_answers(path: str, status: HealthStatus, code: int, text: str) -> None:
    """/-/healthy and /-/ready answer separately, with their reasons; an unknown path is no redirect."""
    with running(status=status) as exporter:
        answer = httpx.get(f"{exporter.url}{path}")
    assert (answer.status_code, answer.text) == (code, text)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_other_methods(exporter: Running, path: str) -> None:
    """Only GET and HEAD are allowed; other methods get 405 with the allowed ones."""
    answer = httpx.post(f"{exporter.url}{path}")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_landing(exporter: Running) -> None:
    """The landing page has name and version, and may load only its own style sheet and icon."""
    answer = httpx.get(exporter.url)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f"Version {__version__}." in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self';")
    assert set(re.findall('href="(/[^"]*)"', answer.text)) >= {"/sessions", "/failures", "/config", "/metrics"}
    assert not re.search("<script|<style| style=", answer.text)


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/nowhere"])
def test_headers(exporter: Running, path: str) -> None:
    """Every answer has security headers, forbids caching and doesn't name the server software."""
    headers = httpx.get(f"{exporter.url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_promtool_accepts_the_whole_page(exporter: Running, promtool: Path) -> None:
    """Prometheus's linter accepts the served page, process families included."""
    body = httpx.get(f"{exporter.url}/metrics").content
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
