"""How the simulated API behaves where witnesses of the real one disagree, or where it surprises.

`WORLD_A` is what was measured on live accounts, `WORLD_B` what Telnyx's SDK and OpenAPI text say, `MIXED` takes some of
each. A test can change one behaviour alone: `replace(WORLD_A, unknown_field="error")`.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace


class ApiBehaviour(Struct, frozen=True, kw_only=True):
    """One field per behaviour; the defaults are those of `WORLD_A`."""

    # The list of detail records
    sort: Literal["ignored", "honoured", "shuffled"] = "ignored"
    """Ignored: always newest first. Shuffled: each answer has another random order."""
    unknown_field: Literal["empty", "error"] = "empty"
    """A filter or sort by a field that the type doesn't have: a 200 without records, or a 400."""
    absent_type: Literal["empty", "error"] = "empty"
    """A type of which the account has no record: a 200 without records, or a 400."""
    absent_types: tuple[str, ...] = ()
    """Types, by their name in the list, of which no record is ever listed."""
    untimed_types: tuple[str, ...] = ()
    """Types, by their name in the list, that have none of the time fields that a filter names."""
    refused_types: Mapping[str, Literal[400, 403]] = {}
    """Types, by their name in the list, that are always refused with this status."""
    total_results: Literal["honest", "too high", "too low", "missing"] = "honest"
    """The totals that a page states."""
    options: bool = False
    """`GET /detail_records/options` lists the fields of each type; otherwise it is 404."""

    # Records and trees
    inference_names_session: bool = False
    """The record of an LLM turn names its conversation, assistant and call; otherwise its `conversation_id` is null."""
    inference_event_name: Literal["inference", "inference-event", "mixed"] = "inference"
    """The event name of LLM turns in trees; mixed: one or the other by event."""
    bundled_tts: bool = True
    """Each turn of a voice conversation has a text-to-speech event that never has a price of its own."""
    tree_too_early: Literal[404, 409] = 404
    """The status of a tree of which no event exists yet."""

    # Webhooks
    call_cost_webhooks: bool = False
    """`call.cost` is sent for each leg: the setting `call_cost_in_webhooks` of an application."""
    call_analyzed_webhooks: Literal["off", "cost", "text"] = "cost"
    """`call.analyzed` is sent for calls with an assistant, with the cost of the tree, or a text that there is none."""
    texml_share: float = 0.0
    """Of the calls: those of TeXML applications, whose status callbacks are forms."""
    webhook_api_version: Literal["1", "2"] = "2"
    """The form of JSON bodies."""


WORLD_A = ApiBehaviour()
"""As measured on live accounts."""

WORLD_B = ApiBehaviour(
    sort="honoured",
    unknown_field="error",
    absent_type="error",
    options=True,
    inference_names_session=True,
    bundled_tts=False,
    call_cost_webhooks=True,
    call_analyzed_webhooks="off",
)
"""As Telnyx's SDK, OpenAPI text and guide describe the API; their webhooks have the bill of each call."""

MIXED = replace(
    WORLD_A,
    sort="shuffled",
    unknown_field="error",
    options=True,
    inference_event_name="mixed",
    tree_too_early=409,
    call_cost_webhooks=True,
    texml_share=0.3,
)
"""Some of each."""

WORLDS: Mapping[str, ApiBehaviour] = {"a": WORLD_A, "b": WORLD_B, "mixed": MIXED}
