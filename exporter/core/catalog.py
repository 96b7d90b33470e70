"""Every metric family the exporter exposes, one row each.

Owns names, kinds, labels, HELP texts and default buckets; the exposition, docs/metrics.md and the README's table are
built from these rows, and nothing is exposed that has no row. Holds no values. `home` says how a family lives:
*ledger* families are kept in the ledger and exact across restarts, *process* families start at 0 with the process.
"""

from typing import Literal

from msgspec import Struct

from exporter.core.costs import COST, CREDITS, INFERENCE_COST, INFERENCE_CREDITS

Kind = Literal["counter", "gauge", "histogram"]
Home = Literal["ledger", "process"]
Across = Literal["sum", "max", "min"]


class Family(Struct, frozen=True):
    """One metric family."""

    name: str
    kind: Kind
    home: Home
    labels: tuple[str, ...]
    help: str
    extra: bool = False
    """Carries the labels configured under metrics.labels as well."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a process histogram, without +Inf; those of the ledger's are configured."""
    across: Across = "sum"
    """How the series of several replicas become one: parts are summed, of a shared fact the largest is taken, of what
    must hold everywhere the least. Ledger families are parts, since one replica shows them at a time."""
    rule: str = ""
    """What one session adds to the family: the accounting rule behind a sample; empty where it adds nothing."""


def _ledger(
    name: str, kind: Kind, labels: str, text: str, *, extra: bool = False, across: Across = "sum", rule: str = ""
) -> Family:
    return Family(name, kind, "ledger", ("account", *labels.split()), text, extra, across=across, rule=rule)


def _process(
    name: str, kind: Kind, labels: str, text: str, buckets: tuple[float, ...] = (), *, across: Across = "sum"
) -> Family:
    return Family(name, kind, "process", tuple(labels.split()), text, buckets=buckets, across=across)


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_ROOT = "root_record_type session_kind"

