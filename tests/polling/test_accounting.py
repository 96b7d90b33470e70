"""The promise, kept under everything at once: what /metrics shows is the sum of the latest seen event costs, always.

A world in which bills do all that bills do, an API that fails in three answers of ten, an exporter that is stopped
and started again all along; time is stepped, nothing waits for it.
"""

import asyncio
import os
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exporter.config import Config, LedgerSettings
from exporter.core.catalog import FAMILIES
from exporter.core.model import SessionRef
from simulator import Bills, Faults, Running, SimulatorSettings, running
from tests.support.exporting import Exporting, Samples, config, exporting

HOUR, DAY = 3600.0, 86_400.0
BILLS = Bills(
    amended_share=0.3,
    late_share=0.2,
    never_priced_share=0.03,
    currency_changed_share=0.03,
    growing_usage_share=0.2,
    vanished_share=0.1,
    overlapping_share=0.4,
)
FAULTS = Faults(error_share=0.3, slow_body_seconds=0.05, latency_seconds=0.01, retry_after_seconds=0)
WORLD = SimulatorSettings(speed=0.0, sessions_per_hour=1, sessions_max=70, currencies=("USD", "USD", "GBP"))
"""Sessions begin for not quite three days; their bills take some more."""

SEEDS = range(11, 21) if os.environ.get("FULL") == "1" else (11,)

KINDS = {"counter": ("", "_total"), "histogram": ("_bucket", "_count", "_sum")}
Sums = dict[tuple[str, ...], Decimal]


def paced(simulated: Running, url: str) -> Config:
    """Settled sessions are polled twice a day, as often as the simulated bills need."""
    plain = config(simulated, Path(), ledger=LedgerSettings(url=url, exposition_handover_seconds=0))
    rechecks = tuple(DAY / 2 * (place + 1) for place in range(20))
    return replace(
        plain,
        accounts=(replace(plain.accounts[0], currencies=("USD", "GBP", "EUR")),),
        polling=replace(plain.polling, recheck_after_seconds=rechecks),
    )


class Witness:
    """Outlives all exporters: reports new sessions to them, scrapes, and records every ledger counter that fell."""

    def __init__(self) -> None:
        self.last: Samples = {}
        self.scrapes = 0
        self.fallen: list[tuple[str, Decimal, Decimal | None]] = []
        self._begun = 0.0

    async def look(self, exporter: Exporting) -> Samples:
        now = await exporter.samples()
        for key, before in self.last.items():
            if key[0] in RISING and (key not in now or now[key] < before):
                self.fallen.append((str(key), before, now.get(key)))
        self.last = now
        self.scrapes += 1
        return now

    async def follow_started(self, exporter: Exporting) -> None:
        """Report the sessions that began since the last call, to whichever exporter that was."""
        listed = exporter.simulated.world.refs(self._begun)
        if listed:
            self._begun = listed[-1].begun
            refs = [SessionRef("main", ref.record_type, ref.event_id, ref.date_time) for ref in listed]
            await exporter.app.ingest.ingest_refs(refs, "file")


RISING = {
    name
    for family in FAMILIES
    if family.home == "ledger" and family.kind in KINDS
    for name in (family.name, *(family.name + suffix for suffix in KINDS[family.kind]))
}


def summed(samples: Samples, names: dict[str, int], *by: str) -> Sums:
    """Return the samples of these names with these signs by these labels, without zeros."""
    found: Sums = {}
    for (name, labels), value in samples.items():
        if name in names:
            key = tuple(dict(labels)[label] for label in by)
            found[key] = found.get(key, Decimal(0)) + names[name] * value
    return {key: round(value, 9) for key, value in found.items() if round(value, 9)}


def stated(truth: dict[str, Any], field: str, *by: str) -> Sums:
    found: Sums = {}
    for total in truth["totals"]:
        key = tuple(total[label] for label in by)
        found[key] = found.get(key, Decimal(0)) + Decimal(total[field])
    return {key: value for key, value in found.items() if value}


COST = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}
INFERENCE_COST = {"telnyx_inference_cost_total": 1, "telnyx_inference_cost_credits_total": -1}
EVENT = ("record_type", "product")
SESSIONS = ("telnyx_sessions_started_total", "telnyx_sessions_settled_total", "telnyx_session_events_count")


