"""Panels that several dashboards use: a kind of query with the look that fits it.

A series without failures is drawn at 0, because an empty panel looks like a broken one.
"""

from collections.abc import Mapping

from tools.dashboards.panels import EXACT, MUST_BE_ONE, NONE_IS_WELL, NUMBER, Panel, Steps, graph, stats
from tools.dashboards.queries import exact, gauge, grown, hourly, or_none, quantile

YES_NO = {"0": "no", "1": "yes"}
SOON_BAD: Steps = ((None, "green"), (1.0, "orange"))
AGES: Steps = ((None, "green"), (14_400.0, "orange"), (43_200.0, "red"))
"""Thresholds for ages that should stay below four hours, in seconds."""


def holds(title: str, description: str, queries: Mapping[str, str], *, names: bool = False) -> Panel:
    """Return a panel that shows yes or no for a value of 1 or 0."""
    return stats(title, description, queries, "bool_yes_no", width=4, steps=MUST_BE_ONE, names=names, texts=YES_NO)


def waiting(title: str, description: str, name: str, steps: Steps) -> Panel:
    """Return a panel of the number of sessions in a state that should have few."""
    return stats(title, description, {"sessions": gauge(name, "")}, NUMBER, width=4, decimals=0, steps=steps)


def failed(title: str, description: str, counter: str, unit: str) -> Panel:
    """Return a panel of failures in the time range, for failures that should never happen."""
    return _few(title, description, {unit: grown(counter, "")}, NONE_IS_WELL)


def named(title: str, description: str, counter: str, label: str) -> Panel:
    """Return a panel of occurrences in the time range, by a label whose values appear with the first one."""
    queries = {f"{{{{{label}}}}}": or_none(exact(counter, label), label)}
    return _few(title, description + EXACT, queries, SOON_BAD, names=True)


def _few(title: str, description: str, queries: Mapping[str, str], steps: Steps, *, names: bool = False) -> Panel:
    return stats(title, description, queries, NUMBER, width=4, height=8, decimals=0, steps=steps, names=names)


def levels(title: str, description: str, queries: Mapping[str, str], unit: str = NUMBER) -> Panel:
    """Return a graph of a few gauges."""
    return graph(title, description, queries, unit, width=8)


def failures(title: str, description: str, queries: Mapping[str, str]) -> Panel:
    """Return a bar graph of failures per hour."""
    return graph(title, description, queries, NUMBER, width=8, bars=True, stacked=True, interval="1h")


def tails(title: str, description: str, histogram: str, unit: str) -> Panel:
    """Return a graph of the median and the 99th percentile of a histogram."""
    queries = {"p99": quantile(0.99, histogram, ""), "p50": quantile(0.5, histogram, "")}
    colors = {"^p99": "orange", "^p50": "blue"}
    return graph(title, description, queries, unit, width=8, interval="1h", colors=colors)


def upper(title: str, description: str, histogram: str, label: str, *, interval: str) -> Panel:
    """Return a graph of the 95th percentile of a histogram of durations, by a label."""
    queries = {f"{{{{{label}}}}}": quantile(0.95, histogram, label)}
    return graph(title, description, queries, "s", width=8, interval=interval)


def coming(title: str, description: str, counter: str, label: str, *, width: int = 8, interval: str = "1h") -> Panel:
    """Return a stacked graph of arrivals per hour, by a label."""
    queries = {f"{{{{{label}}}}}": hourly(counter, label)}
    return graph(title, description, queries, NUMBER, width=width, stacked=True, interval=interval)
