"""Trees are decoded tolerantly, events told apart, sums checked and cuts stitched."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.errors import TreeError
from exporter.core.model import Event, Session
from exporter.core.tree import Subtree, TreeLimits, identity
from tests.support.trees import answer, api, body, count, cut, node, read


def checks(session: Session) -> list[str]:
    return sorted({mismatch.check for mismatch in session.mismatches})


def costs(session: Session) -> dict[str, Decimal | None]:
    return {event.id: event.cost for event in session.events}


def call() -> dict[str, Any]:
    """An AI call of four levels."""
    turns = [node(f"inference:i{n}", f"0.00{n}1") for n in range(3)]
    assistant = node("ai-voice-assistant:a", "0.1800", *turns)
    return node(
        "call-session:root", "0.0000", node("call-control:c", "0.0052", assistant), node("recording:r", "0.0051")
    )


def test_a_whole_tree_is_read_as_it_is() -> None:
    """Events come in pre-order with their parents, costs and canonical record types, and no check fails."""
    session = read(answer(call()))
    assert [(e.record_type, e.id, e.parent) for e in session.events] == [
        ("call-session", "root", -1),
        ("call-control", "c", 0),
        ("ai-voice-assistant", "a", 1),
        ("inference", "i0", 2),
        ("inference", "i1", 2),
        ("inference", "i2", 2),
        ("recording", "r", 0),
    ]
    assert (session.complete, session.cuts, session.mismatches) == (True, 0, ())
    assert sum(e.cost or 0 for e in session.events) == Decimal("0.1936")


@pytest.mark.parametrize(
    "value", [None, "", "abc", "NaN", "Infinity", "1_000", "٣", [], {}, True, "1" * 13, "0." + "1" * 13]
)
def test_what_is_no_price_leaves_the_event_unpriced(value: object) -> None:
    """Missing, null and unreadable costs are unpriced, not zero, and fail nothing else."""
    session = read(answer(node("message:m", value, cumulative="0")))
    assert costs(session) == {"m": None}


@pytest.mark.parametrize(
    ("value", "cost"), [("0.009800", "0.0098"), (0.0052, "0.0052"), (3, "3"), ("-1.50", "-1.5"), ("1E-3", "0.001")]
)
def test_prices_are_exact_whether_text_or_number(value: object, cost: str) -> None:
    """A JSON number never becomes a float."""
    session = read(answer(node("message:m", value, cumulative=value), total=value))
    assert costs(session) == {"m": Decimal(cost)}
    assert checks(session) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record", None),
        ("record", []),
        ("record", "text"),
        ("links", None),
        ("links", []),
        ("cost", None),
        ("cost", "0.1"),
        ("children", None),
        ("children", "none"),
        ("children", [1, None, "x"]),
        ("product", 7),
        ("event_name", None),
    ],
)
def test_a_field_of_another_shape_costs_only_itself(field: str, value: object) -> None:
    """One bad part of one node never fails the tree; its sibling is read."""
    bad = node("recording:bad", "0.1") | {field: value}
    session = read(
        answer(node("call-session:root", "0", bad, node("call-control:c", "0.2"), cumulative="0.3"), event_count=3),
        fields=("a",),
    )
    assert costs(session)["c"] == Decimal("0.2")
    assert len(session.events) == 3


@pytest.mark.parametrize("missing", ["record", "links", "cost", "children", "relationship", "event_name"])
def test_a_missing_field_never_fails_a_tree(missing: str) -> None:
    """Everything but the root may be absent."""
    whole = answer(node("message:m", "0.1"))
    del whole["root"][missing]
    assert len(read(whole).events) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_json"),
        (b"<html>", "not_json"),
        (b'{"root": {"id": "a", "chil', "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"null", "malformed"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
        (b'{"root": 3}', "malformed"),
        (b'{"root": ' + b'{"children": [' * 3000 + b"]}" * 3000 + b"}", "too_deep"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    """If the whole answer is unreadable, a TreeError names the reason."""
    with pytest.raises(TreeError) as caught:
        read(content)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_session_or_a_tree_error(content: bytes) -> None:
    """No answer raises anything but TreeError."""
    try:
        session = read(content)
    except TreeError:
        return
    assert session.events


def test_records_are_read_only_where_asked_for() -> None:
    """Only the configured fields are decoded, with numbers as exact decimals."""
    root = node("message:m", "0.1", record={"rate": 0.10, "tags": ["a"], "other": 1})
    assert read(answer(root), fields=("rate", "tags", "absent")).events[0].record == {
        "rate": Decimal("0.10"),
        "tags": ["a"],
    }
    assert read(answer(root)).events[0].record == {}


@pytest.mark.parametrize("links", [{}, []])
@pytest.mark.parametrize("record", [{"rate": "\ud800"}, {"\ud800": 1}])
def test_half_a_surrogate_pair_costs_only_its_record(links: object, record: dict[str, object]) -> None:
    """Half a surrogate pair isn't valid UTF-8: the tree around it is read, also if another part has a wrong type."""
    session = read(answer(node("message:m", "0.1", record=record, links=links)), fields=("rate",))
    assert costs(session) == {"m": Decimal("0.1")}
    assert session.events[0].record == {}


