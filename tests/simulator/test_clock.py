"""Accelerated time follows real time at its speed, can pause and jump forward, and never goes back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import AcceleratedClock

SECONDS = st.floats(min_value=0, max_value=1e6)


class Real:
    """Real time that only the test advances."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_session_time_runs_at_its_speed() -> None:
    """With speed 60 a real second is a minute; the real clock is passed on as it is."""
    real = Real()
    clock = AcceleratedClock(1_000.0, 60.0, real)
    real.seconds += 2
    assert clock.now() == 1_120.0
    assert clock.monotonic() == 102.0


def test_a_paused_clock_stands_still_and_continues_from_there() -> None:
    """Real time that passes during a pause doesn't advance session time."""
    real = Real()
    clock = AcceleratedClock(0.0, 10.0, real)
    real.seconds += 1
    clock.pause()
    clock.pause()
    real.seconds += 50
    assert (clock.now(), clock.speed) == (10.0, 0.0)
    clock.resume()
    real.seconds += 1
    assert (clock.now(), clock.speed) == (20.0, 10.0)


def test_a_clock_of_speed_0_moves_only_when_stepped() -> None:
    """The manual clock of tests: steps move it, nothing else does."""
    real = Real()
    clock = AcceleratedClock(5.0, 0.0, real)
    real.seconds += 99
    clock.resume()
    clock.step(3.5)
    assert clock.now() == 8.5


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "use",
    [
        lambda value: AcceleratedClock(value, 1.0, float),
        lambda value: AcceleratedClock(0.0, value, float),
        lambda value: AcceleratedClock(0.0, 1.0, float).step(value),
    ],
)
def test_time_takes_only_finite_numbers_forward(use: Callable[[float], object], value: float) -> None:
    """A start, a speed or a step that is negative or no number is refused."""
    with pytest.raises(ValueError, match="expected a number of at least 0"):
        use(value)


@given(st.lists(st.tuples(st.sampled_from(["pass", "step", "pause", "resume"]), SECONDS), max_size=30), SECONDS)
def test_session_time_never_goes_back(actions: list[tuple[str, float]], speed: float) -> None:
    """`now` never decreases, whatever commands the clock gets."""
    real = Real()
    clock = AcceleratedClock(0.0, speed, real)
    seen = [clock.now()]
    for action, seconds in actions:
        if action == "pass":
            real.seconds += seconds
        elif action == "step":
            clock.step(seconds)
        else:
            getattr(clock, action)()
        seen.append(clock.now())
    assert seen == sorted(seen)
