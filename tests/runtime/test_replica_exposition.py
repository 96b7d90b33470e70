"""One of several exporters with one ledger exposes it: no total is shown twice, whichever exporter fails."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from exporter.config import Config, DetailRecordSettings, DiscoverySettings, LedgerSettings
from exporter.core.catalog import FAMILIES
from exporter.core.model import SessionRef
from exporter.ledger import TotalsSettings, open_ledger
from exporter.ledger.sharing.leases import Lease, LeaseAnswer
from exporter.runtime.plan import policy
from exporter.runtime.replicas import LEASE_SECONDS
from simulator import Running, SimulatorSettings, running
from tests.ledger.test_ledger import opened
from tests.sources.test_detail_records import HOUR, discovering
from tests.support.clocks import RealSleep
from tests.support.exporting import PLENTY, Exporting, Samples, config, exporting, net, same, stated, visible
from tests.support.faulty_server import FaultyServer
from tests.support.faulty_server import answer as answered
from tests.support.faulty_server import serving as serving_api
from tests.support.postgres import Postgres, free_port
from tests.support.postgres import running as serving
from tests.support.replicas import Replica, ReplicaSet, write_config
from tests.support.waiting import until

LEDGER = tuple(family.name for family in FAMILIES if family.home == "ledger")
TAKEOVER = 30.0


def test_a_lease_ends_by_the_clock_of_its_holder() -> None:
    """A lease counts from before its request, so it ends no later than at the server; a refusal ends it at once."""
    lease = Lease(20.0)
    assert not lease.held(0.0)
    lease.answered(100.0, 108.0, LeaseAnswer(held=True, first=True))
    assert (lease.held(119.9), lease.held(120.0), lease.since, lease.first) == (True, False, 108.0, True)
    lease.answered(110.0, 111.0, LeaseAnswer(held=True))
    assert (lease.held(129.9), lease.since, lease.first) == (True, 108.0, True)
    lease.answered(131.0, 132.0, LeaseAnswer(held=True))
    assert (lease.since, lease.first) == (132.0, False)
    lease.answered(140.0, 141.0, LeaseAnswer(held=False))
    assert not lease.held(141.0)


class Clock(RealSleep):
    """The simulator's session time, with a real time that can jump, as for a suspended process."""

    def __init__(self, simulated: Running) -> None:
        self._simulated = simulated
        self.jumped = 0.0

    def now(self) -> float:
        return self._simulated.clock.now()

    def monotonic(self) -> float:
        return time.monotonic() + self.jumped


def shows_ledger(samples: Samples) -> bool:
    return any(name.startswith(LEDGER) for name, _ in samples if name != "telnyx_exporter_build_info")


def settings(simulated: Running, url: str, takeover: float = TAKEOVER) -> Config:
    return config(simulated, Path(), ledger=LedgerSettings(url=url, exposition_handover_seconds=takeover))


@asynccontextmanager
async def two(simulated: Running, url: str) -> AsyncIterator[tuple[Exporting, Exporting, Clock, Clock]]:
    clocks = Clock(simulated), Clock(simulated)
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(exporting(settings(simulated, url), simulated, clock)) for clock in clocks
        ]
        yield first, second, *clocks


async def booked(exporter: Exporting) -> None:
    """Follow all sessions of the simulator through this exporter, and wait until either has booked them."""
    refs = exporter.simulated.world.refs()
    await exporter.app.ingest.ingest_refs([SessionRef("main", ref.record_type, ref.event_id) for ref in refs], "file")
    await exporter.drained()


