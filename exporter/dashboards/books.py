"""The lower half of the exporter's health: is everything booked, does every bill add up, is all of it shown.

Owns the panels of the ledger, the checks and the exposition.
"""

from exporter.dashboards.panels import EXACT, MONEY, NONE_IS_WELL, NUMBER, Panel, graph, rows, stats
from exporter.dashboards.queries import exact, gauge, of, or_none, quantile, rate


def books() -> list[Panel]:
    return [
        graph(
            "Ledger commits",
            "How long it takes to book a batch durably. Above a second the disk is slow: nothing is lost, polls wait. "
            "Put the ledger on a local disk.",
            {
                "99 of 100": quantile(0.99, "telnyx_ledger_commit_duration_seconds", ""),
                "half": quantile(0.5, "telnyx_ledger_commit_duration_seconds", ""),
            },
            "s",
            width=8,
            interval="1h",
            colors={"^99": "orange", "^half": "blue"},
        ),
        stats(
            "Failed commits",
            "Batches that the ledger could not book in the time range. Any: check space and rights of its disk; "
            "polling goes on by itself when it can be written." + EXACT,
            {"batches": f"sum({exact('telnyx_ledger_commit_failures_total', 'job')})"},
            NUMBER,
            width=4,
            height=8,
            decimals=0,
            steps=NONE_IS_WELL,
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
        graph(
            "Events in the ledger",
            "Events kept. A slope that steepens without more sessions means bigger sessions; 430 bytes per session of "
            "eleven events are normal.",
            {"events": gauge("telnyx_ledger_events", "")},
            NUMBER,
            width=8,
        ),
        graph(
            "Checks that fail now",
            "Sessions whose last tree fails a check, by check. Vanished events and changed currencies are Telnyx's "
            "doing; `no_id` and `event_sum` of many sessions deserve a ticket.",
            {"{{check}}": gauge("telnyx_unreconciled_sessions", "check")},
            NUMBER,
            width=8,
        ),
        graph(
            "Checks that began to fail",
            "Per hour, by check. Late amendments cause some. A burst after an update of Telnyx's is worth a look at "
            "one session with the `session` command.",
            {"{{check}}": f"3600 * {rate('telnyx_reconciliation_failures_total', 'check')}"},
            NUMBER,
            width=8,
            bars=True,
            stacked=True,
            interval="1h",
        ),
        graph(
            "Events without a price",
            "Events that have no readable cost now, by record type. Most get one within two days; a type that stays "
            "is not billed by the session API.",
            {"{{record_type}}": f"{gauge('telnyx_events_awaiting_price', 'record_type')} > 0"},
            NUMBER,
            width=8,
        ),
        graph(
            "Cut trees per hour",
            "Nodes at which a tree was cut, and those that could not be completed. The latter mean that costs are "
            "missing until the next poll: look for failing requests.",
            {
                "cut": f"3600 * {rate('telnyx_trees_cut_total', 'job')}",
                "not completed": f"3600 * {rate('telnyx_trees_cut_unresolved_total', 'job')}",
            },
            NUMBER,
            width=8,
            interval="1h",
            colors={"^cut": "blue", "^not": "red"},
        ),
        graph(
            "Time until settled",
            "95 of 100 sessions have settled after this time from first sight, by kind. It is how long to wait until "
            "a day's costs are final.",
            {"{{session_kind}}": quantile(0.95, "telnyx_session_settling_seconds", "session_kind")},
            "s",
            width=8,
            interval="6h",
        ),
        graph(
            "Money held back",
            "Booked but not yet shown, since a new series must be scraped at 0 first. It returns to 0 within minutes; "
            "if it doesn't, Prometheus isn't scraping this exporter.",
            {"{{currency}}": gauge("telnyx_unreleased_cost", "currency")},
            MONEY,
            width=8,
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
        stats(
            "Values folded into other",
            "Label values in the time range that had no room, by label. List the values that matter under "
            "`metrics.labels`, or raise `series_max`." + EXACT,
            {"{{label}}": or_none(exact("telnyx_label_overflows_total", "label"), "label")},
            NUMBER,
            width=4,
            height=8,
            decimals=0,
            names=True,
            steps=((None, "green"), (1.0, "orange")),
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
