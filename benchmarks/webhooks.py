"""Measure webhooks while polls run at full speed: rate, latency, and their effect on scrapes.

The simulator and the exporter run as processes. The exporter polls some thousand sessions without a pause, and signed
webhooks arrive at a steady rate over kept connections. Each is timed from the moment when it was due to be sent, so a
stall counts for all webhooks that it delays. Run it with `make bench-webhooks`.
"""

import asyncio
import base64
import gc
import json
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from benchmarks.processes import fetch, free_port, program, until, value
from benchmarks.tables import printed, table

CONNECTIONS = 64
SCRAPE_SECONDS = 0.1
LEAD_SECONDS = 0.5
"""Creating thousands of tasks takes less than this, so the first webhook is sent after it."""

CONFIG = """\
accounts:
  - name: main
    base_url: http://127.0.0.1:{simulator}/v2
    api_key_env: BENCH_API_KEY
    webhook_public_key_env: BENCH_PUBLIC_KEY
    requests_per_second: 1000
    max_in_flight: 20
    balance_interval_seconds: 0
discovery:
  detail_records: {{record_types: []}}
  files: ["{folder}/sessions.json"]
polling: {{scheduler_interval_seconds: 0.05, min_interval_seconds: 1, max_interval_seconds: 1}}
ledger: {{url: "sqlite:///{folder}/ledger.sqlite"}}
"""
COLUMNS = ("what", "beside", "p50", "p99", "answers", "polls/s", "p99 ratio")
SAYS = (
    "{} signed webhooks a second, each timed from the moment when it was due to be sent, and scrapes, while polls"
    " run without a pause. Ratios compare with the scrapes before the first webhook."
)


class Load(Struct, frozen=True):
    """The webhooks to send, and the load beside them."""

    seconds: float = 10.0
    per_second: int = 500
    sessions: int = 2000


FULL, QUICK = Load(), Load(seconds=3.0, sessions=500)


def measure(*, quick: bool) -> list[str]:
    """Return the part of the page that `make bench` writes."""
    return report(QUICK if quick else FULL)


def report(load: Load) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as folder:
        rows = list(_rows(load, Path(folder)))
    head = ["### Webhooks while polling at full speed", "", SAYS.format(load.per_second), ""]
    return [*head, *table(COLUMNS, rows)]


def _rows(load: Load, folder: Path) -> Iterator[Sequence[object]]:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    environ = {"BENCH_API_KEY": "KEY-simulator", "BENCH_PUBLIC_KEY": public}
    simulator, port = free_port(), free_port()
    world = ("--sessions-per-hour", "36000", "--history-seconds", "90000", "--sessions-max", str(load.sessions))
    simulate = (
        "simulate",
        "--port",
        str(simulator),
        "--quota",
        "session=6000000",
        "--quota",
        "detail_records=6000000",
        *world,
    )
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(simulator=simulator, folder=folder))
    with program("-m", "exporter", *simulate):
        listed = json.loads(fetch(f"http://127.0.0.1:{simulator}/_sessions"))
        sessions = [{name: entry[name] for name in ("record_type", "event_id")} for entry in listed]
        (folder / "sessions.json").write_text(json.dumps(sessions))
        run = ("run", "--config.file", str(config), "--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error")
        with program("-m", "exporter", *run, environ=environ):
            until(lambda: _polls(port) >= len(sessions))
            gc.disable()  # a garbage collection here would count as the exporter's latency
            try:
                yield from asyncio.run(_measured(load, port, key))
            finally:
                gc.enable()


class Connection:
    """One persistent connection; requests are sent one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def send(self, request: bytes) -> int:
        """Send a request, read the whole answer and return its status."""
        async with self._lock:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length: ")
            await self._reader.readexactly(int(length.partition(b"\r\n")[0] or b"0"))
            return int(head.split(None, 2)[1])


async def _measured(load: Load, port: int, key: Ed25519PrivateKey) -> list[Sequence[object]]:
    scraper = Connection(port)
    await scraper.open()
    before = await polls(port)
    began = time.monotonic()
    alone = await scrape(scraper, load.seconds)
    middle, alone_seconds = await polls(port), time.monotonic() - began
    requests = [signed(key, body) for body in bodies(int(load.seconds * load.per_second))]
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(connection.open() for connection in connections))
    began = time.monotonic() + LEAD_SECONDS
    scraping = asyncio.create_task(scrape(scraper, load.seconds))
    sent = await asyncio.gather(
        *(
            post(connections[number % CONNECTIONS], request, began + number / load.per_second)
            for number, request in enumerate(requests)
        )
    )
    beside, late = await scraping, [seconds for _, seconds in sent]
    await asyncio.gather(*(connection.close() for connection in (scraper, *connections)))
    alone_rate = (middle - before) / alone_seconds
    beside_rate = (await polls(port) - middle) / (time.monotonic() - began)
    answers = ", ".join(f"{count} x {status}" for status, count in Counter(status for status, _ in sent).items())
    return [
        ("scrapes", "polls", *_taken(alone), f"{len(alone)} x 200", f"{alone_rate:.0f}", ""),
        (
            "scrapes",
            "polls and webhooks",
            *_taken(beside),
            f"{len(beside)} x 200",
            f"{beside_rate:.0f}",
            _ratio(beside, alone),
        ),
        ("webhooks", "polls and scrapes", *_taken(late), answers, f"{beside_rate:.0f}", _ratio(late, alone)),
    ]


def _taken(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{1000 * statistics.median(seconds):.1f} ms", f"{1000 * _p99(seconds):.1f} ms"


def _ratio(seconds: Sequence[float], alone: Sequence[float]) -> str:
    return f"{_p99(seconds) / _p99(alone):.1f} x"


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


async def post(connection: Connection, request: bytes, at: float) -> tuple[int, float]:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    return await connection.send(request), time.monotonic() - at


async def scrape(connection: Connection, seconds: float) -> list[float]:
    """Scrape for so many seconds and return the duration of each scrape."""
    request = b"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    taken, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        await connection.send(request)
        taken.append(time.monotonic() - began)
        await asyncio.sleep(SCRAPE_SECONDS)
    return taken


async def polls(port: int) -> float:
    return await asyncio.to_thread(_polls, port)


def _polls(port: int) -> float:
    return value(fetch(f"http://127.0.0.1:{port}/metrics"), "telnyx_polls_total{")


def bodies(count: int) -> Iterator[bytes]:
    """Yield `count` webhooks, two for each new call."""
    for number in range(count):
        session = str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench/{number // 2}"))
        data = {
            "record_type": "event",
            "event_type": ("call.initiated", "call.answered")[number % 2],
            "id": str(uuid.uuid4()),
            "payload": {"call_session_id": session, "call_leg_id": session, "padding": "x" * 1000},
        }
        yield json.dumps({"data": data}).encode()


def signed(key: Ed25519PrivateKey, body: bytes) -> bytes:
    timestamp = str(int(time.time())).encode()
    signature = base64.b64encode(key.sign(timestamp + b"|" + body))
    head = b"POST /webhooks/telnyx/main HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    signing = b"Telnyx-Timestamp: %b\r\nTelnyx-Signature-Ed25519: %b\r\n" % (timestamp, signature)
    return head + signing + b"Content-Length: %d\r\n\r\n" % len(body) + body


if __name__ == "__main__":
    printed(measure, "Webhooks beside polls at full speed.")
