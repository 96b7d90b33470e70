"""Pictures of the dashboards for the README: `make screenshots`.

Has tools/render draw each dashboard as it looks at the end of the 35 days of tests/support/history.py. HISTORY_URL
names a Prometheus that holds them already.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.history import DENSE_SECONDS, END, FIRST_STEP_SECONDS, STEP_SECONDS, remembering
from tools.generate_docs import TOP

RENDER = TOP / "tools" / "render"
IMAGES = TOP / "docs" / "images"


def program(name: str) -> Path:
    """Where it is; ends the program if it is nowhere."""
    found = shutil.which(name)
    if found is None:
        sys.exit(f"the program {name} is absent")
    return Path(found)


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Yield the address of a Prometheus that holds 35 days of history."""
    if "HISTORY_URL" in os.environ:
        yield os.environ["HISTORY_URL"]
        return
    with remembering(program("prometheus"), program("promtool"), folder) as past:
        yield past.origin


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name, prometheus(Path(name)) as origin:
        settings = {
            "prometheus": origin,
            "end": END,
            "dense": DENSE_SECONDS,
            "step": STEP_SECONDS,
            "sparseStep": FIRST_STEP_SECONDS,
            "variables": {"currency": "USD"},
            "boards": sorted(map(str, (TOP / "grafana" / "dashboards").glob("*.json"))),
            "out": str(IMAGES),
            "chromium": str(program("chromium")),
        }
        file = Path(name) / "settings.json"
        file.write_text(json.dumps(settings))
        return subprocess.run([program("node"), RENDER / "draw.mjs", file], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
