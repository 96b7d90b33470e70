"""What a running exporter has in memory of the libraries, and what it leaves out until somebody asks for it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ABSENT = ("cryptography", "jinja2", "grafana_foundation_sdk", "simulator", "tools.dashboards")
"""What only a command beside `run`, a page, a webhook or TLS needs."""

SHOWN = "import sys, {}; print(*(name for name in {!r} if name in sys.modules))"


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("exporter.cli.run", ""),
        ("exporter.sources.webhooks", ""),
    ],
)
def test_what_is_not_needed_is_not_imported(module: str, needed: str) -> None:
    """`run` imports none of the large libraries that it may never need; the modules that need one import only that."""
    command = [sys.executable, "-c", SHOWN.format(module, ABSENT)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == needed
