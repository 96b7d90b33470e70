"""The dashboard "Exporter health": whether the figures of the other dashboards are complete, and what to repair.

First a summary, then each step of a session: found, polled, answered, booked, checked, shown.
"""

from tools.dashboards.board import Board
from tools.dashboards.books import books, exposition
from tools.dashboards.panels import EXACT, MONEY, NUMBER, Panel, graph, rows, shares, stats
from tools.dashboards.queries import exact, exact_net, gauge, hourly, latest, of, or_none, rate
from tools.dashboards.shapes import AGES, coming, failures, holds, levels, tails, upper, waiting

FAILED_CODES = 'code=~"401|403|429|5..|timeout|connect|tls|read|decode"'
RELOADED = "telnyx_exporter_config_last_reload_successful"
SERIES = f"{gauge('telnyx_series', 'job')} / ({gauge('telnyx_series_limit', 'job')} > 0)"
TYPE_STATE = "telnyx_detail_record_type_state"
FOUND = "telnyx_discovery_last_success_timestamp_seconds"
READ = 'source=~"detail_records|files"'
"""Sources that the exporter reads. The others receive, and may be silent for long."""


def _share(title: str, description: str, bad: str, all_of_them: str, worth: tuple[float, str]) -> Panel:
    """Return a graph of failures as a share of all, by account; `worth` is the threshold and its colour."""
    queries = {"{{account}}": f"({bad} or 0 * {all_of_them}) / ({all_of_them} > 0)"}
    steps = ((None, "transparent"), worth)
    return graph(title, description, queries, "percentunit", width=8, interval="1h", steps=steps)


def _least(name: str) -> str:
    """Return the minimum over replicas, for what must hold on each."""
    return f"min without (instance, pod) ({of(name)})"


def _now() -> list[Panel]:
    return [
        holds(
            "API answers",
            "Whether the last request of each account succeeded. If not, check the key and Telnyx's status page. "
            "Nothing is lost meanwhile: the exporter reads the bills later.",
            {"{{account}}": f"min by (account) ({_least('telnyx_api_up')})"},
            names=True,
        ),
        waiting(
            "Backlog",
            "Sessions that are due and wait for a poll. Some are normal. If the number grows, raise "
            "`requests_per_second`, or find out why requests fail.",
            "telnyx_due_sessions",
            ((None, "green"), (200.0, "orange"), (2000.0, "red")),
        ),
        stats(
            "Time since discovery",
            "Time since a source was last read completely; the oldest source counts. Beyond an hour, new sessions are "
            "found late: see discovery failures below.",
            {"oldest": f"max(time() - {latest(FOUND, 'account, source', READ)})"},
            "s",
            width=4,
            steps=AGES,
            empty="no source",
            decimals=0,
        ),
        waiting(
            "Failing checks",
            "Sessions whose tree fails a check now. The costs of their events are booked anyway. Open one; if Telnyx's "
            "own sums differ, ask Telnyx.",
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
            "Configuration valid",
            "Whether every replica accepted the configuration at its last reload. If not, the previous one stays in "
            "use: run `check-config`, correct the file, reload.",
            {"all replicas": f"min({_least(RELOADED)})"},
        ),
    ]


def _polling() -> list[Panel]:
    return [
        levels(
            "Polls per minute",
            "Finished polls by account. If there are none for long while sessions are live, the exporter hangs or the "
            "account is paused: read the log.",
            {"{{account}}": f"60 * {rate('telnyx_polls_total', 'account')}"},
        ),
        _share(
            "Failed polls",
            "Share of polls that failed, by account. The exporter retries them. If it stays above 10 %, check the "
            "reasons and the API requests by code.",
            rate("telnyx_poll_failures_total", "account"),
            rate("telnyx_polls_total", "account"),
            (0.1, "red"),
        ),
        tails(
            "Poll lag",
            "Time from a poll's due time to its start. Seconds are normal. Minutes mean that `requests_per_second` is "
            "too low for this many sessions.",
            "telnyx_poll_lag_seconds",
            "s",
        ),
        graph(
            "Sessions by state",
            "All sessions in the ledger. `missing`: unknown to Telnyx after two days, often a wrong id in a list. "
            "`denied`: the key may not read them.",
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
            "Sessions that are due and wait for a poll. It should return to about 0 between bursts. If it keeps "
            "rising, polls never catch up.",
            {"due": gauge("telnyx_due_sessions", "")},
        ),
        failures(
            "Failed polls by reason",
            "Failed polls per hour. `key_refused`: replace the key. `throttled`: lower the request rate. "
            "`server_error`, `timeout` and `read` come from Telnyx or the network and pass.",
            {"{{reason}}": or_none(hourly("telnyx_poll_failures_total", "reason"), "reason")},
        ),
    ]


