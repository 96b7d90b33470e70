"""Exporter health: whether the figures of the other dashboards can be believed, and what to mend if not.

Owns the exporter's own families. First the question whether anything is wrong, then each hop of a session's journey:
found, polled, answered, booked, checked, shown.
"""

from tools.dashboards.board import Board
from tools.dashboards.books import books, exposition
from tools.dashboards.panels import EXACT, MONEY, NUMBER, Panel, graph, rows, shares, stats
from tools.dashboards.queries import exact, exact_net, gauge, hourly, latest, of, or_none, rate
from tools.dashboards.shapes import AGES, coming, failures, holds, levels, tails, upper, waiting

FAILED_CODES = 'code=~"401|403|429|5..|timeout|connect|tls|read|decode"'
RELOADED = "telnyx_exporter_config_last_reload_successful"
SERIES = f"{gauge('telnyx_series', 'job')} / ({gauge('telnyx_series_limit', 'job')} > 0)"
FOUND = "telnyx_discovery_last_success_timestamp_seconds"
READ = 'source=~"detail_records|files"'
"""Sources that are read; others are sent something, and may well be silent."""


def _share(title: str, description: str, bad: str, all_of_them: str, worth: tuple[float, str]) -> Panel:
    """Failures by all, by account; 0 where nothing failed yet. From the value `worth` a look, its colour."""
    queries = {"{{account}}": f"({bad} or 0 * {all_of_them}) / ({all_of_them} > 0)"}
    steps = ((None, "transparent"), worth)
    return graph(title, description, queries, "percentunit", width=8, interval="1h", steps=steps)


def _least(name: str) -> str:
    """What must hold on every replica."""
    return f"min without (instance, pod) ({of(name)})"


def _now() -> list[Panel]:
    return [
        holds(
            "API answers",
            "Whether each account's last request was answered and its key accepted. No: check the key and Telnyx's "
            "status page; nothing is lost meanwhile, bills are read later.",
            {"{{account}}": f"min by (account) ({_least('telnyx_api_up')})"},
            names=True,
        ),
        waiting(
            "Backlog",
            "Sessions that are due and wait for a poll. Some are normal; if it grows, raise `requests_per_second` or "
            "find out why requests fail.",
            "telnyx_due_sessions",
            ((None, "green"), (200.0, "orange"), (2000.0, "red")),
        ),
        stats(
            "Since discovery",
            "Time since a source was last read to its end; the oldest counts. Beyond an hour new sessions are missed "
            "for now: see discovery failures below.",
            {"oldest": f"max(time() - {latest(FOUND, 'account, source', READ)})"},
            "s",
            width=4,
            steps=AGES,
            empty="none is read",
            decimals=0,
        ),
        waiting(
            "Bills that don't add up",
            "Sessions whose tree fails a check now. Their events' costs are booked all the same; open one, and if "
            "Telnyx's own sums disagree, ask Telnyx.",
            "telnyx_unreconciled_sessions",
            ((None, "green"), (1.0, "orange"), (50.0, "red")),
        ),
        stats(
            "Series used",
            "Sample lines of business metrics against `metrics.series_max`. At 100 % new label values become `other`: "
            "sums stay right, detail is lost. Drop a label or raise the limit before.",
            {"used": SERIES},
            "percentunit",
            width=4,
            steps=((None, "green"), (0.7, "orange"), (0.9, "red")),
            decimals=0,
        ),
        holds(
            "Configuration read",
            "Whether the file was accepted when it was last read, by every replica. No: the old one is in force; run "
            "`check-config`, mend what it says, reload.",
            {"all replicas": f"min({_least(RELOADED)})"},
        ),
    ]


def _polling() -> list[Panel]:
    return [
        levels(
            "Polls per minute",
            "Finished polls by account. None for long while sessions are live: the exporter hangs or the account is "
            "paused; read its log.",
            {"{{account}}": f"60 * {rate('telnyx_polls_total', 'account')}"},
        ),
        _share(
            "Failed polls",
            "The share of polls that failed, by account. They are tried again by themselves; above a tenth for long, "
            "look at the reasons and at API requests by code.",
            rate("telnyx_poll_failures_total", "account"),
            rate("telnyx_polls_total", "account"),
            (0.1, "red"),
        ),
        tails(
            "Poll lag",
            "How late polls start after they were due. Seconds are normal; minutes mean too few requests per second "
            "for so many sessions.",
            "telnyx_poll_lag_seconds",
            "s",
        ),
        graph(
            "Sessions by state",
            "All sessions in the ledger. `missing` are unknown to Telnyx after two days: wrong ids in a file or list. "
            "`denied` belong to another account or key.",
            {"{{state}}": gauge("telnyx_sessions", "state")},
            NUMBER,
            width=8,
            colors={
                "^settled": "green",
                "^active": "blue",
                "^discovered": "purple",
                "^missing": "orange",
                "^denied": "red",
            },
        ),
        levels(
            "Backlog over time",
            "Sessions that are due and wait. It should come back to near 0 between bursts; a slope is a pace that "
            "never catches up.",
            {"due": gauge("telnyx_due_sessions", "")},
        ),
        failures(
            "Failed polls by reason",
            "Failures per hour. `unauthorized` needs a key; `rate_limited` a slower pace; `server_error`, `timeout` "
            "and `read` are Telnyx's or the network's and pass.",
            {"{{reason}}": or_none(hourly("telnyx_poll_failures_total", "reason"), "reason")},
        ),
    ]


