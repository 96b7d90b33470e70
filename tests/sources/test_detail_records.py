"""Detail records: each session with a record is found, however late it appears or the list shifts."""

import asyncio
import time
import uuid
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from exporter.config import Config, CustomType, DetailRecordSettings, DiscoverySettings
from exporter.core.catalog import FAMILIES
from exporter.core.model import DetailRecord, SessionNotice, SessionRef
from exporter.ledger import Ledger
from exporter.sources.record_kinds import KINDS, RecordKind, kinds
from simulator import WORLD_A, WORLDS, Bills, Running, SimulatorSettings, running
from tests.ledger.test_ledger import opened, values
from tests.support.exporting import (
    PATIENCE_SECONDS,
    PLENTY,
    Exporting,
    Samples,
    config,
    exporting,
    followed,
    net,
    same,
    visible,
)

HOUR = 3600.0


NOON = 1_773_748_800.0


LEADS = {
    ("call-control", "call_session_id"): ("call-session/S", "call-control/R"),
    ("inference", "telnyx_session_id"): ("call-session/S", "inference/R"),
    ("fax", "call_session_id"): ("call-session/S", "fax-api/R"),
    ("conference", "call_session_id"): ("conference/R", None),
    ("messaging", None): ("message/R", None),
    ("wireless", None): ("sim_card_usage/R", None),
    ("verify", None): ("verify/R", None),
    ("conference", None): ("conference/R", None),
    ("embedding", None): ("embedding/R", None),
    ("something-new", None): ("something-new/R", None),
}
AWAITED = ("inference", "call-control", "ai-voice-assistant", "stt", "tts", "amd", "conference-participant")


@pytest.mark.parametrize(("said", "expected"), LEADS.items())
def test_what_a_record_leads_to(said: tuple[str, str | None], expected: tuple[str, str | None]) -> None:
    """Records of a call name the call, with the record's session as substitute; others are sessions themselves."""
    name, field = said
    kind = KINDS.get(name) or RecordKind(name, name)
    record = {kind.id_fields[0]: "R"} | ({field: "S"} if field else {})
    found = kind.read("main", record, "created_at")
    assert found is not None
    notice = found.notice
    assert notice is not None
    substitute = notice.substitute and f"{notice.substitute.record_type}/{notice.substitute.event_id}"
    assert (f"{notice.ref.record_type}/{notice.ref.event_id}", substitute) == expected


@pytest.mark.parametrize("name", AWAITED)
def test_a_record_whose_event_may_be_in_a_tree_leads_to_no_session(name: str) -> None:
    """It names no session, and a tree is expected to bring its event."""
    found = KINDS[name].read("main", {"id": "R", "conversation_id": None, "call_session_id": None}, "created_at")
    assert found is not None
    assert found.notice is None


def test_the_configuration_extends_the_dialect() -> None:
    """The configuration describes how to read unknown record types, and overrides known ones."""
    custom_types = (
        CustomType(name="agent", record_type="ai-agent", time_field="began_at", id_field="key", session_field="call"),
        CustomType(name="messaging", id_field="message_id"),
    )
    agent, message = kinds(DetailRecordSettings(record_types=("agent", "messaging"), custom_types=custom_types))
    found = agent.read("main", {"key": "k", "call": "s", "began_at": "2026-03-17T12:00:00Z"}, agent.time_fields[0])
    assert found is not None
    assert found.notice is not None
    assert (found.at, found.notice.ref.event_id) == (NOON, "s")
    assert found.notice.substitute == SessionRef("main", "ai-agent", "k")
    assert (message.record_type, message.id_fields, message.time_fields[0]) == (
        "message",
        ("message_id",),
        "created_at",
    )


# The running exporter


def discovering(simulated: Running, folder: Path, **settings: Any) -> Config:
    plain = config(simulated, folder)
    records = DetailRecordSettings(**{"first_lookback_seconds": 0.0, **settings})
    return replace(plain, discovery=DiscoverySettings(detail_records=records))