def test_one_exposes_what_both_have_booked(database: str) -> None:
    """The first exporter shows the sums of both writers; the other shows its own process, and is ready."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            async with two(simulated, database) as (first, second, *_):
                await booked(second)
                await first.app.replicas.expose()
                await first.drained()
                assert same(net(await first.samples()), stated(await first.truth()))
                shown = await second.samples()
                assert not shows_ledger(shown)
                assert ("telnyx_api_up", (("account", "main"),)) in shown
                for exporter in (first, second):
                    assert (await exporter.get("/-/ready")).status_code == 200

    asyncio.run(play())


def test_an_exporter_that_was_stopped_exposes_nothing_of_before(database: str) -> None:
    """After SIGSTOP, a long pause and SIGCONT, the first scrape shows no ledger, before any other code runs."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            async with two(simulated, database) as (first, _, clock, _):
                await booked(first)
                assert shows_ledger(await first.samples())
                clock.jumped += LEASE_SECONDS + 1
                assert not first.app.replicas.exposes(10**9)
                clock.jumped -= LEASE_SECONDS + 1
                assert first.app.replicas.exposing

    asyncio.run(play())


def test_a_takeover_waits_until_no_other_exporter_can_show_the_same(database: str) -> None:
    """When the first exporter ends, the second has the lease at once and exposes the ledger after a scrape interval."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            clock = Clock(simulated)
            async with AsyncExitStack() as stack:
                async with exporting(settings(simulated, database), simulated, Clock(simulated)) as first:
                    await booked(first)
                    before = await first.samples()
                    assert shows_ledger(before)
                    second = await stack.enter_async_context(exporting(settings(simulated, database), simulated, clock))
                    await second.app.replicas.expose()
                    assert not shows_ledger(await second.samples())
                await second.app.replicas.expose()
                while clock.jumped < TAKEOVER:
                    assert not second.app.replicas.exposing
                    clock.jumped += LEASE_SECONDS / 2
                    await second.app.replicas.expose()
                second.publish()
                after = await second.samples()
                assert same(net(after), stated(await second.truth()))
                assert net(after) == net(before)

    asyncio.run(play())


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_rate_is_shared(database: str, replicas: int) -> None:
    """Each replica gets its share of an account's rate; when one ends, the others get its share."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
            plain = settings(simulated, database)
            slow = replace(plain, accounts=(replace(plain.accounts[0], requests_per_second=12.0, max_in_flight=100),))
            async with AsyncExitStack() as stack:
                exporters = [await stack.enter_async_context(exporting(slow, simulated)) for _ in range(replicas)]
                for exporter in exporters:
                    await exporter.app.replicas.heartbeat()
                    assert exporter.app.plan.pacers["main"].session.burst == 12 // replicas
                async with exporting(slow, simulated):
                    await exporters[0].app.replicas.heartbeat()
                    assert exporters[0].app.replicas.count == replicas + 1
                await exporters[0].app.replicas.heartbeat()
                assert exporters[0].app.replicas.count == replicas

    asyncio.run(play())


def test_one_asks_the_sources_of_an_account(database: str) -> None:
    """One replica requests detail records and balance; when it ends, another does."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
            async with AsyncExitStack() as stack:
                names = ["detail_records/main", "balance/main", "pruning"]
                async with exporting(settings(simulated, database), simulated) as first:
                    second = await stack.enter_async_context(exporting(settings(simulated, database), simulated))
                    await second.app.replicas.heartbeat()
                    assert [first.app.replicas.holds(name) for name in names] == [True] * 3
                    assert [second.app.replicas.holds(name) for name in names] == [False] * 3
                await second.app.replicas.heartbeat()
                assert [second.app.replicas.holds(name) for name in names] == [True] * 3

    asyncio.run(play())


def test_another_exporter_finishes_the_initial_backfill_of_a_dead_one(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    """The backfill continues once the dead replica's leases have expired, and its finds count as history."""
    opened(database).close()
    for name in ("backfill", "detail_records/main"):
        dead = f"INSERT INTO leases VALUES ('{name}', 999, clock_timestamp() + interval '3 s')"
        postgres.execute(dead, database.rpartition("/")[2])

    async def play() -> None:
        world = SimulatorSettings(speed=0.0, sessions_per_hour=60, sessions_max=20, quotas=PLENTY)
        with running(world, time.monotonic) as simulated:
            simulated.clock.step(30 * HOUR)
            plain = discovering(simulated, tmp_path, first_lookback_seconds=31 * HOUR)
            metrics = replace(plain.metrics, new_series_zero_seconds=3600)
            looking = replace(plain, metrics=metrics, ledger=LedgerSettings(url=database))
            async with exporting(looking, simulated, shown=False) as exporter:

                async def shown() -> bool:
                    return exporter.app.publisher.published.is_set()

                await exporter.until(shown)
                await exporter.app.replicas.expose()
                exporter.publish()
                samples = await exporter.samples()
                _, sums = visible(simulated, lambda ref: ref.detail_records)
                assert sum(sums.values()) > 0
                assert same(net(samples), sums)
                assert [value for key, value in samples.items() if key[0] == "telnyx_pending_cost"] == [0]

    asyncio.run(play())


