"""Every metric family that the exporter exposes, one row each.

The exposition, docs/metrics.md and the README's table are built from these rows, and nothing without a row is exposed.
*Ledger* families are kept in the ledger and exact across restarts; *process* families start at 0 with the process.
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
    """The labels configured under metrics.labels come after `labels`."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a process histogram, without +Inf; the bounds of ledger histograms are configured."""
    across: Across = "sum"
    """How to aggregate the series of several replicas: `sum` for parts, `max` for a fact that all share, `min` for a
    condition that must hold on every replica. Ledger families are parts, since one replica at a time exposes them."""
    rule: str = ""
    """What one session adds to the family; empty if it adds nothing. /probe shows it beside a sample."""


def _ledger(
    name: str, kind: Kind, labels: str, text: str, *, extra: bool = False, across: Across = "sum", rule: str = ""
) -> Family:
    return Family(name, kind, "ledger", ("account", *labels.split()), text, extra, across=across, rule=rule)


def _budget(name: str, kind: Kind, text: str, rule: str) -> Family:
    return Family(name, kind, "ledger", ("budget", "currency"), text, rule=rule)


def _process(
    name: str, kind: Kind, labels: str, text: str, *, buckets: tuple[float, ...] = (), across: Across = "sum"
) -> Family:
    return Family(name, kind, "process", tuple(labels.split()), text, buckets=buckets, across=across)


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_ROOT = "root_record_type session_kind"

