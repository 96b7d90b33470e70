"""The poller: slots, failures of sessions and of keys, stops, clocks and reloads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.polling.account_slots import ACCEPTED_SECONDS
from exporter.polling.poller import SET_BACK_SECONDS
from tests.ledger.test_ledger import net
from tests.support.polling import Answer, Polling, polling
from tests.support.trees import answer, node

GOOD = answer(node("call-session:good", "0.25"))


def play(folder: Path, answers: Mapping[str, Answer], scene: Callable[[Polling], Awaitable[None]]) -> None:
    async def act() -> None:
        async with polling(folder, answers) as parts:
            await scene(parts)

    asyncio.run(act())


# Slots


def test_polls_are_bounded_by_the_slots_of_the_account(tmp_path: Path) -> None:
    """Ten slots: ten polls wait for their answers, the eleventh session stays due."""

    async def scene(parts: Polling) -> None:
        names = [f"s{number}" for number in range(11)]
        parts.api.answers = dict.fromkeys(names)
        await parts.follow(*names)
        await parts.poller.tick()
        await parts.poller.tick()
        await parts.until(lambda: len(parts.api.asked) == 10)
        assert await parts.due() == 1

    play(tmp_path, {}, scene)


def test_free_slots_are_filled_before_the_next_tick(tmp_path: Path) -> None:
    """If more sessions are due than there are slots, a finished poll starts the next claim."""

    async def scene(parts: Polling) -> None:
        await parts.follow(*(f"s{number}" for number in range(35)))
        await parts.poll()
        assert len(parts.api.asked) == 35

    play(tmp_path, {}, scene)


def test_nothing_is_claimed_while_the_ledger_fails(tmp_path: Path) -> None:
    """A poll that can't be booked would waste its requests."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        parts.commit_queue.failing = "disk full"
        await parts.poller.tick()
        assert parts.poller.idle
        parts.commit_queue.failing = None
        await parts.poll()
        assert await parts.states() == {"good": "active"}

    play(tmp_path, {"good": GOOD}, scene)


def test_the_next_poll_is_counted_from_before_the_request(tmp_path: Path) -> None:
    """An answer that took 20 s may be as old as its request, so the next poll is due 10 s later."""

    async def scene(parts: Polling) -> None:
        parts.api.on_request = lambda: parts.clock.step(20)
        await parts.follow("good")
        await parts.poll()
        assert await parts.due(14) == 1

    play(tmp_path, {"good": GOOD}, scene)


# Failures


def test_a_defect_in_one_session_fails_only_its_own_poll(tmp_path: Path) -> None:
    """Its poll fails with the reason `internal` and is repeated; the other session is booked."""

    async def scene(parts: Polling) -> None:
        await parts.follow("bad", "good")
        await parts.poll()
        assert parts.shown("telnyx_poll_failures_total", reason="internal") == 1
        assert parts.shown("telnyx_polls_total") == 2
        assert sum((await parts.ledger.run(net)).values()) == Decimal("0.25")
        assert await parts.states() == {"bad": "discovered", "good": "active"}
        parts.clock.step(40)
        assert await parts.due() == 2

    play(tmp_path, {"bad": ValueError("a defect"), "good": GOOD}, scene)


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "bad_request"), (403, "forbidden"), (500, "server_error"), (401, "key_refused")]
)
def test_a_failed_poll_is_counted_by_its_reason(tmp_path: Path, status: int, reason: str) -> None:
    """A denied poll counts as failed; a 404 doesn't."""

    async def scene(parts: Polling) -> None:
        await parts.follow("bad", "unknown")
        await parts.poll()
        assert parts.shown("telnyx_poll_failures_total", reason=reason) == 1
        assert parts.shown("telnyx_poll_failures_total") == 1

    play(tmp_path, {"bad": status}, scene)


