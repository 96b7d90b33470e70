"""What following costs and how fresh it is: requests until a session settles, and how soon a rated bill is seen."""

import asyncio
import base64
import json
import sqlite3
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from exporter.config import Config, Discovery, Polling
from exporter.ledger import SqliteLedger
from exporter.simulator import Running, Settings, running
from tests.exporting import NO_RECORDS, Exporting, Samples, config, exporting
from tests.test_births_in_prometheus import free_ports

STEP_SECONDS = 20.0
WORLD = Settings(speed=0.0, sessions_per_hour=30, sessions_max=20)
RATED_WITHIN_SECONDS = 4 * 3600.0


class Measured(Struct):
    polls: dict[str, int]
    """Of each session that settled: how often it was asked for until then."""
    late: dict[str, float]
    """Of each AI call: how long after its last rating the page showed its final cost, in seconds of session time."""


def paced(simulated: Running, folder: Path) -> Config:
    """The default pace, with the tick of a test."""
    plain = config(
        simulated, folder, polling=Polling(tick_seconds=0.05), discovery=Discovery(detail_records=NO_RECORDS)
    )
    return replace(plain, accounts=(replace(plain.accounts[0], webhook_key=base64.b64decode(simulated.public_key)),))


def test_an_ai_call_settles_with_six_requests_and_its_bill_is_seen_within_a_minute(tmp_path: Path) -> None:
    """With webhooks and the default pace, from the call's first event to its settling."""
    with running(WORLD, time.monotonic, wall=time.time) as simulated:
        measured = asyncio.run(measure(simulated, paced(simulated, tmp_path)))
    assert len(measured.late) > 3
    assert max(measured.late.values()) <= 60
    assert measured.late.keys() <= measured.polls.keys()
    assert max(measured.polls[call] for call in measured.late) <= 6


async def measure(simulated: Running, settings: Config) -> Measured:
    port, _ = free_ports()
    async with exporting(settings, simulated, port=port) as exporter:
        url = f"http://127.0.0.1:{port}/webhooks/telnyx/main"
        await exporter.http.post(f"{simulated.origin}/_webhooks", json={"url": url})
        measured = Measured({}, {})
        ends = simulated.clock.now() + RATED_WITHIN_SECONDS
        while simulated.clock.now() < ends:
            await step(exporter, STEP_SECONDS)
            look(simulated, await exporter.samples(), measured)
        for _ in range(10):
            await step(exporter, 3600.0)
        measured.polls = await exporter.app.ledger.run(polls_to_settle)
        return measured


def polls_to_settle(ledger: SqliteLedger) -> dict[str, int]:
    """Polls of each settled session by its id; the ledger keeps the last ten, and nothing is rechecked yet."""
    connection = sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True)
    rows = connection.execute("SELECT event_id, polls FROM sessions WHERE state = 'settled'").fetchall()
    connection.close()
    return {event_id: len(json.loads(polls)) for event_id, polls in rows}


async def step(exporter: Exporting, seconds: float) -> None:
    exporter.simulated.clock.step(seconds)

    async def delivered() -> bool:
        return bool((await exporter.http.get(f"{exporter.simulated.origin}/_webhooks")).json()["due"] == 0)

    await exporter.until(delivered)
    await exporter.drained()


def look(simulated: Running, samples: Samples, measured: Measured) -> None:
    """Note every AI call whose last rating is over and whose final cost is on the page for the first time."""
    now = simulated.clock.now()
    for ref in simulated.world.refs():
        found = simulated.world.find((ref.record_type,), uuid.UUID(ref.event_id))
        if found is None or ref.event_id in measured.late:
            continue
        events = [found.session.events[index] for index in found.session.below(found.index)]
        rated_at = max(event.bill[-1].time for event in events)
        if ref.record_type != "call-session" or not any(event.record_type == "inference" for event in events):
            continue
        final = sum((event.bill[-1].cost or Decimal(0) for event in events), Decimal(0))
        shown = total(samples, "telnyx_followed_session_cost", event_id=ref.event_id)
        if rated_at <= now and round(shown, 6) == round(final, 6):
            measured.late[ref.event_id] = now - rated_at


def total(samples: Samples, name: str, **labels: str) -> Any:
    found = [
        value for (family, given), value in samples.items() if family == name and labels.items() <= dict(given).items()
    ]
    return sum(found, Decimal(0))