def test_half_a_surrogate_pair_is_no_id() -> None:
    """An id with half a surrogate pair can't be stored: the node has no id, and its neighbour is read."""
    session = read(answer(node("call-session:root", "0", node("recording:\ud800", "0.1"), node("recording:r", "0.2"))))
    assert [e.id for e in session.events] == ["root", "", "r"]


# Cuts


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_flattening_after_stitching_is_the_identity_on_any_cut(depth: int) -> None:
    """The session is the same for any max_depth."""
    whole = call()
    session = read(answer(cut(whole, depth), event_count=count(whole)), api(whole), max_depth=depth)
    assert session.events == read(answer(whole)).events
    assert (session.complete, session.cuts_unresolved, checks(session)) == (True, 0, [])


@st.composite
def trees(draw: st.DrawFn, depth: int = 6) -> dict[str, Any]:
    """Draw random trees, deeper than one answer shows, with free nodes and credits."""
    counter = iter(range(10_000))

    def build(level: int) -> dict[str, Any]:
        cost = Decimal(draw(st.integers(-50, 5000))).scaleb(-draw(st.sampled_from([4, 6])))
        width = draw(st.integers(0, 3)) if level < depth else 0
        kind = draw(st.sampled_from(["call-control", "recording", "inference", "new-type"]))
        name = f"{kind}:{next(counter)}"
        return node(name, str(cost), *[build(level + 1) for _ in range(width)])

    return build(1)


@given(trees(), st.integers(1, 5))
def test_any_tree_survives_any_cut(whole: dict[str, Any], depth: int) -> None:
    """Every priced event is found, for any shape of the tree and any depth of the cut."""
    session = read(answer(cut(whole, depth), event_count=count(whole)), api(whole), max_depth=depth)
    wanted = read(answer(whole))
    assert session.complete
    if session.events != wanted.events:  # only what the metadata rules out below a leaf may stay unseen, and is said
        assert "event_count" in checks(session)


def test_a_missing_subtree_leaves_the_session_incomplete() -> None:
    """Events that are shown are read, absent ones are not guessed, and no sum is checked."""
    whole = call()
    session = read(answer(cut(whole, 2), event_count=count(whole)), lambda _: None, max_depth=2)
    assert (session.complete, session.cuts_unresolved, checks(session)) == (False, 1, [])
    assert set(costs(session)) == {"root", "c", "r"}


def test_a_subtree_that_changed_meanwhile_is_read_but_not_trusted() -> None:
    """The subtree's sum differs from the cut node's: its events are read, and the checks wait for the next poll."""
    whole, later = call(), node("call-control:c", "0.0052", node("ai-voice-assistant:a", "0.2000"))
    asked = read(answer(cut(whole, 2), event_count=count(whole)), api(later), max_depth=2)
    assert (asked.complete, asked.cuts_unresolved) == (False, 1)
    assert costs(asked)["a"] == Decimal("0.2000")


