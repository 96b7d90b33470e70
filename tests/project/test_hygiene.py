"""Keys and passwords appear nowhere, and the watch over the whole suite (tests/support/hygiene.py) finds leaks."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from starlette.responses import PlainTextResponse

from exporter.config import ConfiguredSession, Secret, dump, load
from exporter.core.errors import ConfigError, PollError
from exporter.log import fields
from exporter.runtime.reload import Origin
from simulator import running
from tests.runtime.test_exporter import EXAMPLE
from tests.support.exporting import config, exporting
from tests.support.faulty_server import KEY, answer, serving
from tests.support.hygiene import WATCH

PASSWORD = "PASSWORD-never-to-be-seen"
log = logging.getLogger("exporter.test")


def raise_error() -> None:
    raise ValueError(f"401 for Bearer {KEY}")


def log_exception() -> None:
    try:
        raise_error()
    except ValueError:
        log.exception("failed")


LEAKS: dict[str, Callable[[], object]] = {
    "a field at debug": lambda: log.debug("m", extra=fields(error=f"for {KEY}")),
    "a traceback": log_exception,
    "a page": lambda: PlainTextResponse(f'telnyx_cost_total{{account="{KEY}"}} 1\n'),
    "a header": lambda: PlainTextResponse("", headers={"Location": f"/?password={PASSWORD}"}),
    "an error that is not raised": lambda: ConfigError("accounts[0].api_key_env", f"got {KEY}"),
    "an error's reason": lambda: PollError(KEY, "refused"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_the_watch_finds_a_leak(leak: str) -> None:
    """Each kind of leak of a key or password during a test makes that test fail."""
    LEAKS[leak]()
    found = WATCH.pop_found()
    assert found
    assert all(KEY in each or PASSWORD in each for each in found)


def test_the_watch_finds_nothing_else() -> None:
    """The watch ignores the names of settings and variables."""
    WATCH.check("a page", "api_key_env: TELNYX_API_KEY, MAIN_KEY, KEYS, monkey-business, a KEY of PASSWORDs")
    assert WATCH.pop_found() == []


def test_no_form_of_the_configuration_holds_a_key(tmp_path: Path) -> None:
    """A configuration as text or plain values contains no key, and serialisers refuse it."""
    file = tmp_path / "config.yaml"
    file.write_text("accounts: [{name: main, api_key_env: MAIN_KEY}]")
    loaded = load(file, {"MAIN_KEY": KEY})
    assert loaded.accounts[0].api_key().reveal() == KEY
    for text in (str(loaded), repr(loaded), str(dump(loaded)), repr(loaded.accounts[0].key), f"{loaded.accounts}"):
        assert KEY not in text
        WATCH.check("a dump", text)
    for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins):
        with pytest.raises(TypeError):
            encode(loaded)


def test_a_refused_key_appears_nowhere(tmp_path: Path) -> None:
    """An exporter shows its key nowhere if the API repeats it, the configuration misplaces it, or clients send it."""

    async def act() -> None:
        echo = f'{{"errors": [{{"code": "1", "title": "Bad key {KEY}", "detail": "{KEY}"}}]}}'.encode()
        with running(EXAMPLE, time.monotonic) as simulated:
            async with serving(answer(401, echo), answer(400, echo), answer(401, echo)) as api:
                plain = config(simulated, tmp_path)
                account = replace(
                    plain.accounts[0],
                    base_url=f"http://127.0.0.1:{api.port}/v2",
                    key=Secret(KEY),
                    balance_interval_seconds=60.0,
                )
                named = tuple(ConfiguredSession(record_type="message", event_id=f"m{i}") for i in range(3))
                file = tmp_path / "config.yaml"
                origin = Origin(lambda: load(file, {"MAIN_KEY": f"{KEY}\n{KEY}"}), lambda: file, lifecycle=True)
                async with exporting(
                    replace(plain, accounts=(account,), sessions=named), simulated, origin=origin
                ) as exporter:
                    await exporter.drained()
                    assert any(KEY in head for head in api.heads)
                    for bad in (
                        f"api_key: {KEY}",
                        f"accounts: [{{api_key_env: {KEY}}}]",
                        "accounts: [{api_key_env: MAIN_KEY}]",
                        f"{KEY}: [",
                    ):
                        file.write_text(bad)
                        assert (await exporter.http.post(f"{exporter.origin}/-/reload")).status_code == 500
                    for path in (
                        "/",
                        "/metrics",
                        "/-/healthy",
                        "/-/ready",
                        f"/{KEY}",
                        "/config",
                        "/failures",
                        "/sessions",
                    ):
                        await exporter.get(path, Authorization=f"Bearer {KEY}")
                    await exporter.http.post(f"{exporter.origin}/webhooks/telnyx/main", content=KEY)
                    await exporter.http.post(f"{exporter.origin}/webhooks/telnyx/{KEY}", content=KEY)
                    await exporter.http.post(f"{exporter.origin}/api/v1/sessions", json=[{"account": KEY}])
                    exporter.publish()
                    assert KEY not in (await exporter.get("/metrics")).text

    asyncio.run(act())
