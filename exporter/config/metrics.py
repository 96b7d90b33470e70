"""The settings below `metrics`: labels of the user's own, limits of what is shown, buckets.

Owns which label names are taken; knows no metric. The surprising fact: the bounds of the cost histogram are Decimal
like all money, and are read from the file's digits, so 0.1 is a tenth.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Struct

from exporter.config.limits import Threshold
from exporter.config.rules import (
    ListOf,
    Section,
    SettingSpec,
    ascending,
    choice,
    distinct,
    money,
    number,
    printable,
    switch,
    text,
    whole,
)
from exporter.core.catalog import FAMILIES

RESERVED_LABELS = (*sorted({label for family in FAMILIES for label in family.labels}), "instance", "job", "le")
"""Labels that the catalogue or Prometheus itself uses; a configured label must be none of them."""

_COST_BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "25", "50")
_BUCKETS_MAX = 40
"""ListOf bound is a series per label set."""


class Label(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A label of the user's own, taken from a field of the detail records."""

    name: Annotated[
        str,
        SettingSpec(
            text(
                "a label name (a-z, A-Z, 0-9, _) that neither starts with __ nor is one of the exporter's own",
                r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}",
                *RESERVED_LABELS,
            ),
            "The name of the label.",
        ),
    ]
    field: Annotated[str, SettingSpec(printable(200), "The field of the detail record whose value it takes.")]
    from_: Annotated[
        Literal["event", "nearest", "session"],
        SettingSpec(
            choice("event", "nearest", "session"),
            "Whose record: the `event`'s own; the `nearest` that has the field, from the event up to the root; or the "
            "`session`'s root. `nearest` is what most want: an assistant's or a connection's id is on an ancestor.",
        ),
    ] = "nearest"
    values: Annotated[
        tuple[str, ...] | None,
        SettingSpec(
            ListOf(printable(200), at_least=1, at_most=1000, check=distinct),
            "The values to show; every other value is shown as `other`.",
            "any value",
        ),
    ] = None
    values_max: Annotated[
        int,
        SettingSpec(whole(1, 10_000), "The most different values to show; those that come later are shown as `other`."),
    ] = 100
    allow_personal: Annotated[
        bool,
        SettingSpec(
            switch(),
            "`true` lets the label be taken from a field in `web.redact_fields`: phone numbers and names are then on "
            "/metrics, in Prometheus and in every alert, for as long as those are kept.",
        ),
    ] = False


class Buckets(Struct, frozen=True, kw_only=True):
    session_cost: Annotated[
        tuple[Decimal, ...],
        SettingSpec(
            ListOf(money(0, 1_000_000_000), 1, _BUCKETS_MAX, ascending),
            "Cost of a session, in its currency: from a message of half a cent to a runaway AI call.",
        ),
    ] = tuple(Decimal(bound) for bound in _COST_BOUNDS)
    session_duration_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending), "Duration of a session: from a hung-up call to four hours."
        ),
    ] = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0)
    session_events: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending), "Events of a session; an AI call has 5 and one per turn."
        ),
    ] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
    session_inference_turns: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending), "LLM turns of a session; past 100 something is looping."
        ),
    ] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
    session_settling_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending),
            "From first sight to settled, 15 minutes to 14 days. It includes `polling.settle_after_seconds`: with its "
            "default nothing settles before 6 hours, so the bounds are dense after that.",
        ),
    ] = (
        *(900.0, 3600.0, 10_800.0, 21_600.0, 25_200.0, 28_800.0, 36_000.0, 43_200.0, 64_800.0),
        *(86_400.0, 172_800.0, 345_600.0, 604_800.0, 1_209_600.0),
    )


class MetricsSettings(Struct, frozen=True, kw_only=True):
    labels: Annotated[
        tuple[Label, ...],
        SettingSpec(
            ListOf(Section(Label), at_most=16),
            "Labels of your own on costs, events and turns. A change needs a restart.",
        ),
    ] = ()
    series_max: Annotated[
        int,
        SettingSpec(
            whole(1000, 1_000_000),
            "The most series (sample lines) of all business metrics together. Past it new label values are shown as "
            "`other`: sums stay right, the scrape stays small, `telnyx_label_overflows_total` counts.",
        ),
    ] = 20_000
    session_series_max: Annotated[
        int,
        SettingSpec(
            whole(0, 10_000),
            "The most sessions that have series of their own (`telnyx_followed_session_*`): configured ones, and the "
            "dearest and the longest of those that changed in the last six hours. 0: none.",
            formerly="followed_sessions_max",
        ),
    ] = 50
    thresholds: Annotated[
        tuple[Threshold, ...],
        SettingSpec(
            ListOf(Section(Threshold), at_most=20),
            "What a single session should not go over while it is live, to find runaway agents: each session is "
            "counted once per threshold, in `telnyx_sessions_over_threshold_total`.",
        ),
    ] = ()
    new_series_zero_seconds: Annotated[
        float,
        SettingSpec(
            number(0, 3600),
            "How long a new series shows 0 before its value, so that `increase()` sees the value arrive. It must span "
            "two scrapes: 150 is two of a minute and some slack. 0 shows values at once.",
            formerly="birth_seconds",
        ),
    ] = 150.0
    buckets: Annotated[
        Buckets, SettingSpec(Section(Buckets), "The upper bounds of the histograms' buckets, ascending.")
    ] = Buckets()
