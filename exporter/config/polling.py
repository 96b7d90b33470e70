"""The settings `polling` and `tree`: when sessions are polled, and how their event trees are requested."""

from typing import Annotated, Literal

from msgspec import Struct

from exporter.config.rules import ListOf, SettingSpec, ascending, choice, number, whole


class PollingSettings(Struct, frozen=True, kw_only=True):
    min_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "The time between two polls of a session that has just changed. Each poll without a change doubles it. "
            "Bills take minutes to hours, so a shorter interval costs requests and finds little.",
        ),
    ] = 30.0
    max_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1), "The longest interval of a live session, and so the longest delay until a late bill is seen."
        ),
    ] = 3600.0
    settle_after_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "A session is settled when nothing has changed for this long. The API never says that a bill is final, and "
            "products are rated up to hours apart; six hours are longer than the usual gaps between them.",
        ),
    ] = 21_600.0
    recheck_after_seconds: Annotated[
        tuple[float, ...],
        SettingSpec(
            ListOf(number(1), at_most=20, check=ascending),
            "When a settled session is polled again, counted from its settling. The default is a day, a week, and 35 "
            "days, which includes the corrections at the end of a month. `[]`: only when it is reported.",
        ),
    ] = (86_400.0, 604_800.0, 3_024_000.0)
    reported_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "The interval of sessions that webhooks or detail records report. Polling only has to catch missed "
            "reports, so it can be slow: this long while a call is in progress, twice as long after its end, eight "
            "times as long after its rating.",
            formerly="hinted_interval_seconds",
            advanced=True,
        ),
    ] = 900.0
    not_found_timeout_seconds: Annotated[
        float,
        SettingSpec(
            number(1),
            "A session that the API doesn't find for this long is `missing`, and only rechecked. The API doesn't find "
            "a new session until its first record is rated. It also bounds the retries of a recheck that gets 404 or "
            "403.",
            formerly="give_up_after_seconds",
            advanced=True,
        ),
    ] = 172_800.0
    configured_recheck_seconds: Annotated[
        float,
        SettingSpec(
            number(1), "How often a settled session is polled as long as `sessions` contains it.", advanced=True
        ),
    ] = 86_400.0
    scheduler_interval_seconds: Annotated[
        float,
        SettingSpec(
            number(0.05, 60),
            "How often the exporter looks for due sessions, and so the longest delay of a poll that is due.",
            formerly="tick_seconds",
            advanced=True,
        ),
    ] = 1.0
    timeout_seconds: Annotated[
        float,
        SettingSpec(
            number(0.1, 600), "The timeout of one API request; a request that times out is retried.", advanced=True
        ),
    ] = 30.0
    max_attempts: Annotated[
        int,
        SettingSpec(
            whole(1, 10),
            "How often a failing request is sent in one poll. Telnyx asks for at most 3 to 5 retries.",
            formerly="attempts_max",
            advanced=True,
        ),
    ] = 5


class TreeSettings(Struct, frozen=True, kw_only=True):
    expand: Annotated[
        Literal["auto", "record", "none"],
        SettingSpec(
            choice("auto", "record", "none"),
            "Whether to request the events' detail records, which are most of every answer: `record` always, `none` "
            "never (then there are no models, tokens, durations and own labels), `auto` if a metric or label needs "
            "them.",
            advanced=True,
        ),
    ] = "auto"
    max_depth: Annotated[
        int,
        SettingSpec(
            whole(1, 5),
            "How many levels of a tree are requested at a time. 5 is the API's maximum, and AI calls have 4 to 5. "
            "Deeper levels take further requests, so a smaller number means more requests.",
            advanced=True,
        ),
    ] = 5
    max_nodes: Annotated[
        int,
        SettingSpec(
            whole(1, 1_000_000),
            "The most events of one session; the poll of a larger tree fails.",
            formerly="nodes_max",
            advanced=True,
        ),
    ] = 20_000
    max_subtree_requests: Annotated[
        int,
        SettingSpec(
            whole(1, 10_000),
            "The most further requests in one poll to complete a tree that the API has cut. The next poll continues.",
            formerly="subtrees_max",
            advanced=True,
        ),
    ] = 200
    max_levels: Annotated[
        int,
        SettingSpec(
            whole(1, 500),
            "The most levels of a completed tree; the poll of a deeper one fails.",
            formerly="depth_max",
            advanced=True,
        ),
    ] = 64
    max_body_bytes: Annotated[
        int,
        SettingSpec(
            whole(1024, 1_073_741_824),
            "The largest answer that is read, after decompression (32 MiB).",
            formerly="body_bytes_max",
            advanced=True,
        ),
    ] = 33_554_432
