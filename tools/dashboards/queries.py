"""PromQL in the catalogue's words: selectors, rates, exact sums, and replicas become one.

Owns how each kind of family is asked, so that no panel decides it anew. Money always keeps its currency. The surprising
fact: a total of the ledger's is never an `increase()`, which extrapolates; it is what a counter is now less what it
was then. Counters of the process restart at 0, so theirs must be.
"""

from typing import Final

from exporter.core.catalog import BY_NAME, Family

_PARTS: Final = ("_bucket", "_sum", "_count")

COST, CREDITS = "telnyx_cost_total", "telnyx_cost_credits_total"
RANGE = "$__range"
"""The time range of the dashboard, or of the panel that sets its own."""
GAP = "10m"
"""Longer than a restart, or a takeover among several exporters, shows nothing."""


def family_of(sample: str) -> Family:
    """The family that has this sample."""
    for part in _PARTS:
        if sample not in BY_NAME and sample.endswith(part):
            return BY_NAME[sample.removesuffix(part)]
    return BY_NAME[sample]


def of(sample: str, *matchers: str) -> str:
    """The sample as the dashboard's variables select it."""
    labels = family_of(sample).labels
    chosen = ['job=~"$job"']
    chosen += ['account=~"$account"'] * ("account" in labels)
    chosen += ['currency=~"$currency"'] * ("currency" in labels)
    return f"{sample}{{{', '.join([*chosen, *matchers])}}}"


def rate(sample: str, by: str, *matchers: str) -> str:
    """A counter's growth per second."""
    return f"sum by ({by}) (rate({of(sample, *matchers)}[$__rate_interval]))"


def hourly(sample: str, by: str, *matchers: str) -> str:
    """A counter's growth per hour."""
    return f"3600 * {rate(sample, by, *matchers)}"


def increase(sample: str, by: str, *matchers: str) -> str:
    """A counter's growth per step of a graph."""
    return f"sum by ({by}) (increase({of(sample, *matchers)}[$__rate_interval]))"


def grown(sample: str, by: str, *matchers: str) -> str:
    """A counter's growth in the time range of the dashboard, for those that begin anew with the process."""
    return f"sum by ({by}) (increase({of(sample, *matchers)}[{RANGE}]))"


def per_hour(by: str, *matchers: str) -> str:
    """Net cost per hour."""
    return f"3600 * ({rate(COST, by, *matchers)} - {rate(CREDITS, by, *matchers)})"


def gauge(name: str, by: str, *matchers: str) -> str:
    """A gauge: of all replicas as its family says, then added up by these labels."""
    across = BY_NAME[name].across
    one = of(name, *matchers) if across == "sum" else f"{across} without (instance, pod) ({of(name, *matchers)})"
    return f"sum by ({by}) ({one})" if by else f"sum({one})"


def latest(name: str, by: str, *matchers: str) -> str:
    """A time: the latest of the series that these labels don't tell apart."""
    return f"max by ({by}) (max without (instance, pod) ({of(name, *matchers)}))"


def exact(sample: str, by: str, *matchers: str, window: str = RANGE) -> str:
    """What was added in the window, to the last digit; what did not exist at its beginning counts from 0.

    Where the window begins in a gap, as of a restart or a takeover, what was there before the gap did exist.
    """
    of_job = ", ".join(dict.fromkeys(("job", *by.split(", "))))
    now = f"sum by ({by}) ({of(sample, *matchers)})"
    then = f"sum by ({of_job}) ({of(sample, *matchers)} offset {window})"
    before = f"sum by ({of_job}) (last_over_time({of(sample, *matchers)}[{GAP}] offset {window}))"
    return f"({now} - (sum by ({by}) ({then} or {before}) or 0 * {now}))"


def exact_net(by: str, *matchers: str, window: str = RANGE) -> str:
    """Net cost booked in the window."""
    return f"({exact(COST, by, *matchers, window=window)} - {exact(CREDITS, by, *matchers, window=window)})"


def exact_quantile(share: float, histogram: str, by: str, *matchers: str) -> str:
    """The value that this share of a histogram's observations in the window stayed below."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {exact(f'{histogram}_bucket', labels, *matchers)})"


def quantile(share: float, histogram: str, by: str, *matchers: str) -> str:
    """The same as a graph; nothing where nothing was observed, which would be no number."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, *matchers)}) >= 0"


def or_none(expression: str, label: str) -> str:
    """At 0 under the value `none` while nothing has such a label yet, as before the first failure."""
    none = f'label_replace(vector(0), "{label}", "none", "", "")'
    return f"{expression} or {none} unless on () ({expression})"


def billed_in(amount: str, money: str, *matchers: str, by: str = "currency") -> str:
    """Something without a currency, by the currency of its account, whose `money` is; `amount` is by (account)."""
    labels = ", ".join(dict.fromkeys(("account", *by.split(", "))))
    accounts = f"group by ({labels}) ({of(money, *matchers)} > 0)"
    shared = ", ".join(label for label in labels.split(", ") if label != "currency")
    return f"sum by ({by}) ({accounts} * on ({shared}) group_left () {amount})"