def test_one_exporter_backfills_the_accounts_of_all(database: str) -> None:
    """The replica that polls the first account backfills all of them, and no two replicas wait for each other."""

    async def play() -> None:
        world = SimulatorSettings(speed=0.0, sessions_per_hour=60, sessions_max=5, quotas=PLENTY)
        with running(world, time.monotonic) as simulated:
            simulated.clock.step(7200.0)
            plain = settings(simulated, database)
            both = replace(
                plain,
                accounts=(plain.accounts[0], replace(plain.accounts[0], name="second")),
                discovery=DiscoverySettings(detail_records=DetailRecordSettings(first_lookback_seconds=8000.0)),
            )
            open_ledger(database, policy(both), TotalsSettings.of(both)).close()
            with psycopg.connect(database) as connection:
                connection.execute("INSERT INTO leases VALUES ('detail_records/second', 999, 'infinity')")
            async with exporting(both, simulated) as exporter:
                found = await exporter.samples()
                named = {value for name, labels in found for key, value in labels if name == "telnyx_cost_total"}
                assert {"main", "second"} <= named

    asyncio.run(play())


def test_a_balance_that_comes_late_is_anothers_to_show(postgres: Postgres, database: str) -> None:
    """If the lease is lost during a request, its answer is dropped, because nothing would ever remove it."""
    asked, released, apis = asyncio.Event(), asyncio.Event(), list[FaultyServer]()
    body = b'{"data": {"balance": "3.50", "currency": "USD"}}'

    async def slowly(writer: asyncio.StreamWriter) -> None:
        if "/balance" not in apis[0].lines[-1]:
            writer.write(answered(404))
            return
        asked.set()
        await released.wait()
        writer.write(answered(200, body))

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
            plain = settings(simulated, database)
            async with serving_api(slowly) as api:
                apis.append(api)
                account = replace(
                    plain.accounts[0], base_url=f"http://127.0.0.1:{api.port}/v2", balance_interval_seconds=60
                )
                async with exporting(replace(plain, accounts=(account,)), simulated) as exporter:
                    await asked.wait()
                    lost = "UPDATE leases SET holder = 0, until = 'infinity' WHERE name = 'balance/main'"
                    postgres.execute(lost, database.rpartition("/")[2])
                    await exporter.app.replicas.heartbeat()
                    await exporter.app.discover()
                    released.set()

                    async def heard() -> bool:
                        exporter.publish()
                        labels = (("account", "main"), ("code", "200"), ("endpoint", "balance"))
                        return ("telnyx_api_requests_total", labels) in await exporter.samples()

                    await exporter.until(heard)
                    await exporter.drained()
                    assert [name for name, _ in await exporter.samples() if name == "telnyx_balance"] == []

    asyncio.run(play())