def test_a_cycle_ends() -> None:
    """A node that stands below itself is requested once and stays unresolved."""
    loop = node("call-control:x", "1", node("call-control:x", "1", cumulative="9"), cumulative="9")
    asked: list[Subtree] = []

    def ask(subtree: Subtree) -> bytes:
        asked.append(subtree)
        return body(answer(loop, event_count=2))

    session = read(
        answer(node("call-session:root", "0", node("call-control:x", "1", cumulative="9"))), ask, max_depth=2
    )
    assert len(asked) == 1
    assert not session.complete


def test_limits_bound_a_session() -> None:
    """Too many nodes or levels fail the poll by name; too many subtrees leave cuts unresolved."""
    wide = node("call-session:root", "0", *[node(f"recording:{n}", "1") for n in range(20)])
    with pytest.raises(TreeError, match="max_nodes"):
        read(answer(wide), limits=TreeLimits(max_nodes=20))
    with pytest.raises(TreeError, match="max_levels"):
        read(answer(call()), limits=TreeLimits(max_levels=3))
    cuts = node("call-session:root", "0", *[node(f"call-control:{n}", "1", node(f"amd:{n}a", "1")) for n in range(5)])
    session = read(
        answer(cut(cuts, 2), event_count=11), api(cuts), max_depth=2, limits=TreeLimits(max_subtree_requests=3)
    )
    assert (session.cuts, session.cuts_unresolved) == (5, 2)


def test_a_boundary_is_requested_only_while_events_are_missing() -> None:
    """A leaf whose sums match is requested only if the count of events says that some are still missing."""
    assistant = node("ai-voice-assistant:A", "0.01", node("inference:1", "0.03"), node("inference:2", "0.03"))
    tree = node("call-session:root", "0", node("call-control:c", "0", assistant, node("call-control:L", "0.03")))
    for event_count, asked in ((6, ["A"]), (7, ["A", "L"])):
        requests: list[Subtree] = []

        def ask(subtree: Subtree, requests: list[Subtree] = requests) -> bytes | None:
            requests.append(subtree)
            return api(tree)(subtree)

        read(answer(cut(tree, 3), event_count=event_count), ask, max_depth=3)
        assert [subtree.event_id for subtree in requests] == asked


# Identity


def test_a_subtree_of_an_unknown_type_is_requested_as_its_link_says() -> None:
    """Its product is no address; a link that could lead elsewhere is no address either."""
    below = node("of-tomorrow:t", "0.01", node("inference:i", "0.04"))
    whole = node("call-session:s", "0", below)
    for link, asked in (
        ("/v2/session_analysis/of-tomorrow/t", "of-tomorrow"),
        ("https://api.telnyx.com/v2/session_analysis/of-tomorrow/t?x=1", "of-tomorrow"),
        ("/v2/session_analysis/..%2Fbalance/t", "tomorrow-cdrs"),
        ("/v2/session_analysis/../t", "tomorrow-cdrs"),
        (None, "tomorrow-cdrs"),
    ):
        below |= {"product": "tomorrow-cdrs", "event_name": "of-tomorrow", "links": {"self": link}}
        requests: list[Subtree] = []

        def ask(subtree: Subtree, requests: list[Subtree] = requests) -> bytes | None:
            requests.append(subtree)
            return api(whole)(subtree) if subtree.record_type == "of-tomorrow" else None

        session = read(answer(cut(whole, 2), event_count=3), ask, max_depth=2)
        assert [subtree.record_type for subtree in requests] == [asked]
        assert session.complete == (asked == "of-tomorrow")


@pytest.mark.parametrize("price", ["0", None])
def test_what_costs_nothing_below_a_cut_is_found_by_the_count(price: str | None) -> None:
    """An unpriced event, or two that cancel out, below a type that has no children by the metadata."""
    hidden = [node("inference:i", price)] if price is None else [node("amd:m", "-0.3"), node("inference:i", "0.3")]
    whole = node("call-session:s", "0", node("sip-trunking:p", "0.1", *hidden))
    session = read(answer(cut(whole, 2)), api(whole), max_depth=2)
    assert len(session.events) == 2
    session = read(answer(cut(whole, 2), event_count=count(whole)), api(whole), max_depth=2)
    assert (len(session.events), session.complete, session.mismatches) == (count(whole), True, ())


