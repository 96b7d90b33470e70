"""A hundred reloads while polls run at full speed, every third of a broken file: nothing is lost or counted twice."""

import asyncio
import json
import random
import time
from contextlib import suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from exporter.config import load
from exporter.runtime.reload import Origin
from simulator import Running, SimulatorSettings, running
from simulator.world import Ref
from tests.runtime.test_exporter import LONGEST_SECONDS
from tests.support.exporting import Exporting, Samples, exporting, net, same, stated

pytestmark = pytest.mark.slow

RELOADS = 100
SEED = 20261126
SECRETS = {"MAIN_KEY": "KEY-of-main-k3pt-s3cret", "OTHER_KEY": "KEY-of-other-k3pt-s3cret"}
RESTING_DAYS, DAY_SECONDS = 12, 86_400.0
BROKEN = (
    b"accounts: [",
    b"polling: {scheduler_interval_seconds: never}",
    b"accounts: [{name: main, api_key_env: NOT_SET}]",
    b"sessions: [{record_type: message, event_id: x, account: nobody}]",
    b"accounts: [{name: main, api_key_env: MAIN_KEY, ca_file: /nonexistent.pem}]",
    b"\xff\xfe",
)


class Files:
    """A configuration file, rewritten at random, validly or not."""

    def __init__(self, folder: Path, main: Running, other: Running) -> None:
        self.path = folder / "config.yaml"
        self._folder, self._main, self._other = folder, main, other
        self._chance = random.Random(SEED)
        self.write()

    def origin(self) -> Origin:
        return Origin(lambda: load(self.path, SECRETS), lambda: self.path, lifecycle=True)

    def break_(self) -> None:
        self.path.write_bytes(self._chance.choice(BROKEN))

    def write(self, *, settle: bool = False) -> None:
        """Write another valid file; with `settle`, one that follows all sessions."""
        pick, often = self._chance.choice, self._chance.random
        main: dict[str, Any] = self._account("main", "MAIN_KEY", self._main)
        accounts = [main]
        if settle or often() < 0.6:
            accounts.append(self._account("other", "OTHER_KEY", self._other))
        budgets = [
            {"name": "all", "amount": pick([5, 10]), "window": pick(["day", "month"])},
            {"name": "llm", "amount": 1, "match": {"record_type": "inference"}},
        ]
        named = [ref for ref in self._main.world.refs() if ref.outermost]
        config = {
            "accounts": accounts,
            "sessions": list(map(_named, named if settle else self._chance.sample(named, len(named) // 2))),
            "polling": {
                "scheduler_interval_seconds": pick([0.05, 0.1]),
                "min_interval_seconds": pick([300, 600]),
                "max_interval_seconds": 3600,
                "settle_after_seconds": pick([10_000, 21_600]),
                "timeout_seconds": pick([5, 6]),
                "max_attempts": pick([1, 2]),
            },
            "tree": {"max_depth": pick([4, 5])},
            "metrics": {"new_series_zero_seconds": 0, "session_series_max": pick([10, 50])},
            "discovery": {
                "detail_records": {"record_types": []},
                "files": [str(self._folder / "other*.json")] if settle or often() < 0.8 else [],
                "http": {"enabled": pick([True, False])},
                "webhooks": {"insecure": True},
            },
            "budgets": budgets if often() < 0.5 else budgets[:1],
            "ledger": {"url": f"sqlite:///{self._folder / 'ledger.sqlite'}"},
        }
        self.path.write_text(yaml.safe_dump(config))

    def _account(self, name: str, variable: str, simulated: Running) -> dict[str, Any]:
        return {
            "name": name,
            "api_key_env": variable,
            "base_url": simulated.url,
            "requests_per_second": self._chance.choice([400, 800]),
            "max_in_flight": self._chance.choice([5, 10, 20]),
            "balance_interval_seconds": 0,
        }


def _named(ref: Ref) -> dict[str, str]:
    return {"account": "main", "record_type": ref.record_type, "event_id": ref.event_id}


def of(samples: Samples, account: str) -> Samples:
    return {key: value for key, value in samples.items() if ("account", account) in key[1]}


@pytest.mark.timeout(300)
def test_a_hundred_reloads_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    """With accounts, settings and broken files changing, /metrics equals the truth of both accounts."""

    async def play(main: Running, other: Running) -> None:
        files = Files(tmp_path, main, other)
        async with exporting(load(files.path, SECRETS), main, origin=files.origin()) as exporter:
            busy = 0
            asking = asyncio.create_task(ask(exporter))
            for number in range(RELOADS):
                for simulated in (main, other):
                    simulated.clock.step(LONGEST_SECONDS / 8)
                write_list(other, tmp_path)
                await exporter.app.poller.tick()
                broken = number % 3 == 2
                files.break_() if broken else files.write()
                busy += not exporter.app.poller.idle
                answer = await exporter.http.post(f"{exporter.origin}/-/reload")
                assert answer.status_code == (500 if broken else 200), answer.text
                assert "k3pt-s3cret" not in answer.text
                exporter.publish()
                samples = await exporter.samples()
                assert samples["telnyx_exporter_config_last_reload_successful", ()] == (not broken), number
            assert busy > RELOADS / 2, "the reloads met no polls"
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            files.write(settle=True)
            assert (await exporter.http.post(f"{exporter.origin}/-/reload")).status_code == 200
            reloaded_at = main.clock.now()
            await rest(exporter, main, other)
            samples = await exporter.samples()
            for name, simulated in (("main", main), ("other", other)):
                truth = (await exporter.http.get(f"{simulated.origin}/_truth")).json()
                assert truth["sessions"] > 20
                assert same(net(of(samples, name)), stated(truth)), name
                events = sum(value for (n, _), value in of(samples, name).items() if n == "telnyx_events_total")
                assert events == truth["events"]
            failures = samples["telnyx_exporter_config_reload_failures_total", ()]
            assert failures == RELOADS // 3
            succeeded_at = samples["telnyx_exporter_config_last_reload_success_timestamp_seconds", ()]
            assert succeeded_at == Decimal(repr(reloaded_at))

    worlds = [
        SimulatorSettings(speed=0.0, sessions_per_hour=6, sessions_max=50, seed=SEED + number, api_key=key)
        for number, key in enumerate(SECRETS.values())
    ]
    with running(worlds[0], time.monotonic) as main, running(worlds[1], time.monotonic) as other:
        asyncio.run(play(main, other))


def write_list(simulated: Running, folder: Path) -> None:
    """Write the sessions of the other account into a file."""
    named = [ref for ref in simulated.world.refs() if ref.outermost]
    found = [{"account": "other", "record_type": ref.record_type, "event_id": ref.event_id} for ref in named]
    new = folder / "list.new"
    new.write_text(json.dumps(found))
    new.replace(folder / "other.json")


async def ask(exporter: Exporting) -> None:
    """Send scrapes and webhooks without end; each must be answered."""
    for number in count():
        assert (await exporter.get("/metrics")).status_code == httpx.codes.OK
        sent = {"data": {"event_type": "verify.done", "id": f"e{number}", "payload": {"id": "v"}}}
        answer = await exporter.http.post(f"{exporter.origin}/webhooks/telnyx/main", json=sent)
        assert answer.status_code == httpx.codes.NO_CONTENT, answer.text


async def rest(exporter: Exporting, *simulated: Running) -> None:
    """Run until both worlds are final and booked; rechecks find costs that were rated late."""
    for _ in range(RESTING_DAYS):
        for world in simulated:
            world.clock.step(DAY_SECONDS)
        await exporter.app.files.check()
        await exporter.drained()
