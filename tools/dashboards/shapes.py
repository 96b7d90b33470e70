"""Panels that several dashboards have alike: a question with its look, so that neither is written twice.

Owns the pairs of a kind of family and the panel that fits it. The surprising fact: what never goes wrong is drawn as
well, at 0, since an empty panel can't be told from a broken one.
"""

from collections.abc import Mapping

from tools.dashboards.panels import EXACT, MUST_BE_ONE, NONE_IS_WELL, NUMBER, Panel, Steps, graph, stats
from tools.dashboards.queries import exact, gauge, grown, hourly, or_none, quantile

YES_NO = {"0": "no", "1": "yes"}
SOON_BAD: Steps = ((None, "green"), (1.0, "orange"))
AGES: Steps = ((None, "green"), (14_400.0, "orange"), (43_200.0, "red"))
"""Of what should be younger than four hours, in seconds."""


def holds(title: str, description: str, queries: Mapping[str, str], *, names: bool = False) -> Panel:
    """Whether something is as it must be: 1 or 0."""
    return stats(title, description, queries, "bool_yes_no", width=4, steps=MUST_BE_ONE, names=names, texts=YES_NO)


def waiting(title: str, description: str, name: str, steps: Steps) -> Panel:
    """How many sessions are in a state that should have few."""
    return stats(title, description, {"sessions": gauge(name, "")}, NUMBER, width=4, decimals=0, steps=steps)


def failed(title: str, description: str, counter: str, unit: str) -> Panel:
    """How often something of the process failed in the time range that must not fail at all."""
    return _few(title, description, {unit: grown(counter, "")}, NONE_IS_WELL)


def named(title: str, description: str, counter: str, label: str) -> Panel:
    """How often something happened in the time range, by a label whose values come with the first time."""
    queries = {f"{{{{{label}}}}}": or_none(exact(counter, label), label)}
    return _few(title, description + EXACT, queries, SOON_BAD, names=True)


def _few(title: str, description: str, queries: Mapping[str, str], steps: Steps, *, names: bool = False) -> Panel:
    return stats(title, description, queries, NUMBER, width=4, height=8, decimals=0, steps=steps, names=names)


def levels(title: str, description: str, queries: Mapping[str, str], unit: str = NUMBER) -> Panel:
    """How a few gauges move."""
    return graph(title, description, queries, unit, width=8)


def failures(title: str, description: str, queries: Mapping[str, str]) -> Panel:
    """How often something failed in each hour."""
    return graph(title, description, queries, NUMBER, width=8, bars=True, stacked=True, interval="1h")


def tails(title: str, description: str, histogram: str, unit: str) -> Panel:
    """What half, and 99 of 100, of the observations stay below."""
    queries = {"99 of 100": quantile(0.99, histogram, ""), "half": quantile(0.5, histogram, "")}
    colors = {"^99": "orange", "^half": "blue"}
    return graph(title, description, queries, unit, width=8, interval="1h", colors=colors)


def upper(title: str, description: str, histogram: str, label: str, *, interval: str) -> Panel:
    """What 95 of 100 of the durations stay below, by a label."""
    queries = {f"{{{{{label}}}}}": quantile(0.95, histogram, label)}
    return graph(title, description, queries, "s", width=8, interval=interval)


def coming(title: str, description: str, counter: str, label: str, *, width: int = 8, interval: str = "1h") -> Panel:
    """What comes in each hour, by a label, one above the other."""
    queries = {f"{{{{{label}}}}}": hourly(counter, label)}
    return graph(title, description, queries, NUMBER, width=width, stacked=True, interval=interval)
