"""The whole exporter: from the API's answers to /metrics."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import Metric
from prometheus_client.openmetrics import parser

from exporter.config import ConfiguredSession, TreeSettings
from exporter.core.errors import ConfigError, LedgerError, LedgerLocked
from exporter.runtime.app import App
from simulator import DOCUMENTED_ID, Running, SimulatorSettings, running
from tests.support.clocks import RealSleep
from tests.support.exporting import Exporting, Samples, config, exporting, net, same, stated
from tests.support.faulty_server import Answer, answer, serving, then_close, then_reset, then_silence
from tests.support.trees import answer as tree
from tests.support.trees import body, node

HOUR = 3600.0
LONGEST_SECONDS = 1.1 * HOUR + 1
"""After this time every live session is due, whatever its jitter."""
EXAMPLE = SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True)
GOLDEN = Path(__file__).parents[1] / "data" / "documented-metrics.txt"
MEASURED = re.compile(
    r"process_|python_|telnyx_(exporter_build_info|ledger_size_bytes|api_quota_remaining|api_requests_total|polls_total"
    r"|(api_request_duration|ledger_commit_duration|poll_lag)_seconds_(sum|count|bucket))"
)
"""Samples that differ from run to run: times, sizes, and numbers of polls."""


def run(
    scenario: Callable[[Exporting], Awaitable[None]], settings: SimulatorSettings, folder: Path, *followed: str
) -> None:
    """Run a scenario with a fresh simulator and an exporter that has these call sessions configured."""

    async def play() -> None:
        sessions = tuple(ConfiguredSession(record_type="call-session", event_id=event_id) for event_id in followed)
        with running(settings, time.monotonic) as simulated:
            async with exporting(config(simulated, folder, sessions=sessions), simulated) as exporter:
                await scenario(exporter)

    asyncio.run(play())


def value(samples: Samples, name: str, **labels: str) -> Decimal:
    """Return the sum of the samples of this name with these labels."""
    wanted = set(labels.items())
    return sum((v for (n, found), v in samples.items() if n == name and wanted <= set(found)), Decimal(0))


def test_the_documented_call_is_on_metrics_to_the_last_digit(tmp_path: Path) -> None:
    """Telnyx's own example: 11 events, $0.2128, every sample of the business families as it must be."""

    async def scenario(exporter: Exporting) -> None:
        await exporter.drained()
        exporter.simulated.clock.step(6 * HOUR)
        await exporter.drained()
        page = (await exporter.get("/metrics")).text
        lines = [line for line in page.splitlines() if not line.startswith("#") and not MEASURED.match(line)]
        if os.environ.get("UPDATE"):
            GOLDEN.write_text("\n".join(sorted(lines)) + "\n")
        assert sorted(lines) == GOLDEN.read_text().splitlines()
        samples = await exporter.samples()
        assert {key[0]: cost for key, cost in net(samples).items() if cost} == {
            "ai-voice-assistant": Decimal("0.18"),
            "call-control": Decimal("0.0052"),
            "inference": Decimal("0.0121"),
            "recording": Decimal("0.0051"),
            "sip-trunking": Decimal("0.0052"),
            "webrtc": Decimal("0.0052"),
        }
        assert value(samples, "telnyx_session_cost_sum") == Decimal("0.2128")
        assert value(samples, "telnyx_events_total") == 11
        assert value(samples, "telnyx_inference_turns_total") == 5
        assert value(samples, "telnyx_sessions", state="settled") == 1
        assert value(samples, "telnyx_unreconciled_sessions") == 0

    run(scenario, EXAMPLE, tmp_path, DOCUMENTED_ID)


def families(page: str) -> list[Metric]:
    return list(parser.text_string_to_metric_families(page))  # type: ignore[no-untyped-call]  # client_python has no types here


