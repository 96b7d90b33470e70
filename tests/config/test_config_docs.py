"""config.yaml and docs/configuration.md say what the settings are."""

import re
from pathlib import Path

import msgspec

from exporter import config
from exporter.config.document import read_document
from exporter.core.model import SessionRef
from tools.configuration_page import page, setting_paths

TOP = Path(__file__).parents[2]


def test_config_yaml_is_the_defaults() -> None:
    """The annotated example, as it is shipped, sets every setting to its default."""
    assert config.load(TOP / "config.yaml", {"TELNYX_API_KEY": "x"}) == config.load(None, {"TELNYX_API_KEY": "x"})


def test_config_yaml_holds_every_setting() -> None:
    """With its examples uncommented, and a PostgreSQL, config.yaml is valid and names every setting in its place."""
    text = re.sub(r"(?m)^( *)#(?=\S|  )", r"\1", (TOP / "config.yaml").read_text())
    text = text.replace("sqlite:///telnyx-sessions.sqlite", "postgresql://telnyx@db.example.com/telnyx")
    read = config.parse(text.encode(), "config.yaml")
    assert [account.name for account in read.accounts] == ["default", "backup"]
    assert list(read.session_refs()) == [
        SessionRef("default", "call-session", "5c54c3ba-2185-4a7d-9c43-1f1e4a0f8f0e", "2026-03-17")
    ]
    assert read.metrics.labels == (config.Label(name="assistant", field="assistant_id", values=("support", "sales")),)
    named = {re.sub(r"\[\d+\]", "[]", path) for path in _paths(read_document(text.encode(), "config.yaml"), "")}
    assert sorted(set(setting_paths()) - named) == []


def _paths(value: object, path: str) -> list[str]:
    if isinstance(value, dict):
        below = [found for key in value for found in _paths(value[key], f"{path}.{key}" if path else key)]
        return [path, *below]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [found for item in value for found in _paths(item, f"{path}[]")]
    return [path]


def test_the_reference_is_current() -> None:
    """docs/configuration.md is generated from the settings as they are; `make docs` writes it."""
    assert (TOP / "docs" / "configuration.md").read_text() == page()


def test_the_reference_explains_every_setting() -> None:
    """Each setting has a line in the reference with all four cells filled."""
    lines = re.findall(r"(?m)^\| `\w+` \| (.+) \| (.+) \| (.+) \|$", page())
    assert len(lines) == len(list(setting_paths()))


def test_a_dump_is_plain_and_can_be_read_again() -> None:
    """The dump is strings, numbers, lists and dicts, under the keys of the file, and says the same as the file."""
    read = config.parse(b"metrics: {labels: [{name: team, field: f, from: event}]}", "config.yaml")
    dumped = config.dump(read)
    assert dumped["metrics"]["labels"] == [
        {"name": "team", "field": "f", "from": "event", "values": None, "values_max": 100, "allow_personal": False}
    ]
    assert dumped["metrics"]["buckets"]["session_cost"][:2] == ["0.005", "0.01"]
    assert msgspec.json.decode(msgspec.json.encode(dumped)) == dumped
