"""The dashboards: each panel says what to do, asks rightly, and finds something in 35 days of a real Prometheus."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from msgspec import Struct

from exporter.core.catalog import BY_NAME
from tests.support.history import DAY, DENSE_SECONDS, FIRST_STEP_SECONDS, HOUR, STEP_SECONDS
from tests.support.programs import Past
from tests.support.promql import VALUES, faults, mixed_currencies, selected, substituted, variables
from tools.dashboards import BOARDS, written
from tools.dashboards.queries import GAP, family_of
from tools.generate_docs import TOP

FOLDER = TOP / "grafana" / "dashboards"
PROVISIONING = TOP / "grafana" / "provisioning"
UIDS = {
    "cost-overview": "telnyx-cost",
    "ai-sessions": "telnyx-ai-sessions",
    "session-explorer": "telnyx-sessions",
    "exporter-health": "telnyx-exporter",
}
UNITS = {"m": 60, "h": HOUR, "d": DAY}

pytestmark = pytest.mark.timeout(600)  # the first test that asks makes the history


class Query(Struct):
    """One query of one panel."""

    file: str
    panel: Mapping[str, Any]
    target: Mapping[str, Any]
    since: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.panel['title']} {self.target['refId']}"

    @property
    def expression(self) -> str:
        found: str = self.target["expr"]
        return found

    @property
    def exact(self) -> bool:
        """Whether the panel is marked as one that reads counters as they are."""
        return "Exact:" in self.panel["description"]

    def asked(self, past: Past, currency: str = "USD") -> list[dict[str, Any]]:
        """What the panel would show at the end of the past."""
        start = range_start(self.panel.get("timeFrom") or self.since, past.end)
        seconds = past.end - start
        scraped = STEP_SECONDS if seconds <= DENSE_SECONDS else FIRST_STEP_SECONDS
        interval = max(duration(self.panel.get("interval") or "15s"), seconds // 200)
        values = {
            **VALUES,
            "__range": f"{seconds}s",
            "__rate_interval": f"{max(interval + scraped, 4 * scraped)}s",
            "currency": currency,
        }
        expression = substituted(self.expression, values)
        if self.target.get("instant"):
            return past.query(expression)
        return past.query_range(expression, start, past.end, max(interval, 60))


def range_start(since: str, end: int) -> int:
    """The beginning of a relative time range."""
    now = datetime.fromtimestamp(end, UTC)
    midnight = now.replace(hour=0, minute=0, second=0)
    if since in {"now/d", "now/M"}:
        return int((midnight if since == "now/d" else midnight.replace(day=1)).timestamp())
    return end - duration(since.removeprefix("now-"))


def duration(text: str) -> int:
    return int(text[:-1]) * {"s": 1, **UNITS}[text[-1]]


def load(file: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((FOLDER / f"{file}.json").read_text())
    return board


def panels(file: str) -> list[dict[str, Any]]:
    return [panel for panel in load(file)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for file in BOARDS:
        since = load(file)["time"]["from"]
        for panel in panels(file):
            yield from (Query(file, panel, target, since) for target in panel["targets"])


QUERIES = list(queries())
PANELS = [(file, panel) for file in BOARDS for panel in panels(file)]
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
every_panel = pytest.mark.parametrize(
    ("file", "panel"), PANELS, ids=lambda it: it if isinstance(it, str) else it["title"]
)
every_board = pytest.mark.parametrize("file", BOARDS)


@every_query
def test_every_query_finds_something(past: Past, query: Query) -> None:
    """At the end of 35 days, in dollars."""
    rows = query.asked(past)
    assert rows, substituted(query.expression)
    values = [value for row in rows for _, value in row.get("values", [row.get("value")])]
    assert any(value not in {"NaN", "+Inf", "-Inf"} for value in values), values[:5]


@every_query
def test_money_is_there_in_the_other_currency_too(past: Past, query: Query) -> None:
    """What is asked by currency is answered in that one alone."""
    if "currency" in variables(query.expression):
        rows = query.asked(past, "EUR")
        currencies = {row["metric"].get("currency") for row in rows}
        assert "USD" not in currencies


@every_query
def test_every_expression_is_right(query: Query) -> None:
    """It parses, names only what the catalogue has, and puts each counter under a rate unless it is marked exact."""
    assert faults(query.expression, exact=query.exact) == []
    assert mixed_currencies(query.expression) == []


@every_query
def test_rates_follow_the_scrape_interval(query: Query) -> None:
    """Every window of a rate is Grafana's own, so that it holds enough scrapes at any zoom; a gap is as it is."""
    found = set(re.findall(r"\[([^\]]*)\]", query.expression)) - {GAP}
    assert found <= ({"$__rate_interval"} if not query.target.get("instant") else {"$__rate_interval", "$__range"})


@every_query
def test_only_exact_panels_are_marked_exact(query: Query) -> None:
    """A panel that reads no counter without a rate doesn't say that it does, at least not in all of its queries."""
    others = [each for each in QUERIES if each.panel is query.panel]
    read = [faults(each.expression) for each in others]
    assert query.exact == any(read)


@every_query
def test_only_what_survives_a_restart_is_read_as_it_is(query: Query) -> None:
    """Less than what it was then is no amount: a counter of the process begins anew."""
    for each in selected(substituted(query.expression)):
        family = family_of(each.name)
        if family.kind != "gauge" and not each.rated:
            assert family.home == "ledger", each.name


