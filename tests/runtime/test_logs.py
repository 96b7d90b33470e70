"""The log of a running exporter: one line per decision, no personal data, and every failure is counted too."""

import ast
import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.config import ConfiguredSession, LedgerSettings
from exporter.core.catalog import BY_NAME
from exporter.log import FORMATS
from simulator import DOCUMENTED_ID, SimulatorSettings, running
from tests.runtime.test_exporter import EXAMPLE, HOUR, LONGEST_SECONDS, run, value
from tests.support.exporting import Exporting, config, exporting
from tests.support.faulty_server import Answer, answer, serving

TOP = Path(__file__).parents[2]
DAY = 24 * HOUR

COUNTED = {
    "job failed; it runs again at its next time": ["telnyx_exporter_task_failures_total"],
    "account paused: the API forbids all its sessions; check the rights of its key": ["telnyx_poll_failures_total"],
    "balance not fetched; retried at the next interval": ["telnyx_exporter_task_failures_total"],
    "check failed": ["telnyx_reconciliation_failures_total"],
    "configuration not reloaded because of a defect in the exporter": ["telnyx_exporter_config_reload_failures_total"],
    "configuration not reloaded; the previous one stays in use": ["telnyx_exporter_config_reload_failures_total"],
    "detail records not read: the key is refused": ["telnyx_discovery_failures_total"],
    "detail records of a type not read; other types are": [
        "telnyx_discovery_failures_total",
        "telnyx_detail_record_failures_total",
    ],
    "detail records without a readable id are skipped; name their id field under custom_types": [
        "telnyx_discovery_failures_total",
        "telnyx_detail_record_failures_total",
    ],
    "file of sessions not read; its earlier sessions stay followed": ["telnyx_discovery_failures_total"],
    "key file not read; the last good key stays in use": [
        "telnyx_exporter_key_failures_total",
        "telnyx_discovery_failures_total",
    ],
    "ledger failed; polling waits until it can be written": ["telnyx_ledger_commit_failures_total"],
    "ledger file was removed while in use; it was written again, complete": ["telnyx_ledger_restores_total"],
    "metadata not fetched; retried in 5 minutes": ["telnyx_exporter_task_failures_total"],
    "page could not be made": ["telnyx_exporter_task_failures_total"],
    "poll could not be committed": ["telnyx_poll_failures_total", "telnyx_ledger_commit_failures_total"],
    "poll failed": ["telnyx_poll_failures_total"],
    "poll failed by a defect of the exporter": ["telnyx_poll_failures_total"],
    "session denied: polled again at its rechecks and after a reload": ["telnyx_poll_failures_total"],
    "the clock was set back": ["telnyx_exporter_clock_steps_total"],
    "initial backfill finished without some records or sessions; their later costs count as new": [
        "telnyx_exporter_task_failures_total"
    ],
    "throttled: requests to an endpoint wait": ["telnyx_api_requests_total", "telnyx_api_throttled_seconds_total"],
    "web config not applied; retrying": ["telnyx_exporter_web_config_failures_total"],
    "web config rejected; the previous one stays in effect": ["telnyx_exporter_web_config_failures_total"],
    "webhook not stored": ["telnyx_webhook_failures_total"],
}
"""Each failure message with the counters that count it."""

NOT_COUNTED = {
    "a background task or thread failed; the exporter stops": "the process ends, so there is no scrape",
    "uncaught exception": "the process ends",
    "uncaught exception in a thread": "the process ends, or pytest says it",
    "web config": "advice on a setting",
    "unsigned webhooks are accepted: anybody who reaches this port can have sessions followed; configure "
    "webhook_public_key_env or webhook_public_key_file": "advice on a setting",
}

LOUD = {"warning", "error", "exception", "critical"}


