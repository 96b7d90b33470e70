"""Retries of the client and the waits before them, on a clock that moves with each sleep."""

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from exporter.core.errors import Transient
from exporter.telnyx.client import RETRY_WAIT_SECONDS_MAX
from exporter.telnyx.pacing import Pacer
from tests.support.faulty_server import LIMITS, Bench, answer, ask, asked, serving

BODY = b'{"root": {}}'
GOOD = answer(200, BODY)


def test_backs_off() -> None:
    """Waits between attempts are random below 1, 2, 4 and 8 seconds, and the same for the same seed."""
    bench, _ = asked(answer(500))
    assert len(bench.slept) == 4
    assert all(0 <= wait <= most for wait, most in zip(bench.slept, (1, 2, 4, 8), strict=True))
    assert bench.slept == asked(answer(500))[0].slept


def test_recovers() -> None:
    """After a successful attempt a transient failure leaves no trace."""
    bench, body = asked(answer(502), answer(409), GOOD)
    assert body == BODY
    assert bench.codes == ["502", "409", "200"]


@pytest.mark.parametrize(
    ("status", "headers", "slept"),
    [
        (503, {"retry-after": "7"}, [7]),
        (503, {"retry-after-ms": "1500"}, [1.5]),
        (503, {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, [30]),
        (404, {"x-should-retry": "true", "retry-after": "3"}, [3]),
    ],
)
def test_asked_to_wait(status: int, headers: Mapping[str, str], slept: list[float]) -> None:
    """A wait that an answer asks for is kept to the second."""
    bench, body = asked(answer(status, b"{}", headers), GOOD)
    assert body == BODY
    assert bench.slept == slept


def test_asked_to_wait_too_long() -> None:
    """A long wait fails the request instead; the session is polled again later."""
    bench, error = asked(answer(503, b"{}", {"retry-after": str(RETRY_WAIT_SECONDS_MAX + 1)}))
    assert isinstance(error, Transient)
    assert (bench.codes, bench.slept) == (["503"], [])


@pytest.mark.parametrize(
    ("status", "should", "attempts"),
    [(500, "false", 1), (404, "true", 5), (500, "TRUE", 5), (404, "maybe", 1), (500, "maybe", 5)],
)
def test_should_retry(status: int, should: str, attempts: int) -> None:
    """x-should-retry overrides the table if it is true or false."""
    bench, _ = asked(answer(status, b"{}", {"x-should-retry": should}))
    assert len(bench.server.heads) == attempts


def test_throttled_account() -> None:
    """After a 429 the wait is in the schedule, where it is counted, and holds the whole account."""
    pacer = Pacer(10, 2)
    bench, body = asked(answer(429, b"{}", {"retry-after": "20"}), GOOD, pacer=pacer)
    assert body == BODY
    assert bench.slept == [20]
    assert pacer.throttled_seconds == 20


class Interrupted(Bench):
    """Another request of the account gets a 429 while the first one sleeps."""

    async def sleep(self, seconds: float) -> None:
        if not self.slept:
            self.pacer.learn({"retry-after": "30"}, 429, self.now)
        await super().sleep(seconds)


def test_slept_through_a_429() -> None:
    """A request that waits for a slot while another one gets a 429 reserves a new slot."""

    async def run() -> list[float]:
        async with serving(GOOD) as server:
            bench = Interrupted(server, pacer=Pacer(0.1, 2))
            bench.pacer.reserve(bench.now)
            await ask(bench.client())
            return bench.slept

    assert asyncio.run(run()) == pytest.approx([10, 20])


def test_throttled_for_long() -> None:
    """A long 429 fails its own request and stops the account."""
    pacer = Pacer(10, 2)
    bench, error = asked(answer(429, b"{}", {"retry-after": "200"}), pacer=pacer)
    assert isinstance(error, Transient)
    assert (error.reason, bench.codes) == ("throttled", ["429"])
    assert pacer.held(bench.now + 199)


def test_attempts_are_a_limit() -> None:
    """max_attempts counts requests, so 1 allows no retry."""

    async def run() -> list[str]:
        async with serving(answer(500)) as server:
            bench = Bench(server)
            with pytest.raises(Transient):
                await ask(bench.client(limits=msgspec.structs.replace(LIMITS, max_attempts=1)))
            return bench.codes

    assert asyncio.run(run()) == ["500"]
