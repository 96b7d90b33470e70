"""A reload: its effects, the parts it leaves unchanged, and its report."""

import asyncio
import json
import logging
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from msgspec.structs import replace

from exporter.config import load
from exporter.core.model import SessionRef
from exporter.ledger import Ledger
from exporter.runtime.reload import Origin
from simulator import DOCUMENTED_ID, Running, SimulatorSettings, running
from tests.runtime.test_exporter import EXAMPLE, HOUR, value
from tests.support.exporting import Exporting, Samples, exporting
from tests.support.faulty_server import answer, serving, together
from tests.support.processes import ENVIRONMENT, KEY, OTHER_KEY, Process, write
from tests.support.trees import answer as tree
from tests.support.trees import body, node

BUDGET = (("budget", "all"), ("currency", "USD"))
DOCUMENTED = {"record_type": "call-session", "event_id": DOCUMENTED_ID}


class Reloaded:
    """An exporter with a configuration file that a test can change."""

    def __init__(self, path: Path, plain: dict[str, Any]) -> None:
        self.path = path
        self._plain = plain
        self.exporter: Exporting

    def write(self, **changes: Any) -> None:
        """Return the plain configuration with these settings changed."""
        self.path.write_text(yaml.safe_dump(self._plain | changes))

    def account(self, name: str = "main", **changes: Any) -> dict[str, Any]:
        plain: dict[str, Any] = self._plain["accounts"][0]
        return plain | {"name": name} | changes

    async def post(self, method: str = "POST") -> httpx.Response:
        answer = await self.exporter.http.request(method, f"{self.exporter.origin}/-/reload")
        self.exporter.publish()
        return answer

    async def reload(self, **changes: Any) -> str:
        """Change the file, reload it, and return the answer."""
        self.write(**changes)
        answer = await self.post()
        assert answer.status_code == 200, answer.text
        return answer.text

    async def reload_and_show(self, **changes: Any) -> Samples:
        await self.reload(**changes)
        return await self.shown()

    async def shown(self) -> Samples:
        await self.exporter.drained()
        return await self.exporter.samples()


Scene = Callable[[Reloaded], Awaitable[None]]


def play(
    folder: Path, scene: Scene, settings: SimulatorSettings = EXAMPLE, *, lifecycle: bool = True, **changes: Any
) -> None:
    """Run a scenario with an exporter whose file has these changes at the start."""

    async def act(simulated: Running) -> None:
        account = {
            "name": "main",
            "api_key_env": "MAIN_KEY",
            "base_url": simulated.url,
            "requests_per_second": 1000,
            "balance_interval_seconds": 0,
        }
        plain = {
            "accounts": [account],
            "polling": {"scheduler_interval_seconds": 0.05, "timeout_seconds": 5, "max_attempts": 1},
            "metrics": {"new_series_zero_seconds": 0},
            "discovery": {"detail_records": {"record_types": []}},
            "ledger": {"url": f"sqlite:///{folder / 'ledger.sqlite'}"},
        }
        path = folder / "config.yaml"
        hands = Reloaded(path, plain)
        hands.write(**changes)
        origin = Origin(lambda: load(path, ENVIRONMENT), lambda: path, lifecycle=lifecycle)
        async with exporting(origin.read(), simulated, origin=origin) as exporter:
            hands.exporter = exporter
            await scene(hands)

    with running(replace(settings, api_key=KEY), time.monotonic) as simulated:
        asyncio.run(act(simulated))


# Answers


def test_reload_must_be_allowed(tmp_path: Path) -> None:
    """Without the flag the answer is 403 and names the flag; other methods are refused whatever the flag."""

    async def scene(hands: Reloaded) -> None:
        answer = await hands.post()
        assert answer.status_code == 403
        assert answer.text == "Lifecycle API is not enabled; start the exporter with --web.enable-lifecycle\n"
        assert (await hands.post("GET")).status_code == 405

    play(tmp_path, scene, lifecycle=False)


