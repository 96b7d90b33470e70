"""LLM turns whose records name no call: the calls' trees bring them, and only what no tree brings is requested."""

import asyncio
import json
import time
import uuid
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from exporter.config import Config, DetailRecordSettings, DiscoverySettings
from exporter.core.model import DetailRecord, SessionRef
from exporter.ledger import Ledger, TotalsSettings, open_ledger
from exporter.ledger.queue.awaited_records import AWAIT_SECONDS, AWAITED, START
from exporter.ledger.sharing.leases import BACKFILL
from exporter.runtime.plan import policy
from exporter.sources.discovery import DUE_SESSIONS_MAX, PENDING
from exporter.sources.record_kinds import KINDS
from simulator import Running, SimulatorSettings, running
from tests.support.exporting import config, exporting, followed, net
from tests.support.polling import Polling, polling
from tests.support.trees import answer, node

WITNESSED = Path(__file__).parents[1] / "data" / "witnessed" / "records"
CALLS, TURNS, ALONE = 20, 8, 3
STEP_SECONDS = 300.0
HOUR = 3600.0


def record(name: str, **changed: object) -> DetailRecord:
    """Return a record as it was seen on a live account, with other ids."""
    shape: dict[str, Any] = json.loads((WITNESSED / f"{name}.json").read_text())
    found = KINDS[name].read("main", shape | changed, "created_at")
    assert found is not None
    return found


def turns_of(call: int) -> list[str]:
    return [f"turn-{call}-{turn}" for turn in range(TURNS)]


USED = {"user_prompt_tokens": 812, "cached_user_prompt_tokens": 640, "completion_tokens": 57}


def turn_node(turn: str, **changed: str) -> dict[str, Any]:
    return node(f"inference:{turn}", "0.0005", **changed) | {"record": USED}


def tree_of(call: int) -> dict[str, Any]:
    turns = [turn_node(turn, event_name="inference-event") for turn in turns_of(call)]
    return answer(
        node(f"call-session:call-{call}", "0", node(f"ai-voice-assistant:assistant-{call}", "0.05", *turns)),
    )


async def play(parts: Polling, hours: float) -> None:
    """Poll what is due, and do what discovery does with awaited records."""
    for _ in range(round(hours * HOUR / STEP_SECONDS)):
        await parts.poll()
        _, receipt = await parts.ledger.run(Ledger.drop_booked_records, "main", START)
        parts.commit_queue.show(receipt)
        _, receipt = await parts.ledger.run(Ledger.follow_awaited, "main", parts.clock.now(), DUE_SESSIONS_MAX)
        parts.commit_queue.show(receipt)
        parts.clock.step(STEP_SECONDS)


async def listed(parts: Polling, *records: DetailRecord) -> None:
    parts.commit_queue.show(await parts.ledger.run(Ledger.ingest_records, "main", records, parts.clock.now()))


def test_twenty_calls_are_twenty_sessions(tmp_path: Path) -> None:
    """160 turns cost no request; three that are in no tree are polled twice each; each turn and cost counts once."""
    alone = [f"alone-{number}" for number in range(ALONE)]
    answers = {f"call-{call}": tree_of(call) for call in range(CALLS)}
    answers |= {f"{turn}?dated": answer(turn_node(turn)) for turn in alone}

    async def scenario() -> None:
        async with polling(tmp_path, answers) as parts:
            # Turns are listed while the call goes on; the records that name the call follow at its end.
            turns = [turn for call in range(CALLS) for turn in turns_of(call)]
            await listed(parts, *(record("inference", id=turn) for turn in (*turns, *alone)))
            assert parts.shown(AWAITED, record_type="inference") == len(turns) + ALONE
            await play(parts, 0.5)
            assert parts.api.asked == []
            for call in range(CALLS):
                assistant = record("ai-voice-assistant", id=f"assistant-{call}", telnyx_session_id=f"call-{call}")
                await listed(parts, assistant)
            await play(parts, 1)
            assert parts.shown(AWAITED, record_type="inference") == ALONE
            await play(parts, AWAIT_SECONDS / HOUR + 4)
            assert parts.shown(AWAITED) == 0
            assert set((await parts.states()).values()) == {"settled"}

            asked = Counter(name.removesuffix("?dated") for name in parts.api.asked)
            assert asked.keys() == {*alone, *(f"call-{call}" for call in range(CALLS))}
            assert max(asked[f"call-{call}"] for call in range(CALLS)) <= 6
            assert {asked[turn] for turn in alone} == {2}
            totals = await parts.ledger.run(Ledger.totals)
            costs = [total for total in totals if total.family == "telnyx_session_cost"]
            counts = {dict(total.labels)["session_kind"]: sum(total.counts) for total in costs}
            assert counts == {"ai": CALLS, "inference": ALONE}
            found = {total.family: total.value for total in totals if total.family.startswith("telnyx_inference")}
            assert found["telnyx_inference_turns_total"] == len(turns) + ALONE
            assert found["telnyx_inference_cost_total"] == (len(turns) + ALONE) * Decimal("0.0005")
            all_turns = len(turns) + ALONE
            assert found["telnyx_inference_cached_input_tokens_total"] == all_turns * USED["cached_user_prompt_tokens"]
            tokens = {
                dict(total.labels)["token_direction"]: total.value
                for total in totals
                if total.family == "telnyx_inference_tokens_total"
            }
            used = {"input": USED["user_prompt_tokens"], "output": USED["completion_tokens"]}
            assert tokens == {direction: all_turns * count for direction, count in used.items()}
            assert await parts.ledger.run(Ledger.check) == []

    asyncio.run(scenario())


