"""The dashboard "Cost overview": current spend, budgets, and what the money is spent on, in this order."""

from tools.dashboards.board import Board
from tools.dashboards.panels import EXACT, HIGH_IS_BAD, MONEY, NUMBER, Panel, graph, rows, shares, stats
from tools.dashboards.queries import CREDITS, exact, exact_net, gauge, of, per_hour, rate

MONTH_LEFT = "scalar((days_in_month() - day_of_month() + 1) * 86400 - time() % 86400)"
"""Seconds until the end of the month, in UTC."""
WEEK = 7 * 86_400
BUDGET = "budget, currency"


def _budget(name: str) -> str:
    return gauge(name, BUDGET)


_USED = f"{_budget('telnyx_budget_spent')} / ({_budget('telnyx_budget_limit')} > 0)"
_ELAPSED = (
    f"clamp_max((time() - {gauge('telnyx_budget_window_start_timestamp_seconds', BUDGET)})"
    f" / {_budget('telnyx_budget_window_seconds')}, 1)"
)


def _week_before() -> str:
    """Return the net cost of the seven days before the last seven."""
    return f"({exact_net('currency', window='14d')} - {exact_net('currency', window='7d')})"


def _spent(title: str, description: str, query: str, *, since: str | None = None) -> Panel:
    """Return a panel of an amount of money, to the cent."""
    queries = {"{{currency}}": query}
    return stats(title, description + EXACT, queries, MONEY, width=4, since=since, decimals=2, height=5)


def _now() -> list[Panel]:
    balance = gauge("telnyx_balance", "currency")
    return [
        _spent(
            "Last hour",
            "Net cost booked in the last hour. If it is far above its usual level, check the record types below, then "
            "find the running session in the session explorer.",
            exact_net("currency", window="1h"),
        ),
        _spent(
            "Today",
            "Net cost booked since midnight UTC. Compare it with the daily budgets; nothing is stopped by itself: to "
            "stop spending, disable the connection, assistant or profile at Telnyx.",
            exact_net("currency"),
            since="now/d",
        ),
        _spent(
            "This month",
            "Net cost booked since the first of the month, UTC. The invoice has monthly fees and taxes besides; "
            "docs/accuracy.md says what may differ.",
            exact_net("currency"),
            since="now/M",
        ),
        _spent(
            "Forecast for this month",
            "Net cost booked this month, plus the mean of the last seven days for each day that is left. If it exceeds "
            "your limit, act now: only the rest of the month can still change.",
            f"{exact_net('currency')} + {exact_net('currency', window='7d')} / {WEEK} * {MONTH_LEFT}",
            since="now/M",
        ),
        stats(
            "Week over week",
            "The last seven days compared with the seven before. If it is up by more than 20 % and you know no reason, "
            "see which record type grew." + EXACT,
            {"{{currency}}": f"{exact_net('currency', window='7d')} / ({_week_before()} > 0) - 1"},
            "percentunit",
            width=4,
            steps=((None, "green"), (0.2, "orange"), (0.5, "red")),
            decimals=0,
            height=5,
            empty="no week before",
        ),
        stats(
            "Balance lasts for",
            "Days until the prepaid balance is used up at the mean spend of the last seven days. Below a week: add "
            "money, or turn on automatic recharge at Telnyx. Calls fail at 0." + EXACT,
            {"{{currency}}": f"{balance} / ({exact_net('currency', window='7d')} / 7 > 0)"},
            "d",
            width=4,
            steps=((None, "red"), (3.0, "orange"), (7.0, "green")),
            decimals=1,
            height=5,
            empty="nothing spent",
        ),
    ]


def _budgets() -> list[Panel]:
    spent, limit = _budget("telnyx_budget_spent"), _budget("telnyx_budget_limit")
    burn = (
        f"({rate('telnyx_budget_cost_total', BUDGET)} - {rate('telnyx_budget_cost_credits_total', BUDGET)})"
        f" * {_budget('telnyx_budget_window_seconds')} / ({limit} > 0)"
    )
    return [
        shares(
            "Budgets used",
            "Share of each budget that is spent in its current window, by the dates of the events. Red is over budget. "
            "Raise the budget, or find below what spends it and stop that.",
            {"{{budget}} {{currency}}": _USED},
            "percentunit",
            width=6,
            steps=HIGH_IS_BAD,
            most=1,
        ),
        rows(
            "Budgets",
            "Pace is the share spent divided by the share of the window that has passed. Above 1, the budget is "
            "exceeded before its window ends. Start with the highest pace. A sliding window has no end, so its pace "
            "is the share spent.",
            {
                "Spent": spent,
                "Limit": limit,
                "Used": _USED,
                "Window passed": _ELAPSED,
                "Pace": f"({_USED}) / ({_ELAPSED} > 0)",
            },
            MONEY,
            width=10,
            height=8,
            names={"budget": "Budget", "currency": "Currency"},
            sort="Pace",
            units={"Used": "percentunit", "Window passed": "percentunit"},
            judged={"Used": HIGH_IS_BAD, "Pace": ((None, "green"), (1.0, "orange"), (1.5, "red"))},
            decimals=2,
            widths={"Currency": 84, "Used": 80, "Window passed": 106, "Pace": 66, "Limit": 76, "Spent": 76},
        ),
        graph(
            "Budget burn",
            "How fast each budget is being spent: 1 uses it up exactly at the end of its window. A spike is a batch of "
            "bills. Hours above 1 mean that the budget will be exceeded.",
            {"{{budget}} {{currency}}": burn},
            NUMBER,
            width=8,
            interval="30m",
            steps=((None, "transparent"), (1.0, "red")),
        ),
    ]


