"""The metrics of the API after each request."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from exporter.config import Account, Config, LedgerSettings, Secret
from exporter.runtime.app import App
from exporter.telnyx.client import Answered
from tests.metrics.test_metrics import samples, shown
from tests.support.polling import KEY, ManualClock


def play(folder: Path, scene: Callable[[App], None]) -> None:
    """Build an exporter without running it; the scene reports requests to it."""

    async def act() -> None:
        config = Config(
            accounts=(Account(name="main", key=Secret(KEY)),),
            ledger=LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite'}"),
        )
        transport = httpx.MockTransport(lambda _: httpx.Response(404))
        app = App(config, listen="127.0.0.1:0", clock=ManualClock(500.0), transport=lambda *_: transport)
        scene(app)
        await app.close_clients()

    asyncio.run(act())


@pytest.mark.parametrize(
    ("code", "up"),
    [
        *(("200", 1), ("404", 1), ("403", 1), ("429", 1), ("302", 1)),
        *(("401", 0), ("500", 0), ("503", 0), ("timeout", 0), ("connect", 0), ("tls", 0), ("read", 0)),
    ],
)
def test_the_api_is_up_if_it_answers_and_takes_the_key(tmp_path: Path, code: str, up: int) -> None:
    """A 401, a 5xx and a broken exchange set telnyx_api_up to 0; any other answer sets it to 1."""

    def scene(app: App) -> None:
        app.maintenance.observe("main", Answered("session", "200" if not up else "503", 0.1))
        app.maintenance.observe("main", Answered("session", code, 0.1))
        assert shown(samples(app.metrics), "telnyx_api_up", account="main") == up

    play(tmp_path, scene)


def test_only_a_200_is_a_success(tmp_path: Path) -> None:
    """telnyx_api_last_success_timestamp_seconds is the session time of the last 200."""

    def scene(app: App) -> None:
        app.maintenance.observe("main", Answered("session", "404", 0.1))
        assert shown(samples(app.metrics), "telnyx_api_last_success_timestamp_seconds", account="main") == 0
        app.maintenance.observe("main", Answered("session", "200", 0.1))
        assert shown(samples(app.metrics), "telnyx_api_last_success_timestamp_seconds", account="main") == 500

    play(tmp_path, scene)


def test_requests_are_counted_by_endpoint_and_code(tmp_path: Path) -> None:
    """Requests of a removed account are counted; its gauges are not set again."""

    def scene(app: App) -> None:
        for account in ("main", "gone"):
            app.maintenance.observe(account, Answered("balance", "503", 0.1))
        found = samples(app.metrics)
        assert shown(found, "telnyx_api_requests_total", account="gone", endpoint="balance", code="503") == 1
        assert shown(found, "telnyx_api_up", account="main") == 0
        assert shown(found, "telnyx_api_up", account="gone") is None

    play(tmp_path, scene)
