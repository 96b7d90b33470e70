"""Panels of the dashboard "Exporter health" about the ledger, the checks and the exposition."""

from tools.dashboards.panels import MONEY, NUMBER, Panel, graph, rows, stats
from tools.dashboards.queries import gauge, hourly, of
from tools.dashboards.shapes import failed, failures, levels, named, tails, upper


def books() -> list[Panel]:
    return [*_ledger(), *_checks(), *_finality()]


def _ledger() -> list[Panel]:
    return [
        tails(
            "Ledger commits",
            "Duration of a commit. Above a second the disk is slow: nothing is lost, but polls wait. Put the ledger "
            "on a local disk.",
            "telnyx_ledger_commit_duration_seconds",
            "s",
        ),
        failed(
            "Failed commits",
            "Commits that failed in the time range. If there are any, check free space and permissions of the disk. "
            "Polling resumes by itself when the ledger can be written.",
            "telnyx_ledger_commit_failures_total",
            "batches",
        ),
        stats(
            "Ledger",
            "Size of the ledger's files. It stops growing after `ledger.retention_days`. Give the disk several times "
            "this size.",
            {"bytes": gauge("telnyx_ledger_size_bytes", "")},
            "bytes",
            width=4,
            height=8,
        ),
        levels(
            "Events in the ledger",
            "Events in the ledger. If they grow faster than the sessions, sessions became larger.",
            {"events": gauge("telnyx_ledger_events", "")},
        ),
    ]


def _checks() -> list[Panel]:
    return [
        levels(
            "Failing checks by name",
            "Sessions whose last tree fails a check, by check. Telnyx causes vanished events and changed currencies. "
            "If `no_id` or `event_sum` fails for many sessions, open a ticket with Telnyx.",
            {"{{check}}": gauge("telnyx_unreconciled_sessions", "check")},
        ),
        failures(
            "New failing checks per hour",
            "Checks that started to fail, by check. Late amendments cause some. After a burst, inspect one session "
            "with the command `session`.",
            {"{{check}}": hourly("telnyx_reconciliation_failures_total", "check")},
        ),
        levels(
            "Events without a price",
            "Events without a readable cost, by record type. Most get one within two days. A type that stays is not "
            "billed by Session Analysis.",
            {"{{record_type}}": f"{gauge('telnyx_events_awaiting_price', 'record_type')} > 0"},
        ),
        graph(
            "Cut trees per hour",
            "Nodes at which the API cut a tree, and cuts that could not be completed. The latter miss cost until the "
            "next poll: look for failing requests.",
            {
                "cut": hourly("telnyx_trees_cut_total", "job"),
                "not completed": hourly("telnyx_trees_cut_unresolved_total", "job"),
            },
            NUMBER,
            width=8,
            interval="1h",
            colors={"^cut": "blue", "^not": "red"},
        ),
    ]


def _finality() -> list[Panel]:
    return [
        upper(
            "p95 time until settled",
            "95th percentile of the time from discovery to settled, by kind. A day's costs are final after this time.",
            "telnyx_session_settling_seconds",
            "session_kind",
            interval="6h",
        ),
        levels(
            "Pending cost",
            "Booked but not shown yet, because Prometheus must scrape a new series at 0 first. It returns to 0 within "
            "minutes. If not, Prometheus does not scrape this exporter.",
            {"{{currency}}": gauge("telnyx_pending_cost", "currency")},
            MONEY,
        ),
    ]


def exposition() -> list[Panel]:
    return [
        graph(
            "Series",
            "Sample lines of business metrics, and their limit. Plan for twice the current number. Each label of your "
            "own multiplies them.",
            {"used": gauge("telnyx_series", "job"), "limit": gauge("telnyx_series_limit", "job")},
            NUMBER,
            width=8,
            colors={"^used": "blue", "^limit": "red"},
        ),
        named(
            "Values folded into other",
            "Label values that were replaced by `other` in the time range, by label. List the values that matter under "
            "`metrics.labels`, or raise `series_max`.",
            "telnyx_label_overflows_total",
            "label",
        ),
        rows(
            "Replicas",
            "Running exporters and their versions. If one is absent, it is down or not scraped. If versions differ, "
            "finish the rollout.",
            {"Running": f"count by (instance, version, python_version) ({of('telnyx_exporter_build_info')})"},
            NUMBER,
            width=12,
            height=8,
            names={"instance": "Replica", "version": "Version", "python_version": "Python"},
            sort="Replica",
            decimals=0,
        ),
    ]
