"""The request rate: properties over any traffic, then the named cases."""

import math
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.telnyx.pacing import HOLD_SECONDS_DEFAULT, HOLD_SECONDS_MAX, Pacer, read_quota, retry_after_seconds

RATES = st.floats(0.01, 10_000)
GAPS = st.lists(st.floats(0, 10), min_size=1, max_size=60)
PLACES = st.integers(1, 20)
HEADER_NAMES = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
    "retry-after-ms",
    "date",
)
HEADER_VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["-1", "nan", "inf", "1e999", "", "100, 100;w=60", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 99 Foo"]),
)
HEADERS = st.dictionaries(st.sampled_from(HEADER_NAMES), HEADER_VALUES)
STATUSES = st.sampled_from([200, 404, 429, 503])


def departures(pacer: Pacer, gaps: list[float]) -> Iterator[float]:
    """Return when requests leave whose callers come after these gaps; each needs a free slot in flight."""
    sent: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        if len(sent) >= pacer.max_in_flight:
            now = max(now, sorted(sent)[-pacer.max_in_flight])
        sent.append(now + pacer.reserve(now))
        yield sent[-1]


@given(RATES, PLACES, GAPS)
def test_rate(rate: float, places: int, gaps: list[float]) -> None:
    """No window of any length holds more requests than the rate allows in it, plus one burst."""
    pacer = Pacer(rate, places)
    sent = sorted(departures(pacer, gaps))
    for first, begin in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= rate * (sent[last] - begin) + pacer.burst + 1e-6


@given(RATES, RATES, PLACES)
def test_rate_changed(before: float, after: float, places: int) -> None:
    """A change of the rate keeps reserved slots: a later request doesn't leave earlier."""
    pacer = Pacer(before, places)
    taken = max(pacer.reserve(0) for _ in range(places))
    pacer.set_rate(after)
    assert pacer.reserve(0) >= min(taken, pacer.wait_seconds_max)


@given(RATES, PLACES, st.lists(st.tuples(st.floats(0, 1000), HEADERS, STATUSES), max_size=60))
def test_garbage(rate: float, places: int, traffic: list[tuple[float, dict[str, str], int]]) -> None:
    """For any answers nothing is raised, and no wait is negative or beyond the limit."""
    pacer = Pacer(rate, places)
    now = 0.0
    for gap, headers, status in traffic:
        now += gap
        pacer.learn(headers, status, now)
        assert 0 <= pacer.reserve(now) <= pacer.wait_seconds_max
    assert math.isfinite(pacer.throttled_seconds)


@given(RATES, PLACES, st.integers(1, 30), st.integers(1, 60), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_quota_kept(rate: float, places: int, limit: int, window: int, gaps: list[float]) -> None:
    """A single caller never gets a 429 from a fixed window, at any configured rate."""
    pacer = Pacer(rate, places)
    now, used, window_end = 0.0, 0, float(window)
    for gap in gaps:
        now += gap
        now += pacer.reserve(now)
        if now >= window_end:
            used, window_end = 0, now + window
        used += 1
        assert used <= limit
        reset = math.ceil(window_end - now)
        headers = {"limit": limit, "remaining": limit - used, "reset": reset}
        pacer.learn({f"x-ratelimit-{name}": str(value) for name, value in headers.items()}, 200, now)


def test_burst_then_spacing() -> None:
    """After a pause a second's worth of requests may leave at once, then one per interval."""
    pacer = Pacer(4, 50)
    assert [round(pacer.reserve(100), 6) for _ in range(7)] == [0, 0, 0, 0, 0.25, 0.5, 0.75]
    assert round(pacer.throttled_seconds, 6) == 1.5


def test_low_quota_is_spread() -> None:
    """Below a quarter of the limit the rest of the quota lasts until the reset, without a 429."""
    pacer = Pacer(100, 1)
    pacer.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "10", "x-ratelimit-reset": "60"}, 200, now=0)
    sent = list(departures(pacer, [0.0] * 10))
    assert sent == pytest.approx([6 * place for place in range(10)], abs=1)
    assert (pacer.quota_limit, pacer.quota_remaining) == (100, 10)


