"""The trees of the simulated API: every cut part can be requested, and the documented call is the guide's."""

import json
import uuid
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import DOCUMENTED_ID, AcceleratedClock, SimulatorSettings, World
from simulator.tree import View, tree
from simulator.world import Found

DOCUMENTED_EXAMPLE = Path(__file__).parents[1] / "data" / "documented-example.json"

SETTINGS = SimulatorSettings(sessions_per_hour=600.0, sessions_max=400, documented_example=True)
CLOCK = AcceleratedClock(SETTINGS.start, 0.0, float)
WORLD = World(SETTINGS, CLOCK)
CLOCK.step(4 * 3600.0)  # by then only some events are rated
FOUND = [found for ref in WORLD.refs() if (found := WORLD.find((ref.record_type,), uuid.UUID(ref.event_id)))]
WHOLE = View(max_depth=99)


def answer(found: Found, view: View) -> dict[str, Any]:
    return tree(found.session, found.index, found.now, view)


def graft(found: Found, node: dict[str, Any], depth: int, left: int) -> dict[str, Any]:
    """The whole tree below `node`: where `depth` levels end, ask again with that node as the root."""
    if left > 1:
        return {**node, "children": [graft(found, child, depth, left - 1) for child in node["children"]]}
    record_type = node["links"]["records"].partition("record_type=")[2].partition("&")[0]
    index = found.session.index_of(record_type, node["id"])
    assert index is not None
    again = answer(Found(found.session, index, found.now), View(max_depth=depth))["root"]
    assert again["cost"] == node["cost"]
    below = [graft(found, child, depth, depth - 1) for child in again["children"]] if depth > 1 else []
    return {**node, "children": below}


@given(st.sampled_from(FOUND), st.integers(2, 5))
@settings(deadline=None, max_examples=60)
def test_a_cut_tree_asked_again_at_its_cuts_is_the_whole_tree(found: Found, depth: int) -> None:
    """Whatever the depth, the subtrees of the nodes at the cut complete the tree."""
    cut, whole = answer(found, View(max_depth=depth)), answer(found, WHOLE)
    assert graft(found, cut["root"], depth, depth) == whole["root"]


def levels(node: dict[str, Any]) -> int:
    return 1 + max(map(levels, node["children"]), default=0)


@given(st.sampled_from(FOUND), st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_cut_hides_nodes_but_no_sums(found: Found, depth: int, expand: bool) -> None:
    """A tree has at most the requested levels; its cost and meta are those of the whole session."""
    view = View(max_depth=depth, expand=expand)
    cut, whole = answer(found, view), answer(found, WHOLE)
    assert levels(cut["root"]) == min(depth, levels(whole["root"]))
    assert (cut["cost"], cut["meta"], cut["session_id"]) == (whole["cost"], whole["meta"], whole["session_id"])
    assert cut["root"]["cost"] == whole["root"]["cost"]
    assert bool(cut["root"]["record"]) == expand


@given(st.sampled_from(FOUND))
@settings(deadline=None, max_examples=30)
def test_without_children_the_root_stands_alone(found: Found) -> None:
    """`include_children=false` is the same as one level."""
    assert answer(found, View(max_depth=5, include_children=False)) == answer(found, View(max_depth=1))


def test_some_trees_are_cut_at_the_deepest_level_that_can_be_asked_for() -> None:
    """The world has trees that no single answer holds, so clients have to stitch."""
    assert any(answer(found, View(max_depth=5)) != answer(found, WHOLE) for found in FOUND)


def test_the_documented_call_is_the_file() -> None:
    """tests/data/documented-example.json is what the simulated API answers for it with max_depth 5."""
    found = WORLD.find(("call-session",), uuid.UUID(DOCUMENTED_ID))
    assert found is not None
    encoded = json.loads(json.dumps(answer(found, View(max_depth=5))))
    assert encoded == json.loads(DOCUMENTED_EXAMPLE.read_text())


def test_the_documented_call_is_the_guides() -> None:
    """11 events on 4 levels with the costs that the guide prints, 0.2128 in all, and the six products."""
    example = json.loads(DOCUMENTED_EXAMPLE.read_text())

    def rows(node: dict[str, Any], depth: int) -> list[tuple[int, str, str, str]]:
        row = (depth, node["event_name"], node["cost"]["event_cost"], node["cost"]["cumulative_cost"])
        return [row, *(below for child in node["children"] for below in rows(child, depth + 1))]

    assert rows(example["root"], 1) == [
        (1, "call-session", "0.0000", "0.2128"),
        (2, "recording-cdrs", "0.0051", "0.0051"),
        (2, "webrtc-cdrs", "0.0052", "0.0052"),
        (2, "siptrunking-cdrs", "0.0052", "0.0052"),
        (2, "callcontrol-cdrs", "0.0052", "0.1973"),
        (3, "ai-voice-assistant", "0.1800", "0.1921"),
        (4, "inference", "0.0010", "0.0010"),
        (4, "inference", "0.0015", "0.0015"),
        (4, "inference", "0.0029", "0.0029"),
        (4, "inference", "0.0033", "0.0033"),
        (4, "inference", "0.0034", "0.0034"),
    ]
    assert example["cost"] == {"total": "0.2128", "currency": "USD"}
    assert example["meta"] == {
        "event_count": 11,
        "products": [
            *("siptrunking-cdrs", "recording-cdrs", "webrtc-cdrs", "callcontrol-cdrs"),
            *("ai-voice-assistant", "inference"),
        ],
    }