def test_types_without_children_are_requested_last() -> None:
    """Two leaves may hide the missing event; the one of a type with children is asked for, and has it."""
    legs = node("sip-trunking:p", "0.1"), node("call-control:c", "0.1", node("amd:m", None))
    whole = node("call-session:s", "0", *legs)
    requests: list[str] = []

    def ask(subtree: Subtree) -> bytes | None:
        requests.append(subtree.event_id)
        return api(whole)(subtree)

    assert read(answer(cut(whole, 2), event_count=4), ask, max_depth=2).complete
    assert requests == ["c"]


@pytest.mark.parametrize(
    "link",
    [
        "/v2/session_analysis/call-session/root",
        "https://api.telnyx.com/v2/session_analysis/call-session/root",
        "/v2/session_analysis/siptrunking-cdrs/root",
        "/v2/sessions/root",
        "",
        None,
    ],
)
def test_a_root_is_what_was_requested_whatever_its_link_is(link: str | None) -> None:
    """Else the session's root would be another event after its link has changed."""
    root = node("call-session:root", "0", links={"self": link}, event_name="siptrunking-cdrs")  # the name of a leg
    assert read(answer(root)).events[0].record_type == "call-session"


def test_a_cost_that_cannot_be_read_is_said() -> None:
    """With the event and the value, shortened; words without a digit say that there is no price yet."""
    for value, said in (
        ("1,50 USD", "'0,00 xxx'"),
        ("+13125550123", "'+00000000000'"),
        (True, "'xxxx'"),
        (1e300, "'0x+000'"),
        ("9" * 80, "'" + "0" * 39),
        ({"from": "+15550100"}, "of type dict"),
        (["+15550100"], "of type list"),
    ):
        (mismatch,) = read(answer(stating(value), total="0")).mismatches
        assert mismatch.check == "unreadable_cost"
        assert mismatch.detail == f"the event_cost of call-session s is {said}"
    for absent in (None, "pending", ""):
        assert read(answer(stating(absent), total="0")).mismatches == ()


def stating(event_cost: object) -> dict[str, Any]:
    return node("call-session:s", "0") | {"cost": {"event_cost": event_cost}}


def test_scientific_notation_is_read_exactly() -> None:
    """JSON allows it, and some encoders write small amounts so."""
    content = json.dumps(answer(node("call-session:s", "0"))).replace('"event_cost": "0"', '"event_cost": 5.2e-05')
    (event,) = read(content.encode()).events
    assert event.cost == Decimal("0.000052")


def test_twins_are_two_events_if_the_sum_needs_both() -> None:
    """The parent's cumulative cost decides between two events of one id and one event that is listed twice."""
    twins = [node("recording:t", "0.1"), node("recording:t", "0.1")]
    two = read(answer(node("call-session:root", "0", *twins)))
    assert [(e.id, e.ordinal) for e in two.events] == [("root", 0), ("t", 0), ("t", 1)]
    one = read(answer(node("call-session:root", "0", *twins, cumulative="0.1")))
    assert [(e.id, e.ordinal) for e in one.events] == [("root", 0), ("t", 0), ("t", 0)]
    assert checks(two) == checks(one) == []


def test_twins_that_fit_no_sum_are_one_event_and_said() -> None:
    """If neither reading fits, one event is booked and duplicate_id fails."""
    twins = [node("recording:t", "0.1"), node("recording:t", "0.1")]
    session = read(answer(node("call-session:root", "0", *twins, cumulative="0.7")))
    assert {e.ordinal for e in session.events} == {0}
    assert "duplicate_id" in checks(session)


