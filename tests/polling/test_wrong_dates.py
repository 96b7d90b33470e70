"""Sessions that are named with a wrong date, and whose events state no time: the date decides nothing."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.core.model import SessionNotice, SessionRef
from exporter.ledger import Ledger
from tests.ledger.test_ledger import ref
from tests.support.polling import Polling, polling
from tests.support.trees import answer, node

NOW, DAY, RETENTION = 1_774_000_000.0, 86_400.0, 90 * 86_400.0
"""2026-03-20."""
A_YEAR_OFF = "2025-03-20"
CALLS = {
    name: answer(node(f"call-session:{name}", "0.001", node(f"call-control:{name}-leg", price)))
    for name, price in (("s", "0.1"), ("t", "0.2"))
}


def wrong(name: str) -> SessionRef:
    return replace(ref(name), date_time=A_YEAR_OFF)


async def follow_for(parts: Polling, session: SessionRef, seconds: float, date: str = A_YEAR_OFF) -> None:
    """Name the session again and again, as a list does, and poll it for so long."""
    ends_at, step = parts.clock.now() + seconds, max(600, seconds / 300)
    while parts.clock.now() < ends_at:
        await parts.ledger.run(Ledger.report, [SessionNotice(replace(session, date_time=date))], "file", NOW)
        await parts.poll()
        parts.clock.step(step)
        await parts.ledger.run(Ledger.prune, parts.clock.now() - RETENTION, 100)


async def net(parts: Polling) -> Decimal:
    totals = await parts.ledger.run(Ledger.totals)
    return sum((total.value for total in totals if total.family == "telnyx_cost_total"), Decimal(0))


def test_a_session_with_a_wrong_date_is_booked_and_kept(tmp_path: Path) -> None:
    """It isn't pruned for its date, the next one is booked as well, and only the first poll asks twice."""

    async def act() -> None:
        async with polling(tmp_path, CALLS) as parts:
            parts.clock.step(NOW)
            await follow_for(parts, wrong("s"), 2 * DAY)
            assert (await parts.states(), await net(parts)) == ({"s": "settled"}, Decimal("0.101"))
            await follow_for(parts, wrong("t"), 2 * DAY)
            assert await net(parts) == Decimal("0.302")
            assert [asked for asked in parts.api.asked if "dated" in asked] == ["s?dated", "t?dated"]
            assert await parts.ledger.run(Ledger.check) == []
            # It is as old as its first poll.
            parts.clock.step(RETENTION - 4 * DAY)
            assert (await parts.ledger.run(Ledger.prune, parts.clock.now() - RETENTION, 100))[0] == 0
            parts.clock.step(5 * DAY)
            assert (await parts.ledger.run(Ledger.prune, parts.clock.now() - RETENTION, 100))[0] == 2

    asyncio.run(act())


def test_a_date_that_finds_the_session_is_the_time_of_its_events(tmp_path: Path) -> None:
    """It is pruned by that date as soon as it has settled. When it is named again, it is polled once, and kept."""

    async def act() -> None:
        async with polling(tmp_path, {"s?dated": CALLS["s"]}) as parts:
            parts.clock.step(NOW)
            await follow_for(parts, wrong("s"), 2 * DAY)
            assert (await parts.states(), await net(parts)) == ({"s": "settled"}, Decimal("0.101"))
            before = len(parts.api.asked)
            await follow_for(parts, wrong("s"), 80 * DAY)
            assert len(parts.api.asked) == before

    asyncio.run(act())


@pytest.mark.parametrize("right", ["2026-03-19", "2026-03-20T10:00:00Z"])
def test_another_date_is_tried(tmp_path: Path, right: str) -> None:
    """The list is corrected after the first polls: the new date is asked with, and found right."""

    async def act() -> None:
        async with polling(tmp_path, CALLS) as parts:
            parts.clock.step(NOW)
            await follow_for(parts, wrong("s"), 3600)
            asked = len(parts.api.asked)
            parts.api.answers = {"s?dated": CALLS["s"]}
            await follow_for(parts, wrong("s"), DAY, right)
            assert set(parts.api.asked[asked:]) == {"s?dated"}

    asyncio.run(act())
