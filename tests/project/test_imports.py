"""A running exporter imports large libraries only when they are needed."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ABSENT = ("cryptography", "jinja2", "grafana_foundation_sdk", "simulator", "tools.dashboards")
"""Libraries that only other commands, pages, webhooks or TLS need."""

SHOWN = "import sys, {}; print(*(name for name in {!r} if name in sys.modules))"


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("exporter.cli.run", ""),
        ("exporter.sources.webhooks", ""),
    ],
)
def test_large_libraries_are_not_imported(module: str, needed: str) -> None:
    """The command `run` and the webhook source import none of the large libraries that they may never need."""
    command = [sys.executable, "-c", SHOWN.format(module, ABSENT)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == needed