def _loud_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((TOP / "exporter").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            loud = isinstance(called, ast.Attribute) and called.attr in LOUD and "log" in ast.unparse(called).lower()
            if isinstance(node, ast.Call) and loud:
                yield path.name, node


def test_every_failure_that_is_logged_is_counted() -> None:
    """Each warning or error is literal text, documented in the table, and its counters exist."""
    found = set()
    for file, call in _loud_calls():
        (message, *_) = call.args
        assert isinstance(message, ast.Constant), f"{file}:{call.lineno}: the message varies"
        found.add(message.value)
    assert found == COUNTED.keys() | NOT_COUNTED.keys()
    for families in COUNTED.values():
        assert [name for name in families if BY_NAME[name].kind != "counter"] == []


# Log lines about sessions

Lines = list[dict[str, object]]


def logged(caplog: pytest.LogCaptureFixture, message: str) -> Lines:
    """Return the level and the fields of each line whose message begins with this text."""
    return [
        {"level": record.levelname} | getattr(record, "fields", {})
        for record in caplog.records
        if record.getMessage().startswith(message)
    ]


def test_the_life_of_a_session_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Found sessions are logged at debug, settled ones at info, each once, by the API's names."""
    caplog.set_level(logging.DEBUG, "exporter")

    async def scenario(exporter: Exporting) -> None:
        await exporter.drained()
        exporter.simulated.clock.step(6 * HOUR)
        await exporter.drained()
        exporter.simulated.clock.step(2 * DAY)
        await exporter.drained()

    run(scenario, EXAMPLE, tmp_path, DOCUMENTED_ID)
    named = {"account": "main", "record_type": "call-session", "event_id": DOCUMENTED_ID}
    assert logged(caplog, "session discovered") == [{"level": "DEBUG", **named, "before": None, "why": "config"}]
    assert logged(caplog, "session found") == [{"level": "DEBUG", **named, "before": "discovered", "why": None}]
    assert logged(caplog, "session settled") == [{"level": "INFO", **named, "before": "active", "why": None}]


def with_answers(folder: Path, scene: Callable[[Exporting], Awaitable[None]], *answers: Answer, sessions: int) -> None:
    """Run a scenario with an API that gives these answers, and so many messages configured."""

    async def act() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            async with serving(*answers) as api:
                named = [ConfiguredSession(record_type="message", event_id=f"m{i}") for i in range(sessions)]
                plain = config(simulated, folder, sessions=tuple(named))
                account = replace(plain.accounts[0], base_url=f"http://127.0.0.1:{api.port}/v2", max_in_flight=1)
                async with exporting(replace(plain, accounts=(account,)), simulated) as exporter:
                    await scene(exporter)

    asyncio.run(act())


def test_a_paused_account_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line is logged however many sessions are refused; each refusal is counted."""

    async def scene(exporter: Exporting) -> None:
        await exporter.drained()
        assert value(await exporter.samples(), "telnyx_poll_failures_total", reason="forbidden") == 5

    with_answers(tmp_path, scene, answer(403), sessions=5)
    assert [line["account"] for line in logged(caplog, "account paused")] == ["main"]
    assert logged(caplog, "session denied") == []


def test_a_denied_session_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is logged once as a warning, not at each recheck."""

    async def scene(exporter: Exporting) -> None:
        await exporter.drained()
        exporter.simulated.clock.step(2 * DAY)
        await exporter.drained()
        assert value(await exporter.samples(), "telnyx_poll_failures_total", reason="bad_request") == 2

    with_answers(tmp_path, scene, answer(400), sessions=1)
    assert [(line["level"], line["why"]) for line in logged(caplog, "session denied")] == [("WARNING", "bad_request")]


def test_a_missing_session_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A session that the API never knew is logged as information, not as a failure."""
    caplog.set_level(logging.DEBUG, "exporter")

    async def scene(exporter: Exporting) -> None:
        for _ in range(3):
            await exporter.drained()
            exporter.simulated.clock.step(DAY)
        await exporter.drained()

    with_answers(tmp_path, scene, answer(404), sessions=1)
    assert [line["level"] for line in logged(caplog, "session missing")] == ["INFO"]


def test_a_throttled_account_is_logged_once_per_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A 429 stops one endpoint; the line names it."""

    async def scene(exporter: Exporting) -> None:
        await exporter.drained()
        assert value(await exporter.samples(), "telnyx_api_requests_total", code="429") == 1

    throttled = answer(429, headers={"Retry-After": "1"})
    with_answers(tmp_path, scene, throttled, answer(404), sessions=1)
    (line,) = logged(caplog, "throttled")
    assert line["account"] == "main"
    assert line["endpoint"] in {"metadata", "session"}  # whichever was the first request


@pytest.mark.slow
def test_what_is_pruned_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pruning logs one line with the number of sessions, and none if it is 0."""
    caplog.set_level(logging.INFO, "exporter")

    async def act() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_per_hour=6, sessions_max=5), time.monotonic) as simulated:
            plain = config(simulated, tmp_path)
            polling = replace(plain.polling, recheck_after_seconds=())
            ledger = LedgerSettings(url=plain.ledger.url, retention_days=1)
            async with exporting(replace(plain, polling=polling, ledger=ledger), simulated) as exporter:
                for _ in range(3):
                    simulated.clock.step(LONGEST_SECONDS)
                    await exporter.follow_started()
                    await exporter.drained()
                await exporter.app.maintenance.maintain()
                assert logged(caplog, "sessions pruned") == []
                for _ in range(3):
                    simulated.clock.step(DAY)
                    await exporter.drained()
                await exporter.app.maintenance.maintain()

    asyncio.run(act())
    assert [line["sessions"] for line in logged(caplog, "sessions pruned")] == [6]  # one call has insights besides


@pytest.mark.slow
def test_nothing_of_callers_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The debug log of a simulated day has no phone number, caller's address or key, in any format."""
    caplog.set_level(logging.DEBUG, "exporter")

    async def scenario(exporter: Exporting) -> None:
        for _ in range(8):
            exporter.simulated.clock.step(LONGEST_SECONDS)
            await exporter.follow_started()
            await exporter.drained()

    run(scenario, SimulatorSettings(speed=0.0, sessions_per_hour=10, seed=3), tmp_path)
    lines = [FORMATS[name]().format(record) for name in FORMATS for record in caplog.records]
    assert any("session discovered" in line for line in lines)
    assert [line for line in lines if re.search(r"\+\d{8,}|sip:|@|KEY-", line)] == []