def _api() -> list[Panel]:
    return [
        graph(
            "API requests per minute by code",
            "Requests by status, or by what went wrong before one. 429: lower `requests_per_second` or share the "
            "quota; 401 and 403: the key; 5xx: Telnyx.",
            {"{{code}}": f"60 * {rate('telnyx_api_requests_total', 'code')} > 0"},
            NUMBER,
            width=8,
            stacked=True,
            bars=True,
            interval="10m",
            colors={"^200": "green", "^404": "blue", "^4(?!04)": "orange", "^5": "red", "^[a-z]": "purple"},
        ),
        _share(
            "API errors",
            "The share of requests that failed, by account. Above a fiftieth for long: compare the codes; one account "
            "alone points at its key or quota.",
            rate("telnyx_api_requests_total", "account", FAILED_CODES),
            rate("telnyx_api_requests_total", "account"),
            (0.02, "orange"),
        ),
        upper(
            "API latency",
            "95 of 100 requests are answered within this time, by endpoint. Seconds are Telnyx's load, and raise the "
            "lag; raise `max_in_flight` if they stay.",
            "telnyx_api_request_duration_seconds",
            "endpoint",
            interval="1h",
        ),
    ]


def _quota() -> list[Panel]:
    return [
        shares(
            "API quota used",
            "What the rate-limit headers of the last answer leave. Near 100 % the exporter slows down by itself; "
            "another program that uses the same key takes its share.",
            {
                "{{account}}": f"1 - {gauge('telnyx_api_quota_remaining', 'account')}"
                f" / ({gauge('telnyx_api_quota_limit', 'account')} > 0)"
            },
            "percentunit",
            width=8,
            height=7,
            most=1,
            steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
        ),
        graph(
            "Held back by pacing",
            "The share of time that requests waited for the pace. Always waiting means that the configured pace is "
            "too slow for the sessions, or that Telnyx asks for less.",
            {"{{account}}": rate("telnyx_api_throttled_seconds_total", "account")},
            "percentunit",
            width=8,
            height=7,
        ),
        stats(
            "Since the last good answer",
            "Time since the API last answered with success, by account; none since the start if one is missing. "
            "Beyond the longest interval between polls something is wrong: key, network or Telnyx.",
            {"{{account}}": f"time() - ({latest('telnyx_api_last_success_timestamp_seconds', 'account')} > 0)"},
            "s",
            width=8,
            height=7,
            names=True,
            empty="never",
            decimals=0,
            steps=AGES,
        ),
    ]


def _discovery() -> list[Panel]:
    seen = exact("telnyx_detail_record_cost_total", "record_type, currency")
    booked = exact_net("record_type, currency")
    return [
        coming(
            "Sessions found per hour",
            "Sessions by the source that named them first. A source that falls silent while calls go on is broken: "
            "see its failures.",
            "telnyx_discovered_sessions_total",
            "source",
        ),
        graph(
            "Discovery failures per hour",
            "Times that a source could not be read, by account. Single ones are made up for by the next look; a row of "
            "them delays new sessions. Read the log for the reason.",
            {"{{source}} of {{account}}": hourly("telnyx_discovery_failures_total", "source, account")},
            NUMBER,
            width=8,
            bars=True,
            interval="1h",
        ),
        graph(
            "Webhooks per minute",
            "Accepted and refused webhooks. Refused ones have a wrong signature or are too old: check the public key "
            "and this machine's clock.",
            {
                "accepted": f"60 * {rate('telnyx_webhooks_total', '')} or vector(0)",
                "refused": f"60 * {rate('telnyx_webhook_failures_total', '')} or vector(0)",
            },
            NUMBER,
            width=8,
            colors={"^accepted": "green", "^refused": "red"},
        ),
        rows(
            "Detail records against booked costs",
            "What discovery saw in the time range, and what was booked of the same record type. Much more seen than "
            "booked: sessions are not followed or not billed yet." + EXACT,
            {"Seen": seen, "Booked": f"{booked} and on (record_type, currency) {seen}"},
            MONEY,
            width=12,
            names={"record_type": "Record type", "currency": "Currency"},
            sort="Seen",
            decimals=4,
        ),
        rows(
            "Sources",
            "Time since each source was last read to its end. An old one misses new sessions; what is late is found "
            "later, within the look-back.",
            {"Age": f"time() - {latest(FOUND, 'account, source')}"},
            "s",
            width=12,
            names={"account": "Account", "source": "Source"},
            sort="Age",
            judged={"Age": AGES},
            decimals=0,
        ),
    ]


BOARD = Board(
    uid="telnyx-exporter",
    title="Telnyx: exporter health",
    description="Whether the exporter finds, polls, books and shows everything, and what to mend if not.",
    since="now-24h",
    money=True,
    sections=(
        ("Is anything wrong?", _now()),
        ("Polling", _polling()),
        ("The Telnyx API", [*_api(), *_quota()]),
        ("Discovery", _discovery()),
        ("Ledger and bills", books()),
        ("Exposition", exposition()),
    ),
)