# The running exporter


def turns_in(simulated: Running) -> tuple[str, list[str]]:
    """Return the ids of the guide's AI call and of its turns."""
    (call,) = simulated.world.refs()
    found = simulated.world.find((call.record_type,), uuid.UUID(call.event_id))
    assert found is not None
    return call.event_id, [event.id for event in found.session.events if event.record_type == "inference"]


def awaiting(*turns: str) -> list[DetailRecord]:
    return [record("inference", id=turn) for turn in turns]


def listing(simulated: Running, folder: Path, **settings: float) -> Config:
    """Return the configuration of an exporter that reads one type of records."""
    records = DetailRecordSettings(record_types=("wireless",), **settings)  # type: ignore[arg-type]
    return config(simulated, folder, discovery=DiscoverySettings(detail_records=records))


WORLD = SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True)
LLM = ("inference", "USD")


def test_the_exporter_follows_what_no_tree_brings(tmp_path: Path) -> None:
    """After six hours, under a session kind of its own; a call that shows the same turns later adds only the others."""

    async def scenario() -> None:
        with running(WORLD, time.monotonic) as simulated:
            call, turns = turns_in(simulated)
            async with exporting(listing(simulated, tmp_path), simulated) as exporter:
                await exporter.app.ledger.run(Ledger.ingest_records, "main", awaiting(*turns[:2]), 0.0)
                simulated.clock.step(AWAIT_SECONDS)
                await exporter.drained()
                assert set(await followed(exporter)) == {("inference", turn) for turn in turns[:2]}
                assert net(await exporter.samples())[LLM] == Decimal("0.0025")
                await exporter.app.ingest.ingest_refs([SessionRef("main", "call-session", call)], "file")
                await exporter.drained()
                samples = await exporter.samples()
                assert sum(net(samples).values()) == Decimal("0.2128")
                turns_shown = [v for (name, _), v in samples.items() if name == "telnyx_inference_turns_total"]
                assert sum(turns_shown) == len(turns)

    asyncio.run(scenario())


def test_what_a_backfill_awaits_is_history_too(tmp_path: Path) -> None:
    """It is followed when all sessions were polled, and on the first page with its value, not six hours later."""

    async def scenario() -> None:
        with running(WORLD, time.monotonic) as simulated:
            _, turns = turns_in(simulated)
            plain = listing(simulated, tmp_path, first_lookback_seconds=HOUR)
            now = simulated.clock.now()
            with closing(open_ledger(plain.ledger.url, policy(plain), TotalsSettings.of(plain))) as ledger:
                ledger.ingest_records("main", awaiting(*turns), now)
                ledger.put_meta(BACKFILL, PENDING)
            plain = replace(plain, metrics=replace(plain.metrics, new_series_zero_seconds=1000.0))
            async with exporting(plain, simulated) as exporter:
                assert net(await exporter.samples())[LLM] == Decimal("0.0121")

    asyncio.run(scenario())