FAMILIES: tuple[Family, ...] = (
    _ledger(
        "telnyx_cost_total",
        "counter",
        "record_type product currency",
        "Event costs booked, in units of the currency; polled in the background. Net cost is this minus the credits.",
        extra=True,
        rule="event_cost of each priced event, and by how much a later one is higher",
    ),
    _ledger(
        "telnyx_cost_credits_total",
        "counter",
        "record_type product currency",
        "Event costs taken back by downward amendments, in units of the currency.",
        extra=True,
        rule="by how much a later event_cost of an event is lower",
    ),
    _ledger(
        "telnyx_events_total",
        "counter",
        "record_type product",
        "Distinct events seen.",
        extra=True,
        rule="1 for each distinct event (product, event_name and id)",
    ),
    _ledger(
        "telnyx_events_awaiting_price",
        "gauge",
        "record_type product",
        "Events now without a readable cost.",
        rule="1 for each event without a readable event_cost",
    ),
    _ledger(
        "telnyx_events_settled_unpriced_total",
        "counter",
        "record_type product",
        "Events that still had no cost when their session first settled.",
        rule="1 for each event without a readable event_cost at the first settling",
    ),
    _ledger(
        "telnyx_events_priced_late_total",
        "counter",
        "record_type product",
        "Events that got a cost after they were counted as settled without one.",
        rule="1 for each of those that has an event_cost later",
    ),
    _ledger(
        "telnyx_inference_turns_total",
        "counter",
        "model",
        "LLM turns: events of type inference.",
        extra=True,
        rule="1 for each distinct event of type inference, by the model in its record",
    ),
    _ledger(
        "telnyx_inference_cost_total",
        "counter",
        "model currency",
        "Costs booked for LLM turns.",
        extra=True,
        rule="event_cost of each priced event of type inference, and by how much a later one is higher",
    ),
    _ledger(
        "telnyx_inference_cost_credits_total",
        "counter",
        "model currency",
        "Costs of LLM turns taken back by downward amendments.",
        extra=True,
        rule="by how much a later event_cost of such an event is lower",
    ),
    _ledger(
        "telnyx_inference_tokens_total",
        "counter",
        "model token_direction",
        "Tokens of LLM turns, where their records carry counts.",
        rule="the token counts in the record of each event of type inference",
    ),
    _ledger(
        "telnyx_billed_seconds_total",
        "counter",
        "record_type",
        "Billed duration, where detail records carry one.",
        rule="the billed duration in the record of each event",
    ),
    _ledger(
        "telnyx_sessions_started_total",
        "counter",
        _ROOT,
        "Sessions whose tree was seen for the first time.",
        rule="1 when the session's tree is first seen",
    ),
    _ledger(
        "telnyx_sessions_settled_total",
        "counter",
        _ROOT,
        "Sessions whose bill stopped moving for the first time.",
        rule="1 when the session first settles",
    ),
    _ledger(
        "telnyx_session_cost",
        "histogram",
        f"{_ROOT} currency",
        "Cost of a session when it first settled, in units of the currency.",
        rule="event_cost of all distinct events together, once, at the first settling",
    ),
    _ledger(
        "telnyx_session_duration_seconds",
        "histogram",
        _ROOT,
        "Duration of a session as its detail records state it, when it first settled.",
        rule="the duration in the root's record, else the longest in any; once, at the first settling",
    ),
    _ledger(
        "telnyx_session_events",
        "histogram",
        _ROOT,
        "Events of a session when it first settled.",
        rule="the number of distinct events, once, at the first settling",
    ),
    _ledger(
        "telnyx_session_inference_turns",
        "histogram",
        _ROOT,
        "LLM turns of a session when it first settled.",
        rule="the number of distinct events of type inference, once, at the first settling",
    ),
    _ledger(
        "telnyx_session_settling_seconds",
        "histogram",
        "session_kind",
        "Time from the first sight of a session to its settling: how late bills are.",
        rule="from the first sight of the session to its first settling",
    ),
    _ledger(
        "telnyx_sessions_over_threshold_total",
        "counter",
        f"threshold {_ROOT}",
        "Sessions that went over a configured threshold while they were live, once per session and threshold.",
        rule="1 for each of metrics.thresholds that the session is over while it is live",
    ),
    _ledger("telnyx_sessions", "gauge", "state", "Sessions now in each state."),
    _ledger(
        "telnyx_unsettled_cost",
        "gauge",
        "currency",
        "Net cost booked for sessions whose bill may still move.",
        rule="event_cost of the session's events until it settles, then 0",
    ),
    _ledger(
        "telnyx_pending_cost",
        "gauge",
        "currency",
        "Net cost booked but not yet shown, because its series is new and must be scraped at 0 first.",
    ),
    _ledger(
        "telnyx_followed_session_cost",
        "gauge",
        "root_record_type event_id product currency",
        "Net cost of a session by product; bounded by metrics.session_series_max.",
    ),
    _ledger("telnyx_followed_session_events", "gauge", "root_record_type event_id", "Events of a session; bounded."),
    _ledger(
        "telnyx_followed_session_inference_turns",
        "gauge",
        "root_record_type event_id",
        "LLM turns of a session; bounded.",
    ),
    _ledger(
        "telnyx_followed_session_last_change_timestamp_seconds",
        "gauge",
        "root_record_type event_id",
        "When something of a session last changed; bounded.",
        across="max",
    ),
    Family(
        "telnyx_budget_cost_total",
        "counter",
        "ledger",
        ("budget", "currency"),
        "Costs booked inside a budget's scope, whenever they were spent; for burn alerts.",
        rule="event_cost of each priced event that the budget matches, and later rises of it",
    ),
    Family(
        "telnyx_budget_cost_credits_total",
        "counter",
        "ledger",
        ("budget", "currency"),
        "Costs inside a budget's scope that were taken back by downward amendments.",
        rule="later falls of event_cost of an event that the budget matches",
    ),
    Family(
        "telnyx_budget_spent",
        "gauge",
        "ledger",
        ("budget", "currency"),
        "Net cost by the events' own time in the budget's current window.",
        rule="event_cost of each matching event whose own time is in the budget's current window",
    ),
    _process("telnyx_budget_limit", "gauge", "budget currency", "The configured amount of a budget.", across="max"),
    _process(
        "telnyx_budget_window_start_timestamp_seconds",
        "gauge",
        "budget currency",
        "When the budget's current window began.",
        across="max",
    ),
    _process(
        "telnyx_budget_window_seconds",
        "gauge",
        "budget currency",
        "How long the budget's current window is.",
        across="max",
    ),
    _ledger(
        "telnyx_reconciliation_failures_total",
        "counter",
        "check",
        "Times that a check of a session's tree began to fail.",
        rule="1 for each check that begins to fail",
    ),
    _ledger(
        "telnyx_unreconciled_sessions",
        "gauge",
        "check",
        "Sessions whose last tree fails the check.",
        rule="1 for each check that the last tree fails",
    ),
    _process("telnyx_trees_cut_total", "counter", "account", "Nodes at which a tree was cut at max_depth."),
    _process(
        "telnyx_trees_cut_unresolved_total",
        "counter",
        "account",
        "Cut nodes whose subtree could not be had; asked for again with the next poll.",
    ),
    _process("telnyx_polls_total", "counter", "account", "Finished polls, failed ones included."),
    _process("telnyx_poll_failures_total", "counter", "account reason", "Failed polls."),
    _process(
        "telnyx_probes_total",
        "counter",
        "account outcome",
        "Questions at /probe: succeeded, failed, or refused because too many were under way.",
    ),
    _process("telnyx_poll_lag_seconds", "histogram", "", "How late after its due time a poll started.", _LAG),
    Family("telnyx_due_sessions", "gauge", "ledger", (), "Sessions that are due and not being polled: the backlog."),
    _ledger("telnyx_discovered_sessions_total", "counter", "source", "Sessions that a source was the first to name."),
    _process("telnyx_discovery_failures_total", "counter", "account source", "Times that a source could not be read."),
    _ledger(
        "telnyx_discovery_last_success_timestamp_seconds",
        "gauge",
        "source",
        "When a source was last read to its end; 0 if it has not been yet.",
        across="max",
    ),
    _ledger(
        "telnyx_detail_record_cost_total",
        "counter",
        "record_type currency",
        "Cost of the detail records that discovery has listed, to compare with what the followed sessions cost.",
    ),
    _process("telnyx_webhooks_total", "counter", "account event_type", "Webhooks accepted; unknown types are other."),
    _process("telnyx_webhook_failures_total", "counter", "account reason", "Webhooks refused."),
    _process(
        "telnyx_balance",
        "gauge",
        "account currency",
        "The account's prepaid balance, polled in the background.",
        across="max",
    ),
    _process(
        "telnyx_available_credit", "gauge", "account currency", "Balance and credit limit together.", across="max"
    ),
    _process("telnyx_credit_limit", "gauge", "account currency", "The account's credit limit.", across="max"),
    _process(
        "telnyx_pending_amount", "gauge", "account currency", "Charges that are pending on the balance.", across="max"
    ),
    _process(
        "telnyx_api_requests_total",
        "counter",
        "account endpoint code",
        "Requests to the API by status, or by what went wrong before one.",
    ),
    _process(
        "telnyx_api_request_duration_seconds",
        "histogram",
        "account endpoint",
        "Time from sending a request to having read its answer.",
        _SECONDS,
    ),
    _process(
        "telnyx_api_up",
        "gauge",
        "account",
        "1 if the last request to the API was answered and the key accepted.",
        across="min",
    ),
    _process(
        "telnyx_api_last_success_timestamp_seconds",
        "gauge",
        "account",
        "When the API last answered a request successfully; 0 if it has not yet.",
        across="max",
    ),
    _process(
        "telnyx_api_throttled_seconds_total", "counter", "account", "Time that requests were held back by pacing."
    ),
    _process("telnyx_api_quota_limit", "gauge", "account", "x-ratelimit-limit of the last answer.", across="max"),
    _process(
        "telnyx_api_quota_remaining", "gauge", "account", "x-ratelimit-remaining of the last answer.", across="max"
    ),
    _ledger(
        "telnyx_label_overflows_total",
        "counter",
        "label",
        "Label values folded into other to bound the series.",
        rule="1 for each label value that is shown as other to bound the series",
    ),
    _process("telnyx_series", "gauge", "", "Sample lines of the business families now exposed.", across="max"),
    _process("telnyx_series_limit", "gauge", "", "The configured metrics.series_max.", across="max"),
    _process(
        "telnyx_ledger_commit_duration_seconds",
        "histogram",
        "",
        "Time to book a batch of polls durably.",
        _SECONDS,
    ),
    _process("telnyx_ledger_commit_failures_total", "counter", "", "Batches that the ledger could not book."),
    _process(
        "telnyx_ledger_restores_total",
        "counter",
        "",
        "Times that the ledger's file was removed while in use, and was written again.",
    ),
    _process(
        "telnyx_ledger_retries_total",
        "counter",
        "",
        "Transactions that were begun again because other exporters with the same ledger were in the way.",
    ),
    Family("telnyx_ledger_events", "gauge", "ledger", (), "Events kept in the ledger."),
    Family("telnyx_ledger_size_bytes", "gauge", "ledger", (), "Size of the ledger's files."),
    _process(
        "telnyx_exporter_build_info", "gauge", "version python_version", "The running exporter; always 1.", across="max"
    ),
    _process(
        "telnyx_exporter_exposes_ledger",
        "gauge",
        "",
        "1 if this exporter exposes the ledger's families, 0 if another with the same ledger does.",
    ),
    _process(
        "telnyx_exporter_replicas",
        "gauge",
        "",
        "Exporters that share the ledger, as this one sees it, itself included.",
        across="max",
    ),
    _process("telnyx_exporter_clock_steps_total", "counter", "", "Times that the clock was set back."),
    _process(
        "telnyx_exporter_config_reload_failures_total",
        "counter",
        "",
        "Times that the configuration could not be read again; the one before stayed in effect.",
    ),
    _process(
        "telnyx_exporter_key_failures_total",
        "counter",
        "account",
        "Times that the file of an API key changed into one that can't be read; the last good key stayed in force.",
    ),
    _process(
        "telnyx_exporter_task_failures_total",
        "counter",
        "task",
        "Times that something the exporter does beside polling failed; it is done again at its next time.",
    ),
    _process(
        "telnyx_exporter_config_last_reload_successful",
        "gauge",
        "",
        "1 if the configuration was last read without an error.",
        across="min",
    ),
    _process(
        "telnyx_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        "",
        "When the configuration was last read without an error.",
        across="min",
    ),
    _process(
        "telnyx_exporter_web_config_failures_total",
        "counter",
        "",
        "Times that a change of the web config file could not be taken; what it said before holds.",
    ),
    _process(
        "telnyx_exporter_web_refusals_total",
        "counter",
        "reason",
        "Requests that were refused by what the web config file says; connections, for a client's certificate.",
    ),
)

BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}

BUDGET_COST, BUDGET_CREDITS, BUDGET_SPENT = (
    "telnyx_budget_cost_total",
    "telnyx_budget_cost_credits_total",
    "telnyx_budget_spent",
)

_NETS = ((COST, CREDITS), (INFERENCE_COST, INFERENCE_CREDITS), (BUDGET_COST, BUDGET_CREDITS))

BORN_TOGETHER = dict([*_NETS, *((credited, cost) for cost, credited in _NETS)])
"""A net amount is only right if both of its series exist."""

STATES = ("discovered", "active", "settled", "missing", "denied")

DETAIL_RECORDS, WEBHOOKS, FILES, HTTP = "detail_records", "webhooks", "files", "http"
"""Values of the label `source`, beside `config`: what reported a session."""

CHECKS = (
    "event_sum",
    "root_cumulative",
    "node_cumulative",
    "event_count",
    "vanished_event",
    "currency",
    "duplicate_id",
    "no_id",
    "usage_decreased",
    "forgotten",
)
"""`no_id`: a node without an id, which cannot be booked."""


def labels_of(family: Family, extra: tuple[str, ...]) -> tuple[str, ...]:
    """All label names of a family under a configuration with these extra labels."""
    return family.labels + extra if family.extra else family.labels