def test_a_403_counts_against_its_session_if_the_key_has_rights(tmp_path: Path) -> None:
    """The key has rights for another session, so this one is denied."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poll()
        await parts.follow("bad")
        await parts.poll()
        assert await parts.states() == {"bad": "denied", "good": "active"}

    play(tmp_path, {"bad": 403, "good": GOOD}, scene)


def test_a_400_counts_against_its_session(tmp_path: Path) -> None:
    """A 400 means a wrong name, not missing rights of the key."""

    async def scene(parts: Polling) -> None:
        await parts.follow("bad")
        await parts.poll()
        assert await parts.states() == {"bad": "denied"}

    play(tmp_path, {"bad": 400}, scene)


def test_403s_of_a_key_without_rights_count_against_no_session(tmp_path: Path) -> None:
    """The sessions stay due until the key has rights for one of them; then a 403 counts again."""

    async def scene(parts: Polling) -> None:
        await parts.follow("a", "b")
        await parts.poll()
        assert await parts.states() == {"a": "discovered", "b": "discovered"}
        parts.api.answers["a"] = GOOD
        parts.clock.step(100)
        await parts.poll()
        parts.clock.step(100)
        await parts.poll()
        assert await parts.states() == {"a": "active", "b": "denied"}

    play(tmp_path, {"a": 403, "b": 403}, scene)


def test_403s_long_after_the_last_answer_count_against_no_session(tmp_path: Path) -> None:
    """A good answer of more than ten minutes ago doesn't count."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poll()
        parts.api.answers["good"] = 403
        parts.clock.step(ACCEPTED_SECONDS + 1)
        await parts.follow("bad")
        await parts.poll()
        assert await parts.states() == {"bad": "discovered", "good": "active"}

    play(tmp_path, {"bad": 403, "good": GOOD}, scene)


@pytest.mark.parametrize(("changed", "state"), [(True, "discovered"), (False, "denied")])
def test_403s_after_a_key_change_count_against_no_session(tmp_path: Path, changed: bool, state: str) -> None:
    """A new key may have fewer rights than the old one. A reload that keeps the key keeps its last good answer."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poll()
        parts.poller.apply_config(parts.accounts(parts.new_client() if changed else parts.client))
        await parts.follow("bad")
        await parts.poll()
        assert (await parts.states())["bad"] == state

    play(tmp_path, {"bad": 403, "good": GOOD}, scene)


# Stops


def test_a_stop_gives_claims_back(tmp_path: Path) -> None:
    """A poll without an answer is cancelled after the timeout, and its session is due as before."""

    async def scene(parts: Polling) -> None:
        await parts.follow("slow")
        await parts.poller.tick()
        await parts.until(lambda: bool(parts.api.asked))
        assert await parts.due() == 0
        await parts.poller.stop(0.01)
        assert parts.poller.idle
        assert await parts.due() == 1

    play(tmp_path, {"slow": None}, scene)


def test_a_stop_waits_for_polls_under_way(tmp_path: Path) -> None:
    """Running polls are booked if their answers come in time, and no poll is started."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poller.tick()
        await parts.poller.stop(30)
        assert await parts.states() == {"good": "active"}
        await parts.follow("later")
        await parts.poller.tick()
        assert parts.poller.idle

    play(tmp_path, {"good": GOOD}, scene)


# Clocks and reloads


def test_a_clock_that_is_set_back_makes_live_sessions_due(tmp_path: Path) -> None:
    """Due times that are a day ahead become now, and the step is counted."""

    async def scene(parts: Polling) -> None:
        parts.clock.seconds = 86_400.0
        await parts.follow("good")
        await parts.poll()
        parts.clock.seconds = 0.0
        await parts.poll()
        assert parts.api.asked == ["good", "good"]
        assert parts.shown("telnyx_exporter_clock_steps_total") == 1

    play(tmp_path, {"good": GOOD}, scene)


def test_a_clock_that_is_corrected_a_little_was_not_set_back(tmp_path: Path) -> None:
    """Time servers correct clocks by less than a minute."""

    async def scene(parts: Polling) -> None:
        parts.clock.seconds = 1000.0
        await parts.follow("good")
        await parts.poll()
        parts.clock.seconds -= SET_BACK_SECONDS
        await parts.poll()
        assert parts.shown("telnyx_exporter_clock_steps_total") == 0
        assert parts.api.asked == ["good"]

    play(tmp_path, {"good": GOOD}, scene)


def test_a_start_polls_no_live_session_before_its_time(tmp_path: Path) -> None:
    """The first tick changes only due times beyond the longest interval."""

    async def first(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poll()

    async def second(parts: Polling) -> None:
        parts.clock.seconds = 1.0
        await parts.poll()
        assert parts.api.asked == []
        parts.clock.step(40)
        await parts.poll()
        assert parts.api.asked == ["good"]

    play(tmp_path, {"good": GOOD}, first)
    play(tmp_path, {"good": GOOD}, second)


def test_a_reload_tries_denied_sessions_again(tmp_path: Path) -> None:
    """The configuration may have been the cause."""

    async def scene(parts: Polling) -> None:
        await parts.follow("good")
        await parts.poll()
        await parts.follow("bad")
        await parts.poll()
        parts.api.answers["bad"] = GOOD
        await parts.poller.reschedule(parts.clock.now())
        await parts.poll()
        assert (await parts.states())["bad"] == "active"

    play(tmp_path, {"bad": 403, "good": GOOD}, scene)