async def pass_hours(exporter: Exporting, hours: int) -> None:
    """Advance in steps of half an hour, and finish the work of each."""
    for _ in range(2 * hours):
        exporter.simulated.clock.step(HOUR / 2)
        await exporter.drained()


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_detail_records_alone_find_every_session_that_has_one(tmp_path: Path, world: str) -> None:
    """With late, reordered records, changing bills and restarts, each session is followed once."""
    settings = SimulatorSettings(
        speed=0.0,
        sessions_per_hour=100,
        sessions_max=300,
        api=WORLDS[world],
        detail_records_late_seconds=2 * HOUR,
        bills=Bills(late_share=0.1),
        quotas=PLENTY,
    )

    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            for _ in range(3):
                async with exporting(discovering(simulated, tmp_path), simulated) as exporter:
                    await pass_hours(exporter, 3)
            async with exporting(discovering(simulated, tmp_path), simulated) as exporter:
                await pass_hours(exporter, 6)
                for _ in range(40):  # past the last recheck and every late bill
                    simulated.clock.step(24 * HOUR)
                    await exporter.drained()
                roots, sums = visible(simulated, lambda ref: ref.detail_records)
                known = await followed(exporter)
                samples = await exporter.samples()
                assert len(roots) > 250
                assert roots <= known.keys()
                assert set(known.values()) == {1}
                assert same(net(samples), sums)
                coverage = {key: value for key, value in samples.items() if key[0] == COVERAGE}
                assert sum(coverage.values()) > sum(sums.values()) / 2

    asyncio.run(play())


COVERAGE = "telnyx_detail_record_cost_total"


def test_a_session_that_the_api_does_not_know_falls_back_to_its_events(tmp_path: Path) -> None:
    """If the API doesn't find the call of a record, the record's own session is followed."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                (call,) = simulated.world.refs()
                tree = simulated.world.find((call.record_type,), uuid.UUID(call.event_id))
                assert tree is not None
                leg = next(event for event in tree.session.events if event.record_type == "call-control")
                nowhere, own = str(uuid.UUID(int=7)), SessionRef("main", "call-control", leg.id)
                notice = SessionNotice(SessionRef("main", "call-session", nowhere), "rated", own)
                record = DetailRecord(leg.id, "call-control", None, Decimal("0.0052"), "USD", notice)
                receipt = await exporter.app.ledger.run(Ledger.ingest_records, "main", [record], 0.0)
                exporter.app.metrics.apply(receipt)
                await exporter.drained()
                assert set(await followed(exporter)) == {("call-session", nowhere), ("call-control", leg.id)}
                assert net(await exporter.samples())["call-control", "USD"] == Decimal("0.0052")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("cost", "currency", "due"),
    [("0.0052", "USD", 0), (None, "USD", 0), ("0.0053", "USD", 1), ("0.0052", "EUR", 1)],
)
def test_a_record_that_equals_the_booking_causes_no_poll(
    tmp_path: Path, cost: str | None, currency: str, due: int
) -> None:
    """A record makes its session due only if its cost differs from the last poll's."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            async with exporting(config(simulated, tmp_path), simulated) as exporter:
                (call,) = simulated.world.refs()
                ref = SessionRef("main", call.record_type, call.event_id)
                await exporter.app.ingest.ingest_refs([ref], "file")
                await exporter.drained()
                tree = simulated.world.find((call.record_type,), uuid.UUID(call.event_id))
                assert tree is not None
                leg = next(event for event in tree.session.events if event.record_type == "call-control")
                record = DetailRecord(
                    leg.id,
                    "call-control",
                    None,
                    None if cost is None else Decimal(cost),
                    currency,
                    SessionNotice(ref, "listed", SessionRef("main", "call-control", leg.id)),
                )
                await exporter.app.poller.stop(1.0)
                await exporter.app.ledger.run(Ledger.ingest_records, "main", [record], simulated.clock.now())
                assert await exporter.app.ledger.run(Ledger.count_due, simulated.clock.now(), ["main"]) == due

    asyncio.run(play())


def of_type(samples: Samples, family: str, record_type: str) -> dict[str, Decimal]:
    """Return the values of a type's series by the label `state`, or under an empty name."""
    found = {}
    for (name, labels), value in samples.items():
        if name == family and ("record_type", record_type) in labels:
            found[dict(labels).get("state", "")] = value
    return found


