"""LLM turns whose records name no call: the calls' trees bring them, and only what no tree brings is requested."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from exporter.core.model import DetailRecord
from exporter.ledger import Ledger
from exporter.ledger.queue.awaited_records import AWAIT_SECONDS, AWAITED, START
from exporter.sources.discovery import DUE_SESSIONS_MAX
from exporter.sources.record_kinds import KINDS
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


def tree_of(call: int) -> dict[str, Any]:
    turns = [node(f"inference:{turn}", "0.0005", event_name="inference-event") for turn in turns_of(call)]
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
    answers |= {f"{turn}?dated": answer(node(f"inference:{turn}", "0.0005")) for turn in alone}

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
            counts = {kind: parts.shown("telnyx_session_cost_count", session_kind=kind) for kind in ("ai", "inference")}
            assert counts == {"ai": CALLS, "inference": ALONE}
            assert parts.shown("telnyx_inference_turns_total") == len(turns) + ALONE
            turns_cost = parts.shown("telnyx_cost_total", record_type="inference")
            assert turns_cost == (len(turns) + ALONE) * record("inference").cost  # type: ignore[operator]
            assert await parts.ledger.run(Ledger.check) == []

    asyncio.run(scenario())