def _api() -> list[Panel]:
    return [
        graph(
            "API requests per minute by code",
            "Requests by status code, or by the error before a status. 429: lower `requests_per_second`. 401 and 403: "
            "check the key. 5xx: Telnyx.",
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
            "Share of requests that failed, by account. If it stays above 2 %, compare the codes. If only one account "
            "fails, check its key and quota.",
            rate("telnyx_api_requests_total", "account", FAILED_CODES),
            rate("telnyx_api_requests_total", "account"),
            (0.02, "orange"),
        ),
        upper(
            "API latency",
            "95th percentile of the response time, by endpoint. Seconds mean that Telnyx is slow; if that stays, raise "
            "`max_in_flight`.",
            "telnyx_api_request_duration_seconds",
            "endpoint",
            interval="1h",
        ),
    ]


def _quota() -> list[Panel]:
    return [
        shares(
            "API quota used",
            "Share of the quota that the rate-limit headers report as used. Near 100 %, the exporter slows down by "
            "itself. Other programs with the same key use the same quota.",
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
            "Throttled by pacing",
            "Share of time that requests waited for the rate limit. If requests always wait, the configured rate is "
            "too low for the sessions, or Telnyx asks for less.",
            {"{{account}}": rate("telnyx_api_throttled_seconds_total", "account")},
            "percentunit",
            width=8,
            height=7,
        ),
        stats(
            "Time since the last success",
            "Time since the last successful API request, by account; an account without one since the start is "
            "missing. Beyond the longest poll interval, check the key, the network and Telnyx.",
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
    by = "account, record_type"
    refused = latest(TYPE_STATE, by, 'state=~"unproven|refused"')
    missing = latest("telnyx_detail_records_missing", by)
    return [
        coming(
            "Sessions found per hour",
            "Sessions by the source that reported them first. If a source reports none while there are calls, it is "
            "broken: see its failures.",
            "telnyx_discovered_sessions_total",
            "source",
        ),
        graph(
            "Discovery failures per hour",
            "Reads of a source that failed, by account. The next read makes up for a single failure; many in a row "
            "delay new sessions. Read the log for the reason.",
            {"{{source}} of {{account}}": hourly("telnyx_discovery_failures_total", "source, account")},
            NUMBER,
            width=8,
            bars=True,
            interval="1h",
        ),
        graph(
            "Webhooks per minute",
            "Accepted and rejected webhooks. A rejected one has a wrong signature or is too old: check the public key "
            "and this machine's clock.",
            {
                "accepted": f"60 * {rate('telnyx_webhooks_total', '')} or vector(0)",
                "rejected": f"60 * {rate('telnyx_webhook_failures_total', '')} or vector(0)",
            },
            NUMBER,
            width=8,
            colors={"^accepted": "green", "^rejected": "red"},
        ),
        rows(
            "Detail records compared with booked cost",
            "Cost of the detail records found in the time range, and cost booked for the same record type. If "
            "much more was found than booked, sessions are not followed, or not billed yet." + EXACT,
            {"Found": seen, "Booked": f"{booked} and on (record_type, currency) {seen}"},
            MONEY,
            width=12,
            names={"record_type": "Record type", "currency": "Currency"},
            sort="Found",
            decimals=4,
        ),
        rows(
            "Types of detail records",
            "Time since each type was last read to its end. A type fails if the API refuses it, if no time field finds "
            "its records, or if its list has fewer records than the API states. Other types are read all the same.",
            {
                "Age": f"time() - {latest('telnyx_detail_record_last_success_timestamp_seconds', by)}",
                "Failing": f"({refused} > 0) or ({missing} > 0) or 0 * {latest(TYPE_STATE, by)}",
            },
            NUMBER,
            width=12,
            names={"account": "Account", "record_type": "Type"},
            sort="Failing",
            units={"Age": "s"},
        ),
        rows(
            "Sources",
            "Time since each source was last read completely. Sessions that were missed meanwhile are found later, "
            "within `lookback_seconds`.",
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
    description="Whether the exporter finds, polls, books and shows everything, and what to repair if not.",
    since="now-24h",
    money=True,
    sections=(
        ("Summary", _now()),
        ("Polling", _polling()),
        ("The Telnyx API", [*_api(), *_quota()]),
        ("Discovery", _discovery()),
        ("Ledger and bills", books()),
        ("Exposition", exposition()),
    ),
)
