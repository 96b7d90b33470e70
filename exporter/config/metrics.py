"""The settings `metrics` and `budgets`: own labels, thresholds, buckets, bounds of the series, and budgets."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from exporter.config.rules import (
    ListOf,
    Rule,
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

# Labels that only the exporter's own families have, such as `version`, stay free: no cost can have them.
_TAKEN = {label for family in FAMILIES if not family.name.startswith("telnyx_exporter_") for label in family.labels}
RESERVED_LABELS = (*sorted(_TAKEN), "instance", "job", "le")
"""Labels that the catalogue or Prometheus uses; a configured label must have another name."""

MATCHES_MAX = 20
WINDOWS = ("day", "week", "month")
_NAME = text("1 to 64 of the characters a-z, A-Z, 0-9, _ and -", r"[a-zA-Z0-9_-]{1,64}")
_CURRENCY = text("three capital letters (ISO 4217), such as USD", r"[A-Z]{3}")
_COST_BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "25", "50")
_BUCKETS_MAX = 40
"""Each bound is one more series per label set."""


class Label(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A label of your own, taken from a field of the detail records."""

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
    field: Annotated[str, SettingSpec(printable(200), "The field of the detail record whose value the label shows.")]
    from_: Annotated[
        Literal["event", "nearest", "session"],
        SettingSpec(
            choice("event", "nearest", "session"),
            "Which record: the `event`'s own; the `nearest` one with the field, from the event up to the root; or the "
            "`session`'s root. `nearest` suits most fields: the ids of assistants and connections are on an ancestor.",
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
        SettingSpec(
            whole(1, 10_000), "The most different values to show; later ones are shown as `other`.", advanced=True
        ),
    ] = 100
    allow_personal: Annotated[
        bool,
        SettingSpec(
            switch(),
            "`true` allows a field in `web.redact_fields`. Phone numbers and names are then on /metrics, in Prometheus "
            "and in every alert, as long as those are kept.",
            advanced=True,
        ),
    ] = False


class Threshold(Struct, frozen=True, kw_only=True):
    """A cost or a number of turns that a single session should not exceed."""

    name: Annotated[str, SettingSpec(_NAME, "The threshold's name, the value of the label `threshold`.")]
    cost: Annotated[
        Decimal | None,
        SettingSpec(money(0, 1_000_000_000), "The session's net cost exceeds this.", "none: see `turns`"),
    ] = None
    currency: Annotated[str, SettingSpec(_CURRENCY, "The currency of `cost`.")] = "USD"
    turns: Annotated[
        int | None, SettingSpec(whole(1, 1_000_000), "The session has more LLM turns than this.", "none: see `cost`")
    ] = None


class Buckets(Struct, frozen=True, kw_only=True):
    session_cost: Annotated[
        tuple[Decimal, ...],
        SettingSpec(
            ListOf(money(0, 1_000_000_000), 1, _BUCKETS_MAX, ascending),
            "The cost of a session in its currency: from a message of half a cent to a runaway AI call.",
        ),
    ] = tuple(Decimal(bound) for bound in _COST_BOUNDS)
    session_duration_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending),
            "The duration of a session: from a call without an answer to four hours.",
        ),
    ] = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0)
    session_events: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending),
            "The events of a session; an AI call has 5, and one per turn.",
        ),
    ] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
    session_inference_turns: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending),
            "The LLM turns of a session; more than 100 usually mean a loop.",
        ),
    ] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
    session_settling_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(0), 1, _BUCKETS_MAX, ascending),
            "The time from discovery to settled, 15 minutes to 14 days. It includes `polling.settle_after_seconds`, 6 "
            "hours by default, so the bounds are dense above that.",
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
            "The most series (sample lines) of all business metrics together. Above it new label values are shown as "
            "`other`: sums stay right, the scrape stays small, and `telnyx_label_overflows_total` counts.",
        ),
    ] = 20_000
    session_series_max: Annotated[
        int,
        SettingSpec(
            whole(0, 10_000),
            "The most sessions with series of their own (`telnyx_followed_session_*`): configured ones, and the most "
            "expensive and the longest of those that changed in the last six hours. 0: none.",
            formerly="followed_sessions_max",
            advanced=True,
        ),
    ] = 50
    thresholds: Annotated[
        tuple[Threshold, ...],
        SettingSpec(
            ListOf(Section(Threshold), at_most=20),
            "Limits of a single live session, to find runaway agents. A session that exceeds one is counted once, in "
            "`telnyx_sessions_over_threshold_total`.",
        ),
    ] = ()
    new_series_zero_seconds: Annotated[
        float,
        SettingSpec(
            number(0, 3600),
            "How long a new series shows 0 before its value, so that `increase()` includes the value. It must span two "
            "scrapes: 150 is enough for a scrape interval of a minute. 0 shows values at once.",
            formerly="birth_seconds",
        ),
    ] = 150.0
    buckets: Annotated[
        Buckets, SettingSpec(Section(Buckets), "The upper bounds of the histograms' buckets, ascending.")
    ] = Buckets()


def _window() -> Rule:
    seconds = whole(60, 366 * 86_400)
    expected = "day, week, month or a whole number of seconds from 60 to 31622400"

    def accept(value: Any) -> str | int:
        if value in WINDOWS:
            return str(value)
        try:
            return int(seconds.accept(value))
        except ValueError:
            raise ValueError(f"expected {expected}, got {value!r}") from None

    return Rule(expected, accept)


def _timezone() -> Rule:
    expected = "a time zone of the IANA database, such as UTC or Europe/Berlin"

    def accept(value: Any) -> str:
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise ValueError(f"expected {expected}, got {value!r}") from None

    return Rule(expected, accept)


def _match() -> Rule:
    expected = "label names with the value each must have, such as {record_type: inference}"
    name = text("a label name", r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
    label = printable(128)

    def accept(value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, Mapping) or len(value) > MATCHES_MAX:
            raise ValueError(f"expected {expected}, got {value!r}")
        return tuple(sorted((name.accept(key), label.accept(wanted)) for key, wanted in value.items()))

    return Rule(expected, accept)


class Budget(Struct, frozen=True, kw_only=True):
    """An amount that may be spent in a window of time; the exporter only shows it and stops nothing."""

    name: Annotated[str, SettingSpec(_NAME, "The budget's name, the value of the label `budget`.")]
    amount: Annotated[Decimal, SettingSpec(money(0, 1_000_000_000), "The amount that may be spent in each window.")]
    currency: Annotated[str, SettingSpec(_CURRENCY, "The currency; costs in others don't count.")] = "USD"
    window: Annotated[
        Literal["day", "week", "month"] | int,
        SettingSpec(_window(), "The current `day`, `week` (from Monday) or `month`, or this many seconds up to now."),
    ] = "month"
    timezone: Annotated[str, SettingSpec(_timezone(), "The time zone in which days, weeks and months begin.")] = "UTC"
    match: Annotated[
        tuple[tuple[str, str], ...],
        SettingSpec(
            _match(), "Only costs with these labels count: account, record_type, product, model or labels of your own."
        ),
    ] = ()