def test_the_answer_says_what_changed_and_what_needs_a_restart(tmp_path: Path) -> None:
    """Changes are listed by path, list entries by name; settings that shape the totals need a restart."""

    async def scene(hands: Reloaded) -> None:
        assert (await hands.post("PUT")).text == "reloaded; nothing has changed\n"
        said = await hands.reload(
            accounts=[hands.account(requests_per_second=500), hands.account("other", api_key_env="OTHER_KEY")],
            budgets=[{"name": "all", "amount": 5}],
            metrics={"new_series_zero_seconds": 1, "labels": [{"name": "model_used", "field": "model"}]},
        )
        assert said == (
            "reloaded; in effect: accounts[main].requests_per_second, accounts[other] (added), "
            "metrics.new_series_zero_seconds, budgets[all] (added); "
            "needs a restart: metrics.labels[model_used] (added)\n"
        )
        said = await hands.reload(
            metrics={"new_series_zero_seconds": 0, "buckets": {"session_cost": [1, 2]}},
            ledger={"url": f"sqlite:///{tmp_path / 'another.sqlite'}", "retention_days": 50, "lease_seconds": 30},
        )
        assert said.endswith("; needs a restart: metrics.buckets.session_cost, ledger.url, ledger.lease_seconds\n")
        assert "ledger.retention_days" in said.partition(";")[2]
        assert not (tmp_path / "another.sqlite").exists()
        assert KEY not in said

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ("polling: {scheduler_interval_seconds: never}", "polling.scheduler_interval_seconds: expected a number"),
        ("accounts: [{name: main, api_key_env: NOT_SET}]", "accounts[0].api_key_env: the environment variable NOT_SET"),
        ("accounts: [{name: a, api_key_env: KEY-k3pt-s3cret}]", "accounts[0].api_key_env: expected the name"),
        ("accounts: [", "config.yaml"),
    ],
)
def test_a_bad_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str, path: str) -> None:
    """A bad file gets 500 with path and cure and sets gauge and counter; a corrected file is accepted."""

    async def scene(hands: Reloaded) -> None:
        before = hands.exporter.app.plan
        first = await hands.exporter.samples()
        assert first["telnyx_exporter_config_last_reload_successful", ()] == 1
        since = first["telnyx_exporter_config_last_reload_success_timestamp_seconds", ()]
        hands.exporter.simulated.clock.step(60)
        hands.path.write_text(broken)
        answer = await hands.post()
        assert answer.status_code == 500
        assert answer.text.startswith("failed to reload the configuration, the previous one stays in effect: ")
        assert path in answer.text
        samples = await hands.exporter.samples()
        assert samples["telnyx_exporter_config_last_reload_successful", ()] == 0
        assert samples["telnyx_exporter_config_reload_failures_total", ()] == 1
        assert samples["telnyx_exporter_config_last_reload_success_timestamp_seconds", ()] == since
        assert hands.exporter.app.plan is before
        assert KEY not in answer.text + caplog.text
        await hands.reload()
        samples = await hands.exporter.samples()
        assert samples["telnyx_exporter_config_last_reload_successful", ()] == 1
        assert samples["telnyx_exporter_config_last_reload_success_timestamp_seconds", ()] == since + 60

    caplog.set_level(logging.DEBUG)
    play(tmp_path, scene)
    assert "configuration not reloaded" in caplog.text


def test_a_failing_ledger_refuses_a_reload_whole(tmp_path: Path) -> None:
    """If the ledger can't apply the new configuration, the old one stays in use everywhere."""

    async def scene(hands: Reloaded) -> None:
        app = hands.exporter.app
        before = app.plan
        ledger, away, other = (tmp_path / f"{name}.sqlite" for name in ("ledger", "away", "other"))
        away.hardlink_to(ledger)
        other.touch()
        other.replace(ledger)  # in one step: the exporter would recreate a missing ledger
        hands.write(accounts=[hands.account(), hands.account("other", api_key_env="OTHER_KEY")])
        answer = await hands.post()
        assert (answer.status_code, app.plan) == (500, before)
        assert "was replaced while in use" in answer.text
        away.replace(ledger)
        assert "accounts[other] (added)" in await hands.reload(
            accounts=[hands.account(), hands.account("other", api_key_env="OTHER_KEY")]
        )

    play(tmp_path, scene)


