"""What docs/fleet.md says of takeovers, asked of Prometheus: what is exact, what is not, and what the rename does."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import substituted
from tools.dashboards.queries import COST, exact
from tools.generate_docs import TOP

PAGE = (TOP / "docs" / "fleet.md").read_text()
(QUERY,) = re.findall(r"(?s)```promql\n(.*?)```", PAGE)
(SCRAPING,) = [text for text in re.findall(r"(?s)```yaml\n(.*?)```", PAGE) if text.startswith("scrape_configs")]
SCRAPED_EVERY = "15s"

FIRST = "telnyx_cost_total{currency='USD', instance='a'}"
SECOND = "telnyx_cost_total{currency='USD', instance='b'}"
ONE = "telnyx_cost_total{currency='USD', instance='fleet'}"
NOTHING = "telnyx_cost_credits_total{currency='USD', instance='fleet'}"
OTHER = "telnyx_cost_total{currency='USD', instance='fleet', job='other'}"
Question = tuple[str, str, float | None]


def ask(folder: Path, promtool: Path, series: dict[str, str], *questions: Question) -> None:
    """What each expression is at that time, by what promtool finds; None is no answer at all."""
    asked = [
        {
            "expr": expression,
            "eval_time": at,
            "exp_samples": [] if value is None else [{"labels": '{currency="USD"}', "value": value}],
        }
        for expression, at, value in questions
    ]
    given = [{"series": name, "values": values} for name, values in (series | {NOTHING: "0+0x200"}).items()]
    test = {"interval": SCRAPED_EVERY, "input_series": given, "promql_expr_test": asked}
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    run = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


BY_A = "0+5x20 stale _x60 300+0x40"
"""Five a scrape until it is at 100 after 5 minutes; gone for a quarter of an hour; then all that there is by then."""
BY_B = "_x25 100+5x20 200+0x10 stale _x60"
"""From 6:15 on: it goes from 100 to 200, and is gone after 14 minutes."""
BY_ONE = "0+5x20 stale _x3 100+5x20 200+0x10 stale _x24 300+0x40"
"""The same under one name."""


@pytest.mark.parametrize("series", [{FIRST: BY_A, SECOND: BY_B}, {ONE: BY_ONE}], ids=["as it comes", "renamed"])
def test_the_query_is_exact_across_takeovers(promtool: Path, tmp_path: Path, series: dict[str, str]) -> None:
    """At any moment, in the gaps too, whatever the series are called; a plain sum has gaps, but is never more."""
    plain = "sum by (currency) (telnyx_cost_total)"
    shown: dict[str, tuple[float, float | None]] = {
        "5m": (100, 100),
        "5m45s": (100, None),  # no replica exposes the totals
        "11m15s": (200, 200),
        "15m": (200, None),
        "21m": (300, 300),
    }
    questions: list[Question] = [(QUERY, at, total) for at, (total, _) in shown.items()]
    ask(tmp_path, promtool, series, *questions, *((plain, at, summed) for at, (_, summed) in shown.items()))


@pytest.mark.parametrize("series", [{FIRST: BY_A, SECOND: BY_B}, {ONE: BY_ONE}], ids=["as it comes", "renamed"])
@pytest.mark.parametrize("other", [{}, {OTHER: "1000+0x200"}], ids=["alone", "beside another fleet"])
def test_what_a_dashboard_shows_does_not_jump(
    promtool: Path, tmp_path: Path, series: dict[str, str], other: dict[str, str]
) -> None:
    """A window that starts while no replica exposes the totals contains what was booked in it, not the whole totals."""
    booked = substituted(exact(COST, "currency", window="6m"))
    ask(tmp_path, promtool, series | other, (booked, "11m", 95), (booked, "12m", 100), (booked, "12m15s", 100))


def test_under_one_name_an_increase_is_counted_once(promtool: Path, tmp_path: Path) -> None:
    """Under the replicas' names, a time in which one came back counts again what the other booked meanwhile."""
    grown = "round(sum by (currency) (increase(telnyx_cost_total[20m])), 10)"
    by_a, by_b = "100+0x40 stale _x40 300+0x80", "_x45 100+5x20 200+0x10 stale _x80"
    by_one = "100+0x40 stale _x4 100+5x20 200+0x10 stale _x4 300+0x80"
    ask(tmp_path, promtool, {ONE: by_one}, (grown, "25m", 200))
    ask(tmp_path, promtool, {FIRST: by_a, SECOND: by_b}, (grown, "25m", 300))


def test_prometheus_takes_the_scrape_configuration(promtool: Path, tmp_path: Path) -> None:
    """As it stands in the documentation, which is as the ServiceMonitor has it."""
    file = tmp_path / "prometheus.yml"
    file.write_text(SCRAPING)
    run = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    rules: list[dict[str, Any]] = yaml.safe_load(SCRAPING)["scrape_configs"][0]["metric_relabel_configs"]
    monitor = yaml.safe_load((TOP / "deploy/kubernetes/overlays/fleet/servicemonitor.yaml").read_text())
    (same,) = [patch["value"] for patch in monitor if patch["path"].endswith("metricRelabelings")]
    spelt = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    assert rules == [{spelt.get(name, name): value for name, value in rule.items()} for rule in same]
