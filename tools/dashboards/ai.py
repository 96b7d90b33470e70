"""The dashboard "AI sessions": unit costs per session, minute and turn, and a comparison of models.

Durations, turns and tokens have no currency, so those of an account count in the currency that bills the account.
"""

from tools.dashboards.board import Board
from tools.dashboards.panels import EXACT, MONEY, NUMBER, PLAIN, Panel, graph, heat_map, rows, shares, stats
from tools.dashboards.queries import (
    billed_in,
    exact,
    exact_net,
    exact_quantile,
    hourly,
    increase,
    per_hour,
    quantile,
    rate,
)
from tools.dashboards.shapes import coming

AI = 'session_kind="ai"'
INTELLIGENCE = "ai-.*|inference.*|summarization|embedding|speech-to-text|text-to-speech"
TRANSPORT = "call-.*|sip-trunking|webrtc|message|fax-api|conference.*|room-.*|sim_card_usage|branded-calling"
SESSION_COST = "telnyx_session_cost"
TURN_COST, TURN_CREDITS = "telnyx_inference_cost_total", "telnyx_inference_cost_credits_total"


def _of_sessions(histogram: str, part: str) -> str:
    """Return an exact sum over a histogram without a currency, by the currency of its accounts."""
    return billed_in(exact(f"{histogram}_{part}", "account", AI), f"{SESSION_COST}_count", AI)


_COST = exact(f"{SESSION_COST}_sum", "currency", AI)
_TURNS = _of_sessions("telnyx_session_inference_turns", "sum")


def _price(title: str, description: str, query: str) -> Panel:
    """Return a panel of a unit cost."""
    return stats(title, description + EXACT, {"{{currency}}": query}, MONEY, width=4, height=5)


def _units() -> list[Panel]:
    seconds = _of_sessions("telnyx_session_duration_seconds", "sum")
    return [
        _price(
            "Per session",
            "Mean cost of AI sessions that settled in the time range, all events included. Multiply by your number of "
            "sessions to plan. If it rises, compare turns per session and models.",
            f"{_COST} / ({exact(f'{SESSION_COST}_count', 'currency', AI)} > 0)",
        ),
        _price(
            "Per minute",
            "Cost of settled AI sessions divided by their minutes. Compare this price with other ways of answering the "
            "phone. Long silences are billed as well.",
            f"60 * {_COST} / ({seconds} > 0)",
        ),
        _price(
            "Per turn",
            "Cost of settled AI sessions divided by their LLM turns. An expensive turn has a long prompt: shorten "
            "instructions and history, or choose a smaller model.",
            f"{_COST} / ({_TURNS} > 0)",
        ),
        stats(
            "Turns per session",
            "LLM turns of a settled AI session on average. When it climbs, assistants repeat themselves or talk to "
            "machines: open the sessions with most turns." + EXACT,
            {
                "turns": f"{exact('telnyx_session_inference_turns_sum', 'job', AI)}"
                f" / ({exact('telnyx_session_inference_turns_count', 'job', AI)} > 0)"
            },
            NUMBER,
            width=4,
            decimals=1,
            height=5,
        ),
        _price(
            "p95 cost per session",
            "95th percentile of the cost of AI sessions that settled in the time range. Set `metrics.thresholds` a "
            "little above it to get an alert while such a session still runs.",
            exact_quantile(0.95, SESSION_COST, "currency", AI),
        ),
        stats(
            "Sessions settled",
            "AI sessions that settled in the time range: the sample behind the figures here. Below some dozens, widen "
            "the time range before you draw conclusions." + EXACT,
            {"sessions": exact("telnyx_sessions_settled_total", "job", AI)},
            NUMBER,
            width=4,
            decimals=0,
            height=5,
        ),
    ]


def _distributions() -> list[Panel]:
    return [
        heat_map(
            "Cost of AI sessions",
            "How many sessions settled in each bucket of cost, each hour. Diamonds are single sessions; follow one to "
            "its page. A second band above the first is a kind of call worth listening to.",
            increase(f"{SESSION_COST}_bucket", "le", AI),
            MONEY,
            width=12,
            interval="2h",
        ),
        heat_map(
            "LLM turns of AI sessions",
            "How many sessions settled in each bucket of turns, each hour. A band at the top is a loop: give the "
            "assistant a limit of turns, or a way to end the call.",
            increase("telnyx_session_inference_turns_bucket", "le", AI),
            NUMBER,
            width=12,
            interval="2h",
        ),
        graph(
            "Cost per AI session",
            "Median and 95th percentile of the cost of sessions that settled. If both rise, prices or prompts changed. "
            "If only p95 rises, a few sessions run away.",
            {
                "p95 {{currency}}": quantile(0.95, SESSION_COST, "currency", AI),
                "p50 {{currency}}": quantile(0.5, SESSION_COST, "currency", AI),
            },
            MONEY,
            width=12,
            interval="6h",
            exemplars=True,
            colors={"^p95": "orange", "^p50": "blue"},
        ),
        graph(
            "Turns per AI session",
            "LLM turns of the sessions that settled, on average. A step marks a change of prompt, tool or model: "
            "compare with your releases.",
            {
                "turns": f"{rate('telnyx_session_inference_turns_sum', 'job', AI)}"
                f" / ({rate('telnyx_session_inference_turns_count', 'job', AI)} > 0)"
            },
            NUMBER,
            width=12,
            interval="6h",
        ),
    ]


