"""How fast webhooks are taken while polls run at full speed, and what that costs the scrapes.

Starts the simulator and the exporter as processes of their own, has the exporter poll some thousand sessions without a
pause, and sends signed webhooks at a steady rate over kept connections. Each is timed from the moment when it was to
be sent, so that a stall is seen by all that it delays. Run it with `make bench-webhooks`.
"""

import argparse
import asyncio
import base64
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONNECTIONS = 64
SCRAPE_SECONDS = 0.1
PATIENCE_SECONDS = 180.0
LEAD_SECONDS = 0.5
"""Making thousands of tasks takes so long at most: the first is to be sent after that."""

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
polling: {{tick_seconds: 0.05, min_interval_seconds: 1, max_interval_seconds: 1}}
ledger: {{url: "sqlite:///{folder}/ledger.sqlite"}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Webhooks beside polls at full speed.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long webhooks are sent (default: %(default)s)")
    parser.add_argument("--per-second", type=int, default=500, help="webhooks per second (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=2000, help="sessions that are polled (default: %(default)s)")
    parser.add_argument("--port", type=int, default=19464, help="of the exporter; the simulator has the next one")
    parser.add_argument("--folder", help="where the ledger lies for the time (default: the usual temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-", dir=options.folder) as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    environ = {**os.environ, "BENCH_API_KEY": "KEY-simulator", "BENCH_PUBLIC_KEY": public}
    simulator = options.port + 1
    rate = ["--sessions-per-hour", "36000", "--history-seconds", "90000", "--sessions-max", str(options.sessions)]
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(simulator=simulator, folder=folder))
    with process("simulate", "--port", str(simulator), "--requests-per-second", "100000", *rate, environ=environ):
        listed = json.loads(fetch(f"http://127.0.0.1:{simulator}/_sessions"))
        sessions = [{name: entry[name] for name in ("record_type", "event_id")} for entry in listed]
        (folder / "sessions.json").write_text(json.dumps(sessions))
        listen = f"127.0.0.1:{options.port}"
        run = ("run", "--config.file", str(config), "--web.listen-address", listen, "--log.level", "error")
        with process(*run, environ=environ):
            await_followed(options.port, len(sessions))
            gc.disable()  # a pause of ours is none of the exporter's
            asyncio.run(load(options, key))


@contextmanager
def process(*arguments: str, environ: dict[str, str]) -> Iterator[None]:
    started = subprocess.Popen([sys.executable, "-m", "exporter", *arguments], env=environ, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        started.terminate()
        started.wait(30)


def fetch(url: str) -> str:
    """The text at a URL, as soon as something listens there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def value(page: str, start: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start))


def await_followed(port: int, sessions: int) -> None:
    """Until all sessions were polled for the first time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while value(fetch(f"http://127.0.0.1:{port}/metrics"), "telnyx_polls_total{") < sessions:
        if time.monotonic() > deadline:
            raise TimeoutError("the sessions were not polled")
        time.sleep(0.5)


class Connection:
    """One kept connection; requests go one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def send(self, request: bytes) -> int:
        """The status of the answer, which was read to its end."""
        async with self._lock:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length: ")
            await self._reader.readexactly(int(length.partition(b"\r\n")[0] or b"0"))
            return int(head.split(None, 2)[1])


async def load(options: argparse.Namespace, key: Ed25519PrivateKey) -> None:
    scraper = Connection(options.port)
    await scraper.open()
    before = await polls(options.port)
    began = time.monotonic()
    alone = await scrape(scraper, options.seconds)
    middle, alone_seconds = await polls(options.port), time.monotonic() - began
    requests = [signed(key, body) for body in bodies(int(options.seconds * options.per_second))]
    connections = [Connection(options.port) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(connection.open() for connection in connections))
    began = time.monotonic() + LEAD_SECONDS
    scraping = asyncio.create_task(scrape(scraper, options.seconds))
    pending = await asyncio.gather(
        *(
            post(connections[number % CONNECTIONS], request, began + number / options.per_second)
            for number, request in enumerate(requests)
        )
    )
    beside = await scraping
    seconds = time.monotonic() - began
    after = await polls(options.port)
    answers = dict(Counter(status for status, _ in pending))
    say("webhooks", [seconds for _, seconds in pending], f"{len(pending)} sent, by status {answers}")
    say("scrapes without", alone, f"{(middle - before) / alone_seconds:.0f} polls/s")
    say("scrapes with", beside, f"{(after - middle) / seconds:.0f} polls/s")


async def post(connection: Connection, request: bytes, at: float) -> tuple[int, float]:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    return await connection.send(request), time.monotonic() - at


async def scrape(connection: Connection, seconds: float) -> list[float]:
    """How long each scrape took, for so many seconds."""
    request = b"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    taken, until = [], time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        await connection.send(request)
        taken.append(time.monotonic() - began)
        await asyncio.sleep(SCRAPE_SECONDS)
    return taken


async def polls(port: int) -> float:
    page = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics")
    return value(page, "telnyx_polls_total{")


def bodies(count: int) -> Iterator[bytes]:
    """Two webhooks of each of many new calls."""
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


def say(what: str, seconds: Sequence[float], more: str) -> None:
    ranked = statistics.quantiles(seconds, n=100)
    print(f"{what:16} p50 {1000 * ranked[49]:6.1f} ms  p99 {1000 * ranked[98]:6.1f} ms  {more}", flush=True)


if __name__ == "__main__":
    main()
