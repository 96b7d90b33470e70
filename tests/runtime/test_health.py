"""Liveness, readiness and shutdown of the exporter, as its supervisor sees them."""

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.ledger import Ledger
from simulator import Running, running
from tests.runtime.test_exporter import EXAMPLE
from tests.sources.test_webhooks import JSON, event
from tests.support.clocks import RealSleep
from tests.support.exporting import PATIENCE_SECONDS, Exporting, config, exporting
from tests.support.faulty_server import FaultyServer, answer, serving, then_silence, together
from tests.support.processes import Process, write
from tests.support.trees import answer as tree
from tests.support.trees import body, node

STUCK_SECONDS = 100.0
INSECURE = {"detail_records": {"record_types": []}, "webhooks": {"insecure": True}}
SESSION = {"record_type": "call-control", "event_id": "leg"}
KILLS = 5
HASTY = {"X-Prometheus-Scrape-Timeout-Seconds": "1"}
CLOSED_PORT = 1
"""A port on which nothing listens."""


class Leaping(RealSleep):
    """The simulator's clock, with a monotonic time that can jump."""

    def __init__(self, simulated: Running) -> None:
        self._simulated = simulated
        self.leapt = 0.0

    def now(self) -> float:
        return self._simulated.clock.now()

    def monotonic(self) -> float:
        return time.monotonic() + self.leapt


async def health(exporter: Exporting) -> tuple[int, str]:
    found = await exporter.get("/-/healthy")
    return found.status_code, found.text


def test_a_scheduler_that_stands_still_is_unhealthy(tmp_path: Path) -> None:
    """While the ledger's thread hangs, no tick ends: /-/healthy is 503, and 200 again when the thread continues."""

    async def act() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            clock = Leaping(simulated)
            async with exporting(config(simulated, tmp_path), simulated, clock) as exporter:
                await exporter.drained()
                assert await health(exporter) == (200, "telnyx-session-exporter is healthy.\n")
                going, goes_on = threading.Event(), threading.Event()

                def hang(_: Ledger) -> None:
                    going.set()
                    goes_on.wait(PATIENCE_SECONDS)

                hanging = asyncio.create_task(exporter.app.ledger.run(hang))
                await asyncio.to_thread(going.wait)
                clock.leapt = STUCK_SECONDS
                try:
                    assert await health(exporter) == (503, "the scheduler has not ticked for too long\n")
                finally:
                    goes_on.set()
                await hanging

                async def healthy() -> bool:
                    return (await health(exporter))[0] == HTTPStatus.OK

                await exporter.until(healthy)

    asyncio.run(act())


def test_without_its_ledger_the_exporter_is_unhealthy(tmp_path: Path) -> None:
    """Once the ledger's thread has ended, /-/healthy is 503, because only a new process can book polls."""

    async def act() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                await exporter.drained()
                await exporter.app.ledger.close()
                assert await health(exporter) == (503, "the ledger's thread has ended\n")

    asyncio.run(act())


# Shutdown


class Api:
    """A misbehaving API in a thread of its own, for an exporter in a process of its own."""

    def __init__(self, server: FaultyServer, loop: asyncio.AbstractEventLoop, gate: asyncio.Barrier) -> None:
        self.url = f"http://127.0.0.1:{server.port}/v2"
        self._server = server
        self._loop = loop
        self._gate = gate

    def asked(self) -> bool:
        """Return whether a poll waits for its answer."""
        return any(f"/{SESSION['event_id']}?" in line for line in self._server.lines)

    def let_go(self) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.wait(), self._loop).result(PATIENCE_SECONDS)


def with_api(play: Callable[[Api], None], *, silent: bool) -> None:
    """Play while an API keeps a poll waiting, for ever or until it is let go."""

    async def act() -> None:
        gate = asyncio.Barrier(2)
        sent = answer(200, body(tree(node("call-control:leg", "0.25"))))
        waits = then_silence(b"") if silent else together(sent, gate)
        async with serving(answer(404), by_id={"leg": waits}) as server:
            await asyncio.to_thread(play, Api(server, asyncio.get_running_loop(), gate))

    asyncio.run(act())


def started(folder: Path, port: int, url: str) -> Process:
    account = {"name": "main", "api_key_env": "MAIN_KEY", "base_url": url, "balance_interval_seconds": 0}
    polling = {"scheduler_interval_seconds": 0.05, "timeout_seconds": 600}
    write(folder, accounts=[account], sessions=[SESSION], discovery=INSECURE, polling=polling)
    process = Process(folder, port)
    process.until(process.ready)
    return process


def hook(origin: str, name: str) -> int | None:
    """Return the status of a webhook's answer; None without an answer."""
    sent = {"data": {"event_type": "call.initiated", "id": name, "payload": {"call_session_id": name}}}
    with suppress(httpx.TransportError):
        return httpx.post(f"{origin}/webhooks/telnyx/main", json=sent, timeout=PATIENCE_SECONDS).status_code
    return None