def test_ample_quota_costs_nothing() -> None:
    """Above a quarter of the limit only the configured rate counts."""
    pacer = Pacer(100, 1)
    pacer.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "50", "x-ratelimit-reset": "60"}, 200, now=0)
    assert [round(pacer.reserve(0), 6) for _ in range(3)] == [0, 0.01, 0.02]


def test_used_up_quota_waits_for_the_reset() -> None:
    """With no quota left the next request leaves at the end of the window, and the others follow at their interval."""
    pacer = Pacer(10, 5)
    pacer.learn({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 200, now=0)
    assert [round(pacer.reserve(1), 6) for _ in range(3)] == [29, 29.1, 29.2]


class Api:
    """An endpoint that counts requests per UTC minute of its own clock; `skew` is how far that is ahead."""

    def __init__(self, limit: int, skew: float, *, states_quota: bool = True) -> None:
        self.limit, self.skew, self.states_quota = limit, skew, states_quota
        self.counts: Counter[int] = Counter()

    def answer(self, now: float) -> tuple[int, dict[str, str]]:
        minute, second = divmod(now + self.skew, 60)
        self.counts[int(minute)] += 1
        used = self.counts[int(minute)]
        if not self.states_quota:
            return (200 if used <= self.limit else 429), {}
        headers = {
            "x-ratelimit-limit": f"{self.limit}, {self.limit};w=60",
            "x-ratelimit-remaining": str(max(0, self.limit - used)),
            "x-ratelimit-reset": str(math.ceil(60 - second)),
        }
        return (200 if used <= self.limit else 429), headers


SKEWS = st.floats(-90, 90)


@given(SKEWS, GAPS, st.booleans())
def test_lists_keep_to_forty_a_minute_from_the_first_request_on(
    skew: float, gaps: list[float], states_quota: bool
) -> None:
    """Whatever the server's clock shows, and whether or not it states the quota, no minute has a request too many."""
    api, pacer, now = Api(40, skew, states_quota=states_quota), Pacer.of_quota(40, 60), 0.0
    for gap in [*gaps, *[0.0] * 150]:
        now += gap + pacer.reserve(now + gap)
        status, headers = api.answer(now)
        assert status == 200
        pacer.learn(headers, status, now)
    assert max(api.counts.values()) <= 40


@given(SKEWS, st.integers(1, 39), st.lists(st.integers(0, 3), min_size=100, max_size=100))
def test_a_quota_that_another_client_shares_is_found_out(skew: float, limit: int, others: list[int]) -> None:
    """The remaining quota shows what others use: at most one request a minute is refused, and then none for a while."""
    api, pacer, now, refused = Api(limit, skew), Pacer.of_quota(40, 60), 0.0, Counter[int]()
    for count in others:
        now += pacer.reserve(now)
        for _ in range(count):
            api.answer(now)
        status, headers = api.answer(now)
        refused[int((now + skew) // 60)] += status == 429
        pacer.learn(headers, status, now)
    assert max(refused.values()) <= 1


def test_a_larger_quota_is_used_at_once() -> None:
    """After the first answer of a plentiful endpoint nothing waits."""
    pacer = Pacer.of_quota(40, 60)
    pacer.reserve(0)
    plenty = {"x-ratelimit-limit": "6000, 6000;w=60", "x-ratelimit-remaining": "5999", "x-ratelimit-reset": "60"}
    pacer.learn(plenty, 200, 0)
    assert max(pacer.reserve(0) for _ in range(200)) == 0


@pytest.mark.parametrize(
    ("header", "quota"),
    [
        ("40", (40, None)),
        ("40, 40;w=60", (40, 60)),
        ("40;w=60", (40, 60)),
        ("40, 1000;w=3600, 40;w=60", (40, 60)),
        ('40, 40;w=60;comment="lists"', (40, 60)),
        ("40, 40;w=0", (40, None)),
        ("", (None, None)),
        ("many", (None, None)),
        ("-4, 4;w=60", (None, None)),
    ],
)
def test_quota_headers(header: str, quota: tuple[int | None, int | None]) -> None:
    """The limit, and the policy that belongs to it."""
    assert read_quota(header) == quota


def test_a_429_without_a_wait_lasts_to_the_end_of_the_minute() -> None:
    """By the reset; or, if the quota is known to be one of a minute, by the answer's own date."""
    pacer = Pacer.of_quota(40, 60)
    pacer.learn({"x-ratelimit-reset": "12"}, 429, now=0)
    assert pacer.wait(0) == 12
    dated = {"x-ratelimit-limit": "40, 40;w=60", "date": "Wed, 21 Oct 2026 07:28:15 GMT"}
    pacer = Pacer.of_quota(40, 60)
    pacer.learn(dated, 429, now=0)
    assert pacer.wait(0) == 45


def test_far_reset_is_probed() -> None:
    """With no quota left for a long time, one request finds out after the longest hold whether that still holds."""
    pacer = Pacer(10, 5)
    pacer.learn({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "7200"}, 200, now=0)
    assert pacer.reserve(0) == HOLD_SECONDS_MAX
    assert pacer.reserve(0) > HOLD_SECONDS_MAX


def test_requests_under_way_count() -> None:
    """A late answer can't raise the remaining quota: the pacer counts the requests that left after it."""
    pacer = Pacer(1000, 4)
    told = {"x-ratelimit-limit": "8", "x-ratelimit-reset": "60"}
    pacer.learn({**told, "x-ratelimit-remaining": "3"}, 200, now=0)
    for _ in range(3):
        pacer.reserve(0)
    pacer.learn({**told, "x-ratelimit-remaining": "2"}, 200, now=0.5)
    assert pacer.reserve(0.5) == pytest.approx(59.5)


@pytest.mark.parametrize(
    ("headers", "stop"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry-after": "100000"}, HOLD_SECONDS_MAX),
        ({"retry-after": "soon"}, HOLD_SECONDS_DEFAULT),
        ({}, HOLD_SECONDS_DEFAULT),
    ],
)
def test_throttled(headers: dict[str, str], stop: float) -> None:
    """A 429 stops the whole account for as long as it says, within the limit."""
    pacer = Pacer(10, 3)
    pacer.learn(headers, 429, now=1000)
    assert pacer.held(1000) == (stop > 0)
    assert pacer.reserve(1000) == pytest.approx(stop)
    assert not pacer.held(1000 + stop)


def test_other_statuses_hold_nothing() -> None:
    """A retry-after on a 503 concerns that request only."""
    pacer = Pacer(10, 3)
    pacer.learn({"retry-after": "7"}, 503, now=0)
    assert pacer.reserve(0) == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2026 09:28:00 +0200", "date": "Wed, 21 Oct 2026 07:27:00 -0000"}, 60),
        ({"retry-after-ms": "1500.5"}, 1.5005),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are understood; a date is measured by the server's own clock or not at all."""
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_impossible_rate(rate: float) -> None:
    """A rate that isn't positive and finite is refused."""
    with pytest.raises(ValueError, match="requests_per_second must be above 0"):
        Pacer(rate, 1)


def test_no_place_in_flight() -> None:
    """Zero requests in flight are refused, as the first would wait forever."""
    with pytest.raises(ValueError, match="max_in_flight must be at least 1"):
        Pacer(1, 0)


def test_a_refusal_at_the_end_of_its_window_holds_a_second() -> None:
    """A reset of 0 is not an absent one: the minute of the answer's date says nothing then."""
    pacer = Pacer.of_quota(40, 60)
    headers = {"x-ratelimit-limit": "40, 40;w=60", "x-ratelimit-reset": "0", "date": "Tue, 17 Mar 2026 12:00:01 GMT"}
    pacer.learn(headers, 429, now=0.0)
    assert (pacer.held(0.5), pacer.held(HOLD_SECONDS_DEFAULT)) == (True, False)