@every_panel
def test_no_two_series_of_a_panel_have_the_same_name(past: Past, file: str, panel: Mapping[str, Any]) -> None:
    """Nobody could tell them apart; tables have columns instead."""
    names = legends(past, file, panel)
    assert len(set(names)) == len(names), names


def legends(past: Past, file: str, panel: Mapping[str, Any]) -> list[str]:
    """What the series of a panel are called, if it names them."""
    if panel["type"] in {"table", "heatmap"}:
        return []
    asked = [query for query in QUERIES if query.file == file and query.panel["id"] == panel["id"]]
    return [legend(query.target["legendFormat"], row["metric"]) for query in asked for row in query.asked(past)]


def legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


@every_query
def test_replicas_become_one_as_the_catalogue_says(query: Query) -> None:
    """Of facts that all replicas share one is taken, before anything is added up."""
    for name, around in gauges(promql_parser.parse(substituted(query.expression)), None):
        across = BY_NAME[name].across
        if across != "sum" and name != "telnyx_exporter_build_info":
            assert around == f"{across} without instance pod", (name, around)


def gauges(node: Any, around: str | None) -> Iterator[tuple[str, str | None]]:
    """Gauges of the expression, and the aggregation that each stands in at once."""
    if isinstance(node, promql_parser.VectorSelector):
        if node.name in BY_NAME and BY_NAME[node.name].kind == "gauge":
            yield str(node.name), around
    elif isinstance(node, promql_parser.AggregateExpr):
        labels = " ".join(node.modifier.labels) if node.modifier else ""
        kind = "without" if node.modifier and "Without" in str(node.modifier.type) else "by"
        yield from gauges(node.expr, f"{node.op} {kind} {labels}")
    elif isinstance(node, promql_parser.Call):
        for arg in node.args:
            yield from gauges(arg, around)
    else:
        for part in ("expr", "lhs", "rhs"):
            if (child := getattr(node, part, None)) is not None:
                yield from gauges(child, around)


def test_two_replicas_show_a_shared_fact_once(past: Past) -> None:
    """Both show the balance and the limits; the dashboard shows each once, and the ledger's money once."""
    assert len({row["metric"]["instance"] for row in past.query("telnyx_balance")}) == 2
    limits = {row["metric"]["budget"]: row["value"][1] for row in past.query("telnyx_budget_limit")}
    (table,) = [query for query in QUERIES if query.panel["title"] == "Budgets" and query.target["refId"] == "B"]
    shown = {row["metric"]["budget"]: row["value"][1] for row in [*table.asked(past), *table.asked(past, "EUR")]}
    assert shown == limits
    (booked,) = past.query('sum(telnyx_cost_total{currency="USD"})')
    (held,) = past.query('sum(telnyx_cost_total{currency="USD", instance="exporter-1:9464"})')
    assert booked["value"] == held["value"]


@every_panel
def test_every_panel_says_what_to_do(file: str, panel: Mapping[str, Any]) -> None:
    """A title, a unit, and a description long enough to hold advice."""
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"].split()) >= 12, file
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@every_board
def test_files_are_what_the_code_says(file: str) -> None:
    """`make docs` writes them."""
    assert (FOLDER / f"{file}.json").read_text() == written(BOARDS[file])


@every_board
def test_grafanas_own_types_read_them(file: str) -> None:
    """The file, read and written by the SDK, is the file."""
    register_default_plugins()
    text = (FOLDER / f"{file}.json").read_text()
    again = Dashboard.from_json(json.loads(text))
    assert json.loads(json.dumps(again, cls=JSONEncoder)) == json.loads(text)


@every_board
def test_no_panels_overlap(file: str) -> None:
    """Each has a place of its own in the 24 columns, and an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in load(file)["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in load(file)["panels"]]
    assert len(set(ids)) == len(ids)


@every_board
def test_what_all_dashboards_have_in_common(file: str) -> None:
    """They can't be edited, choose their data source first, and learn their variables with the time range."""
    board = load(file)
    variables = board["templating"]["list"]
    assert board["editable"] is False
    assert variables[0]["type"] == "datasource"
    assert all(each["refresh"] == 2 for each in variables if each["type"] == "query")
    assert "id" not in board or board["id"] is None


def test_uids_stay() -> None:
    """They are part of people's links."""
    assert {file: load(file)["uid"] for file in BOARDS} == UIDS


def test_sessions_link_to_their_pages() -> None:
    """At a base URL that is a variable of the dashboard."""
    text = (FOLDER / "session-explorer.json").read_text()
    assert text.count("${exporter:raw}/sessions/by-id/${__value.raw}") == 3
    assert any(each["name"] == "exporter" for each in load("session-explorer")["templating"]["list"])


def test_exemplars_are_asked_for_and_lead_to_sessions() -> None:
    """The data source knows where the label `event_id` of an exemplar leads."""
    asking = {query.panel["title"] for query in QUERIES if query.target.get("exemplar")}
    assert {"Cost of AI sessions", "LLM turns of AI sessions"} <= asking
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "event_id"
    assert "/sessions/by-id/" in destination["url"]


def test_provisioning_mounts_the_files() -> None:
    """The provider reads the folder that the README has mounted."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "telnyx.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert Path(provider["options"]["path"]).name == "dashboards"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)