def ledger_rows(folder: Path, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        return ledger.execute(query).fetchall()


def test_sigterm_refuses_webhooks_and_books_what_is_under_way(tmp_path: Path, free_port: int) -> None:
    """Webhooks get 503 at once, a poll that still gets its answer is durable, and the exit code is 0."""

    def play(api: Api) -> None:
        process = started(tmp_path, free_port, api.url)
        try:
            process.until(api.asked)
            assert hook(process.origin, "before") == HTTPStatus.NO_CONTENT
            process.process.send_signal(signal.SIGTERM)
            process.until(lambda: hook(process.origin, "after") == HTTPStatus.SERVICE_UNAVAILABLE)
            assert httpx.get(f"{process.origin}/-/ready").text == "stopping\n"
            assert httpx.get(f"{process.origin}/-/healthy").status_code == HTTPStatus.OK
            api.let_go()
            assert process.process.wait(PATIENCE_SECONDS) == 0, process.log()
        finally:
            process.process.kill()

    with_api(play, silent=False)
    assert ledger_rows(tmp_path, "SELECT cost FROM events") == [("0.25",)]
    assert ("before",) in ledger_rows(tmp_path, "SELECT event_id FROM sessions")


@pytest.mark.slow
def test_sigterm_ends_within_bounded_time(tmp_path: Path, free_port: int) -> None:
    """A poll whose answer never comes is abandoned, and stays due for the next start."""

    def play(api: Api) -> None:
        process = started(tmp_path, free_port, api.url)
        try:
            process.until(api.asked)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(25) == 0, process.log()
        finally:
            process.process.kill()

    with_api(play, silent=True)
    assert ledger_rows(tmp_path, "SELECT event_id FROM sessions WHERE due_at IS NOT NULL") == [("leg",)]


def test_a_second_sigterm_ends_at_once(tmp_path: Path, free_port: int) -> None:
    """A second SIGTERM ends the exporter without waiting for polls in flight."""

    def play(api: Api) -> None:
        process = started(tmp_path, free_port, api.url)
        try:
            process.until(api.asked)
            process.process.send_signal(signal.SIGTERM)
            process.until(lambda: hook(process.origin, "x") == HTTPStatus.SERVICE_UNAVAILABLE)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(PATIENCE_SECONDS) == -signal.SIGTERM
        finally:
            process.process.kill()

    with_api(play, silent=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sigkill_right_after_sigterm_loses_nothing(tmp_path: Path, free_port: int) -> None:
    """A webhook that was answered with 204 is in the ledger, however the process ended a moment later."""
    promised: set[str] = set()
    for life in range(KILLS):
        process = started(tmp_path, free_port, "http://127.0.0.1:1/v2")
        with ThreadPoolExecutor(4) as senders:
            names = [f"{life}-{number}" for number in range(40)]
            sent = {name: senders.submit(hook, process.origin, name) for name in names}
            process.until(lambda sent=sent: sum(each.done() for each in sent.values()) > len(sent) // 4)  # type: ignore[misc]  # bound at once
            process.process.send_signal(signal.SIGTERM)
            process.process.send_signal(signal.SIGKILL)
            process.process.wait(PATIENCE_SECONDS)
            promised |= {name for name, each in sent.items() if each.result() == HTTPStatus.NO_CONTENT}
    assert promised
    assert promised <= {name for (name,) in ledger_rows(tmp_path, "SELECT event_id FROM sessions")}


def test_who_asks_while_the_server_is_away_is_answered(tmp_path: Path, free_port: int) -> None:
    """While PostgreSQL is unavailable at the start, every request is answered with the reason and is no defect."""
    write(
        tmp_path,
        ledger={"url": f"postgresql://user@127.0.0.1:{CLOSED_PORT}/nothing"},
        discovery=INSECURE | {"http": {"enabled": True}},
    )
    process = Process(tmp_path, free_port, "--web.enable-lifecycle")
    try:
        process.until(lambda: said(process, "GET", "/-/ready").startswith("503 starting: ledger: "))
        listed = said(process, "POST", "/api/v1/sessions", json=[SESSION])
        assert listed.startswith('503 {"error":"starting: ledger: ')
        assert (
            said(process, "POST", "/webhooks/telnyx", content=event(), headers=JSON)
            == "503 the webhook could not be stored; send it again\n"
        )
        assert "the exporter is starting" in said(process, "POST", "/-/reload")
        assert "probe_success 0" in said(process, "GET", "/probe", params=SESSION, headers=HASTY)
        assert process.end() == 0
        assert "Traceback" not in process.log()
        assert "never awaited" not in process.log()
    finally:
        process.process.kill()


def said(process: Process, method: str, path: str, **how: Any) -> str:
    """Return status and text; empty as long as nothing listens."""
    try:
        found = httpx.request(method, f"http://localhost:{process.origin.rpartition(':')[2]}{path}", **how)
    except httpx.TransportError:
        return ""
    return f"{found.status_code} {found.text}"
