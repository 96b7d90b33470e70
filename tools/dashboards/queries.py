"""PromQL by kind of family: selectors, rates, exact sums, and the replicas of one job added up.

Money always keeps its currency. Sums of ledger families subtract the counter's value at the start of the window,
because `increase()` extrapolates. Counters of the process restart at 0, so they use `increase()`.
"""

from typing import Final

from exporter.core.catalog import BY_NAME, Family

_PARTS: Final = ("_bucket", "_sum", "_count")

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
RANGE = "$__range"
"""The time range of the dashboard, or of a panel with its own."""
GAP = "10m"
"""Longer than a restart or a handover between replicas shows no samples."""


def family_of(sample: str) -> Family:
    """Return the family that the sample belongs to."""
    for part in _PARTS:
        if sample not in BY_NAME and sample.endswith(part):
            return BY_NAME[sample.removesuffix(part)]
    return BY_NAME[sample]


def of(sample: str, *matchers: str) -> str:
    """Return the sample's selector with the dashboard's variables."""
    labels = family_of(sample).labels
    chosen = ['job=~"$job"']
    chosen += ['account=~"$account"'] * ("account" in labels)
    chosen += ['currency=~"$currency"'] * ("currency" in labels)
    return f"{sample}{{{', '.join([*chosen, *matchers])}}}"


def rate(sample: str, by: str, *matchers: str) -> str:
    """Return a counter's rate per second."""
    return f"sum by ({by}) (rate({of(sample, *matchers)}[$__rate_interval]))"


def hourly(sample: str, by: str, *matchers: str) -> str:
    """Return a counter's rate per hour."""
    return f"3600 * {rate(sample, by, *matchers)}"


def increase(sample: str, by: str, *matchers: str) -> str:
    """Return a counter's increase per step of a graph."""
    return f"sum by ({by}) (increase({of(sample, *matchers)}[$__rate_interval]))"


def grown(sample: str, by: str, *matchers: str) -> str:
    """Return the increase over the dashboard's time range of a counter that restarts with the process."""
    return f"sum by ({by}) (increase({of(sample, *matchers)}[{RANGE}]))"


def per_hour(by: str, *matchers: str) -> str:
    """Return the net cost booked per hour."""
    return f"3600 * ({rate(COST, by, *matchers)} - {rate(CREDITS, by, *matchers)})"


def gauge(name: str, by: str, *matchers: str) -> str:
    """Return a gauge: replicas combined as its family says, then added up by these labels."""
    across = BY_NAME[name].across
    one = of(name, *matchers) if across == "sum" else f"{across} without (instance, pod) ({of(name, *matchers)})"
    return f"sum by ({by}) ({one})" if by else f"sum({one})"


def latest(name: str, by: str, *matchers: str) -> str:
    """Return the latest of the timestamps that share these labels."""
    return f"max by ({by}) (max without (instance, pod) ({of(name, *matchers)}))"


def exact(sample: str, by: str, *matchers: str, window: str = RANGE) -> str:
    """Return what was added in the window, to the last digit; a series that is new in it counts from 0.

    If the window starts in a gap between samples, as after a restart or a handover, the last value before the gap is
    the start.
    """
    of_job = ", ".join(dict.fromkeys(("job", *by.split(", "))))
    now = f"sum by ({by}) ({of(sample, *matchers)})"
    then = f"sum by ({of_job}) ({of(sample, *matchers)} offset {window})"
    before = f"sum by ({of_job}) (last_over_time({of(sample, *matchers)}[{GAP}] offset {window}))"
    return f"({now} - (sum by ({by}) ({then} or {before}) or 0 * {now}))"


def exact_net(by: str, *matchers: str, window: str = RANGE) -> str:
    """Return the net cost booked in the window."""
    return f"({exact(COST, by, *matchers, window=window)} - {exact(CREDITS, by, *matchers, window=window)})"


def exact_quantile(share: float, histogram: str, by: str, *matchers: str) -> str:
    """Return a quantile of the observations that a histogram counted in the window."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {exact(f'{histogram}_bucket', labels, *matchers)})"


def quantile(share: float, histogram: str, by: str, *matchers: str) -> str:
    """Return a quantile for a graph; no value where nothing was observed, instead of NaN."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, *matchers)}) >= 0"


def or_none(expression: str, label: str) -> str:
    """Return the query, or 0 with the label value `none` before the first series exists."""
    none = f'label_replace(vector(0), "{label}", "none", "", "")'
    return f"{expression} or {none} unless on () ({expression})"


def billed_in(amount: str, money: str, *matchers: str, by: str = "currency") -> str:
    """Return an amount by (account) split by the currency that bills the account, found through `money`."""
    labels = ", ".join(dict.fromkeys(("account", *by.split(", "))))
    accounts = f"group by ({labels}) ({of(money, *matchers)} > 0)"
    shared = ", ".join(label for label in labels.split(", ") if label != "currency")
    return f"sum by ({by}) ({accounts} * on ({shared}) group_left () {amount})"