def test_an_amended_twin_keeps_its_ordinal_in_any_order() -> None:
    """Twins of different amounts are two events, numbered by amount; a parent's outdated sum fails the checks."""
    low, high = node("inference:t1", "0.0015"), node("inference:t1", "0.0020")
    for twins in ((low, high), (high, low)):
        session = read(answer(node("call-session:root", "0", node("call-control:c", "0.0020", *twins))))
        assert {(e.ordinal, str(e.cost)) for e in session.events[2:]} == {(0, "0.0015"), (1, "0.0020")}
        assert checks(session) == []
    outdated = node("call-control:c", "0.0020", low, high, cumulative="0.0060")
    assert checks(read(answer(node("call-session:root", "0", outdated)))) == [
        *("duplicate_id", "event_sum", "node_cumulative")
    ]


def test_one_event_below_two_parents_is_one_event() -> None:
    """The same key under different parents is one event."""
    shared = node("conference-participant:p", "0.2")
    root = node("call-session:root", "0", node("call-control:a", "0.1", shared), node("call-control:b", "0.1", shared))
    session = read(answer(root, total="0.4"))
    assert {e.ordinal for e in session.events} == {0}
    assert "duplicate_id" not in checks(session)


def named_as(leg: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return the root with the product, event name and id of its leg, as a `call-session` may borrow them."""
    return root | {name: leg[name] for name in ("product", "event_name", "id")}


def test_a_root_may_share_its_key_with_its_leg() -> None:
    """They are two events by their record types, so the leg is no twin and its cost is booked once."""
    leg = node("sip-trunking:same", "0.0052")
    session = read(answer(named_as(leg, node("call-session:same", "0.0000", leg))))
    assert [(e.cost, e.ordinal) for e in session.events] == [(Decimal("0.0000"), 0), (Decimal("0.0052"), 0)]
    assert len({identified(e) for e in session.events}) == 2
    assert checks(session) == []


def test_a_call_is_the_same_event_whichever_leg_it_is_named_after() -> None:
    """The order of its legs may change, and with it the names that the root borrows."""
    legs = [node("sip-trunking:a", "0.1"), node("call-control:b", "0.2")]
    root = node("call-session:s", "0", *legs)
    named = [root, *(root | {name: leg[name] for name in ("product", "event_name")} for leg in legs)]
    assert len({identified(read(answer(each)).events[0]) for each in named}) == 1


def identified(event: Event) -> tuple[object, ...]:
    return (*identity(event.record_type, event.product, event.event_name, event.id), event.ordinal)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=6), st.integers(0, 300))
def test_identity_does_not_depend_on_the_root_that_was_asked(parts: list[tuple[str, int]], stated: int) -> None:
    """A leg has the same keys in its own tree and below its call-session, twins included."""
    below = [node(f"recording:{name}", f"0.{cost:04}") for name, cost in parts]
    leg = node("sip-trunking:same", "0.0052", *below, cumulative=f"0.{stated:04}")
    alone = read(answer(leg))
    outer = read(answer(named_as(leg, node("call-session:x", "0.000001", leg))))
    assert [identified(e) for e in outer.events[1:]] == [identified(e) for e in alone.events]


@given(st.permutations([("0.1", None), ("0.2", None), ("0.2", "0.5"), (None, "0")]))
def test_twins_keep_their_ordinals_in_any_order(twins: list[tuple[str | None, str | None]]) -> None:
    """Twins keep their ordinals when an answer lists them in another order, so nothing is booked again."""
    nodes = [node("recording:t", cost, cumulative=cumulative) for cost, cumulative in twins]
    session = read(answer(node("call-session:root", "0", *nodes)))
    assert sorted((e.ordinal, e.cost, e.cumulative) for e in session.events[1:] if e.cost is not None) == [
        (0, Decimal("0.1"), Decimal("0.1")),
        (1, Decimal("0.2"), Decimal("0.2")),
        (2, Decimal("0.2"), Decimal("0.5")),
    ]


@pytest.mark.parametrize(
    ("costs", "stated", "ordinals"),
    [
        (("0.0051", "0.0052"), "0.0104", {0, 1}),
        (("0.0051", "0.0051"), "0.0103", {0, 1}),
        (("0.0051", "0.0051"), "0.0052", {0}),
        (("0.0001", "0.0001"), "0.0001", {0}),
    ],
)
def test_twins_are_read_as_what_is_nearer_to_a_rounded_sum(
    costs: tuple[str, str], stated: str, ordinals: set[int]
) -> None:
    """A rounded sum decides as well as an exact one."""
    session = read(answer(node("call-session:root", "0", *(node("recording:t", c) for c in costs), cumulative=stated)))
    assert {e.ordinal for e in session.events[1:]} == ordinals
    assert "duplicate_id" not in checks(session)


def test_a_node_below_one_of_its_key_is_another_if_the_rounded_sum_needs_both() -> None:
    """Nested events are told apart although the upper sum is rounded."""
    leg = node("call-control:same", "0.0052")
    two = read(answer(node("call-control:same", "0.0051", leg, cumulative="0.0104")))
    assert [e.ordinal for e in two.events] == [0, 1]
    one = read(answer(node("call-control:same", "0.0052", leg, cumulative="0.0052")))
    assert [e.ordinal for e in one.events] == [0, 0]


# Checks

DOUBLED = node("recording:r", "1", cumulative="2")
EUROS = node("recording:x", "1") | {"cost": {"event_cost": "1", "cumulative_cost": "1", "currency": "EUR"}}


@pytest.mark.parametrize(
    ("content", "failed"),
    [
        (answer(call(), total="0.2"), ["event_sum", "root_cumulative"]),
        (answer(node("call-session:root", "0", DOUBLED, cumulative="1")), ["node_cumulative"]),
        (answer(call(), event_count=6), ["event_count"]),
        (answer(node("call-session:r", "1", EUROS, cumulative="2")), ["currency"]),
    ],
)  # fmt: skip
def test_a_failed_check_is_named(content: dict[str, Any], failed: list[str]) -> None:
    """Each sum that doesn't hold fails its check; the events stay."""
    assert checks(read(content)) == failed


def test_rounding_of_printed_places_is_no_mismatch() -> None:
    """Each amount may be off by half a unit of its last printed place; a unit more is a mismatch."""
    turns = [node(f"inference:{n}", "0.0001") for n in range(4)]
    assert checks(read(answer(node("ai-voice-assistant:a", "0.0000", *turns, cumulative="0.0002")))) == []
    assert checks(read(answer(node("ai-voice-assistant:a", "0.0000", *turns, cumulative="0.0009")))) == [
        "event_sum",
        "node_cumulative",
    ]


@pytest.mark.parametrize(
    "cost", [None, {}, "none", {"event_cost": None}, {"cumulative_cost": "0"}, {"currency": "USD"}]
)
def test_nodes_without_a_cost_fail_no_check_if_the_rest_adds_up(cost: object) -> None:
    """A conversation's turn may never have a cost, in any form, nor its assistant a cumulative cost."""
    turn = node("inference:i", None) | {"cost": cost}
    assistant = node("ai-voice-assistant:a", "0.05", cumulative="0.05") | {"children": [turn]}
    content = answer(node("call-session:s", "0", cumulative="0.05") | {"children": [assistant]})
    for absent in (False, True):
        if absent:
            del assistant["cost"]["cumulative_cost"]
        session = read(content)
        assert session.mismatches == ()
        assert session.adds_up
        assert [event.cost for event in session.events] == [0, Decimal("0.05"), None]


def test_a_session_adds_up_only_if_a_total_is_stated_and_fits() -> None:
    """Without a readable total, or with a wrong sum, nothing tells which events are billed."""
    tree = node("call-session:s", "0", node("call-control:c", "0.05"))
    assert read(answer(tree)).adds_up
    assert read(answer(tree, event_count=7)).adds_up  # a wrong count says nothing about sums
    assert not read(answer(tree, total="0.08")).adds_up
    assert not read(answer(tree, total="unknown")).adds_up
    assert not read(answer(cut(tree, 1)), max_depth=1).adds_up
    dollars_and_euros = node("call-session:s", "1", node("call-control:c", "0.05"))
    dollars_and_euros["children"][0]["cost"]["currency"] = "EUR"
    assert not read(answer(dollars_and_euros)).adds_up