def test_reloads_go_one_after_the_other(tmp_path: Path) -> None:
    """Ten concurrent reloads run one after the other, and the last one's file is in effect."""

    async def scene(hands: Reloaded) -> None:
        hands.write(budgets=[{"name": "all", "amount": 5}])
        answers = await asyncio.gather(*(hands.post() for _ in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10
        first, *others = sorted(answer.text for answer in answers)
        assert first == "reloaded; in effect: budgets[all] (added)\n"
        assert others == ["reloaded; nothing has changed\n"] * 9

    play(tmp_path, scene)


# Effects


def test_accounts_come_and_go(tmp_path: Path) -> None:
    """A new account is polled at once; a removed one has no polls and no series, and may return."""

    async def scene(hands: Reloaded) -> None:
        app = hands.exporter.app
        async with serving(answer(404)) as api:
            other = hands.account("other", api_key_env="OTHER_KEY", base_url=f"http://127.0.0.1:{api.port}/v2")
            sessions = [
                DOCUMENTED | {"account": "main"},
                {"account": "other", "record_type": "message", "event_id": "m"},
            ]
            await hands.reload(accounts=[hands.account(), other], sessions=sessions)

            async def asked() -> bool:
                return any("/message/m" in line for line in api.lines)

            await hands.exporter.until(asked)
            samples = await hands.shown()
            assert value(samples, "telnyx_events_total", account="main") == 11
            assert value(samples, "telnyx_api_up", account="other") == 1
            assert all(f"Bearer {OTHER_KEY}" in head for head in api.heads)
            said = await hands.reload(sessions=[DOCUMENTED | {"account": "main"}])
            assert "accounts[other] (removed)" in said
            asked_before = len(api.lines)
            hands.exporter.simulated.clock.step(2 * HOUR)
            samples = await hands.shown()
            assert len(api.lines) == asked_before
            assert not [name for name, labels in samples if name == "telnyx_api_up" and ("account", "other") in labels]
            assert value(samples, "telnyx_sessions", account="other") == 1
            await hands.reload(accounts=[hands.account(), other])
            assert (await app.ledger.run(Ledger.count_due, app.clock.now(), ["other"])) in {0, 1}

            async def asked_again() -> bool:
                return len(api.lines) > asked_before

            await hands.exporter.until(asked_again)

    play(tmp_path, scene)


def test_an_account_keeps_its_pace_and_its_connections(tmp_path: Path) -> None:
    """A new rate or list keeps the API client; a new URL or key replaces it and keeps the pacer."""

    async def scene(hands: Reloaded) -> None:
        app = hands.exporter.app
        client, pacer = app.plan.clients["main"], app.plan.pacers["main"]
        await hands.reload(accounts=[hands.account(requests_per_second=3)], sessions=[DOCUMENTED])
        assert (app.plan.clients["main"], app.plan.pacers["main"]) == (client, pacer)
        assert pacer.session.burst == 3
        await hands.reload(accounts=[hands.account(max_in_flight=2)])
        assert app.plan.clients["main"] is not client
        assert app.plan.pacers["main"] is pacer
        assert pacer.session.burst == 2

    play(tmp_path, scene)


def test_polls_under_way_are_booked(tmp_path: Path) -> None:
    """A poll in flight is booked even if its account is removed or gets another key."""

    async def scene(hands: Reloaded) -> None:
        gate = asyncio.Barrier(3)
        trees = {name: answer(200, body(tree(node(f"call-control:{name}", "0.25")))) for name in ("a", "b")}
        async with serving(answer(404), by_id={name: together(sent, gate) for name, sent in trees.items()}) as api:
            url = f"http://127.0.0.1:{api.port}/v2"
            accounts = [hands.account(base_url=url), hands.account("other", base_url=url, api_key_env="OTHER_KEY")]
            named = [("main", "a"), ("other", "b")]
            sessions = [{"account": name, "record_type": "call-control", "event_id": at} for name, at in named]
            await hands.reload(accounts=accounts, sessions=sessions)

            async def waiting() -> bool:
                return gate.n_waiting == 2

            await hands.exporter.until(waiting)
            await hands.reload(accounts=[accounts[0] | {"api_key_env": "THIRD_KEY"}])
            assert not hands.exporter.app.poller.idle
            await gate.wait()
            samples = await hands.shown()
            for name in ("main", "other"):
                assert value(samples, "telnyx_cost_total", account=name) == Decimal("0.25")
                assert value(samples, "telnyx_poll_failures_total", account=name) == 0
            hands.exporter.simulated.clock.step(2 * HOUR)
            asked = len(api.heads)

            async def asked_again() -> bool:
                return len(api.heads) > asked

            await hands.exporter.until(asked_again)
            assert ENVIRONMENT["THIRD_KEY"] in api.heads[-1]
            await gate.abort()

    play(tmp_path, scene)


def test_a_budget_that_takes_the_number_of_another_shows_its_own(tmp_path: Path) -> None:
    """SQLite may give a new series the row id of the one just deleted, if that was the last."""

    async def scene(hands: Reloaded) -> None:
        one = {"name": "all", "amount": 5, "window": 31_536_000}
        other = one | {"name": "turns", "match": {"record_type": "inference"}}
        await hands.reload(sessions=[DOCUMENTED], budgets=[one, other], metrics={"new_series_zero_seconds": 0})
        for budgets in ([], [one], [other]):
            samples = await hands.reload_and_show(
                sessions=[DOCUMENTED], budgets=budgets, metrics={"new_series_zero_seconds": 0}
            )
        spent = {labels: amount for (name, labels), amount in samples.items() if name == "telnyx_budget_spent"}
        assert spent == {(("budget", "turns"), ("currency", "USD")): Decimal("0.0121")}

    play(tmp_path, scene)


def test_a_budget_that_comes_finds_its_window_filled_and_its_counter_at_zero(tmp_path: Path) -> None:
    """Costs before the reload are in the new budget's gauge, not in its counter; a removed budget has no series."""

    async def scene(hands: Reloaded) -> None:
        await hands.shown()
        budget = {"name": "all", "amount": 5, "window": 31_536_000}
        await hands.reload(sessions=[DOCUMENTED], budgets=[budget], metrics={"new_series_zero_seconds": 0})
        hands.exporter.publish()
        samples = await hands.exporter.samples()
        assert value(samples, "telnyx_budget_spent", budget="all") == Decimal("0.2128")
        assert value(samples, "telnyx_budget_cost_total", budget="all") == 0
        assert ("telnyx_budget_cost_total", BUDGET) in samples
        assert value(samples, "telnyx_budget_limit", budget="all") == 5
        await hands.reload(
            sessions=[DOCUMENTED], budgets=[budget | {"amount": 6, "match": {"record_type": "inference"}}]
        )
        samples = await hands.exporter.samples()
        assert value(samples, "telnyx_budget_spent", budget="all") == Decimal("0.0121")
        assert value(samples, "telnyx_budget_limit", budget="all") == 6
        await hands.reload(sessions=[DOCUMENTED])
        samples = await hands.exporter.samples()
        gone = {"telnyx_budget_spent", "telnyx_budget_limit", "telnyx_budget_window_seconds"}
        assert not [key for key in samples if key[0] in gone]
        assert ("telnyx_budget_cost_total", BUDGET) in samples

    play(tmp_path, scene, sessions=[DOCUMENTED])


def test_given_up_sessions_are_tried_again_at_each_reload(tmp_path: Path) -> None:
    """Reloads, however many, use up no recheck."""

    async def scene(hands: Reloaded) -> None:
        async with serving(answer(404), by_id={"denied": answer(400)}) as api:
            sessions = [{"record_type": "message", "event_id": name} for name in ("missing", "denied")]
            accounts = [hands.account(base_url=f"http://127.0.0.1:{api.port}/v2")]
            polling = {
                "scheduler_interval_seconds": 0.05,
                "not_found_timeout_seconds": 1,
                "max_attempts": 1,
                "timeout_seconds": 5,
            }
            await hands.reload(accounts=accounts, sessions=sessions, polling=polling)
            await hands.shown()
            hands.exporter.simulated.clock.step(2 * HOUR)
            await hands.shown()
            samples = await hands.reload_and_show(accounts=accounts, polling=polling)  # no longer configured
            assert value(samples, "telnyx_sessions", state="missing") == 1
            assert value(samples, "telnyx_sessions", state="denied") == 1
            before = await plans(hands)
            for _ in range(5):
                asked = len(api.lines)
                await hands.reload_and_show(accounts=accounts, polling=polling)
                assert {line.rpartition("/message/")[2][:7].strip("?") for line in api.lines[asked:]} == {
                    "missing",
                    "denied",
                }
            assert await plans(hands) == before

    play(tmp_path, scene)


async def plans(hands: Reloaded) -> list[tuple[str, str]]:
    def read(ledger: Ledger) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(f"file:{ledger.location}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT event_id, plan FROM sessions ORDER BY 1").fetchall()

    return await hands.exporter.app.ledger.run(read)


def test_configured_sessions_have_their_series_at_once(tmp_path: Path) -> None:
    """Configured sessions get their series, and lose them, without a poll; so does a changed limit of series."""

    async def scene(hands: Reloaded) -> None:
        settings = {"new_series_zero_seconds": 0, "session_series_max": 1}
        await hands.reload(sessions=[DOCUMENTED])
        hands.exporter.simulated.clock.step(12 * HOUR)
        samples = await hands.shown()
        assert value(samples, "telnyx_followed_session_events") == 11
        await hands.reload(metrics=settings | {"session_series_max": 0}, sessions=[DOCUMENTED])
        assert value(await hands.exporter.samples(), "telnyx_followed_session_events") == 0
        await hands.reload(metrics=settings, sessions=[DOCUMENTED])
        assert value(await hands.exporter.samples(), "telnyx_followed_session_events") == 11

    play(tmp_path, scene, sessions=[DOCUMENTED])


def test_series_limit_and_tick_are_those_of_the_file(tmp_path: Path) -> None:
    """The limit of series and the scheduler interval follow the file."""

    async def scene(hands: Reloaded) -> None:
        await hands.reload(
            metrics={"new_series_zero_seconds": 0, "series_max": 1234}, polling={"scheduler_interval_seconds": 60}
        )
        assert value(await hands.exporter.samples(), "telnyx_series_limit") == 1234
        ticked = hands.exporter.app.poller.ticked_at
        await hands.reload(polling={"scheduler_interval_seconds": 0.05})

        async def ticks() -> bool:
            return hands.exporter.app.poller.ticked_at != ticked

        await hands.exporter.until(ticks)

    play(tmp_path, scene)


def test_files_are_checked_as_the_new_configuration_says(tmp_path: Path) -> None:
    """File patterns can be added and removed; a file that named an unknown account is read once it exists."""
    (tmp_path / "list.json").write_text(json.dumps([{"account": "other", "record_type": "message", "event_id": "m"}]))
    files = {"detail_records": {"record_types": []}, "files": [str(tmp_path / "*.json")]}

    async def scene(hands: Reloaded) -> None:
        app = hands.exporter.app
        await app.files.check()
        assert value(await hands.exporter.samples(), "telnyx_sessions", account="main") == 0
        await hands.reload(discovery=files)
        await app.files.check()
        hands.exporter.publish()
        assert value(await hands.exporter.samples(), "telnyx_discovery_failures_total", source="files") == 1
        async with serving(answer(404)) as api:
            other = hands.account("other", api_key_env="OTHER_KEY", base_url=f"http://127.0.0.1:{api.port}/v2")
            await hands.reload(discovery=files, accounts=[hands.account(), other])
            await app.files.check()
            hands.exporter.publish()
            assert value(await hands.exporter.samples(), "telnyx_sessions", account="other") == 1

    play(tmp_path, scene)


def test_routes_answer_by_the_new_configuration(tmp_path: Path) -> None:
    """Once a reload is answered, lists over HTTP and webhooks are accepted for the accounts of the file."""

    async def scene(hands: Reloaded) -> None:
        exporter = hands.exporter

        async def listed() -> int:
            sent = [{"account": "main", "record_type": "message", "event_id": "m"}]
            return (await exporter.http.post(f"{exporter.origin}/api/v1/sessions", json=sent)).status_code

        async def hooked(account: str) -> int:
            sent = {"data": {"event_type": "call.initiated", "id": "e1", "payload": {"call_session_id": "s"}}}
            return (await exporter.http.post(f"{exporter.origin}/webhooks/telnyx/{account}", json=sent)).status_code

        assert (await listed(), await hooked("main"), await hooked("other")) == (404, 403, 404)
        other = hands.account("other", api_key_env="OTHER_KEY", balance_interval_seconds=0)
        none: dict[str, Any] = {"detail_records": {"record_types": []}}
        await hands.reload(
            accounts=[hands.account(), other],
            discovery=none | {"http": {"enabled": True}, "webhooks": {"insecure": True}},
        )
        assert (await listed(), await hooked("main"), await hooked("other")) == (200, 204, 204)
        await hands.reload()
        assert (await listed(), await hooked("main"), await hooked("other")) == (404, 403, 404)
        assert value(await hands.shown(), "telnyx_discovered_sessions_total", source="webhooks") == 2

    play(tmp_path, scene)


def test_the_balance_is_asked_for_and_forgotten(tmp_path: Path) -> None:
    """An account whose balance is no longer requested has no balance series."""

    async def scene(hands: Reloaded) -> None:
        async def shown() -> bool:
            await hands.exporter.app.discover()
            hands.exporter.publish()
            return value(await hands.exporter.samples(), "telnyx_balance") > 0

        await hands.reload(accounts=[hands.account(balance_interval_seconds=60)])
        await hands.exporter.until(shown)
        await hands.reload()
        assert not [key for key in await hands.exporter.samples() if key[0] == "telnyx_balance"]

    play(tmp_path, scene)


# Without a reload


@pytest.mark.slow
def test_an_api_key_in_a_file_is_rotated_without_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed key file is read again; while it holds no key, the last good one stays in use."""
    file = tmp_path / "key"
    file.write_text(KEY)

    async def scene(hands: Reloaded) -> None:
        async with serving(answer(404)) as api:
            account = hands.account(base_url=f"http://127.0.0.1:{api.port}/v2", api_key_file=str(file))
            del account["api_key_env"]
            await hands.reload(accounts=[account])

            async def asks_with(key: str) -> bool:
                await hands.exporter.app.ingest.ingest_refs(
                    [SessionRef("main", "message", f"m{len(api.heads)}")], "file"
                )
                return bool(api.heads) and f"Bearer {key}\r\n" in api.heads[-1]

            await hands.exporter.until(partial(asks_with, KEY))
            file.write_text("no key at all")

            async def said() -> bool:
                await asks_with(KEY)
                return "key file not read" in caplog.text

            await hands.exporter.until(said)
            assert await asks_with(KEY)
            (tmp_path / "next").write_text(OTHER_KEY + "\n")
            (tmp_path / "next").rename(file)
            await hands.exporter.until(partial(asks_with, OTHER_KEY))
            assert value(await hands.shown(), "telnyx_exporter_key_failures_total") == 1
        assert "no key at all" not in caplog.text

    play(tmp_path, scene)


# As a process


@pytest.mark.slow
def test_sighup_reloads(tmp_path: Path, free_port: int) -> None:
    """SIGHUP needs no flag; a bad file doesn't end the process, and the log has the error."""
    write(tmp_path)
    process = Process(tmp_path, free_port)
    try:
        process.until(process.ready)
        process.config.write_text("accounts: nobody")
        process.process.send_signal(signal.SIGHUP)
        process.until(lambda: "configuration not reloaded" in process.log() and not process.reloaded())
        assert "accounts: expected a list" in process.log()
        write(tmp_path, budgets=[{"name": "all", "amount": 5}])
        process.process.send_signal(signal.SIGHUP)
        process.until(lambda: 'msg="configuration reloaded" changed="budgets[all] (added)"' in process.log())
        process.until(process.reloaded)
        assert httpx.post(f"{process.origin}/-/reload").status_code == 403
        assert process.end() == 0
        assert KEY not in process.log()
    finally:
        process.process.kill()


@pytest.mark.slow
def test_a_changed_file_is_reloaded_by_itself(tmp_path: Path, free_port: int) -> None:
    """With --config.auto-reload-interval a changed file is loaded, also a corrected one after a bad one."""
    write(tmp_path)
    process = Process(tmp_path, free_port, "--config.auto-reload-interval=1", "--web.enable-lifecycle")
    try:
        process.until(process.ready)
        process.config.write_text("accounts: nobody")
        process.until(lambda: not process.reloaded())
        write(tmp_path, budgets=[{"name": "all", "amount": 5}])
        process.until(process.reloaded)
        assert "budgets[all] (added)" in process.log()
        assert httpx.put(f"{process.origin}/-/reload").text == "reloaded; nothing has changed\n"
        assert process.end() == 0
    finally:
        process.process.kill()
