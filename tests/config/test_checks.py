"""Rules between settings, and the changes that a reload applies."""

import pytest
from msgspec.structs import replace

from exporter.config import Buckets, Config, Label, differences, in_effect
from exporter.core.catalog import FAMILIES
from tests.config.test_config import message, parse

THRESHOLD = "metrics: {thresholds: [{name: t, %s}]}"
LABEL = "metrics: {labels: [{name: %s, field: f}]}"
BUDGET = "metrics: {labels: [{name: team, field: t}]}\nbudgets: [{name: b, amount: 1, match: {%s: x}}]"


@pytest.mark.parametrize("limits", ["cost: 1, turns: 2", ""])
def test_a_threshold_has_a_cost_or_turns(limits: str) -> None:
    """Both limits or none are refused."""
    text = THRESHOLD % limits if limits else "metrics: {thresholds: [{name: t}]}"
    assert message(text) == "metrics.thresholds[0]: expected one of cost and turns, got both or neither"


@pytest.mark.parametrize("limit", ["cost: 1", "turns: 2"])
def test_a_threshold_with_one_limit_is_right(limit: str) -> None:
    """Each limit alone is accepted."""
    assert len(parse(THRESHOLD % limit).metrics.thresholds) == 1


@pytest.mark.parametrize("name", ["account", "record_type", "product", "model", "team"])
def test_a_budget_matches_labels_that_costs_have(name: str) -> None:
    """The labels of the cost families and the configured labels are accepted."""
    assert parse(BUDGET % name).budgets[0].match == ((name, "x"),)


@pytest.mark.parametrize("name", ["currency", "state", "taem"])
def test_a_budget_matches_no_other_label(name: str) -> None:
    """Such a budget would never count anything; the currency is a setting of its own."""
    known = "account, model, product, record_type, team"
    assert message(BUDGET % name) == f'budgets[0].match: no cost has a label "{name}"; there are {known}'


def test_a_label_shows_personal_data_only_if_that_is_allowed() -> None:
    """A field in web.redact_fields is refused unless the label sets allow_personal."""
    text = "metrics: {labels: [{name: caller, field: from_number%s}]}"
    assert message(text % "").startswith('metrics.labels[0].field: "from_number" is personal by web.redact_fields')
    assert parse(text % ", allow_personal: true").metrics.labels[0].allow_personal


def test_no_configured_label_takes_a_name_of_the_catalogue() -> None:
    """Every label of the families about sessions, money and the API, and Prometheus's own, are refused."""
    families = [family for family in FAMILIES if not family.name.startswith("telnyx_exporter_")]
    taken = {name for family in families for name in family.labels} | {"instance", "job", "le"}
    refused = {name for name in taken if "one of the exporter's own" in message(LABEL % name)}
    assert refused == taken


@pytest.mark.parametrize("name", ["version", "python_version", "task"])
def test_labels_of_the_exporters_own_state_are_free(name: str) -> None:
    """No cost has them, so a label may be called `version`."""
    assert [label.name for label in parse(LABEL % name).metrics.labels] == [name]


def test_what_shapes_the_totals_needs_a_restart() -> None:
    """Labels, buckets and the ledger's place stay as they are; other changes are applied."""
    running = Config()
    wanted = replace(
        parse("metrics: {labels: [{name: team, field: t}], series_max: 1234}\nledger: {retention_days: 99}"),
        sessions=(),
    )
    wanted = replace(
        wanted,
        metrics=replace(wanted.metrics, buckets=Buckets(session_events=(1.0,))),
        ledger=replace(wanted.ledger, url="sqlite:///elsewhere", lease_seconds=7.0),
    )
    effect = in_effect(running, wanted)
    assert differences(running, effect) == ("metrics.series_max", "ledger.retention_days")
    assert wanted.metrics.labels == (Label(name="team", field="t"),)