def _models() -> list[Panel]:
    by = "model, currency"
    cost = f"({exact(TURN_COST, by)} - {exact(TURN_CREDITS, by)})"
    turns = billed_in(exact("telnyx_inference_turns_total", "account, model"), TURN_COST, by=by)
    tokens = billed_in(exact("telnyx_inference_tokens_total", "account, model"), TURN_COST, by=by)
    return [
        rows(
            "Models compared",
            "Each model's turns in the time range, and what they cost. Per thousand tokens shows the price, per turn "
            "what your prompts make of it: move traffic to the model that is cheaper per turn." + EXACT,
            {
                "Cost": cost,
                "Turns": turns,
                "Per turn": f"{cost} / ({turns} > 0)",
                "Tokens per turn": f"{tokens} / ({turns} > 0)",
                "Per 1000 tokens": f"1000 * {cost} / ({tokens} > 0)",
            },
            MONEY,
            width=14,
            names={"model": "Model", "currency": "Currency"},
            sort="Cost",
            units={"Turns": "locale", "Tokens per turn": "locale"},
            decimals=5,
            widths={"Model": 250, "Currency": 84, "Cost": 90, "Turns": 70, "Per turn": 96, "Tokens per turn": 130},
        ),
        graph(
            "Tokens per hour",
            "Tokens of LLM turns by direction, where records carry counts. Input that grows faster than output is "
            "history that is sent again with every turn: cut it.",
            {"{{token_direction}}": hourly("telnyx_inference_tokens_total", "token_direction")},
            NUMBER,
            width=10,
            height=9,
            interval="1h",
            colors={"^input": "blue", "^output": "purple"},
        ),
        coming(
            "Turns per hour by model",
            "LLM turns by model. A model that you did not choose is a substitute or a forgotten assistant: find it by "
            "its sessions.",
            "telnyx_inference_turns_total",
            "model",
            width=14,
        ),
        graph(
            "LLM cost per hour by model",
            "Net cost of LLM turns booked per hour. This is the part of an AI session that a smaller model or a "
            "shorter prompt makes cheaper.",
            {"{{model}} {{currency}}": f"3600 * ({rate(TURN_COST, by)} - {rate(TURN_CREDITS, by)})"},
            MONEY,
            width=10,
            stacked=True,
            interval="1h",
        ),
    ]


def _parts() -> list[Panel]:
    kinds = {
        "AI {{currency}}": f'record_type=~"{INTELLIGENCE}"',
        "transport {{currency}}": f'record_type=~"{TRANSPORT}"',
        "add-ons {{currency}}": f'record_type!~"{INTELLIGENCE}|{TRANSPORT}"',
    }
    colors = {"^AI": "purple", "^transport": "blue", "^add-ons": "orange"}
    return [
        shares(
            "Share of AI, transport and add-ons",
            "Net cost booked in the time range, of all sessions: models and voices; lines and messages; recording, "
            "detection, verification and the rest. Save where the bar is long." + EXACT,
            {name: f"{exact_net('currency', which)} / ({exact_net('currency')} > 0)" for name, which in kinds.items()},
            "percentunit",
            width=8,
            steps=PLAIN,
            most=1,
            colors=colors,
        ),
        graph(
            "AI, transport and add-ons per hour",
            "Net cost booked per hour by part. Transport grows with minutes, AI with turns: which of them moved tells "
            "whether calls got longer or assistants more talkative.",
            {name: per_hour("currency", which) for name, which in kinds.items()},
            MONEY,
            width=16,
            stacked=True,
            interval="1h",
            colors=colors,
        ),
    ]


BOARD = Board(
    uid="telnyx-ai-sessions",
    title="Telnyx: AI sessions",
    description="What conversations cost per session, minute and turn, and which models and parts are expensive.",
    since="now-7d",
    sections=(
        ("Unit costs", _units()),
        ("Distribution", _distributions()),
        ("Models", _models()),
        ("Parts", _parts()),
    ),
)