def check(samples: Samples, truth: dict[str, Any]) -> None:
    """Everything that both have must be equal."""
    turns = {"totals": [total for total in truth["totals"] if total["record_type"] == "inference"]}
    assert summed(samples, COST, *EVENT, "currency") == stated(truth, "cost", *EVENT, "currency")
    assert summed(samples, INFERENCE_COST, "currency") == stated(turns, "cost", "currency")
    assert summed(samples, {"telnyx_events_total": 1}, *EVENT) == stated(truth, "events", *EVENT)
    check_unpriced(samples, truth)
    assert summed(samples, {"telnyx_inference_turns_total": 1}) == stated(turns, "events")
    tokens = summed(samples, {"telnyx_inference_tokens_total": 1}, "token_direction")
    assert tokens.get(("input",), 0) == stated(truth, "input_tokens").get((), 0)
    assert tokens.get(("output",), 0) == stated(truth, "output_tokens").get((), 0)
    billed = {"telnyx_billed_seconds_total": 1}
    assert summed(samples, billed, "record_type") == stated(truth, "billed_seconds", "record_type")
    sessions = {(): Decimal(truth["outermost_sessions"])}
    assert [summed(samples, {name: 1}) for name in SESSIONS] == [sessions] * len(SESSIONS)


def check_unpriced(samples: Samples, truth: dict[str, Any]) -> None:
    """An event without a price awaits one, or is bundled; a bundled one may have got a price since."""
    awaiting = summed(samples, {"telnyx_events_awaiting_price": 1}, *EVENT)
    bundled = summed(samples, {"telnyx_events_bundled_total": 1}, *EVENT)
    totals = [total | {"unpriced": total["awaiting_price"] + total.get("bundled", 0)} for total in truth["totals"]]
    unpriced = stated({"totals": totals}, "unpriced", *EVENT)
    for event in awaiting.keys() | bundled.keys() | unpriced.keys():
        assert awaiting.get(event, 0) <= unpriced.get(event, 0) <= awaiting.get(event, 0) + bundled.get(event, 0)


async def live(simulated: Running, url: str, witness: Witness, *, days: float, restart_hours: float) -> None:
    """Run so many days in steps of three hours, with a new exporter after each so many hours."""
    for _ in range(round(days * DAY / (restart_hours * HOUR))):
        async with exporting(paced(simulated, url), simulated) as exporter:
            await witness.look(exporter)
            for _ in range(round(restart_hours / 3)):
                simulated.clock.step(3 * HOUR)
                await witness.follow_started(exporter)
                await witness.look(exporter)  # in the midst of it
                await exporter.drained()
                await witness.look(exporter)


async def played(url: str, settings: SimulatorSettings) -> tuple[Witness, Samples, dict[str, Any]]:
    """Run three days of traffic under faults and restarts, then without faults until every bill has ended."""
    witness = Witness()
    with running(settings, time.monotonic) as simulated:
        await live(simulated, url, witness, days=3, restart_hours=12)
        await live(simulated, url, witness, days=6, restart_hours=36)
        async with exporting(paced(simulated, url), simulated) as exporter:
            await exporter.http.post(f"{simulated.origin}/_faults", content=b"{}")
            for _ in range(6):
                simulated.clock.step(DAY / 2)
                await exporter.drained()
                samples = await witness.look(exporter)
            return witness, samples, await exporter.truth()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_three_days_of_everything_are_exact(ledger_url: str, seed: int) -> None:
    """All kinds of bills, overlapping roots, 30 % faults and restarts: every sum equals the truth to the last digit.

    And no ledger counter was ever lower on one scrape than on the one before.
    """
    witness, samples, truth = asyncio.run(played(ledger_url, replace(WORLD, seed=seed, bills=BILLS, faults=FAULTS)))
    assert truth["vanished"] > 0
    assert truth["awaiting_price"] > 0
    assert witness.scrapes > 50
    assert {"telnyx_cost_total", "telnyx_session_cost_bucket"} <= RISING & {name for name, _ in samples}
    assert witness.fallen == []
    check(samples, truth)


@pytest.mark.parametrize("outer_first", [True, False], ids=["outer root first", "inner root first"])
def test_overlapping_roots_are_counted_as_one_session(ledger_url: str, *, outer_first: bool) -> None:
    """A leg that is polled beside its call is absorbed: one session started, one settled, one observation."""

    async def play() -> None:
        with running(
            SimulatorSettings(speed=0.0, sessions_max=0, documented_example=True), time.monotonic
        ) as simulated:
            async with exporting(paced(simulated, ledger_url), simulated) as exporter:
                (call,) = simulated.world.refs()
                tree = simulated.world.find((call.record_type,), uuid.UUID(call.event_id))
                assert tree is not None
                leg = next(event for event in tree.session.events if event.record_type == "call-control")
                refs = [SessionRef("main", event.record_type, event.id) for event in (tree.session.events[0], leg)]
                await exporter.app.ingest.ingest_refs(refs if outer_first else refs[::-1], "file")
                await exporter.drained()
                simulated.clock.step(DAY / 2)
                await exporter.drained()
                samples = await exporter.samples()
                assert {name: summed(samples, {name: 1})[()] for name in SESSIONS} == dict.fromkeys(SESSIONS, 1)

    asyncio.run(play())
