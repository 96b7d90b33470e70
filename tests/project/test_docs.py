"""The pages are true: generated parts are current, examples are accepted, names exist."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from exporter import config
from exporter.core.catalog import BY_NAME, CHECKS, FAMILIES, Family
from exporter.sources.entries import json_entries, yaml_entries
from exporter.sources.record_kinds import KINDS
from tools.generate_docs import TOP, pages, topics_of

README = (TOP / "README.md").read_text()
DISCOVERY = (TOP / "docs" / "discovery.md").read_text()

PAGES = [*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")]
"""Every Markdown page of the project."""

SAMPLE_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def examples(language: str, page: str = README) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page)


def yaml_example(key: str, page: str = README) -> str:
    """Return the page's YAML block that has this key at the top level."""
    (found,) = [text for text in examples("yaml", page) if key in yaml.safe_load(text)]
    return found


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_pages_are_current(path: Path) -> None:
    """Each generated page is the output of its generator, which `make docs` runs."""
    assert path.read_text() == pages()[path]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_a_topic(family: Family) -> None:
    """Each metric family belongs to exactly one topic of the pages."""
    assert len(topics_of(family)) == 1


def test_make_targets_exist() -> None:
    """Every `make` command in the README and in CONTRIBUTING.md is a target."""
    targets = set(re.findall(r"(?m)^([a-z%-]+):", (TOP / "Makefile").read_text()))
    named = set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", README + (TOP / "CONTRIBUTING.md").read_text()))
    named = {name for name in named if not (name.startswith("bench-") and "bench-%" in targets)}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file of the repository."""
    links = [urlsplit(link) for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    assert [link.path for link in links if not link.scheme and not (page.parent / link.path).exists()] == []


def test_the_index_has_every_page() -> None:
    """docs/README.md links to each page below docs/; runbooks are one entry."""
    index = (TOP / "docs" / "README.md").read_text()
    pages = [page.name for page in (TOP / "docs").glob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_example_config() -> None:
    """The README's config is accepted, and names a session."""
    assert list(config.parse(yaml_example("sessions").encode(), "README.md").session_refs())


def test_example_sources() -> None:
    """The sources in docs/discovery.md are accepted as settings, its lists name sessions of the only account."""
    discovery = config.parse(yaml_example("discovery", DISCOVERY).encode(), "discovery.md").discovery
    assert discovery.files
    assert discovery.http.enabled
    accounts = config.parse(yaml_example("accounts", DISCOVERY).encode(), "discovery.md").accounts
    assert accounts[0].webhook_public_key_env
    (listed,) = [text for text in examples("yaml", DISCOVERY) if isinstance(yaml.safe_load(text), list)]
    (posted,) = re.findall(r"-d '(\[.*)'", "".join(examples("sh", DISCOVERY)))
    for read, text in ((yaml_entries, listed), (json_entries, posted)):
        assert read(text.encode(), "discovery.md", ["default"])


def test_example_scrape_config(promtool: Path, tmp_path: Path) -> None:
    """Prometheus accepts the README's scrape config."""
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml_example("scrape_configs"))
    checked = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_example_queries(promtool: Path, tmp_path: Path) -> None:
    """Prometheus can parse every query in the README."""
    rules = [{"record": "readme:example:query", "expr": query} for query in examples("promql")]
    assert rules
    file = tmp_path / "rules.yml"
    for rule in rules:
        file.write_text(yaml.safe_dump({"groups": [{"name": "readme", "rules": [rule]}]}))
        checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_named_metrics_exist() -> None:
    """Every metric that the README or docs/discovery.md names is in the catalogue."""
    named = set(re.findall(r"\btelnyx_[a-z_]+\b", README + DISCOVERY))
    assert {name for name in named if name not in BY_NAME and SAMPLE_SUFFIX.sub("", name) not in BY_NAME} == set()


def test_the_contract_names_what_exists() -> None:
    """The metrics and checks by which the exporter notices a wrong assumption."""
    page = (TOP / "docs" / "contract.md").read_text()
    fields = {field for kind in KINDS.values() for field in kind.session_fields}
    assert set(re.findall(r"`(telnyx_[a-z_]+)", page)) - fields <= BY_NAME.keys()
    named = re.findall(r"checks? ((?:`[a-z_]+`(?:, )?)+)", page)
    assert {check for some in named for check in re.findall(r"[a-z_]+", some)} <= set(CHECKS)


ACCURACY = (TOP / "docs" / "accuracy.md").read_text()


def test_each_rule_of_accuracy_has_a_test() -> None:
    """Each bold rule, each check, and no other has a row; each test that a row names is there."""
    rules, _, rest = ACCURACY.partition("## Checks")
    named = {rule.rstrip(".") for rule in re.findall(r"(?m)^- \*\*(.+?)\*\*", rules)}
    rows = dict(re.findall(r"(?m)^\| (.+?) \| (`tests/.+?) \|$", rest))
    sections = {"Which amounts are readable", "Overlapping sessions", "All of them together"}
    checks = {f"`{check}`" for check in CHECKS}
    stated = {rule for row in rows for rule in (re.findall("`.+?`", row) if row.startswith("Check") else [row])}
    assert stated == named | sections | checks
    tests = {tuple(test.split("::")) for row in rows.values() for test in re.findall(r"`(.+?)`", row)}
    missing = [(path, test) for path, test in tests if f"def {test}(" not in (TOP / path).read_text()]
    assert missing == []
