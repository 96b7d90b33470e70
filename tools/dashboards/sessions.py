"""Session explorer: which sessions are dear, what in them is, and where to read on.

Owns the bounded per-session families. The surprising fact: only the dearest and longest sessions of the last six hours
have series of their own, so this is a place to look, never one to add up.
"""

from tools.dashboards.board import Board
from tools.dashboards.panels import EXACT, MONEY, NUMBER, Panel, graph, rows, shares, stats
from tools.dashboards.queries import exact, exact_quantile, gauge, latest, quantile
from tools.dashboards.shapes import SOON_BAD, coming, upper

COST = "telnyx_followed_session_cost"
SESSION = "event_id, root_record_type, account"
SESSION_COST = "telnyx_session_cost"
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
            "Dearest session now",
            "The most that one followed session costs so far. If it is far over the usual, open it in the table below "
            "and end the call at Telnyx if it is still running.",
            {"{{currency}}": f"max by (currency) ({gauge(COST, f'{SESSION}, currency')})"},
            MONEY,
            width=5,
            height=5,
        ),
        stats(
            "Most turns now",
            "The most LLM turns of one followed session. Hundreds are a loop: end the call, then fix the prompt.",
            {"turns": f"max({gauge('telnyx_followed_session_inference_turns', SESSION)})"},
            NUMBER,
            width=5,
            decimals=0,
            steps=((None, "green"), (100.0, "orange"), (300.0, "red")),
            height=5,
        ),
        stats(
            "Over a threshold",
            "Sessions that went over a threshold of `metrics.thresholds` in the time range while they were live. The "
            "table lists those that still are; 0 is what you want." + EXACT,
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
            "Sessions whose bill may still move. A number that only grows means that polls are behind, or that a "
            "flood of calls is under way.",
            {"sessions": gauge("telnyx_sessions", "", STATES)},
            NUMBER,
            width=4,
            decimals=0,
            height=5,
        ),
        stats(
            "Usual cost",
            "What 95 of 100 sessions that settled in the time range cost at most: the measure for the tables below."
            + EXACT,
            {"{{currency}}": exact_quantile(0.95, SESSION_COST, "currency")},
            MONEY,
            width=5,
            height=5,
        ),
    ]


def _dearest() -> list[Panel]:
    cost = gauge(COST, f"{SESSION}, currency")
    top = f"topk(25, {cost})"

    def beside(amount: str) -> str:
        """Another fact of the same sessions."""
        return f"({top}) * 0 + on (event_id, root_record_type, account) group_left () {amount}"

    return [
        rows(
            "Dearest followed sessions",
            "Sessions that changed in the last six hours or are configured, the dearest first. Follow the link to see "
            "every event of one. Quiet means since its last change: a long one is over.",
            {
                "Cost": top,
                "Turns": beside(gauge("telnyx_followed_session_inference_turns", SESSION)),
                "Events": beside(gauge("telnyx_followed_session_events", SESSION)),
                "Quiet": beside(
                    f"(time() - {latest('telnyx_followed_session_last_change_timestamp_seconds', SESSION)})"
                ),
            },
            MONEY,
            width=24,
            height=11,
            names={**LINK, "currency": "Currency"},
            sort="Cost",
            units={"Turns": "locale", "Events": "locale", "Quiet": "s"},
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
            "How many times the mean of its kind, of the last seven days, a followed session costs. From ten times "
            "on something is wrong with it or with how it is used: read its events." + EXACT,
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
            "Dearest parts of sessions",
            "The costs of followed sessions by product. The product at the top says what to change: the model, the "
            "voice, the recording, the length of the call.",
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
            "Cost of the dearest sessions as it was booked. A line that keeps climbing is still running; a step is a "
            "bill that came late.",
            {"{{event_id}} {{currency}}": f"topk(8, {gauge(COST, 'event_id, currency')})"},
            MONEY,
            width=12,
            height=9,
        ),
        shares(
            "Followed sessions by product",
            "What the followed sessions cost now, by product. Only a sample of the dearest: for sums use the cost "
            "overview.",
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
            "Sessions first seen, by kind. A kind that doubles without a campaign is misuse or a loop: find who calls.",
            "telnyx_sessions_started_total",
            "session_kind",
            interval="30m",
        ),
        graph(
            "Cost of 95 of 100 sessions",
            "At most so much, by kind, when they settled. A kind whose line leaves its level has changed: compare its "
            "duration.",
            {"{{session_kind}} {{currency}}": quantile(0.95, SESSION_COST, "session_kind, currency")},
            MONEY,
            width=8,
            interval="6h",
            exemplars=True,
        ),
        upper(
            "Duration of 95 of 100 sessions",
            "At most so long, by kind, as their records state it. Hours of a call that should take minutes: set a "
            "time limit on the connection.",
            "telnyx_session_duration_seconds",
            "session_kind",
            interval="6h",
        ),
    ]


BOARD = Board(
    uid="telnyx-sessions",
    title="Telnyx: session explorer",
    description="The dearest sessions and the outliers, what in them is dear, with links to their pages.",
    since="now-24h",
    links_sessions=True,
    sections=(
        ("Now", _now()),
        ("Sessions", [*_dearest(), *_outliers()]),
        ("Over time", _over_time()),
        ("Kinds", _kinds()),
    ),
)
