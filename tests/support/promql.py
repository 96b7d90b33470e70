"""Find faults in a PromQL expression of a dashboard, a rule or a page without running it.

The rules: only families and labels of the catalogue (or records that the caller names), every counter under rate() or
increase() unless the expression is exact, no function that Prometheus 2.42 lacks, no sum across currencies.
"""

import re
from collections.abc import Iterator, Mapping

import promql_parser
from msgspec import Struct

from exporter.core.catalog import BY_NAME

RATES = {"rate", "increase", "irate", "resets"}

OF_SCRAPES = frozenset({"instance", "job", "pod"})
"""Labels that Prometheus adds; `pod` where it scrapes pods."""

NEWER = frozenset(
    {
        *("double_exponential_smoothing", "first_over_time", "info", "limit_ratio", "limitk", "mad_over_time"),
        *("histogram_avg", "histogram_stddev", "histogram_stdvar", "histogram_trim_lower", "histogram_trim_upper"),
        *("sort_by_label", "sort_by_label_desc", "ts_of_first_over_time", "ts_of_last_over_time"),
        *("ts_of_max_over_time", "ts_of_min_over_time"),
    }
)
"""Functions and aggregations that are newer than Prometheus 2.42."""

VALUES: Mapping[str, str] = {
    "__rate_interval": "20m",
    "__interval": "10m",
    "__range": "1d",
    "__range_s": "86400",
    "currency": "USD",
    "account": ".*",
    "job": ".*",
}
"""Values of Grafana's variables while an expression is checked."""

_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::\w+)?\}|([A-Za-z_]\w*))")


class Selected(Struct, frozen=True):
    """One selector of an expression."""

    name: str
    matched: frozenset[str]
    """Labels in its matchers."""
    rated: bool
    """Whether it is an argument of rate() or a similar function."""


def substituted(expression: str, values: Mapping[str, str] = VALUES) -> str:
    """Return the expression with Grafana's variables filled in; raise KeyError for one without a value."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], expression)


def variables(expression: str) -> set[str]:
    """Return the names of Grafana's variables in the expression."""
    return {found[1] or found[2] for found in _VARIABLE.finditer(expression)}


def selected(expression: str) -> list[Selected]:
    """Return every selector of an expression without variables."""
    return list(_selected(promql_parser.parse(expression), rated=False))


def families(expression: str) -> set[str]:
    """Return the families of the catalogue in the expression, which may contain variables."""
    names = (
        _SUFFIX.sub("", each.name) if each.name not in BY_NAME else each.name
        for each in selected(substituted(expression))
    )
    return {name for name in names if name in BY_NAME}


def faults(expression: str, *, exact: bool = False, records: Mapping[str, tuple[str, ...]] | None = None) -> list[str]:
    """Return the faults in words; `records` maps the names of recording rules to their labels."""
    try:
        tree = promql_parser.parse(substituted(expression))
    except (ValueError, KeyError) as error:
        return [f"can't be parsed: {error!r}"]
    return [*_selector_faults(tree, records or {}, exact=exact), *_node_faults(tree, records or {})]


def _selector_faults(tree: object, records: Mapping[str, tuple[str, ...]], *, exact: bool) -> Iterator[str]:
    for each in _selected(tree, rated=False):
        known = labels_of(each.name, records)
        if known is None:
            yield f"{each.name or 'a selector without a name'} is not in the catalogue"
            continue
        yield from (f"{each.name} has no label {label}" for label in sorted(each.matched - known - OF_SCRAPES))
        if _counts(each.name) and not each.rated and not exact:
            yield f"{each.name} is a counter and not under rate() or increase()"
        if each.rated and not _counts(each.name) and each.name not in records:
            yield f"{each.name} is no counter, and under a rate"


def _node_faults(tree: object, records: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for node in _nodes(tree):
        known = {label for each in _selected(node, rated=False) for label in labels_of(each.name, records) or ()}
        known |= OF_SCRAPES | _made(node)
        if isinstance(node, promql_parser.Call) and node.func.name in NEWER:
            yield f"{node.func.name}() is newer than Prometheus 2.42"
        if isinstance(node, promql_parser.AggregateExpr):
            if str(node.op) in NEWER:
                yield f"{node.op} is newer than Prometheus 2.42"
            yield from (f"nothing in it has the label {label}" for label in _kept(node) if label not in known)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
            matching = node.modifier.matching
            named = [*(matching.labels if matching is not None else ()), *(node.modifier.group_labels or ())]
            yield from (f"nothing in it has the label {label}" for label in named if label not in known)


def mixed_currencies(expression: str) -> list[str]:
    """Return a message for every sum of money that neither keeps nor selects the currency."""
    return [
        f"{each.name} loses its currency"
        for node in _nodes(promql_parser.parse(substituted(expression)))
        if isinstance(node, promql_parser.AggregateExpr) and not _keeps(node, "currency")
        for each in _selected(node.expr, rated=False)
        if "currency" in (labels_of(each.name, {}) or ()) and "currency" not in each.matched
    ]


def _keeps(node: promql_parser.AggregateExpr, label: str) -> bool:
    modifier = node.modifier
    if modifier is None:
        return str(node.op) in {"topk", "bottomk"}
    return _is_by(node) if label in modifier.labels else not _is_by(node)


def _is_by(node: promql_parser.AggregateExpr) -> bool:
    assert node.modifier is not None
    return bool(node.modifier.type == promql_parser.AggModifierType.By)


def _kept(node: promql_parser.AggregateExpr) -> list[str]:
    return node.modifier.labels if node.modifier is not None and _is_by(node) else []


def _made(node: object) -> set[str]:
    """Return the labels that label_replace() and label_join() create at or below the node."""
    calls = (each for each in _nodes(node) if isinstance(each, promql_parser.Call))
    made = (call.args[1] for call in calls if call.func.name in {"label_replace", "label_join"})
    return {arg.val for arg in made if isinstance(arg, promql_parser.StringLiteral)}


def labels_of(name: str, records: Mapping[str, tuple[str, ...]]) -> frozenset[str] | None:
    """Return the labels of a sample or a record; None if the name is unknown."""
    if name in records:
        return frozenset(records[name])
    family = BY_NAME.get(name)
    if family is not None:
        return frozenset(family.labels) if family.kind != "histogram" else None
    family = BY_NAME.get(_SUFFIX.sub("", name))
    if family is None or family.kind != "histogram":
        return None
    return frozenset(family.labels) | ({"le"} if name.endswith("_bucket") else frozenset())


def _counts(name: str) -> bool:
    family = BY_NAME.get(name)
    return (family is not None and family.kind == "counter") or (family is None and bool(_SUFFIX.search(name)))


def _selected(node: object, *, rated: bool) -> Iterator[Selected]:
    if isinstance(node, promql_parser.VectorSelector):
        matchers = node.matchers.matchers
        name = node.name or next((each.value for each in matchers if each.name == "__name__"), "")
        yield Selected(name, frozenset(each.name for each in matchers if each.name != "__name__"), rated)
        return
    below = rated or (isinstance(node, promql_parser.Call) and node.func.name in RATES)
    for child in _children(node):
        yield from _selected(child, rated=below)


def _nodes(node: object) -> Iterator[object]:
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _children(node: object) -> list[object]:
    if isinstance(node, promql_parser.Call):
        return list(node.args)
    return [
        child
        for name in ("param", "expr", "lhs", "rhs", "vector_selector")
        if (child := getattr(node, name, None)) is not None
    ]
