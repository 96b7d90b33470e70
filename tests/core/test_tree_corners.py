"""Trees whose cut shows only in the count, subtrees of another event, and sums over an event that stands twice."""

from decimal import Decimal

from exporter.core.tree import Subtree
from tests.support.trees import answer, api, body, count, cut, node, read

FREE = node("call-session:s", "0", node("call-control:c", "0.1", node("amd:free", "0")), node("recording:r", "0.2"))
"""The free event adds nothing to any sum above it."""


def test_free_events_below_a_cut_are_fetched_by_the_count() -> None:
    """No sum shows that an event is missing, but meta.event_count does."""
    session = read(answer(cut(FREE, 2), event_count=count(FREE)), api(FREE), max_depth=2)
    assert [event.id for event in session.events] == ["s", "c", "free", "r"]
    assert (session.complete, session.mismatches) == (True, ())


def test_nothing_is_asked_for_once_all_events_are_there() -> None:
    """A leaf at the requested depth is not requested again if all events are there."""
    asked: list[Subtree] = []

    def ask(subtree: Subtree) -> None:
        asked.append(subtree)

    read(answer(cut(FREE, 2), event_count=3), ask, max_depth=2)
    assert asked == []


def test_a_subtree_of_another_event_is_not_grafted() -> None:
    """An answer with another root than the requested event leaves the cut open."""
    priced = node("call-session:s", "0", node("call-control:c", "0.1", node("recording:r", "0.2")))
    other = answer(node("call-control:other", "0.1", node("recording:x", "0.2")))
    session = read(answer(cut(priced, 2), event_count=3), lambda _: body(other), max_depth=2)
    assert [(event.id, event.cost) for event in session.events] == [("s", Decimal(0)), ("c", Decimal("0.1"))]
    assert (session.complete, session.cuts_unresolved) == (False, 1)


def test_a_sum_that_counts_a_shared_event_once_is_right() -> None:
    """A participant is listed below two legs. Each leg's sum includes it, and the call's sum includes it once."""
    shared = node("conference-participant:p", "0.2000")
    legs = [node("call-control:a", "0.1000", shared), node("call-control:b", "0.1000", shared)]
    session = read(answer(node("call-session:s", "0.0000", *legs, cumulative="0.4000")))
    assert (len(session.events), session.mismatches) == (5, ())


def test_a_number_is_the_same_id_in_whatever_answer() -> None:
    """A part of a wrong type has the answer decoded tolerantly, which must not change the ids of its events."""
    plain = answer(node("call-session:s", "0", node("recording:r", "0.2") | {"id": 10**20}))
    for content in (plain, plain | {"meta": "of a wrong type"}):
        assert [event.id for event in read(content).events] == ["s", "1" + "0" * 20]