def test_a_refused_type_is_named_and_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The other types are read and forgotten as ever, the failure is logged once, and the type is tried again daily."""

    async def play() -> None:
        world = SimulatorSettings(
            speed=0.0,
            sessions_per_hour=100,
            sessions_max=50,
            api=replace(WORLD_A, refused_types={"amd": 400}),
            quotas=PLENTY,
        )
        with running(world, time.monotonic) as simulated:
            settings = discovering(simulated, tmp_path, record_types=("amd", "messaging"))
            async with exporting(settings, simulated) as exporter:
                for hours, tries in ((2, 1), (20, 1), (4, 2)):
                    await pass_hours(exporter, hours)
                    samples = await exporter.samples()
                    assert of_type(samples, "telnyx_detail_record_failures_total", "amd") == {"": tries}
                source = (("account", "main"), ("source", "detail_records"))
                assert samples["telnyx_discovered_sessions_total", source] > 5
                assert samples["telnyx_discovery_last_success_timestamp_seconds", source] == simulated.clock.now()
                assert of_type(samples, "telnyx_detail_record_type_state", "amd") == {"refused": 1}
                assert of_type(samples, "telnyx_detail_record_type_state", "messaging") == {"proven": 1}
                last = "telnyx_detail_record_last_success_timestamp_seconds"
                assert of_type(samples, last, "messaging") == {"": Decimal(repr(simulated.clock.now()))}
                assert of_type(samples, last, "amd") == {}

    asyncio.run(play())
    said = [record for record in caplog.records if record.getMessage().startswith("detail records of a type not read")]
    assert len(said) == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_types_that_cannot_be_read_leave_the_others_complete(tmp_path: Path, world: str) -> None:
    """Two are refused, one has no time field that works, one has no records: each has its state, and is no other's."""
    troubled = replace(
        WORLDS[world],
        refused_types={"amd": 403, "recording": 400},
        untimed_types=("verify",),
        absent_types=("wireless",),
    )
    settings = SimulatorSettings(speed=0.0, sessions_per_hour=60, sessions_max=120, api=troubled, quotas=PLENTY)

    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            async with exporting(discovering(simulated, tmp_path), simulated) as exporter:
                await pass_hours(exporter, 12)
                samples = await exporter.samples()
                states = {
                    dict(labels)["record_type"]: dict(labels)["state"]
                    for name, labels in samples
                    if name == "telnyx_detail_record_type_state"
                }
                troubles = {"amd": "refused", "recording": "refused", "verify": "unproven", "wireless": "empty"}
                assert {name: states[name] for name in troubles} == troubles
                others = {state for name, state in states.items() if name not in troubles}
                assert others <= {"proven", "empty"}
                last = "telnyx_detail_record_last_success_timestamp_seconds"
                for name, state in states.items():
                    is_read = of_type(samples, last, name).get("") == simulated.clock.now()
                    assert is_read == (state in {"proven", "empty"}), name
                unread = "main: amd (refused), recording (refused), verify (unproven)."
                assert unread in (await exporter.get("/")).text
                source = (("account", "main"), ("source", "detail_records"))
                assert samples["telnyx_discovery_last_success_timestamp_seconds", source] == simulated.clock.now()
                truth = (await exporter.http.get(f"{simulated.origin}/_truth")).json()
                readable = {
                    KINDS[each["record_type"]].record_type if each["record_type"] in KINDS else each["record_type"]
                    for each in truth["records"]
                    if Decimal(each["cost"])
                }
                listed = {
                    dict(labels)["record_type"]: value
                    for (name, labels), value in samples.items()
                    if name == COVERAGE and value
                }
                assert listed.keys() == readable - {*troubles, "sim_card_usage"}
                missing = {value for (name, _), value in samples.items() if name == "telnyx_detail_records_missing"}
                assert missing == {0, *of_type(samples, "telnyx_detail_records_missing", "verify").values()}

    asyncio.run(play())


def test_cursors_of_an_older_version_are_continued(tmp_path: Path) -> None:
    """What it has read is read again by the look-back only, and nothing from before its first poll."""
    settings = SimulatorSettings(speed=0.0, sessions_per_hour=60, quotas=PLENTY)

    async def play() -> None:
        with running(settings, time.monotonic) as simulated:
            simulated.clock.step(12 * HOUR)
            since = simulated.clock.now() - 2 * HOUR
            plain = discovering(simulated, tmp_path, record_types=("messaging",), lookback_seconds=2 * HOUR)
            with closing(opened(tmp_path / "ledger.sqlite")) as ledger:
                ledger.put_meta("cursors:main", f'{{"messaging": {{"since": {since}, "reached": {since + HOUR}}}}}')
                ledger.put_meta("backfill", "done")
            async with exporting(plain, simulated) as exporter:
                await exporter.drained()
                found = {ref.event_id for ref in simulated.world.refs() if ref.record_type == "message"}
                recent = {
                    ref.event_id
                    for ref in simulated.world.refs(since)
                    if ref.record_type == "message" and ref.detail_records
                }
                known = {event_id for _, event_id in await followed(exporter)}
                assert known <= recent < found
                assert len(known) > 5

    asyncio.run(play())


