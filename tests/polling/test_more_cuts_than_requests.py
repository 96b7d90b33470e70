"""Sessions with more cuts than one poll may request: each poll continues where the last one stopped."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.core.tree import TreeLimits
from exporter.ledger import Ledger
from tests.support.polling import Answer, Polling, polling
from tests.support.trees import answer, count, cut, node

CHAINS, LIMIT = 30, 8
DEPTH = 5


def chain(number: int, price: str = "0.01") -> dict[str, Any]:
    """Return a chain of eight events, so each is cut twice."""
    below = node(f"inference:{number}-7", price)
    for level in range(6, 0, -1):
        below = node(f"of-level-{level}:{number}-{level}", "0.001", below)
    return below


def script(*chains: dict[str, Any]) -> dict[str, Answer]:
    """Return the answer for each event of a session with these chains."""
    whole = node("call-session:s", "0", *chains)
    answers: dict[str, Answer] = {}

    def enter(event: dict[str, Any]) -> None:
        answers[event["id"]] = answer(cut(event, DEPTH), event_count=count(event))
        for child in event["children"]:
            enter(child)

    enter(whole)
    return answers


async def settled(parts: Polling, answers: Mapping[str, Answer]) -> list[int]:
    """Poll until the session has settled; return the requests of each poll."""
    parts.api.answers = dict(answers)
    requests = []
    while (await parts.states())["s"] != "settled":
        before = len(parts.api.asked)
        await parts.poll()
        if len(parts.api.asked) > before:
            requests.append(len(parts.api.asked) - before)
        parts.clock.step(10)
        assert parts.clock.now() < 100_000, requests
    return requests


async def net(parts: Polling, product: str = "") -> Decimal:
    """Return the booked cost of all products, or of one."""
    totals = await parts.ledger.run(Ledger.totals)
    totals = tuple(total for total in totals if not product or ("product", product) in total.labels)
    sign = {"telnyx_cost_total": 1, "telnyx_cost_credits_total": -1}
    return sum((sign.get(total.family, 0) * total.value for total in totals), Decimal(0))


def test_all_cuts_are_read_over_several_polls(tmp_path: Path) -> None:
    """No poll sends more than the limit and one; all money is booked within minutes, and the session settles."""

    async def act() -> None:
        async with polling(tmp_path, {}, limits=TreeLimits(max_subtree_requests=LIMIT)) as parts:
            await parts.follow("s")
            requests = await settled(parts, script(*map(chain, range(CHAINS))))
            assert max(requests) == LIMIT + 1
            assert await net(parts) == CHAINS * Decimal("0.016")
            assert await parts.ledger.run(Ledger.check) == []

    asyncio.run(act())


@pytest.mark.parametrize("polls", [1, 3, 5])
def test_a_part_that_has_changed_is_requested_again(tmp_path: Path, polls: int) -> None:
    """A price below a cut is amended while the session is read: the cut's sums differ, so the kept part isn't used."""

    async def act() -> None:
        async with polling(
            tmp_path, script(*map(chain, range(CHAINS))), limits=TreeLimits(max_subtree_requests=LIMIT)
        ) as parts:
            await parts.follow("s")
            for _ in range(polls):
                await parts.poll()
                parts.clock.step(600)
            await settled(parts, script(chain(0, "0.5"), *map(chain, range(1, CHAINS))))
            assert await net(parts) == CHAINS * Decimal("0.016") + Decimal("0.49")

    asyncio.run(act())


def test_a_cut_that_stays_open_keeps_no_part_for_ever(tmp_path: Path) -> None:
    """One subtree is never answered; an amendment elsewhere, which no leaf's figures show, is booked all the same."""
    amended = chain(0)
    below = amended
    while below["children"]:
        last, below = below, below["children"][0]
    last["cost"]["event_cost"], below["cost"]["event_cost"] = "0.009", "0.002"

    async def act() -> None:
        chains = [chain(number) for number in range(CHAINS)]
        whole = script(*chains)
        refused: dict[str, Answer] = {event: 404 for event in whole if event.startswith("29-")}
        async with polling(tmp_path, whole | refused, limits=TreeLimits(max_subtree_requests=LIMIT)) as parts:
            await parts.follow("s")
            requests = await polled(parts, 20)
            assert max(requests) == LIMIT + 1
            assert await net(parts, "inference") == (CHAINS - 1) * Decimal("0.01")
            parts.api.answers = script(amended, *chains[1:]) | refused
            await polled(parts, 20)
            assert await net(parts, "inference") == (CHAINS - 1) * Decimal("0.01") - Decimal("0.008")

    asyncio.run(act())


async def polled(parts: Polling, times: int) -> list[int]:
    """Poll so many times, ten hours apart; return the requests of each poll."""
    requests = []
    for _ in range(times):
        before = len(parts.api.asked)
        await parts.poll()
        requests.append(len(parts.api.asked) - before)
        parts.clock.step(36_000)
    return requests
