"""The checker of PromQL expressions finds each kind of fault and passes correct expressions."""

import pytest

from tests.support.promql import faults, mixed_currencies

RIGHT = (
    "sum by (record_type, currency) (rate(telnyx_cost_total{account=~'$account'}[$__rate_interval])) * 3600",
    "histogram_quantile(0.95, sum by (le, session_kind) (rate(telnyx_session_cost_bucket{currency='USD'}[1h])))",
    "sum by (currency) (max without (instance, pod) (telnyx_balance))",
    "telnyx_budget_spent / on (budget, currency) group_left () telnyx_budget_limit > 0.5",
    "sum by (kind) (label_replace(rate(telnyx_events_total[1h]), 'kind', '$1', 'record_type', '(.*)'))",
)

WRONG = {
    "sum(": "can't be parsed",
    "rate(telnyx_cost_total[$unknown])": "can't be parsed",
    "telnyx_costs": "not in the catalogue",
    "telnyx_session_cost": "not in the catalogue",
    "telnyx_balance_bucket": "not in the catalogue",
    "telnyx_cost_total": "is a counter and not under",
    "telnyx_session_cost_sum": "is a counter and not under",
    "rate(telnyx_balance[5m])": "is no counter",
    "telnyx_balance{budget='a'}": "has no label budget",
    "sum by (le) (rate(telnyx_session_cost_sum[5m]))": "nothing in it has the label le",
    "telnyx_balance / on (budget) telnyx_credit_limit": "nothing in it has the label budget",
    "limitk(3, telnyx_balance)": "newer",
    "mad_over_time(telnyx_balance[5m])": "newer",
}


@pytest.mark.parametrize("expression", RIGHT)
def test_correct_expressions_pass(expression: str) -> None:
    """Rates of counters, plain gauges and labels of the catalogue have no faults."""
    assert faults(expression) == []
    assert mixed_currencies(expression) == []


@pytest.mark.parametrize("expression", WRONG)
def test_each_fault_is_found(expression: str) -> None:
    """Each kind of fault is found and described."""
    assert WRONG[expression] in " ".join(faults(expression))


def test_exact_expressions_may_read_counters() -> None:
    """An expression that is marked exact may use a counter without a rate."""
    assert faults("telnyx_cost_total - telnyx_cost_total offset 1d", exact=True) == []


def test_rules_may_use_their_records() -> None:
    """A rule may use a record with the labels that the caller names, and no others."""
    records = {"currency:telnyx_cost:rate1h": ("currency",)}
    assert faults("sum by (currency) (currency:telnyx_cost:rate1h) > 5", records=records) == []
    assert faults("sum by (account) (currency:telnyx_cost:rate1h)", records=records) != []


def test_dollars_are_not_added_to_euros() -> None:
    """A sum of money keeps the currency or selects one."""
    assert mixed_currencies("sum(rate(telnyx_cost_total[1h]))") != []
    assert mixed_currencies("sum without (currency) (telnyx_balance)") != []
    assert mixed_currencies("sum by (account) (telnyx_balance{currency='$currency'})") == []