# One row per family: name, kind and labels; then its HELP text; then its rule.
# fmt: off
FAMILIES: tuple[Family, ...] = (
    # Money and events
    _ledger("telnyx_cost_total", "counter", "record_type product currency",
        "Event costs booked, in units of the currency; polled in the background. Net cost is this minus the credits.",
        extra=True, rule="event_cost of each priced event, and by how much a later one is higher"),
    _ledger("telnyx_cost_credits_total", "counter", "record_type product currency",
        "Event costs taken back, in units of the currency: downward amendments, and events listed twice by mistake.",
        extra=True, rule="by how much a later event_cost of an event is lower"),
    _ledger("telnyx_events_total", "counter", "record_type product",
        "Distinct events.", extra=True,
        rule="1 for each distinct event (product, event_name and id)"),
    _ledger("telnyx_events_awaiting_price", "gauge", "record_type product",
        "Events that never had a readable cost, but for those that are bundled.",
        rule="1 for each event until its first readable event_cost; 0 once it is bundled"),
    _ledger("telnyx_events_settled_unpriced_total", "counter", "record_type product",
        "Events without a cost when their session first settled.",
        rule="1 for each event without a readable event_cost at the first settling, if it isn't bundled"),
    _ledger("telnyx_events_bundled_total", "counter", "record_type product",
        "Events of AI conversations without a cost when their session first settled, though all stated sums fit.",
        rule="1 for each such event below an assistant, and for each such voice, if the others add up to cost.total"),
    _ledger("telnyx_events_priced_late_total", "counter", "record_type product",
        "Events that got a cost after their session settled without it.",
        rule="1 for each event that has an event_cost only after the first settling"),
    # LLM turns and usage
    _ledger("telnyx_inference_turns_total", "counter", "model",
        "LLM turns: events of type inference.", extra=True,
        rule="1 for each distinct event of type inference, by the model in its record"),
    _ledger("telnyx_inference_cost_total", "counter", "model currency",
        "Costs booked for LLM turns.", extra=True,
        rule="event_cost of each priced event of type inference, and by how much a later one is higher"),
    _ledger("telnyx_inference_cost_credits_total", "counter", "model currency",
        "Costs of LLM turns taken back by downward amendments.", extra=True,
        rule="by how much a later event_cost of such an event is lower"),
    _ledger("telnyx_inference_tokens_total", "counter", "model token_direction",
        "Tokens of LLM turns, if their detail records have token counts.",
        rule="the token counts in the record of each event of type inference"),
    _ledger("telnyx_inference_cached_input_tokens_total", "counter", "model",
        "Input tokens of LLM turns that came from the cache; telnyx_inference_tokens_total includes them in its input.",
        rule="the cached input tokens in the record of each event of type inference"),
    _ledger("telnyx_characters_total", "counter", "record_type",
        "Characters that text-to-speech has spoken, if the detail records count them.",
        rule="the number of characters in the record of each event"),
    _ledger("telnyx_billed_seconds_total", "counter", "record_type",
        "Billed duration, if the detail records have one.",
        rule="the billed duration in the record of each event"),
    # Sessions
    _ledger("telnyx_sessions_started_total", "counter", _ROOT,
        "Sessions whose tree was read for the first time.",
        rule="1 when the session's tree is read for the first time"),
    _ledger("telnyx_sessions_settled_total", "counter", _ROOT,
        "Sessions that settled for the first time: their bill did not change for long.",
        rule="1 when the session first settles"),
    _ledger("telnyx_session_cost", "histogram", f"{_ROOT} currency",
        "Cost of a session when it first settled, in units of the currency.",
        rule="event_cost of all distinct events together, once, at the first settling"),
    _ledger("telnyx_session_duration_seconds", "histogram", _ROOT,
        "Duration of a session by its detail records, when it first settled.",
        rule="the duration in the root's record, else the longest in any; once, at the first settling"),
    _ledger("telnyx_session_events", "histogram", _ROOT,
        "Events of a session when it first settled.",
        rule="the number of distinct events, once, at the first settling"),
    _ledger("telnyx_session_inference_turns", "histogram", _ROOT,
        "LLM turns of a session when it first settled.",
        rule="the number of distinct events of type inference, once, at the first settling"),
    _ledger("telnyx_session_settling_seconds", "histogram", "session_kind",
        "Time from the discovery of a session to its first settling: how late its bill was final.",
        rule="from the session's discovery to its first settling"),
    _ledger("telnyx_sessions_over_threshold_total", "counter", f"threshold {_ROOT}",
        "Sessions that exceeded a configured threshold while live, once per session and threshold.",
        rule="1 for each of metrics.thresholds that the session exceeds while it is live"),
    _ledger("telnyx_sessions", "gauge", "state", "Sessions by state."),
    _ledger("telnyx_unsettled_cost", "gauge", "currency",
        "Net cost booked for sessions that have not settled, so it may still change.",
        rule="event_cost of the session's events until it settles, then 0"),
    _ledger("telnyx_pending_cost", "gauge", "currency",
        "Net cost booked but not shown yet, because its series is new and must be scraped at 0 first."),
    _ledger("telnyx_followed_session_cost", "gauge", "root_record_type event_id product currency",
        "Net cost of a session by product; bounded by metrics.session_series_max."),
    _ledger("telnyx_followed_session_events", "gauge", "root_record_type event_id",
        "Events of a session; bounded by metrics.session_series_max."),
    _ledger("telnyx_followed_session_inference_turns", "gauge", "root_record_type event_id",
        "LLM turns of a session; bounded by metrics.session_series_max."),
    _ledger("telnyx_followed_session_last_change_timestamp_seconds", "gauge", "root_record_type event_id",
        "Time of the last change of a session; bounded by metrics.session_series_max.", across="max"),
    # Budgets
    _budget("telnyx_budget_cost_total", "counter",
        "Costs booked in the scope of a budget, at the time of booking; for burn rate alerts.",
        "event_cost of each priced event that the budget matches, and later rises of it"),
    _budget("telnyx_budget_cost_credits_total", "counter",
        "Costs in the scope of a budget taken back by downward amendments.",
        "later falls of event_cost of an event that the budget matches"),
    _budget("telnyx_budget_spent", "gauge",
        "Net cost of the events in the budget's current window, by the time of the event.",
        "event_cost of each matching event whose own time is in the budget's current window"),
    _process("telnyx_budget_limit", "gauge", "budget currency", "Configured amount of a budget.", across="max"),
    _process("telnyx_budget_window_start_timestamp_seconds", "gauge", "budget currency",
        "Start of the budget's current window.", across="max"),
    _process("telnyx_budget_window_seconds", "gauge", "budget currency",
        "Length of the budget's current window.", across="max"),
    # Checks and polls
    _ledger("telnyx_reconciliation_failures_total", "counter", "check",
        "Checks of a session's tree that began to fail.",
        rule="1 for each check that begins to fail"),
    _ledger("telnyx_unreconciled_sessions", "gauge", "check",
        "Sessions whose last tree fails a check.",
        rule="1 for each check that the last tree fails"),
    _process("telnyx_trees_cut_total", "counter", "account", "Nodes whose subtree the API cut off at max_depth."),
    _process("telnyx_trees_cut_unresolved_total", "counter", "account",
        "Cut nodes whose subtree could not be read; the next poll tries again."),
    _process("telnyx_polls_total", "counter", "account", "Finished polls, including failed ones."),
    _process("telnyx_poll_failures_total", "counter", "account reason", "Failed polls."),
    _process("telnyx_probes_total", "counter", "account outcome",
        "Requests to /probe: succeeded, failed, or refused because too many were running."),
    _process("telnyx_poll_lag_seconds", "histogram", "",
        "Delay from the due time of a poll to its start.", buckets=_LAG),
    # Discovery and webhooks
    Family("telnyx_due_sessions", "gauge", "ledger", (), "Sessions that are due and not being polled: the backlog."),
    _ledger("telnyx_discovered_sessions_total", "counter", "source", "Sessions by the source that discovered them."),
    _process("telnyx_discovery_failures_total", "counter", "account source", "Failed attempts to read a source."),
    _ledger("telnyx_discovery_last_success_timestamp_seconds", "gauge", "source",
        "Time at which a source was last read to its end; 0 until then.", across="max"),
    _ledger("telnyx_detail_record_cost_total", "counter", "record_type currency",
        "Cost of the detail records that discovery has listed, to compare with the cost of the discovered sessions."),
    _process("telnyx_detail_record_type_state", "gauge", "account record_type state",
        "1 for the state of a type of detail records: proven (its list is read by a time field that works), empty (the"
        " account has no such record), unproven (no time field works), refused (the API forbids it).", across="max"),
    _process("telnyx_detail_record_last_success_timestamp_seconds", "gauge", "account record_type",
        "Time at which a type of detail records was last read to its end.", across="max"),
    _process("telnyx_detail_records_missing", "gauge", "account record_type",
        "Detail records that the API states but doesn't list; 0 while the lists are proven to be whole.", across="max"),
    _process("telnyx_detail_record_failures_total", "counter", "account record_type",
        "Failed attempts to read a type of detail records."),
    _ledger("telnyx_awaited_detail_records", "gauge", "record_type",
        "Detail records that name no session and whose event no tree has brought yet."),
    _process("telnyx_backfill_records_ratio", "gauge", "account",
        "Share of the initial backfill's time whose detail records were read.", across="max"),
    _process("telnyx_backfill_sessions", "gauge", "state",
        "Sessions of the initial backfill: found, and polled. The ledger's families appear when all are polled.",
        across="max"),
    _process("telnyx_webhooks_total", "counter", "account event_type",
        "Accepted webhooks; unknown event types are other."),
    _process("telnyx_webhook_failures_total", "counter", "account reason", "Rejected webhooks."),
    # Balance
    _process("telnyx_balance", "gauge", "account currency",
        "Prepaid balance of the account, polled in the background.", across="max"),
    _process("telnyx_available_credit", "gauge", "account currency", "Balance plus credit limit.", across="max"),
    _process("telnyx_credit_limit", "gauge", "account currency", "Credit limit of the account.", across="max"),
    _process("telnyx_pending_amount", "gauge", "account currency", "Pending charges on the balance.", across="max"),
    # The API
    _process("telnyx_api_requests_total", "counter", "account endpoint code",
        "Requests to the API by HTTP status, or by the reason if there was no answer."),
    _process("telnyx_api_request_duration_seconds", "histogram", "account endpoint",
        "Time from sending a request to the end of its answer.", buckets=_SECONDS),
    _process("telnyx_api_up", "gauge", "account",
        "1 if the last request to the API was answered and the key accepted, else 0.", across="min"),
    _process("telnyx_api_last_success_timestamp_seconds", "gauge", "account",
        "Time of the API's last successful answer; 0 until then.", across="max"),
    _process("telnyx_api_throttled_seconds_total", "counter", "account endpoint",
        "Time that requests waited for the rate or the quota of their endpoint."),
    _process("telnyx_api_quota_limit", "gauge", "account endpoint",
        "x-ratelimit-limit of the last answer.", across="max"),
    _process("telnyx_api_quota_remaining", "gauge", "account endpoint",
        "x-ratelimit-remaining of the last answer.", across="max"),
    # Series and the ledger
    _ledger("telnyx_label_overflows_total", "counter", "label",
        "Label values folded into other to bound the series.",
        rule="1 for each label value that is shown as other to bound the series"),
    _process("telnyx_series", "gauge", "", "Sample lines of the ledger's families on /metrics.", across="max"),
    _process("telnyx_series_limit", "gauge", "", "Configured metrics.series_max.", across="max"),
    _process("telnyx_ledger_commit_duration_seconds", "histogram", "",
        "Time to commit a batch of polls to the ledger.", buckets=_SECONDS),
    _process("telnyx_ledger_commit_failures_total", "counter", "", "Batches that the ledger could not commit."),
    _process("telnyx_ledger_restores_total", "counter", "",
        "Times that the ledger's file was removed while in use and written again."),
    _process("telnyx_ledger_retries_total", "counter", "",
        "Transactions that were retried because other replicas with the same ledger conflicted."),
    Family("telnyx_ledger_events", "gauge", "ledger", (), "Events in the ledger."),
    Family("telnyx_ledger_pruned_events", "gauge", "ledger", (),
        "Pruned events that the ledger recognises if they are reported again; each takes about 20 bytes."),
    Family("telnyx_ledger_size_bytes", "gauge", "ledger", (), "Size of the ledger's files."),
    # The exporter itself
    _process("telnyx_exporter_build_info", "gauge", "version python_version",
        "Versions of the running exporter; always 1.", across="max"),
    _process("telnyx_exporter_exposes_ledger", "gauge", "",
        "1 if this replica exposes the ledger's families, 0 if another one does."),
    _process("telnyx_exporter_replicas", "gauge", "",
        "Replicas that share the ledger, including this one.", across="max"),
    _process("telnyx_exporter_clock_steps_total", "counter", "", "Times that the clock was set back."),
    _process("telnyx_exporter_config_reload_failures_total", "counter", "",
        "Failed reloads of the configuration; the previous one stays in effect."),
    _process("telnyx_exporter_key_failures_total", "counter", "account",
        "Times that the file of an API key became unreadable; the last good key stays in use."),
    _process("telnyx_exporter_task_failures_total", "counter", "task",
        "Failed background tasks; each runs again at its next time."),
    _process("telnyx_exporter_config_last_reload_successful", "gauge", "",
        "1 if the last load of the configuration succeeded, else 0.", across="min"),
    _process("telnyx_exporter_config_last_reload_success_timestamp_seconds", "gauge", "",
        "Time of the last successful load of the configuration.", across="min"),
    _process("telnyx_exporter_web_config_failures_total", "counter", "",
        "Failed reloads of the web config file; the previous one stays in effect."),
    _process("telnyx_exporter_web_refusals_total", "counter", "reason",
        "Requests refused by the web config file, and connections without a valid client certificate."),
)
# fmt: on

BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}

BUDGET_COST, BUDGET_CREDITS, BUDGET_SPENT = (
    "telnyx_budget_cost_total",
    "telnyx_budget_cost_credits_total",
    "telnyx_budget_spent",
)

_NETS = ((COST, CREDITS), (INFERENCE_COST, INFERENCE_CREDITS), (BUDGET_COST, BUDGET_CREDITS))

NET_COUNTERPART = dict([*_NETS, *((credited, cost) for cost, credited in _NETS)])
"""The other family of a net amount; the ledger creates the series of both together, as queries subtract them."""

STATES = ("discovered", "active", "settled", "missing", "denied")

DETAIL_RECORDS, WEBHOOKS, FILES, HTTP = "detail_records", "webhooks", "files", "http"
"""Values of the label `source`, beside `config`."""

CHECKS = (
    "event_sum",
    "root_cumulative",
    "node_cumulative",
    "event_count",
    "vanished_event",
    "currency",
    "duplicate_id",
    "no_id",
    "price_withdrawn",
    "unreadable_cost",
    "usage_decreased",
    "forgotten",
    "stated_cost",
)
"""Values of the label `check`. `no_id`: a node without an id, which can't be booked. `forgotten`: an unknown
event from before the retention watermark. `stated_cost`: a settled session has another total than a webhook stated."""


def labels_of(family: Family, extra: tuple[str, ...]) -> tuple[str, ...]:
    """Return all label names of a family; `extra` are the configured ones."""
    return family.labels + extra if family.extra else family.labels