def _by(label: str, title: str, todo: str, height: int) -> list[Panel]:
    by = f"{label}, currency"
    name = f"{{{{{label}}}}} {{{{currency}}}}"
    return [
        graph(
            f"Spend per hour by {title}",
            f"Net cost booked per hour. {todo}",
            {name: f"{per_hour(by)} != 0"},  # a name without money would only make the legend longer
            MONEY,
            width=16,
            height=height,
            stacked=True,
            bars=True,
            beside=True,
            interval="30m",
        ),
        shares(
            f"Spend by {title}",
            f"Net cost booked in the dashboard's time range, most expensive first. {todo}{EXACT}",
            {name: f"sort_desc(topk(14, {exact_net(by)}))"},
            MONEY,
            width=8,
            height=height,
        ),
    ]


def _settling() -> list[Panel]:
    booked = f"sum by (currency) ({of('telnyx_cost_total')}) - sum by (currency) ({of(CREDITS)})"
    unsettled = gauge("telnyx_unsettled_cost", "currency")
    return [
        shares(
            "Settled and unsettled cost",
            "All cost since the ledger was created: of settled sessions, and of sessions whose bill may still change. "
            "Close a month in your books only when its cost has settled." + EXACT,
            {
                "settled {{currency}}": f"{booked} - {unsettled}",
                "unsettled {{currency}}": unsettled,
                "pending {{currency}}": gauge("telnyx_pending_cost", "currency"),
            },
            MONEY,
            width=8,
            colors={"^settled": "green", "^unsettled": "orange", "^pending": "blue"},
        ),
        graph(
            "Billing not final yet",
            "Net cost of sessions whose bill may still change. It follows the spend by some hours. If it only grows, "
            "polls are late: see the dashboard for exporter health.",
            {"{{currency}}": unsettled},
            MONEY,
            width=8,
        ),
        graph(
            "Credits per hour",
            "Amendments that lowered a bill, by record type. Many credits of one type mean that its first bills are "
            "too high: wait until a day has settled before you judge it.",
            {"{{record_type}} {{currency}}": f"3600 * {rate(CREDITS, 'record_type, currency')} > 0"},
            MONEY,
            width=8,
            bars=True,
            stacked=True,
            interval="30m",
        ),
    ]


def _weeks() -> list[Panel]:
    before = f"3600 * (sum by (currency) (rate({of('telnyx_cost_total')}[$__rate_interval] offset 7d))"
    before += f" - sum by (currency) (rate({of(CREDITS)}[$__rate_interval] offset 7d)))"
    return [
        graph(
            "Spend per hour, this week and last",
            "Net cost booked per hour, now and at the same time a week ago. If a gap between the two stays, find the "
            "record type that changed.",
            {"now {{currency}}": per_hour("currency"), "a week before {{currency}}": before},
            MONEY,
            width=16,
            interval="2h",
            colors={"^now": "blue", "^a week": "text"},
        ),
        rows(
            "Accounts",
            "Net cost booked in the time range, credits, and balance of each account. If a balance falls "
            "faster than the spend, the account pays for something that no session shows." + EXACT,
            {
                "Spent": exact_net("account, currency"),
                "Credits": exact(CREDITS, "account, currency"),
                "Balance": gauge("telnyx_balance", "account, currency"),
            },
            MONEY,
            width=8,
            height=8,
            names={"account": "Account", "currency": "Currency"},
            sort="Spent",
            decimals=2,
            widths={"Account": 110, "Currency": 84, "Spent": 80, "Credits": 80},
        ),
    ]


BOARD = Board(
    uid="telnyx-cost",
    title="Telnyx: cost overview",
    description="Spend now, today and this month, by product and record type; budgets and balance.",
    since="now-24h",
    sections=(
        ("Now", _now()),
        ("Budgets", _budgets()),
        (
            "Spend by type",
            [
                *_by(
                    "record_type",
                    "record type",
                    "If one type grows alone, open its sessions.",
                    13,
                ),
                *_by("product", "product", "The invoice lists products: compare the two at the end of the month.", 12),
                *_by(
                    "account", "account", "If one account grows alone, check its keys, connections and assistants.", 6
                ),
            ],
        ),
        ("Trend", _weeks()),
        ("Settling", _settling()),
    ),
)