def test_openmetrics_carries_the_session_as_an_exemplar(tmp_path: Path) -> None:
    """A bucket of a session histogram points to the root event whose session fell into it."""

    async def scenario(exporter: Exporting) -> None:
        await exporter.drained()
        exporter.simulated.clock.step(6 * HOUR)
        await exporter.drained()
        page = (await exporter.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")).text
        samples = [s for family in families(page) for s in family.samples if s.exemplar]
        costs = [s for s in samples if s.name == "telnyx_session_cost_bucket" and s.exemplar is not None]
        assert [(s.exemplar.labels, s.exemplar.value) for s in costs if s.exemplar] == [
            ({"event_id": DOCUMENTED_ID}, 0.2128)
        ]

    run(scenario, EXAMPLE, tmp_path, DOCUMENTED_ID)


@pytest.mark.slow
def test_a_simulated_day_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    """Hundreds of live sessions, polled while they grow and are rated late: /metrics equals the truth."""

    async def scenario(exporter: Exporting) -> None:
        for _ in range(24):
            exporter.simulated.clock.step(LONGEST_SECONDS)
            await exporter.follow_started()
            await exporter.drained()
        samples, truth = await exporter.samples(), await exporter.truth()
        assert truth["sessions"] > 100
        assert same(net(samples), stated(truth)), (net(samples), stated(truth))
        assert value(samples, "telnyx_inference_turns_total") == truth["inference_turns"]
        assert value(samples, "telnyx_events_total") == truth["events"]
        assert value(samples, "telnyx_unreconciled_sessions") == 0

    run(scenario, SimulatorSettings(speed=0.0, sessions_per_hour=6, seed=3), tmp_path)


@pytest.mark.slow
def test_a_restart_continues_where_it_was(tmp_path: Path) -> None:
    """After a restart no counter resets or counts twice, and changes made meanwhile are booked."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_per_hour=10, seed=5), time.monotonic) as simulated:
            before: Samples = {}
            for _ in range(4):
                async with exporting(config(simulated, tmp_path), simulated) as exporter:
                    after = await exporter.samples()
                    counters = {k: v for k, v in before.items() if k[0].startswith(("telnyx_cost", "telnyx_events_t"))}
                    assert all(after[key] >= known for key, known in counters.items())
                    simulated.clock.step(3 * LONGEST_SECONDS)
                    await exporter.follow_started()
                    await exporter.drained()
                    before = await exporter.samples()
                    assert same(net(before), stated(await exporter.truth()))

    asyncio.run(play())


GOOD = tree(node("call-session:good", "0", node("call-control:leg", "0.25")))
BAD_ANSWERS: list[tuple[str, Answer, str]] = [
    ("truncated", then_close(answer(200, b'{"root": {}}')[:-4]), "read"),
    ("not JSON", answer(200, b"<html>", {"Content-Type": "text/html"}), "not_json"),
    ("half JSON", answer(200, b'{"root": {"id": "x", "children": ['), "not_json"),
    ("no tree", answer(200, b'{"data": []}'), "malformed"),
    ("huge", answer(200, b'{"a": "' + b"x" * 100_000 + b'"}'), "body_too_large"),
    ("deep", answer(200, b'{"root": ' + b'{"children":[' * 3000 + b"]}" * 3000 + b"}"), "too_deep"),
    ("500", answer(500), "server_error"),
    ("401", answer(401), "key_refused"),
    ("403", answer(403), "forbidden"),
    ("reset", then_reset(answer(200, b"{}")[:20]), "read"),
    ("silence", then_silence(b""), "timeout"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "bad", "reason"), BAD_ANSWERS, ids=[row[0] for row in BAD_ANSWERS])
def test_a_bad_answer_fails_its_own_poll_only(tmp_path: Path, what: str, bad: Answer, reason: str) -> None:
    """A failed poll is counted with its reason and retried; the other session is booked."""

    async def play() -> None:
        by_id = {"bad": bad, "good": answer(200, body(GOOD))}
        with running(EXAMPLE, time.monotonic) as simulated:
            async with serving(answer(404), by_id=by_id) as api:
                plain = config(simulated, tmp_path)
                account = replace(plain.accounts[0], base_url=f"http://127.0.0.1:{api.port}/v2")
                sessions = tuple(ConfiguredSession(record_type="call-session", event_id=name) for name in by_id)
                settings = replace(
                    plain,
                    accounts=(account,),
                    sessions=sessions,
                    tree=TreeSettings(max_body_bytes=90_000),
                    polling=replace(plain.polling, timeout_seconds=0.5),
                )
                async with exporting(settings, simulated) as exporter:
                    await exporter.drained()
                    samples = await exporter.samples()
                    assert value(samples, "telnyx_poll_failures_total", reason=reason) == 1, what
                    assert net(samples)["call-control", "USD"] == Decimal("0.25")
                    simulated.clock.step(2 * 86_400.0)
                    await exporter.drained()
                    asked = [line for line in api.lines if "/bad?" in line]
                    assert len(asked) >= 2

    asyncio.run(play())


def test_a_wrong_date_time_is_dropped_after_the_first_404(tmp_path: Path) -> None:
    """A configured session with a date on which it didn't happen is found all the same."""

    async def play() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            wrong = ConfiguredSession(record_type="call-session", event_id=DOCUMENTED_ID, date_time="2020-01-01")
            async with exporting(config(simulated, tmp_path, sessions=(wrong,)), simulated) as exporter:
                await exporter.drained()
                assert value(await exporter.samples(), "telnyx_events_total") == 11

    asyncio.run(play())


class SteppedClock(RealSleep):
    """A clock that can be set, also back."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize("step_seconds", [-86_400.0, 86_400.0], ids=["back", "forward"])
def test_a_clock_that_steps_by_a_day_loses_nothing(tmp_path: Path, step_seconds: float) -> None:
    """Costs rated after the exporter's clock was set back or forward are booked once."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_per_hour=10, seed=6), time.monotonic) as simulated:
            own = SteppedClock(simulated.clock.now())
            async with exporting(config(simulated, tmp_path), simulated, own) as exporter:
                for step in (0.0, step_seconds, 0.0):
                    simulated.clock.step(LONGEST_SECONDS)
                    own.seconds += LONGEST_SECONDS + step
                    await exporter.follow_started()
                    await exporter.drained()
                if step_seconds > 0:  # sessions unchanged for a day have settled; the recheck comes a day later
                    own.seconds += 2 * step_seconds
                await exporter.until(lambda: exact(exporter))

    async def exact(exporter: Exporting) -> bool:
        return same(net(await exporter.samples()), stated(await exporter.truth()))

    asyncio.run(play())


def test_new_series_show_zero_first(tmp_path: Path) -> None:
    """A new series is 0 at first; its value comes after new_series_zero_seconds and a scrape of Prometheus."""

    async def play() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            plain = config(simulated, tmp_path)
            session = ConfiguredSession(record_type="call-session", event_id=DOCUMENTED_ID)
            settings = replace(plain, sessions=(session,), metrics=replace(plain.metrics, new_series_zero_seconds=0.4))
            async with exporting(settings, simulated) as exporter:

                async def held() -> bool:
                    page = (await exporter.get("/metrics")).text  # a request of curl is no scrape
                    return 'telnyx_pending_cost{account="main",currency="USD"} 0.2128' in page

                await exporter.until(held)
                seen = [value(await exporter.samples(), "telnyx_cost_total")]

                async def shown() -> bool:
                    samples = await exporter.samples()
                    seen.append(value(samples, "telnyx_cost_total"))
                    assert seen[-1] + value(samples, "telnyx_pending_cost") == Decimal("0.2128")
                    return seen[-1] == Decimal("0.2128")

                await exporter.until(shown)
                assert seen[0] == 0
                assert seen == sorted(seen)

    asyncio.run(play())


# Starting


def start(settings: SimulatorSettings, folder: Path, change: Callable[[Running], dict[str, object]]) -> None:
    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            async with exporting(config(simulated, folder, **change(simulated)), simulated):
                pass

    asyncio.run(play())


def test_a_second_exporter_on_the_same_ledger_is_refused(tmp_path: Path) -> None:
    """A second exporter on a ledger ends with a message that names the first one's process."""

    async def scenario(exporter: Exporting) -> None:
        with pytest.raises(LedgerLocked, match=f"process {os.getpid()}"):
            async with exporting(exporter.app.config, exporter.simulated):
                pass

    run(scenario, EXAMPLE, tmp_path)


def test_a_corrupt_ledger_is_refused(tmp_path: Path) -> None:
    """The exporter refuses to start with a damaged ledger."""
    (tmp_path / "ledger.sqlite").write_bytes(b"this is not a ledger" * 100)
    with pytest.raises(LedgerError, match="not a SQLite file"):
        start(EXAMPLE, tmp_path, lambda _: {})


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """The error names the flag and the cure."""

    async def scenario(exporter: Exporting) -> None:
        taken = f"127.0.0.1:{exporter.app.web.port}"
        other = config(exporter.simulated, tmp_path / "other")
        (tmp_path / "other").mkdir()
        with pytest.raises(ConfigError, match=r"web\.listen-address"):
            await App(other, listen=taken, clock=exporter.simulated.clock).run()

    run(scenario, EXAMPLE, tmp_path)


def test_health_does_not_depend_on_the_api(tmp_path: Path) -> None:
    """With the API refusing connections the exporter is healthy and ready, and says what fails in its metrics."""

    async def play() -> None:
        with running(EXAMPLE, time.monotonic) as simulated:
            plain = config(simulated, tmp_path, sessions=(ConfiguredSession(record_type="message", event_id="m"),))
            account = replace(plain.accounts[0], base_url="http://127.0.0.1:1/v2")
            async with exporting(replace(plain, accounts=(account,)), simulated) as exporter:
                await exporter.drained()
                assert (await exporter.get("/-/healthy")).status_code == 200
                assert (await exporter.get("/-/ready")).status_code == 200
                samples = await exporter.samples()
                assert value(samples, "telnyx_poll_failures_total", reason="connect") == 1
                assert value(samples, "telnyx_api_up") == 0

    asyncio.run(play())
