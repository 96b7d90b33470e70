"""The choice of the sessions with series of their own, and its limit."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.config import MetricsSettings
from exporter.core.model import SessionGauges, SessionRef
from exporter.metrics import Metrics
from exporter.metrics.top_sessions import (
    CANDIDATES_PER_PLACE,
    CHANGED_WITHIN_SECONDS,
    CHOICE_SECONDS,
    KEPT_SECONDS,
    TopSessions,
)

NOW = 1_790_000_000.0


def session(
    name: str, cost: str = "0", turns: int = 0, at: float = NOW, *, configured: bool = False, currency: str = "USD"
) -> SessionGauges:
    costs = (("inference", currency, Decimal(cost)),)
    return SessionGauges(SessionRef("main", "call-session", name), 11, turns, at, costs, configured)


def chosen(top: TopSessions) -> set[str]:
    return {each.ref.event_id for each in top.choose()}


def test_halves() -> None:
    """Half of the places go to the most expensive sessions, half to those with the most turns."""
    top = TopSessions(4)
    expensive = [session(f"expensive{i}", cost=str(10 + i)) for i in range(5)]
    long = [session(f"long{i}", turns=10 + i) for i in range(5)]
    top.update([*expensive, *long], NOW)
    assert chosen(top) == {"expensive4", "expensive3", "long4", "long3"}


def test_configured_first() -> None:
    """Configured sessions have a place at any cost of the others, also long after their last change."""
    top = TopSessions(2)
    top.update(
        [session("expensive", cost="99"), session("mine", at=NOW - 10 * CHANGED_WITHIN_SECONDS, configured=True)], NOW
    )
    assert chosen(top) == {"mine", "expensive"}
    top.update([session("also mine", configured=True)], NOW)
    assert chosen(top) == {"mine", "also mine"}


def test_place_kept() -> None:
    """A session keeps its place for 15 minutes, then a more expensive one gets it."""
    top = TopSessions(1)
    top.update([session("first", cost="1")], NOW)
    assert chosen(top) == {"first"}
    top.update([session("more expensive", cost="2")], NOW + KEPT_SECONDS - 1)
    assert chosen(top) == {"first"}
    top.update([], NOW + KEPT_SECONDS)
    assert chosen(top) == {"more expensive"}


def test_six_hours() -> None:
    """A session without a change for six hours loses its place."""
    top = TopSessions(1)
    top.update([session("quiet")], NOW)
    top.update([], NOW + CHANGED_WITHIN_SECONDS)
    assert chosen(top) == {"quiet"}
    top.update([], NOW + CHANGED_WITHIN_SECONDS + 1)
    assert chosen(top) == set()


def test_no_places() -> None:
    """With a bound of 0 no session has series of its own."""
    top = TopSessions(0)
    top.update([session("mine", configured=True)], NOW)
    assert chosen(top) == set()


def test_currencies_do_not_add_up() -> None:
    """A session that cost 3 in each of two currencies is no more expensive than one that cost 4 in one."""
    both = SessionGauges(
        SessionRef("main", "call-session", "both"),
        *(1, 0, NOW, (("p", "USD", Decimal(3)), ("p", "EUR", Decimal(3))), False),
    )
    top = TopSessions(1)
    top.update([both, session("one", cost="4")], NOW)
    assert chosen(top) == {"one"}


SESSIONS = st.builds(
    session,
    st.sampled_from([f"s{i}" for i in range(60)]),
    st.decimals(0, 100, places=2).map(str),
    st.integers(0, 50),
    st.floats(NOW - 2 * CHANGED_WITHIN_SECONDS, NOW),
    configured=st.booleans(),
)


@given(st.lists(st.lists(SESSIONS, max_size=20), max_size=5), st.integers(0, 4))
def test_bound(rounds: list[list[SessionGauges]], bound: int) -> None:
    """There are never more places than the limit, and none stays free while a session could have it."""
    top = TopSessions(bound)
    known: dict[str, SessionGauges] = {}
    for number, followed in enumerate(rounds):
        now = NOW + 60 * number
        known |= {each.ref.event_id: each for each in followed}
        top.update(followed, now)
        able = [each for each in known.values() if each.configured or each.changed_at >= now - CHANGED_WITHIN_SECONDS]
        found = top.choose()
        assert len(found) == min(bound, len(able))
        assert all(each in able for each in found)


def test_memory() -> None:
    """Only a bounded number of candidates is remembered, the best by each measure among them."""
    top = TopSessions(2)
    crowd = [session(f"s{i}", cost=str(i), turns=1000 - i) for i in range(10 * CANDIDATES_PER_PLACE)]
    top.update(crowd, NOW)
    top.choose()
    assert len(top) <= 2 * CANDIDATES_PER_PLACE
    assert chosen(top) == {crowd[-1].ref.event_id, "s0"}


def lines(metrics: Metrics) -> dict[tuple[str, str], float]:
    page = metrics.page()
    assert page is not None
    return {
        (sample.name, sample.labels["event_id"] + sample.labels.get("product", "")): sample.value
        for family in text_string_to_metric_families(page.text.decode())
        for sample in family.samples
        if sample.name.startswith("telnyx_followed_session")
    }


def test_series() -> None:
    """A session with a place has its four families; when it loses the place its series end."""
    metrics = Metrics(MetricsSettings(session_series_max=1))
    metrics.update_sessions([session("one", cost="0.2128", turns=5)], NOW)
    assert lines(metrics) == {
        ("telnyx_followed_session_cost", "oneinference"): 0.2128,
        ("telnyx_followed_session_events", "one"): 11,
        ("telnyx_followed_session_inference_turns", "one"): 5,
        ("telnyx_followed_session_last_change_timestamp_seconds", "one"): NOW,
    }
    metrics.update_sessions([], NOW + CHANGED_WITHIN_SECONDS + 1)
    assert lines(metrics) == {}


def test_due() -> None:
    """The choice is made anew after a change or a minute, also when the clock steps back; not at each commit."""
    top = TopSessions(1)
    for news, now, due in (
        ([session("first")], NOW, True),
        ([], NOW + CHOICE_SECONDS - 1, False),
        ([], NOW + CHOICE_SECONDS, True),
        ([], NOW + CHOICE_SECONDS + 1, False),
        ([session("first", cost="1")], NOW + CHOICE_SECONDS + 1, True),
        ([], NOW - CHOICE_SECONDS, True),
    ):
        top.update(news, now)
        assert top.due == due
        if due:
            top.choose()
    top.resize(2)
    assert top.due
