"""The lower half of the exporter's health: is everything booked, does every bill add up, is all of it shown.

Owns the panels of the ledger, the checks and the exposition.
"""

from tools.dashboards.panels import MONEY, NUMBER, Panel, graph, rows, stats
from tools.dashboards.queries import gauge, hourly, of
from tools.dashboards.shapes import failed, failures, levels, named, tails, upper


def books() -> list[Panel]:
    return [*_ledger(), *_checks(), *_finality()]


def _ledger() -> list[Panel]:
    return [
        tails(
            "Ledger commits",
            "How long it takes to book a batch durably. Above a second the disk is slow: nothing is lost, polls wait. "
            "Put the ledger on a local disk.",
            "telnyx_ledger_commit_duration_seconds",
            "s",
        ),
        failed(
            "Failed commits",
            "Batches that the ledger could not book in the time range. Any: check space and rights of its disk; "
            "polling goes on by itself when it can be written.",
            "telnyx_ledger_commit_failures_total",
            "batches",
        ),
        stats(
            "Ledger",
            "Size of the ledger's files, and events in it. It stops growing after `ledger.retention_days`; give the "
            "disk several times this size.",
            {"bytes": gauge("telnyx_ledger_size_bytes", "")},
            "bytes",
            width=4,
            height=8,
        ),
        levels(
            "Events in the ledger",
            "Events kept. A slope that steepens without more sessions means bigger sessions; 430 bytes per session of "
            "eleven events are normal.",
            {"events": gauge("telnyx_ledger_events", "")},
        ),
    ]


def _checks() -> list[Panel]:
    return [
        levels(
            "Checks that fail now",
            "Sessions whose last tree fails a check, by check. Vanished events and changed currencies are Telnyx's "
            "doing; `no_id` and `event_sum` of many sessions deserve a ticket.",
            {"{{check}}": gauge("telnyx_unreconciled_sessions", "check")},
        ),
        failures(
            "Checks that began to fail",
            "Per hour, by check. Late amendments cause some. A burst after an update of Telnyx's is worth a look at "
            "one session with the `session` command.",
            {"{{check}}": hourly("telnyx_reconciliation_failures_total", "check")},
        ),
        levels(
            "Events without a price",
            "Events that have no readable cost now, by record type. Most get one within two days; a type that stays "
            "is not billed by the session API.",
            {"{{record_type}}": f"{gauge('telnyx_events_awaiting_price', 'record_type')} > 0"},
        ),
        graph(
            "Cut trees per hour",
            "Nodes at which a tree was cut, and those that could not be completed. The latter mean that costs are "
            "missing until the next poll: look for failing requests.",
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
            "Time until settled",
            "95 of 100 sessions have settled after this time from first sight, by kind. It is how long to wait until "
            "a day's costs are final.",
            "telnyx_session_settling_seconds",
            "session_kind",
            interval="6h",
        ),
        levels(
            "Money held back",
            "Booked but not yet shown, since a new series must be scraped at 0 first. It returns to 0 within minutes; "
            "if it doesn't, Prometheus isn't scraping this exporter.",
            {"{{currency}}": gauge("telnyx_pending_cost", "currency")},
            MONEY,
        ),
    ]


def exposition() -> list[Panel]:
    return [
        graph(
            "Series",
            "Sample lines of business metrics, and their limit. Plan for twice what you have; every label of your own "
            "multiplies them.",
            {"used": gauge("telnyx_series", "job"), "limit": gauge("telnyx_series_limit", "job")},
            NUMBER,
            width=8,
            colors={"^used": "blue", "^limit": "red"},
        ),
        named(
            "Values folded into other",
            "Label values in the time range that had no room, by label. List the values that matter under "
            "`metrics.labels`, or raise `series_max`.",
            "telnyx_label_overflows_total",
            "label",
        ),
        rows(
            "Replicas",
            "Running exporters and their versions. Fewer than you started: one is down or not scraped. Different "
            "versions: finish the roll-out.",
            {"Running": f"count by (instance, version, python_version) ({of('telnyx_exporter_build_info')})"},
            NUMBER,
            width=12,
            height=8,
            names={"instance": "Replica", "version": "Version", "python_version": "Python"},
            sort="Replica",
            decimals=0,
        ),
    ]
