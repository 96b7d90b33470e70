"""Which sessions have series of their own, and that there are never more than the bound allows."""

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


def chosen(places: TopSessions) -> set[str]:
    return {each.ref.event_id for each in places.choose()}


def test_halves() -> None:
    """Half of the places go to the dearest sessions, half to those with the most turns."""
    places = TopSessions(4)
    dear = [session(f"dear{i}", cost=str(10 + i)) for i in range(5)]
    long = [session(f"long{i}", turns=10 + i) for i in range(5)]
    places.update([*dear, *long], NOW)
    assert chosen(places) == {"dear4", "dear3", "long4", "long3"}


def test_configured_first() -> None:
    """Configured sessions have their places whatever the others cost, also long after their last change."""
    places = TopSessions(2)
    places.update(
        [session("dear", cost="99"), session("mine", at=NOW - 10 * CHANGED_WITHIN_SECONDS, configured=True)], NOW
    )
    assert chosen(places) == {"mine", "dear"}
    places.update([session("also mine", configured=True)], NOW)
    assert chosen(places) == {"mine", "also mine"}


def test_place_kept() -> None:
    """Who has a place keeps it for 15 minutes, then the dearer session gets it."""
    places = TopSessions(1)
    places.update([session("first", cost="1")], NOW)
    assert chosen(places) == {"first"}
    places.update([session("dearer", cost="2")], NOW + KEPT_SECONDS - 1)
    assert chosen(places) == {"first"}
    places.update([], NOW + KEPT_SECONDS)
    assert chosen(places) == {"dearer"}


def test_six_hours() -> None:
    """A session without a change for six hours loses its place."""
    places = TopSessions(1)
    places.update([session("quiet")], NOW)
    places.update([], NOW + CHANGED_WITHIN_SECONDS)
    assert chosen(places) == {"quiet"}
    places.update([], NOW + CHANGED_WITHIN_SECONDS + 1)
    assert chosen(places) == set()


def test_no_places() -> None:
    """With a bound of 0 no session has series of its own."""
    places = TopSessions(0)
    places.update([session("mine", configured=True)], NOW)
    assert chosen(places) == set()


def test_currencies_do_not_add_up() -> None:
    """A session that cost 3 in each of two currencies is no dearer than one that cost 4 in one."""
    both = SessionGauges(
        SessionRef("main", "call-session", "both"),
        *(1, 0, NOW, (("p", "USD", Decimal(3)), ("p", "EUR", Decimal(3))), False),
    )
    places = TopSessions(1)
    places.update([both, session("one", cost="4")], NOW)
    assert chosen(places) == {"one"}


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
    """There are never more places than the bound, and none stays empty while a session could have it."""
    places = TopSessions(bound)
    known: dict[str, SessionGauges] = {}
    for number, followed in enumerate(rounds):
        now = NOW + 60 * number
        known |= {each.ref.event_id: each for each in followed}
        places.update(followed, now)
        able = [each for each in known.values() if each.configured or each.changed_at >= now - CHANGED_WITHIN_SECONDS]
        found = places.choose()
        assert len(found) == min(bound, len(able))
        assert all(each in able for each in found)


def test_memory() -> None:
    """Only so many candidates are remembered, the best by each measure among them."""
    places = TopSessions(2)
    crowd = [session(f"s{i}", cost=str(i), turns=1000 - i) for i in range(10 * CANDIDATES_PER_PLACE)]
    places.update(crowd, NOW)
    places.choose()
    assert len(places) <= 2 * CANDIDATES_PER_PLACE
    assert chosen(places) == {crowd[-1].ref.event_id, "s0"}


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
    """The choice is made anew when a session changed or a minute has gone by, also backwards; not at each commit."""
    places = TopSessions(1)
    for news, now, due in (
        ([session("first")], NOW, True),
        ([], NOW + CHOICE_SECONDS - 1, False),
        ([], NOW + CHOICE_SECONDS, True),
        ([], NOW + CHOICE_SECONDS + 1, False),
        ([session("first", cost="1")], NOW + CHOICE_SECONDS + 1, True),
        ([], NOW - CHOICE_SECONDS, True),
    ):
        places.update(news, now)
        assert places.due == due
        if due:
            places.choose()
    places.resize(2)
    assert places.due
