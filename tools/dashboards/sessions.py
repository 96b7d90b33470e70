"""The dashboard "Session explorer": the most expensive sessions, their parts, and links to their pages.

Only the most expensive and longest sessions of the last six hours have series of their own, so these panels are a
sample: sums over them mean nothing.
"""

from tools.dashboards.board import Board
from tools.dashboards.panels import EXACT, MONEY, NUMBER, Panel, graph, rows, shares, stats
from tools.dashboards.queries import exact, exact_quantile, gauge, latest, quantile
from tools.dashboards.shapes import SOON_BAD, coming, upper

COST = "telnyx_followed_session_cost"
SESSION = "event_id, root_record_type, account"
SESSION_COST = "telnyx_session_cost"
NO_SINGLE_TURNS = 'session_kind!="inference"'
"""Without LLM turns that are part of no other session: they would lower every quantile."""
STATES = 'state=~"discovered|active"'
LINK = {"event_id": "Session", "root_record_type": "Kind", "account": "Account"}
WIDTHS = {
    "Session": 308,
    "Kind": 100,
    "Account": 76,
    "Currency": 80,
    "Product": 140,
    "Times the mean": 122,
    "Cost": 64,
}


def _now() -> list[Panel]:
    return [
        stats(
            "Most expensive session",
            "Cost so far of the most expensive followed session. If it is far above p95, open it in the table below, "
            "and end the call at Telnyx if it still runs.",
            {"{{currency}}": f"max by (currency) ({gauge(COST, f'{SESSION}, currency')})"},
            MONEY,
            width=5,
            height=5,
        ),
        stats(
            "Most LLM turns",
            "LLM turns of the followed session that has the most. Hundreds mean a loop: end the call, then fix the "
            "prompt.",
            {"turns": f"max({gauge('telnyx_followed_session_inference_turns', SESSION)})"},
            NUMBER,
            width=5,
            decimals=0,
            steps=((None, "green"), (100.0, "orange"), (300.0, "red")),
            height=5,
        ),
        stats(
            "Over a threshold",
            "Sessions that exceeded one of `metrics.thresholds` in the time range while they were live. The "
            "table lists those that are still followed. 0 is good." + EXACT,
            {"{{threshold}}": exact("telnyx_sessions_over_threshold_total", "threshold")},
            NUMBER,
            width=5,
            decimals=0,
            names=True,
            steps=SOON_BAD,
            height=5,
            empty="0",
        ),
        stats(
            "Live sessions",
            "Sessions whose bill may still change. If the number only grows, polls are late, or many calls arrive at "
            "once.",
            {"sessions": gauge("telnyx_sessions", "", STATES)},
            NUMBER,
            width=4,
            decimals=0,
            height=5,
        ),
        stats(
            "p95 cost per session",
            "95th percentile of the cost of sessions that settled in the time range. Compare the tables below with it."
            + EXACT,
            {"{{currency}}": exact_quantile(0.95, SESSION_COST, "currency", NO_SINGLE_TURNS)},
            MONEY,
            width=5,
            height=5,
        ),
    ]


def _most_expensive() -> list[Panel]:
    cost = gauge(COST, f"{SESSION}, currency")
    top = f"topk(25, {cost})"

    def beside(amount: str) -> str:
        """Return another value of the same sessions."""
        return f"({top}) * 0 + on (event_id, root_record_type, account) group_left () {amount}"

    return [
        rows(
            "Most expensive sessions",
            "Sessions that changed in the last six hours or are configured, most expensive first. The link shows every "
            "event of a session. Idle for: time since its last change; a long one is over.",
            {
                "Cost": top,
                "Turns": beside(gauge("telnyx_followed_session_inference_turns", SESSION)),
                "Events": beside(gauge("telnyx_followed_session_events", SESSION)),
                "Idle for": beside(
                    f"(time() - {latest('telnyx_followed_session_last_change_timestamp_seconds', SESSION)})"
                ),
            },
            MONEY,
            width=24,
            height=11,
            names={**LINK, "currency": "Currency"},
            sort="Cost",
            units={"Turns": "locale", "Events": "locale", "Idle for": "s"},
            judged={"Turns": ((None, "text"), (100.0, "orange"), (300.0, "red"))},
            linked="Session",
            decimals=4,
            widths={"Session": 340},
        ),
    ]


