"""The dashboards: texts, layout and queries, which run against 35 days of data in a real Prometheus."""

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

pytestmark = pytest.mark.timeout(600)  # the first test that needs the history makes it


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
        """Return whether the panel is marked as exact: it reads counters without a rate."""
        return "Exact:" in self.panel["description"]

    def run(self, past: Past, currency: str = "USD") -> list[dict[str, Any]]:
        """Return the rows that the panel shows at the end of the past."""
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
    """Return the start of a relative time range."""
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
    """Every query returns a number at the end of the 35 days, in dollars."""
    rows = query.run(past)
    assert rows, substituted(query.expression)
    values = [value for row in rows for _, value in row.get("values", [row.get("value")])]
    assert any(value not in {"NaN", "+Inf", "-Inf"} for value in values), values[:5]


@every_query
def test_a_query_by_currency_returns_that_currency_alone(past: Past, query: Query) -> None:
    """A query for euros returns no row in dollars."""
    if "currency" in variables(query.expression):
        rows = query.run(past, "EUR")
        currencies = {row["metric"].get("currency") for row in rows}
        assert "USD" not in currencies


@every_query
def test_every_expression_is_right(query: Query) -> None:
    """Every expression parses, uses families of the catalogue, and rates its counters unless it is marked exact."""
    assert faults(query.expression, exact=query.exact) == []
    assert mixed_currencies(query.expression) == []


@every_query
def test_rates_follow_the_scrape_interval(query: Query) -> None:
    """Every window of a rate is Grafana's variable, so it covers enough scrapes at any zoom; GAP alone is fixed."""
    found = set(re.findall(r"\[([^\]]*)\]", query.expression)) - {GAP}
    assert found <= ({"$__rate_interval"} if not query.target.get("instant") else {"$__rate_interval", "$__range"})


@every_query
def test_only_exact_panels_are_marked_exact(query: Query) -> None:
    """A panel is marked exact if and only if one of its queries reads a counter without a rate."""
    others = [each for each in QUERIES if each.panel is query.panel]
    read = [faults(each.expression) for each in others]
    assert query.exact == any(read)


@every_query
def test_only_counters_of_the_ledger_are_read_without_a_rate(query: Query) -> None:
    """A counter without a rate is one of the ledger, since a counter of the process restarts at 0."""
    for each in selected(substituted(query.expression)):
        family = family_of(each.name)
        if family.kind != "gauge" and not each.rated:
            assert family.home == "ledger", each.name


@every_panel
def test_no_two_series_of_a_panel_have_the_same_name(past: Past, file: str, panel: Mapping[str, Any]) -> None:
    """The legends of a panel's series are unique; tables have columns instead."""
    names = legends(past, file, panel)
    assert len(set(names)) == len(names), names


def legends(past: Past, file: str, panel: Mapping[str, Any]) -> list[str]:
    """Return the legends of a panel's series; none for tables and heatmaps."""
    if panel["type"] in {"table", "heatmap"}:
        return []
    of_panel = [query for query in QUERIES if query.file == file and query.panel["id"] == panel["id"]]
    return [legend(query.target["legendFormat"], row["metric"]) for query in of_panel for row in query.run(past)]


def legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


@every_query
def test_replicas_become_one_as_the_catalogue_says(query: Query) -> None:
    """A gauge that all replicas share is merged by the catalogue's aggregation before any sum."""
    for name, around in gauges(promql_parser.parse(substituted(query.expression)), None):
        across = BY_NAME[name].across
        if across != "sum" and name != "telnyx_exporter_build_info":
            assert around == f"{across} without instance pod", (name, around)


def gauges(node: Any, around: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield the gauges of the expression, each with the innermost aggregation around it."""
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


def test_the_dashboard_shows_values_of_two_replicas_once(past: Past) -> None:
    """Two replicas show the same balance and limits; the dashboard shows each once, as it does the ledger's costs."""
    assert len({row["metric"]["instance"] for row in past.query("telnyx_balance")}) == 2
    limits = {row["metric"]["budget"]: row["value"][1] for row in past.query("telnyx_budget_limit")}
    (table,) = [query for query in QUERIES if query.panel["title"] == "Budgets" and query.target["refId"] == "B"]
    shown = {row["metric"]["budget"]: row["value"][1] for row in [*table.run(past), *table.run(past, "EUR")]}
    assert shown == limits
    (booked,) = past.query('sum(telnyx_cost_total{currency="USD"})')
    (held,) = past.query('sum(telnyx_cost_total{currency="USD", instance="exporter-1:9464"})')
    assert booked["value"] == held["value"]


@every_panel
def test_every_panel_says_what_to_do(file: str, panel: Mapping[str, Any]) -> None:
    """Every panel has a title, a unit, and a description long enough to give advice."""
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"].split()) >= 12, file
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@every_board
def test_files_are_what_the_code_says(file: str) -> None:
    """Each dashboard file is the output of its generator, which `make docs` runs."""
    assert (FOLDER / f"{file}.json").read_text() == written(BOARDS[file])


@every_board
def test_grafanas_own_types_read_them(file: str) -> None:
    """A dashboard file that Grafana's SDK reads and writes stays the same."""
    register_default_plugins()
    text = (FOLDER / f"{file}.json").read_text()
    again = Dashboard.from_json(json.loads(text))
    assert json.loads(json.dumps(again, cls=JSONEncoder)) == json.loads(text)


@every_board
def test_no_panels_overlap(file: str) -> None:
    """Each panel has its own cells in the 24 columns and its own id."""
    taken: set[tuple[int, int]] = set()
    for panel in load(file)["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in load(file)["panels"]]
    assert len(set(ids)) == len(ids)


@every_board
def test_common_settings_of_dashboards(file: str) -> None:
    """A dashboard is read-only, has its data source as first variable, and reloads variables with the time range."""
    board = load(file)
    variables = board["templating"]["list"]
    assert board["editable"] is False
    assert variables[0]["type"] == "datasource"
    assert all(each["refresh"] == 2 for each in variables if each["type"] == "query")
    assert "id" not in board or board["id"] is None


def test_uids_stay() -> None:
    """The ids of the dashboards never change, since users' links contain them."""
    assert {file: load(file)["uid"] for file in BOARDS} == UIDS


def test_sessions_link_to_their_pages() -> None:
    """The session tables link to the exporter's pages, at a base URL that is a variable of the dashboard."""
    text = (FOLDER / "session-explorer.json").read_text()
    assert text.count("${exporter:raw}/sessions/by-id/${__value.raw}") == 3
    assert any(each["name"] == "exporter" for each in load("session-explorer")["templating"]["list"])


def test_exemplars_are_queried_and_link_to_sessions() -> None:
    """The data source links an exemplar's label `event_id` to the page of the session."""
    asking = {query.panel["title"] for query in QUERIES if query.target.get("exemplar")}
    assert {"Cost of AI sessions", "LLM turns of AI sessions"} <= asking
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "event_id"
    assert "/sessions/by-id/" in destination["url"]


def test_provisioning_mounts_the_files() -> None:
    """The provider reads the folder that the README mounts."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "telnyx.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert Path(provider["options"]["path"]).name == "dashboards"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)