def test_the_cost_of_a_record_counts_once(tmp_path: Path) -> None:
    """A record listed repeatedly counts once, and a later increase of its cost counts too."""
    ref = SessionRef("main", "message", "m")

    def record(cost: str | None) -> DetailRecord:
        amount = Decimal(cost) if cost is not None else None
        return DetailRecord("m", "message", NOON, amount, "USD", SessionNotice(ref, "rated"))

    ledger = opened(tmp_path / "l.sqlite")
    for cost in (None, "0.2", "0.2", "0.1", "0.5", None):
        ledger.ingest_records("main", [record(cost), record(cost)], NOON)
    assert values(ledger, COVERAGE, "record_type", "currency") == {("message", "USD"): Decimal("0.5")}
    assert values(ledger, "telnyx_discovered_sessions_total", "source") == {("detail_records",): 1}
    ledger.close()


def totals(samples: Samples) -> set[str]:
    """Return the ledger's families that a page has."""
    return {family.name for family in FAMILIES if family.home == "ledger"} & {name for name, _ in samples}


def test_a_backfill_shows_no_totals_and_makes_nothing_wait(
    tmp_path: Path, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """While the API is away the exporter is ready, says how far it is, and shows its own families; a stop ends it."""
    caplog.set_level("INFO", "exporter")

    async def play() -> None:
        with running(SimulatorSettings(speed=0.0, sessions_max=0, quotas=PLENTY), time.monotonic) as simulated:
            settings = discovering(simulated, tmp_path, first_lookback_seconds=HOUR)
            away = replace(settings.accounts[0], base_url=f"http://127.0.0.1:{free_port}/v2")
            async with exporting(replace(settings, accounts=(away,)), simulated, shown=False) as exporter:
                await exporter.until(exporter.claiming)

                async def told() -> bool:
                    return exporter.app.publisher.published.is_set() and bool(exporter.app.discovery.backfill_progress)

                await exporter.until(told)
                ready = await exporter.get("/-/ready")
                assert ready.status_code == httpx.codes.OK
                words = "Initial backfill: records 0 %, sessions 0 of 0. /metrics shows totals when it is finished."
                assert ready.text.splitlines()[1] == words
                assert words in (await exporter.get("/")).text
                exporter.publish()
                samples = await exporter.samples()
                assert totals(samples) == set()
                assert samples["telnyx_backfill_records_ratio", (("account", "main"),)] == 0
                assert samples["telnyx_backfill_sessions", (("state", "found"),)] == 0

    asyncio.run(play())
    assert [record.getMessage() for record in caplog.records].count("initial backfill") == 1


@pytest.mark.slow
def test_an_initial_backfill_is_history(tmp_path: Path) -> None:
    """It resumes after a restart; its costs are on the first page of totals with their values."""
    world = SimulatorSettings(speed=0.0, sessions_per_hour=60, sessions_max=60, quotas=PLENTY)

    async def play() -> None:
        with running(world, time.monotonic) as simulated:
            simulated.clock.step(30 * HOUR)
            settings = discovering(simulated, tmp_path, first_lookback_seconds=31 * HOUR)
            settings = replace(settings, metrics=replace(settings.metrics, new_series_zero_seconds=3600))
            idle = replace(settings.polling, scheduler_interval_seconds=PATIENCE_SECONDS)
            async with exporting(replace(settings, polling=idle), simulated, shown=False):
                pass  # stopped before anything was read
            simulated.clock.step(HOUR)
            async with exporting(settings, simulated) as exporter:
                await exporter.drained()
                samples = await exporter.samples()
                _, sums = visible(simulated, lambda ref: ref.detail_records)
                assert sum(sums.values()) > 0
                assert same(net(samples), sums)
                assert [value for key, value in samples.items() if key[0] == "telnyx_pending_cost"] == [0]
                polled = samples["telnyx_backfill_sessions", (("state", "polled"),)]
                assert polled <= samples["telnyx_backfill_sessions", (("state", "found"),)]
                assert (await exporter.get("/-/ready")).text == "telnyx-session-exporter is ready.\n"

    asyncio.run(play())