def test_a_file_has_all_rights_always(tmp_path: Path) -> None:
    """A single exporter exposes and prunes its ledger and makes all requests, without a lease."""

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                replicas = exporter.app.replicas
                assert (replicas.shared, replicas.exposing, replicas.holds("pruning"), replicas.jobs()) == (
                    False,
                    True,
                    True,
                    (),
                )
                assert replicas.count == 1

    asyncio.run(play())


def test_a_backlog_is_counted_again_soon_after_the_ledger_was_slow(tmp_path: Path) -> None:
    """The time that a count waits for its turn, as in a failover, is no part of its duration."""
    gate = threading.Event()

    async def due(exporter: Exporting) -> Decimal:
        await exporter.app.maintenance.update_gauges()
        exporter.publish()
        return (await exporter.samples())["telnyx_due_sessions", ()]

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0), time.monotonic) as simulated:
            plain, clock = config(simulated, tmp_path), Clock(simulated)
            idle = replace(plain, polling=replace(plain.polling, scheduler_interval_seconds=3600.0))
            async with exporting(idle, simulated, clock) as exporter:
                assert await due(exporter) == 0
                clock.jumped += 3600
                waiting = asyncio.create_task(exporter.app.ledger.run(lambda _: gate.wait()))
                counting = asyncio.create_task(exporter.app.maintenance.update_gauges())
                await asyncio.sleep(0)
                clock.jumped += 30
                gate.set()
                await asyncio.gather(waiting, counting)
                await exporter.app.ingest.ingest_refs(
                    [SessionRef("main", "message", str(number)) for number in range(3)], "file"
                )
                clock.jumped += 60
                assert await due(exporter) == 3

    asyncio.run(play())


@pytest.mark.slow
def test_an_exporter_waits_for_its_server(tmp_path: Path) -> None:
    """An exporter started before PostgreSQL listens, is healthy and says what it waits for; later it continues.

    Until then webhooks are refused, to be sent again; refused and ingested webhooks are both counted.
    """
    discovery = {"detail_records": {"record_types": []}, "webhooks": {"insecure": True}}
    counted = 'telnyx_webhook_failures_total{account="main",reason="unavailable"} 2'
    with serving() as postgres, running(SimulatorSettings(sessions_max=5), time.monotonic) as simulated:
        url = postgres.url(postgres.create_database())
        postgres.stop()
        replicas = ReplicaSet(write_config(simulated, tmp_path, url, discovery=discovery), [free_port()])
        (replica,) = replicas.members
        replica.start()
        try:
            until(lambda: answer(replica, "/-/ready").startswith("503 starting: ledger: "), replica.log)
            assert answer(replica, "/-/healthy").startswith("200")
            assert answer(replica, "/metrics").startswith("503")
            assert [webhook_status(replica, number) for number in (1, 1)] == [503, 503]
            reloaded = httpx.post(f"{replica.origin}/-/reload")
            assert (reloaded.status_code, "the exporter is starting" in reloaded.text) == (500, True)
            postgres.start()
            until(lambda: answer(replica, "/-/ready").startswith("200"), replica.log)
            assert webhook_status(replica, 1) == 204
            until(lambda: counted in answer(replica, "/metrics"), replica.log)
            assert "Traceback" not in replica.log()
        finally:
            replicas.end()


def answer(replica: Replica, path: str) -> str:
    """Return status and text; empty as long as nothing listens."""
    try:
        found = httpx.get(replica.origin + path, timeout=5)
    except httpx.TransportError:
        return ""
    return f"{found.status_code} {found.text}"


def webhook_status(replica: Replica, number: int) -> int:
    """Send a webhook and return the status of its answer."""
    named = {"call_session_id": str(UUID(int=number)), "call_leg_id": str(UUID(int=number))}
    event = {"id": str(number), "event_type": "call.hangup", "occurred_at": "2026-03-17T12:00:00Z", "payload": named}
    return httpx.post(f"{replica.origin}/webhooks/telnyx/main", json={"data": event}, timeout=10).status_code