def _outliers() -> list[Panel]:
    cost = gauge(COST, f"{SESSION}, currency")
    mean = (
        f"({exact(f'{SESSION_COST}_sum', 'root_record_type, currency', window='7d')}"
        f" / ({exact(f'{SESSION_COST}_count', 'root_record_type, currency', window='7d')} > 0))"
    )
    return [
        rows(
            "Outliers",
            "Cost of a followed session divided by the mean of its kind over the last seven days. From ten times the "
            "mean on, something is wrong with it or its use: read its events." + EXACT,
            {
                "Times the mean": f"topk(15, {cost} / on (root_record_type, currency) group_left () ({mean} > 0))",
                "Cost": cost,
            },
            NUMBER,
            width=12,
            names={**LINK, "currency": "Currency"},
            sort="Times the mean",
            judged={"Times the mean": ((None, "green"), (3.0, "orange"), (10.0, "red"))},
            linked="Session",
            decimals=2,
            widths=WIDTHS,
        ),
        rows(
            "Most expensive parts of sessions",
            "Cost of followed sessions by product. The product at the top says what to change: the model, the voice, "
            "the recording, or the length of the call.",
            {"Cost": f"topk(25, {gauge(COST, f'{SESSION}, product, currency')})"},
            NUMBER,
            width=12,
            names={**LINK, "product": "Product", "currency": "Currency"},
            sort="Cost",
            linked="Session",
            decimals=4,
            widths=WIDTHS,
        ),
    ]


def _over_time() -> list[Panel]:
    return [
        graph(
            "Followed sessions over time",
            "Cost of the most expensive sessions over time. A line that keeps rising is a running session; a step is a "
            "late bill.",
            {"{{event_id}} {{currency}}": f"topk(8, {gauge(COST, 'event_id, currency')})"},
            MONEY,
            width=12,
            height=9,
        ),
        shares(
            "Followed sessions by product",
            "Cost of the followed sessions by product. This is a sample: for sums use the cost overview.",
            {"{{product}} {{currency}}": f"sort_desc({gauge(COST, 'product, currency')})"},
            MONEY,
            width=12,
            height=9,
        ),
    ]


def _kinds() -> list[Panel]:
    return [
        coming(
            "Sessions started per hour",
            "New sessions by kind. If a kind doubles without a campaign, find out who calls: it may be misuse or a "
            "loop.",
            "telnyx_sessions_started_total",
            "session_kind",
            interval="30m",
        ),
        graph(
            "p95 cost per session by kind",
            "95th percentile of the cost of settled sessions, by kind. If a line leaves its level, compare the "
            "duration.",
            {"{{session_kind}} {{currency}}": quantile(0.95, SESSION_COST, "session_kind, currency")},
            MONEY,
            width=8,
            interval="6h",
            exemplars=True,
        ),
        upper(
            "p95 duration by kind",
            "95th percentile of the duration that the records state, by kind. If calls that should take minutes take "
            "hours, set a time limit on the connection.",
            "telnyx_session_duration_seconds",
            "session_kind",
            interval="6h",
        ),
    ]


BOARD = Board(
    uid="telnyx-sessions",
    title="Telnyx: session explorer",
    description="The most expensive sessions and outliers, their parts, with links to their pages.",
    since="now-24h",
    links_sessions=True,
    sections=(
        ("Now", _now()),
        ("Sessions", [*_most_expensive(), *_outliers()]),
        ("Over time", _over_time()),
        ("Kinds", _kinds()),
    ),
)
