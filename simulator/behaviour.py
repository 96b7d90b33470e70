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
    refused_types: Mapping[str, Literal[400, 403]] = {}
    """Types, by their name in the list, that are always refused with this status."""
    total_results: Literal["honest", "too high", "too low", "missing"] = "honest"
    """The totals that a page states."""
    options: bool = False
    """`GET /detail_records/options` lists the fields of each type; otherwise it is 404."""


WORLD_A = ApiBehaviour()
"""As measured on live accounts."""

WORLD_B = ApiBehaviour(sort="honoured", unknown_field="error", absent_type="error", options=True)
"""As Telnyx's SDK and OpenAPI text describe the API."""

MIXED = replace(WORLD_A, sort="shuffled", unknown_field="error", options=True)
"""Some of each."""

WORLDS: Mapping[str, ApiBehaviour] = {"a": WORLD_A, "b": WORLD_B, "mixed": MIXED}
